"""
The errands of a node: a ledger like that of the unfinished commands, beside it.
"""

from twisted.internet import reactor
from twisted.internet.defer import Deferred

from core0.redis import keys
from core0.redis.dispatched import BATCH, Dispatched
from core0.redis.ledger import Ledger
from core0.values import Claim, Entry
from tests.contract.answers import AnswerContract
from tests.contract.ledger import NODE, ONE, OTHER, ClaimContract, final
from tests.contract.valkey import LIFE, ValkeyCase
from tests.functional.proxy import Proxy


class DispatchedCase(ValkeyCase):
    """
    The errands of a node on a real server.
    """

    entries_key = keys.dispatched(NODE)
    marks_key = keys.dispatched_marks(NODE)

    def setUp(self) -> None:
        """
        A ledger on an empty server.
        """
        super().setUp()
        self.ledger = self.errands = Dispatched(reactor, self.url(), NODE, LIFE)
        self.begin(self.errands)

    async def taken(self) -> list[Entry]:
        """
        All that are unanswered.
        """
        return [entry async for entries in self.errands.taken() for entry in entries]


class DispatchedTests(ClaimContract, AnswerContract, DispatchedCase):
    """
    What holds for every ledger, and what this one can do besides.
    """

    async def test_enter(self) -> None:
        """
        What is entered is there afterwards, in the order of the numbers, and once however often it is entered.
        """
        entries = [Entry(seq, b"payload %d" % seq) for seq in range(1, 2 * BATCH + 10)]
        await self.errands.enter([])
        await self.errands.enter(entries[5:])
        await self.errands.enter(entries[:10])
        self.assertEqual(entries, await self.taken())

    async def test_enter_large(self) -> None:
        """
        Large ones are written and read some at a time.
        """
        entries = [Entry(seq, b"x" * (6 << 20)) for seq in range(1, 9)]
        await self.errands.enter(entries)
        pieces = [len(piece) async for piece in self.errands.taken()]
        self.assertEqual([2, 2, 2, 2], pieces)

    async def test_highest(self) -> None:
        """
        The highest number is known as long as the server lives, although that errand is answered.
        """
        self.assertEqual(0, await self.errands.highest())
        for seq in (2**50, 5):
            await self.errands.enter([Entry(seq, b"x")])
        self.lose(2**50)
        again = Dispatched(reactor, self.url(), NODE, LIFE)
        self.begin(again)
        self.assertEqual([2**50, 2**50], [await each.highest() for each in (self.errands, again)])
        await again.enter([Entry(6, b"x")])
        self.assertEqual(b"%d" % 2**50, self.client.get(keys.dispatched_clock(NODE)))

    async def test_enter_while_it_is_lost(self) -> None:
        """
        What is entered while connections are lost is written nevertheless; whoever waits is told then, not before.
        """
        proxy = Proxy(self.valkey.folder / "proxy.sock", self.valkey.socket)
        self.addCleanup(proxy.close)
        self.errands.stop()
        errands = Dispatched(reactor, self.url(proxy.url), NODE, LIFE)
        self.begin(errands)
        for seq, carried_out in enumerate((False, True), 1):
            cut = proxy.cut(b"HSET", carried_out=carried_out, times=2)
            entered = [
                Deferred.fromCoroutine(errands.enter([Entry(number, b"x")])) for number in (seq * 10, seq * 10 + 1)
            ]
            entered[0].cancel()
            self.failureResultOf(entered[0])
            await entered[1]
            self.assertTrue(cut.done.is_set())
            self.assertLess({seq * 10, seq * 10 + 1}, self.unfinished() | {0})

    async def test_written(self) -> None:
        """
        Whoever waits for the answers to some errands waits for these alone.
        """
        await self.claim(1)
        self.ledger.finish(final(1))
        written = Deferred.fromCoroutine(self.errands.written([1, 7]))
        self.assertNoResult(written)
        await self.errands.written([7])
        await written
        self.assertEqual((set(), 1), (self.unfinished(), len(self.results())))

    async def test_written_rejection(self) -> None:
        """
        An answer that turns into a rejection is written only then.
        """
        await self.claim(1)
        self.take(2, b"payload 2")
        self.ledger.finish(final(2, digest=OTHER))
        await self.errands.written([2])
        self.assert_conflict(2)


class BothTests(DispatchedCase):
    """
    Beside the ledger of the same node's own commands.
    """

    def setUp(self) -> None:
        """
        Both.
        """
        super().setUp()
        self.own = Ledger(reactor, self.url(), NODE, LIFE)
        self.begin(self.own)

    def take_own(self, seq: int) -> None:
        """
        A command of the node itself.
        """
        self.client.hset(keys.unfinished(NODE), str(seq), b"payload %d" % seq)

    async def test_held_by_an_errand(self) -> None:
        """
        An id that an errand holds is not free for a command of the node itself, although the node has no such entry.
        """
        await self.claim(1)
        for seq, digest in ((2, ONE), (3, OTHER)):
            self.take_own(seq)
            self.assertEqual([False], list(await self.own.claim([Claim(seq, "a", digest)])))
        await self.own.flushed()
        self.assertEqual(({1}, []), (self.unfinished(), self.client.hkeys(keys.unfinished(NODE))))
        self.assertEqual([NODE], [each.node for each in self.rejections()])
        self.take_own(4)
        self.own.finish(final(4, data="instant"))
        await self.own.flushed()
        self.assertEqual([], self.results())
        await self.finish(final(1, data="errand"))
        self.assertEqual(["errand"], [each.data for each in self.results()])

    async def test_held_by_the_node(self) -> None:
        """
        Nor is one that a command of the node holds free for an errand, even one of the same number.
        """
        self.take_own(1)
        await self.own.claim([Claim(1, "a", ONE)])
        self.assertFalse(await self.claim(1))
        self.assertFalse(await self.claim(2, digest=OTHER))
        await self.ledger.flushed()
        self.assert_conflict(2)
        self.take(3)
        await self.finish(final(3, data="errand"))
        self.assertEqual((set(), []), (self.unfinished(), self.results()))
        self.own.finish(final(1, data="own"))
        await self.own.flushed()
        self.assertEqual(["own"], [each.data for each in self.results()])

    async def test_lost(self) -> None:
        """
        Each of them frees what it has claimed itself and lost, and writes a result of that; not what the other has.
        """
        await self.claim(1)
        self.lose(1)
        self.take_own(1)
        self.assertEqual([False], list(await self.own.claim([Claim(1, "a", ONE)])))
        self.own.finish(final(1, data="own"))
        await self.own.flushed()
        self.assertEqual([], self.results())
        self.assertTrue(await self.claim(2, digest=OTHER))
        self.lose(2)
        await self.finish(final(2, digest=OTHER, data="errand"))
        self.assertEqual(["errand"], [each.data for each in self.results()])

    async def test_node_alone(self) -> None:
        """
        Neither sees the entries of the other.
        """
        self.take_own(1)
        self.take(2)
        self.assertEqual(([1], [2]), (await self.own.unfinished(), await self.errands.unfinished()))
