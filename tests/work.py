"""
Commands and jobs that do what a test says.
"""

from typing import Any

from msgspec import Raw, Struct
from twisted.internet.defer import CancelledError, Deferred
from zope.interface import implementer
from zope.interface.verify import verifyClass

from core0.interfaces import BaseCommand, IAgent, ICommand, IJob
from core0.jobs.job import Job
from core0.messages import Command, Outcome, State, encode
from core0.values import NoArguments


@implementer(ICommand)
class Work(BaseCommand):
    """
    Runs until a test says how it ends.

    :param ends_late: when it is cancelled it cleans up until a test ends it, or until it is cancelled again.
    :ivar begun: ids of jobs in the order of their runs.
    """

    name = "test.work"
    agent = IAgent

    def __init__(
        self, agent: object = None, *, urgent: bool = False, repeatable: bool = False, ends_late: bool = False
    ) -> None:
        self.urgent = urgent  # type: ignore[misc] # of a class elsewhere
        self.repeatable = repeatable  # type: ignore[misc] # of a class elsewhere
        self.ends_late = ends_late
        self.begun: list[str] = []
        self.running: dict[str, Deferred[Outcome]] = {}
        self.cleaning: set[str] = set()

    async def run(self, job: IJob) -> Outcome:
        """
        Wait for the test.
        """
        self.begun.append(job.id)
        try:
            try:
                return await self._wait(job)
            except CancelledError:
                if not self.ends_late:
                    raise
                self.cleaning.add(job.id)
                return await self._wait(job)
        finally:
            self.cleaning.discard(job.id)
            del self.running[job.id]

    async def _wait(self, job: IJob) -> Outcome:
        self.running[job.id] = Deferred()
        return await self.running[job.id]

    def end(self, id: str, outcome: Outcome | Exception | None = None) -> None:
        """
        End a run: well, if nothing else is said.
        """
        waiting = self.running[id]
        if isinstance(outcome, Exception):
            waiting.errback(outcome)
        else:
            waiting.callback(outcome or Outcome())


FAILED = Outcome(state=State.ERROR, code=1)
CUT = Outcome(state=State.ERROR, code=143, cut=True)


def make_job(
    id: str = "a",
    adapter: ICommand | None = None,
    *,
    seq: int = 1,
    size: int = 0,
    protected: bool = False,
    **fields: Any,
) -> Job:
    """
    A job of a test's command.

    :param fields: of the command.
    """
    adapter = adapter or Work()
    command = Command(id=id, command=adapter.name, **fields)
    return Job(seq, id, command, adapter, NoArguments(), f"digest of {id}", size=size, protected=protected)


def payload(command: str, arguments: Any = None, **fields: Any) -> bytes:
    """
    A command as a client sends it.
    """
    return encode({"command": command, "arguments": arguments or {}, **fields})


def raw(value: Any) -> Raw:
    """
    The text of a value.
    """
    return Raw(encode(value))


class Offer:
    """
    A command as the registry takes it, that is the same object whoever asks.
    """

    agent = IAgent

    def __init__(self, adapter: Any, name: str = "") -> None:
        self.name = name or adapter.name
        self.urgent: bool = adapter.urgent
        self._adapter = adapter

    def __call__(self, agent: object) -> object:
        """
        Adapt.
        """
        return self._adapter


class Stamp(Struct, frozen=True):
    """
    Arguments with a field of each kind that the tests of messages need.
    """

    name: str
    count: int = 0
    env: dict[str, str] | None = None


verifyClass(ICommand, Work)
