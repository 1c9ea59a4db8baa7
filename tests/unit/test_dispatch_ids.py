"""
The ids under which corex.dispatch has commands run that have none of their own.
"""

from types import SimpleNamespace
from typing import Any

from msgspec import Raw
from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from core0.commands.corex import Dispatch, DispatchArguments
from core0.messages import Command, decode_result, encode, result_of

ONE, OTHER = "first", "second"


class MemoryContainers:
    """
    Takes every command.

    :ivar ids: under which they were to run.
    """

    def __init__(self) -> None:
        self.ids: list[str] = []

    async def dispatch(self, number: int, command: Command, id: str) -> None:
        """
        Keep the id.
        """
        assert command.id == id
        self.ids.append(id)


class NewIdTests(SynchronousTestCase):
    """
    A dispatch whose inner command has no id.
    """

    def dispatched(self, *runs: tuple[str, int], **fields: Any) -> list[str]:
        """
        The inner ids of runs, each of the dispatch of that id and with that number.
        """
        containers = MemoryContainers()
        command: Any = Dispatch(SimpleNamespace(containers=containers))  # type: ignore[arg-type] # all that it uses
        for id, number in runs:
            outer = Command(id=id, command="corex.dispatch", **fields)
            arguments = DispatchArguments(3, Raw(b'{"command":"core.ping"}'))
            job = SimpleNamespace(id=id, runs=number, command=outer, arguments=arguments)
            outcome = self.successResultOf(Deferred.fromCoroutine(command.run(job)))
            told = decode_result(encode(result_of(outer, id, outcome, container=0, starttime=1, time=1, runs=1)))
            self.assertEqual(f'"{containers.ids[-1]}"', told.data)
        return containers.ids

    def test_again(self) -> None:
        """
        A run that is done again has the same id, so that its command does not run twice; other runs have others.
        """
        found = self.dispatched((ONE, 1), (ONE, 1), (ONE, 2), (OTHER, 1))
        self.assertEqual((found[0], 3), (found[1], len(set(found))))

    def test_recurring(self) -> None:
        """
        Each run of a dispatch that recurs has a new id, although its runs are counted anew in each period.
        """
        self.assertEqual(3, len(set(self.dispatched((ONE, 1), (ONE, 1), (ONE, 1), recurring_period=1.0))))
