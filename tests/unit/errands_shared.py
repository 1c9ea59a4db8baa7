"""
What tests of errands have in common.
"""

from typing import Any

from msgspec.structs import replace
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from core0 import corex_messages as wire
from core0.containers.errands import Errand, Errands
from core0.corex_messages import Ready
from core0.messages import Command, Outcome, Result, encode, result_of
from core0.values import Final

NUMBER = 7
NODE = "1:1"
NOW = 1_000_000.0  # seconds
DIGEST = "d" * 64


def errand(seq: int, id: str = "", **fields: Any) -> Errand:
    """
    One whose id is its number.
    """
    id = id or str(seq)
    command = Command(id=id, command="core.system", **fields)
    return Errand(seq, id, DIGEST, command, wire.order_line(seq, encode(command)))


def result(id: str, **fields: Any) -> Result:
    """
    As a CoreX writes it.
    """
    command = Command(id=id, command="another", tags="others")
    return replace(
        result_of(command, id, Outcome(data="1", level=20), container=99, starttime=1, time=2, runs=1), **fields
    )


class ErrandsCase(SynchronousTestCase):
    """
    The errands of a container.
    """

    def setUp(self) -> None:
        """
        None yet.
        """
        self.clock = Clock()
        self.clock.advance(NOW)
        self.errands = Errands(self.clock, NUMBER)

    def read(self, seq: int, body: Result | bytes, **fields: Any) -> Final | Ready | None:
        """
        Have a result read.
        """
        return self.errands.read(wire.result_line(seq, body if isinstance(body, bytes) else encode(body), **fields))

    def final(self, seq: int, body: Result | bytes, **fields: Any) -> Final:
        """
        What comes of a result that counts.
        """
        found = self.read(seq, body, **fields)
        assert isinstance(found, Final)
        return found

    def assert_ignored(self, seq: int, body: Result | bytes, **fields: Any) -> None:
        """
        A result that does not count, and changes nothing but the number of these.
        """
        before, open = self.errands.ignored, len(self.errands)
        self.assertIsNone(self.read(seq, body, **fields))
        self.assertEqual((before + 1, open), (self.errands.ignored, len(self.errands)))
