"""
What holds for every ledger of unfinished commands.
"""

from typing import TYPE_CHECKING, Any

from twisted.trial.unittest import TestCase
from zope.interface.verify import verifyObject

from core0.interfaces import ILedger
from core0.messages import (
    Command,
    Mark,
    Outcome,
    Rejection,
    Result,
    State,
    rejection,
    result_of,
)
from core0.values import Claim, Final

NODE = "1:1"
ONE, OTHER = "a" * 64, "b" * 64  # digests


def final(seq: int, id: str = "a", *, digest: str = ONE, data: str = "", **fields: Any) -> Final:
    """
    A result on its way.
    """
    outcome = Outcome(data=data)
    result = result_of(Command(id=id, command="x"), id, outcome, container=0, starttime=1, time=2, runs=1)
    return Final(seq, id, digest, result, **fields)


def rejected(reason: str) -> Rejection:
    """
    Something to be rejected.
    """
    return rejection(NODE, None, State.ERROR, reason, b"payload", 1.0)


if TYPE_CHECKING:
    Base = TestCase
else:
    Base = object


class LedgerCase(Base):
    """
    A ledger, and how to look at what it keeps.
    """

    ledger: ILedger

    def take(self, seq: int, payload: bytes = b"{}") -> None:
        """
        Move a command to the unfinished ones.
        """
        raise NotImplementedError

    def lose(self, seq: int) -> None:
        """
        Have the server forget a command.
        """
        raise NotImplementedError

    def unfinished(self) -> set[int]:
        """
        The numbers of the unfinished ones.
        """
        raise NotImplementedError

    def marks(self) -> dict[int, Mark]:
        """
        All notes.
        """
        raise NotImplementedError

    def results(self, id: str = "a") -> list[Result]:
        """
        What a client finds of an id.
        """
        raise NotImplementedError

    def consume(self, id: str = "a") -> None:
        """
        A client takes a result away.
        """
        raise NotImplementedError

    def rejections(self) -> list[Rejection]:
        """
        What was rejected, newest first.
        """
        raise NotImplementedError

    async def claim(self, seq: int, id: str = "a", digest: str = ONE) -> bool:
        """
        Take a command and claim its id.
        """
        self.take(seq, b"payload %d" % seq)
        return (await self.ledger.claim([Claim(seq, id, digest)]))[0]

    async def finish(self, *finals: Final) -> None:
        """
        Write results.
        """
        for each in finals:
            self.ledger.finish(each)
        await self.ledger.flushed()
        self.assertEqual(set(), self.ledger.entries())

    def assert_conflict(self, seq: int) -> None:
        """
        An entry was rejected because its id is taken.
        """
        self.assertNotIn(seq, self.unfinished())
        found = self.rejections()[0]
        self.assertEqual((State.DUPLICATE_ID, "a", f"payload {seq}"), (found.state, found.id, found.payload))
        self.assertEqual(NODE, found.node)


class ClaimContract(LedgerCase):
    """
    Never twice under one id.
    """

    async def test_interface(self) -> None:
        """
        It is what the agent is promised.
        """
        verifyObject(ILedger, self.ledger)

    async def test_new(self) -> None:
        """
        A command with a new id may run, and stays unfinished.
        """
        self.assertTrue(await self.claim(1))
        self.assertEqual({1}, self.unfinished())

    async def test_nothing(self) -> None:
        """
        Claiming nothing is fine, and there is nothing to wait for.
        """
        self.assertEqual([], list(await self.ledger.claim([])))
        await self.ledger.flushed()

    async def test_after_a_crash(self) -> None:
        """
        The same entry may run when it is claimed again.
        """
        self.assertTrue(await self.claim(1))
        self.assertTrue(await self.claim(1))

    async def test_repeat_while_it_runs(self) -> None:
        """
        The same command again does not run while the first one has no result, and leaves no entry.
        """
        await self.claim(1)
        await self.ledger.mark(1, Mark(runs=1))
        self.assertFalse(await self.claim(2))
        self.assertEqual(({1}, [], []), (self.unfinished(), self.results(), self.rejections()))
        self.assertEqual({1: Mark(runs=1)}, self.marks())

    async def test_repeat_with_a_result(self) -> None:
        """
        Nor does it while the result stands.
        """
        await self.claim(1)
        await self.finish(final(1))
        self.assertFalse(await self.claim(2))
        self.assertEqual((set(), 1, []), (self.unfinished(), len(self.results()), self.rejections()))

    async def test_conflict_while_it_runs(self) -> None:
        """
        Another command under an id that is taken is rejected, with its payload, and the first one goes on.
        """
        await self.claim(1)
        self.assertFalse(await self.claim(2, digest=OTHER))
        await self.ledger.flushed()
        self.assert_conflict(2)
        self.assertEqual({1}, self.unfinished())
        await self.finish(final(1))
        self.assertEqual(1, len(self.results()))

    async def test_conflict_with_a_result(self) -> None:
        """
        So is one while a result stands; the result stays.
        """
        await self.claim(1)
        await self.finish(final(1, data="first"))
        self.assertFalse(await self.claim(2, digest=OTHER))
        await self.ledger.flushed()
        self.assert_conflict(2)
        self.assertEqual(["first"], [result.data for result in self.results()])

    async def test_consumed(self) -> None:
        """
        A result that a client has taken away stands no more: its id is free, for the same and for other content.
        """
        for seq, digest in ((1, ONE), (2, OTHER), (3, OTHER), (4, ONE)):
            self.assertTrue(await self.claim(seq, digest=digest))
            await self.finish(final(seq, digest=digest))
            self.consume()

    async def test_stale(self) -> None:
        """
        An id is free whose entry has gone without a result.
        """
        await self.claim(1)
        self.ledger.reject(1, rejected("broken"))
        await self.ledger.flushed()
        self.assertTrue(await self.claim(2, digest=OTHER))
        self.lose(2)
        self.assertTrue(await self.claim(3))

    async def test_at_once(self) -> None:
        """
        Several are claimed in their order: the first of an id gets it.
        """
        for seq in range(1, 6):
            self.take(seq, b"payload %d" % seq)
        claims = [Claim(1, "a", ONE), Claim(2, "a", ONE), Claim(3, "a", OTHER), Claim(4, "b", ONE), Claim(5, "b", ONE)]
        self.assertEqual([True, False, False, True, False], list(await self.ledger.claim(claims)))
        await self.ledger.flushed()
        self.assert_conflict(3)
        self.assertEqual({1, 4}, self.unfinished())

    async def test_answered_just_before(self) -> None:
        """
        A claim comes after the answers that were to be written before it.
        """
        self.take(1)
        self.ledger.finish(final(1))
        self.assertFalse(await self.claim(2))
        self.assertFalse(await self.claim(3, digest=OTHER))
        await self.ledger.flushed()
        self.assert_conflict(3)
        self.assertEqual((set(), 1), (self.unfinished(), len(self.results())))
