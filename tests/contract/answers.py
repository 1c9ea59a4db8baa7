"""
What holds for every ledger: notes, results, rejections.
"""

from core0.messages import (
    Mark,
)
from core0.redis.ledger import BATCH
from core0.values import Claim
from tests.contract.ledger import ONE, OTHER, LedgerCase, final, rejected


class AnswerContract(LedgerCase):
    """
    Each entry is answered once.
    """

    async def test_mark(self) -> None:
        """
        A note is kept, and replaced by a later one.
        """
        self.take(1)
        await self.ledger.mark(1, Mark(runs=1, started=5))
        self.assertEqual({1: Mark(runs=1, started=5)}, self.marks())
        first = self.ledger.mark(1, Mark(runs=2, pid=7))
        second = self.ledger.mark(1, Mark(runs=3, due=9))
        await first
        await second
        self.assertEqual({1: Mark(runs=3, due=9)}, self.marks())

    async def test_mark_of_a_service(self) -> None:
        """
        What is no client's needs no note.
        """
        await self.ledger.mark(0, Mark(runs=1))
        self.assertEqual({}, self.marks())

    async def test_finish(self) -> None:
        """
        A result is there once, and the entry and its note are gone.
        """
        await self.claim(1)
        await self.ledger.mark(1, Mark(runs=1))
        await self.finish(final(1, data="done"))
        self.assertEqual([final(1, data="done").result], self.results())
        self.assertEqual((set(), {}, []), (self.unfinished(), self.marks(), self.rejections()))

    async def test_finish_twice(self) -> None:
        """
        Writing a result again has the same effect.
        """
        await self.claim(1)
        await self.finish(final(1, data="done"), final(1, data="done"))
        await self.finish(final(1, data="done"))
        self.assertEqual(["done"], [result.data for result in self.results()])
        self.assertEqual([], self.rejections())

    async def test_finish_after_it_was_consumed(self) -> None:
        """
        A result that a client has taken already does not come again when its writing is repeated.
        """
        await self.claim(1)
        await self.finish(final(1))
        self.consume()
        await self.finish(final(1))
        self.assertEqual([], self.results())

    async def test_keep(self) -> None:
        """
        A recurring job has results, each in the place of the one before, and its entry stays until the last.
        """
        await self.claim(1)
        for data in ("first", "second", "second"):
            await self.finish(final(1, data=data, keep=True, life=60.0))
            self.assertEqual([data], [result.data for result in self.results()])
            self.assertEqual({1}, self.unfinished())
        self.assertFalse(await self.claim(2))
        self.assertFalse(await self.claim(3, digest=OTHER))
        self.consume()
        self.assertFalse(await self.claim(4))
        await self.finish(final(1, data="last"))
        self.assertEqual(["last"], [result.data for result in self.results()])
        self.assertEqual(set(), self.unfinished())

    async def test_late_keep(self) -> None:
        """
        A result of a run that comes after the last one changes nothing.
        """
        await self.claim(1)
        await self.finish(final(1, data="last"))
        await self.finish(final(1, data="late", keep=True))
        self.assertEqual(["last"], [result.data for result in self.results()])

    async def test_mark_after_keep(self) -> None:
        """
        A note on the next period is kept beside the result of this one.
        """
        await self.claim(1)
        self.ledger.finish(final(1, keep=True))
        await self.ledger.mark(1, Mark(due=9))
        await self.ledger.flushed()
        self.assertEqual(({1: Mark(due=9)}, 1), (self.marks(), len(self.results())))

    async def test_instant(self) -> None:
        """
        An answer without a claim takes its id; a repeat of it shares the result, other content is rejected.
        """
        for seq, digest in ((1, ONE), (2, ONE), (3, OTHER)):
            self.take(seq, b"payload %d" % seq)
            await self.finish(final(seq, digest=digest, data=str(seq)))
        self.assert_conflict(3)
        self.assertEqual((["1"], set()), ([result.data for result in self.results()], self.unfinished()))
        self.assertFalse(await self.claim(4))

    async def test_instant_while_another_runs(self) -> None:
        """
        Such an answer to an id that a job holds is rejected, and the job's result is the one.
        """
        await self.claim(1)
        self.take(2, b"payload 2")
        await self.finish(final(2, digest=OTHER, data="wrong"))
        self.assert_conflict(2)
        await self.finish(final(1, data="right"))
        self.assertEqual(["right"], [result.data for result in self.results()])

    async def test_without_id(self) -> None:
        """
        A command without an id has a result under the id that it was given, and claims nothing.
        """
        self.take(1)
        await self.finish(final(1, digest=""))
        self.assertEqual((1, set()), (len(self.results()), self.unfinished()))

    async def test_service(self) -> None:
        """
        What is no client's has results all the same.
        """
        await self.finish(final(0, "web", digest="", data="first", keep=True))
        await self.finish(final(0, "web", digest="", data="second"))
        self.assertEqual(["second"], [result.data for result in self.results("web")])

    async def test_forgotten(self) -> None:
        """
        If the server has come back without an entry, its result is written nevertheless.
        """
        await self.claim(1)
        self.lose(1)
        await self.finish(final(1, data="done"))
        self.assertEqual(["done"], [result.data for result in self.results()])

    async def test_reject(self) -> None:
        """
        What is rejected is told, newest first, and its entry and note are gone; doing it again has the same effect.
        """
        self.take(1)
        self.take(2)
        await self.ledger.mark(1, Mark(runs=1))
        self.ledger.reject(1, rejected("first"))
        self.ledger.reject(2, rejected("second"))
        self.ledger.reject(2, rejected("second"))
        await self.ledger.flushed()
        self.ledger.reject(1, rejected("first"))
        await self.ledger.flushed()
        self.assertEqual([rejected("second"), rejected("first")], self.rejections())
        self.assertEqual((set(), {}, set()), (self.unfinished(), self.marks(), self.ledger.entries()))

    async def test_finish_after_reject(self) -> None:
        """
        What comes second finds nothing left to do.
        """
        self.take(1)
        self.ledger.reject(1, rejected("no"))
        await self.finish(final(1, digest=""))
        self.assertEqual(([], 1), (self.results(), len(self.rejections())))

    async def test_many(self) -> None:
        """
        However many come at once, each has its own.
        """
        numbers = range(1, 2 * BATCH + 10)
        for seq in numbers:
            self.take(seq)
        claims = [Claim(seq, f"id {seq}", ONE) for seq in numbers]
        self.assertEqual([True] * len(claims), list(await self.ledger.claim(claims)))
        await self.finish(*(final(seq, f"id {seq}", data=str(seq)) for seq in numbers))
        for seq in numbers:
            self.assertEqual([str(seq)], [result.data for result in self.results(f"id {seq}")])
        self.assertEqual(set(), self.unfinished())
