"""
What a server has forgotten is put back by the node that knows it: another one that takes its place may not have had
the latest of what the first one was told.
"""

from msgspec.structs import replace
from twisted.internet import reactor
from twisted.internet.defer import Deferred

from core0.messages import Mark, encode
from core0.redis import keys
from core0.redis.ledger import Ledger
from core0.redis.outbox import REMEMBERED_BYTES, SHORT
from core0.values import Claim
from core0.waiting import pause
from tests.contract.ledger import NODE, ONE, OTHER, final, rejected
from tests.contract.valkey import LIFE, ValkeyCase


class RestoreTests(ValkeyCase):
    """
    A ledger whose server forgets.
    """

    entries_key = keys.unfinished(NODE)
    marks_key = keys.marks(NODE)

    def setUp(self) -> None:
        """
        A ledger on an empty server.
        """
        super().setUp()
        self.ledger = self.real = Ledger(reactor, self.url(), NODE, LIFE)
        self.begin(self.real)

    async def reconnect(self) -> None:
        """
        Have the ledger connect anew, and look at what the server has.
        """
        before = await self.real.link.up()
        before.close()
        while await self.real.link.up() is before:
            await pause(reactor, 0.001)
        await self.turns(1)

    async def restart(self) -> None:
        """
        Have another server take the place of this one, with what this one still has.
        """
        before = await self.real.link.up()
        self.valkey.stop()
        self.valkey.start()
        while await self.real.link.up() is before:
            await pause(reactor, 0.001)
        await self.turns(1)

    async def held(self, seq: int, id: str = "a", digest: str = ONE) -> bool:
        """
        Take a command and claim its id, with the payload.
        """
        payload = b"payload %d" % seq
        self.take(seq, payload)
        return (await self.ledger.claim([Claim(seq, id, digest, payload)]))[0]

    def claimed(self, id: str = "a") -> str | None:
        """
        What the server has of an id.
        """
        found = self.client.get(keys.claim(id))
        return found.decode() if isinstance(found, bytes) else None

    async def test_entries(self) -> None:
        """
        Entries, claims, marks and the clock are there again after a reconnect, also of what came without an id.
        """
        self.assertTrue(await self.held(1))
        self.assertTrue(await self.held(2, "nameless", ""))
        await self.ledger.mark(1, Mark(runs=1, started=5))
        self.client.flushall()
        await self.reconnect()
        self.assertEqual({b"1": b"payload 1", b"2": b"payload 2"}, self.client.hgetall(self.entries_key))
        self.assertEqual((f"{ONE} {NODE} 1", None), (self.claimed(), self.claimed("nameless")))
        self.assertEqual({1: Mark(runs=1, started=5)}, self.marks())
        self.assertEqual(b"2", self.client.get(keys.clock(NODE)))

    async def test_nothing_changed(self) -> None:
        """
        What is there stays as it is.
        """
        await self.held(1)
        self.client.hset(self.entries_key, "1", b"other")
        self.client.set(keys.claim("a"), f"{ONE} 2:2 7")
        self.client.set(keys.clock(NODE), "77")
        await self.reconnect()
        self.assertEqual(b"other", self.client.hget(self.entries_key, "1"))
        self.assertEqual((f"{ONE} 2:2 7", b"77"), (self.claimed(), self.client.get(keys.clock(NODE))))

    async def test_finished_is_not_put_back(self) -> None:
        """
        What is answered is unfinished no more.
        """
        await self.held(1)
        await self.ledger.mark(1, Mark(runs=1))
        await self.finish(final(1))
        await self.held(2, "b")
        self.ledger.reject(2, rejected("no"))
        await self.ledger.flushed()
        self.client.flushall()
        await self.reconnect()
        self.assertEqual((set(), {}), (self.unfinished(), self.marks()))

    async def test_answered_again(self) -> None:
        """
        An entry that is unfinished again after its answer was written is answered again.
        """
        await self.held(1)
        await self.finish(final(1, data="done"))
        self.client.flushall()
        self.take(1)
        self.client.set(keys.claim("a"), f"{ONE} {NODE} 1")
        self.client.hset(self.marks_key, "1", encode(Mark(runs=1)))
        self.assertEqual({1}, self.ledger.answered())
        await self.reconnect()
        self.assertEqual((["done"], set(), {}), ([r.data for r in self.results()], self.unfinished(), self.marks()))
        self.assertEqual(ONE, self.claimed())

    async def test_answered_again_without_id(self) -> None:
        """
        So is one that came without an id.
        """
        await self.held(1, digest="")
        await self.finish(final(1, digest="", data="done"))
        self.client.flushall()
        self.take(1)
        await self.reconnect()
        self.assertEqual((["done"], set()), ([result.data for result in self.results()], self.unfinished()))

    async def test_rejected_again(self) -> None:
        """
        One that was rejected is rejected again.
        """
        self.take(1)
        self.ledger.reject(1, rejected("no"))
        await self.ledger.flushed()
        self.client.flushall()
        self.take(1)
        await self.reconnect()
        self.assertEqual(([rejected("no")], set()), (self.rejections(), self.unfinished()))

    async def test_answered_while_another_has_the_id(self) -> None:
        """
        If its id stands for other content by now, the entry is rejected.
        """
        await self.held(1)
        await self.finish(final(1))
        self.client.flushall()
        self.take(1, b"payload 1")
        self.client.set(keys.claim("a"), f"{OTHER} 2:2 7")
        await self.reconnect()
        await self.ledger.flushed()
        self.assert_conflict(1)

    async def test_answers(self) -> None:
        """
        An answer that the server has forgotten stands again, for the rest of its life.
        """
        await self.held(1)
        await self.finish(final(1, data="done"))
        self.client.flushall()
        await self.restart()
        self.assertEqual((["done"], ONE), ([result.data for result in self.results()], self.claimed()))
        self.assertTrue(0 < self.client.ttl(keys.result("a")) <= LIFE)
        self.assertTrue(0 < self.client.ttl(keys.claim("a")) <= LIFE)

    async def test_taken_away(self) -> None:
        """
        One that a client has taken away does not come again, and its id is free.
        """
        await self.held(1)
        await self.finish(final(1))
        self.consume()
        await self.restart()
        self.assertEqual([], self.results())
        self.assertTrue(await self.held(2, digest=OTHER))

    async def test_pushed_again_while_it_lives(self) -> None:
        """
        The same command again shares the one that lives, though the server has lost the claim; other content is
        rejected.
        """
        await self.held(1)
        for seq, digest in ((2, ONE), (3, OTHER)):
            self.client.flushall()
            self.assertFalse(await self.held(seq, digest=digest))
            await self.ledger.flushed()
            self.assertEqual(({1}, f"{ONE} {NODE} 1"), (self.unfinished(), self.claimed()))
        self.assert_conflict(3)

    async def test_pushed_again_after_its_end(self) -> None:
        """
        So it is with one that was answered by a server that another one has replaced: the answer stands again.
        """
        await self.held(1)
        await self.finish(final(1, data="done"))
        for seq, digest in ((2, ONE), (3, OTHER)):
            self.client.flushall()
            await self.restart()
            self.assertFalse(await self.held(seq, digest=digest))
            await self.ledger.flushed()
            self.assertEqual((["done"], set()), ([result.data for result in self.results()], self.unfinished()))
        self.assert_conflict(3)

    async def test_removed(self) -> None:
        """
        What somebody has removed from the same server is not put back: its id is free.
        """
        await self.held(1)
        await self.finish(final(1))
        self.client.delete(keys.claim("a"), keys.result("a"))
        await self.reconnect()
        self.assertEqual([], self.results())
        self.assertTrue(await self.held(2, digest=OTHER))

    async def test_claimed_meanwhile(self) -> None:
        """
        A claim whose reply is lost with the connection, and all that the server had, is made again.
        """
        self.take(1, b"payload 1")
        self.valkey.stop()
        claimed = Deferred.fromCoroutine(self.ledger.claim([Claim(1, "a", ONE, b"payload 1")]))
        await self.turns(5)
        self.valkey.start()
        self.assertEqual([True], list(await claimed))
        self.assertEqual({1}, self.unfinished())

    async def test_large(self) -> None:
        """
        A long answer is remembered by the ends of its streams, a very long one by how it ended.
        """
        await self.held(1)
        await self.held(2, "b")
        long = final(1)
        streams = replace(long.result, streams=("x" * 9 * SHORT, "end"))
        await self.finish(replace(long, result=streams), final(2, "b", data="x" * (REMEMBERED_BYTES + 1)))
        self.client.flushall()
        await self.restart()
        self.assertEqual(("x" * SHORT, "end"), self.results()[0].streams)
        self.assertEqual((8 * SHORT, 0), self.results()[0].truncated)
        self.assertIn("it ended as SUCCESS with code 0, but the server has lost its result", self.results("b")[0].data)

    async def test_many(self) -> None:
        """
        However many there are, all of them come back.
        """
        claims = [Claim(seq, f"id {seq}", ONE, b"x" * 100_000) for seq in range(1, 601)]
        self.assertTrue(all(await self.ledger.claim(claims)))
        await self.finish(*(final(seq, f"id {seq}") for seq in range(1, 301)))
        self.client.flushall()
        await self.restart()
        self.assertEqual(set(range(301, 601)), self.unfinished())
        self.assertEqual(600, len(self.client.keys("core0:id:*")))
        self.assertEqual(300, len(self.client.keys("result:*")))
