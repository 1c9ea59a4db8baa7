"""
The unfinished commands of a node: what holds for the real ledger holds for the one in memory.
"""

import json

from msgspec.structs import replace
from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.trial.unittest import TestCase

from core0.messages import (
    Command,
    Mark,
    Outcome,
    Rejection,
    Result,
    State,
    encode,
    result_of,
)
from core0.redis import keys
from core0.redis.ledger import Ledger
from core0.redis.outbox import LARGE, RESULT_BYTES, SHORT
from core0.values import Claim, Final
from tests.contract.answers import AnswerContract
from tests.contract.ledger import NODE, ONE, OTHER, ClaimContract, final, rejected
from tests.contract.valkey import LIFE, ValkeyCase
from tests.fakes import MemoryLedger
from tests.functional.proxy import Proxy


class MemoryLedgerTests(ClaimContract, AnswerContract, TestCase):
    """
    The one in memory.
    """

    def setUp(self) -> None:
        """
        A new one.
        """
        self.memory = MemoryLedger(NODE)
        self.ledger = self.memory

    def take(self, seq: int, payload: bytes = b"{}") -> None:
        """
        A dictionary.
        """
        self.memory.unfinished[seq] = payload

    def lose(self, seq: int) -> None:
        """
        A dictionary.
        """
        del self.memory.unfinished[seq]

    def unfinished(self) -> set[int]:
        """
        A dictionary.
        """
        return set(self.memory.unfinished)

    def marks(self) -> dict[int, Mark]:
        """
        A dictionary.
        """
        return self.memory.marks

    def results(self, id: str = "a") -> list[Result]:
        """
        A dictionary.
        """
        return [self.memory.results[id]] if id in self.memory.results else []

    def consume(self, id: str = "a") -> None:
        """
        A dictionary.
        """
        del self.memory.results[id]

    def rejections(self) -> list[Rejection]:
        """
        A list.
        """
        return self.memory.rejected


class ValkeyLedgerTests(ClaimContract, AnswerContract, ValkeyCase):
    """
    The same on a real server, and what only a real one can do.
    """

    entries_key = keys.unfinished(NODE)
    marks_key = keys.marks(NODE)

    def setUp(self) -> None:
        """
        A ledger on an empty server.
        """
        super().setUp()
        self.ledger = self.real = self.begun()

    def begun(self, url: str = "") -> Ledger:
        """
        A ledger that has started.
        """
        ledger = Ledger(reactor, self.url(url), NODE, LIFE)
        self.begin(ledger)
        return ledger

    async def test_lives(self) -> None:
        """
        A result and its id live as long as they are configured to, a recurring one longer, and traces with them.
        """
        for id, fields in (("a", {}), ("b", {"keep": True, "life": 60.0}), ("c", {"traces": True})):
            self.take(1)
            self.client.rpush(keys.stream(id), "x")
            self.client.xadd(keys.stats(id), {"x": "1"})
            await self.finish(final(1, id, **fields))
        self.assertEqual([LIFE, LIFE + 60, LIFE], [self.client.ttl(keys.result(id)) for id in "abc"])
        self.assertEqual([LIFE, -1, LIFE], [self.client.ttl(keys.claim(id)) for id in "abc"])
        self.assertEqual([-1, -1, LIFE], [self.client.ttl(keys.stream(id)) for id in "abc"])
        self.assertEqual([-1, -1, LIFE], [self.client.ttl(keys.stats(id)) for id in "abc"])

    async def test_repeat_renews(self) -> None:
        """
        A repeat renews the lives of the result and of the id.
        """
        await self.claim(1)
        await self.finish(final(1))
        for seq in (2, 3):
            for key in (keys.result("a"), keys.claim("a")):
                self.client.expire(key, 10)
            if seq == 2:
                await self.claim(seq)
            else:
                self.take(seq)
                await self.finish(final(seq))
            self.assertEqual([LIFE, LIFE], [self.client.ttl(key) for key in (keys.result("a"), keys.claim("a"))])

    async def test_other_node(self) -> None:
        """
        On a server that several nodes share, an id that another one works on is taken.
        """
        self.client.set(keys.claim("a"), f"{ONE} 2:2 77")
        self.assertFalse(await self.claim(1))
        self.assertFalse(await self.claim(2, digest=OTHER))
        await self.ledger.flushed()
        self.assert_conflict(2)

    async def test_entries(self) -> None:
        """
        Until answers are written their entries are known.
        """
        await self.claim(1)
        self.take(2)
        self.ledger.finish(final(1))
        self.ledger.reject(2, rejected("no"))
        self.assertEqual({1, 2}, self.ledger.entries())
        await self.ledger.flushed()
        self.assertEqual(set(), self.ledger.entries())

    async def test_at_the_start(self) -> None:
        """
        What a core0 before has left is found in its order, and notes without an entry are removed.
        """
        for seq in (10, 9, 100):
            self.take(seq)
        for seq in (9, 77):
            self.client.hset(keys.marks(NODE), str(seq), encode(Mark(runs=seq)))
        self.assertEqual([9, 10, 100], await self.real.unfinished())
        self.assertEqual({9: Mark(runs=9)}, await self.real.marks())
        self.assertEqual({9}, set(self.marks()))

    async def test_restart(self) -> None:
        """
        While the server is away everything waits, and is done once it is back.
        """
        await self.claim(1)
        self.take(3)
        self.valkey.stop()
        self.ledger.finish(final(1, data="done"))
        marked = self.ledger.mark(3, Mark(runs=3))
        claimed = Deferred.fromCoroutine(self.ledger.claim([Claim(3, "b", ONE)]))
        await self.turns(5)
        self.assertFalse(marked.called or claimed.called)
        self.assertEqual({1}, self.ledger.entries())
        self.valkey.start()
        self.assertEqual([True], list(await claimed))
        await marked
        await self.ledger.flushed()
        self.assertEqual((["done"], {3}), ([result.data for result in self.results()], self.unfinished()))
        self.assertEqual({3: Mark(runs=3)}, self.marks())

    async def test_scripts_lost(self) -> None:
        """
        A server that has forgotten the scripts is given them again.
        """
        await self.claim(1)
        self.client.script_flush()
        await self.finish(final(1))
        self.assertEqual(1, len(self.results()))
        self.client.script_flush()
        self.assertTrue(await self.claim(2, "b"))
        self.client.script_flush()
        await self.ledger.mark(2, Mark(runs=1))
        self.assertEqual({2}, set(self.marks()))

    async def test_full(self) -> None:
        """
        A server without any room takes notes and results, and rejections too: they make room.
        """
        await self.claim(1)
        self.take(2)
        self.take(3)
        self.client.config_set("maxmemory", "1")
        self.addCleanup(self.client.config_set, "maxmemory", "0")
        await self.ledger.mark(1, Mark(runs=1))
        self.ledger.reject(2, rejected("no"))
        await self.finish(final(1))
        self.assertEqual([True], list(await self.ledger.claim([Claim(3, "b", ONE)])))
        self.assertEqual((1, 1), (len(self.results()), len(self.rejections())))

    async def test_short(self) -> None:
        """
        On a server that is nearly full streams are cut to their ends, and ``truncated`` says by how much.
        """
        self.real.spare = lambda size: True
        self.take(1)
        outcome = Outcome(streams=(b"x" * 9000 + b"end", "é".encode() * 5000), truncated=(7, 0))
        result = result_of(Command(command="x"), "a", outcome, container=0, starttime=1, time=2, runs=1)
        await self.finish(Final(1, "a", ONE, result))
        found = self.results()[0]
        self.assertEqual([SHORT, SHORT], [len(text) for text in found.streams])
        self.assertTrue(found.streams[0].endswith("xend"))
        self.assertEqual((7 + 9003 - SHORT, (5000 - SHORT) * 2), found.truncated)

    async def test_short_of_result(self) -> None:
        """
        On such a server a large result of a program is left out, with the reason; one of a megabyte is kept whole.
        """
        self.real.spare = lambda size: True
        for seq, size in ((1, LARGE), (2, LARGE + 1)):
            self.take(seq)
            outcome = Outcome(data="x" * size, level=21, streams=(b"out\n", b""))
            result = result_of(Command(command="x"), str(seq), outcome, container=0, starttime=1, time=2, runs=1)
            await self.finish(Final(seq, str(seq), ONE, result))
        kept, left_out = self.results("1")[0], self.results("2")[0]
        self.assertEqual((State.SUCCESS, LARGE, 21), (kept.state, len(kept.data), kept.level))
        self.assertEqual(
            (State.ERROR, 503, 20, "out\n"), (left_out.state, left_out.code, left_out.level, left_out.streams[0])
        )
        self.assertIn("no memory", json.loads(left_out.data))

    async def test_result_too_large(self) -> None:
        """
        A program's result that is too large once it is JSON is left out, with the reason; its streams are kept.
        """
        self.take(1)
        outcome = Outcome(data="\x01" * (RESULT_BYTES // 6), level=21, streams=(b"out\n", b""))
        result = result_of(Command(command="x"), "a", outcome, container=0, starttime=1, time=2, runs=1)
        await self.finish(Final(1, "a", ONE, result))
        found = self.results()[0]
        self.assertEqual((State.ERROR, 413, 20, "out\n"), (found.state, found.code, found.level, found.streams[0]))
        self.assertIn("too large", json.loads(found.data))

    async def test_older_digest(self) -> None:
        """
        An entry that an older core0 has claimed with another digest of the same content may still run.
        """
        self.take(1)
        self.assertEqual([True], list(await self.ledger.claim([Claim(1, "a", ONE)])))
        self.assertEqual([True], list(await self.ledger.claim([Claim(1, "a", OTHER)])))
        await self.finish(final(1, digest=OTHER))
        self.assertEqual((1, set()), (len(self.results()), self.unfinished()))

    async def test_bounded_rejections(self) -> None:
        """
        Of what was rejected the newest thousand are kept.
        """
        for seq in range(1, 1101):
            self.take(seq)
            self.ledger.reject(seq, rejected(str(seq)))
        await self.ledger.flushed()
        found = self.rejections()
        self.assertEqual((1000, "1100", "101"), (len(found), found[0].reason, found[-1].reason))

    async def test_large(self) -> None:
        """
        Results of some megabytes are written like small ones.
        """
        for seq in range(1, 11):
            self.take(seq)
        await self.finish(*(final(seq, str(seq), data="x" * (2 << 20)) for seq in range(1, 11)))
        self.assertEqual([2 << 20] * 10, [len(self.results(str(seq))[0].data) for seq in range(1, 11)])

    async def test_stop(self) -> None:
        """
        One that was stopped writes no more; what it had to write is still there for the next one.
        """
        await self.claim(1)
        self.valkey.stop()
        self.ledger.finish(final(1))
        self.real.stop()
        await self.turns(3)
        self.valkey.start()
        self.ledger = self.real = self.begun()
        self.assertEqual([1], await self.real.unfinished())
        self.assertEqual([True], list(await self.ledger.claim([Claim(1, "a", ONE)])))

    async def test_steady_results(self) -> None:
        """
        A claim that comes after an answer to its id waits for that answer, not for a moment without any.
        """
        self.take(1)
        self.ledger.finish(final(1))
        claimed = Deferred.fromCoroutine(self.claim(2))
        seq = 10
        while not claimed.called:
            self.ledger.finish(final(seq, str(seq)))
            seq += 1
            self.assertLess(seq, 50_000, "the claim waits for a pause")
            await self.turns(1)
        self.assertFalse(await claimed)
        await self.ledger.flushed()
        self.assertEqual(1, len(self.results()))

    async def test_too_large(self) -> None:
        """
        A result that no server takes is answered by the reason, and nothing waits behind it.
        """
        self.take(1)
        self.take(2)
        large = final(1, data="x" * RESULT_BYTES)
        streams = replace(large.result, streams=("out", "error"), truncated=(7, 0))
        await self.finish(replace(large, result=streams), final(2, "b"))
        found = self.results()[0]
        self.assertEqual((State.ERROR, 500, 20, ("", "")), (found.state, found.code, found.level, found.streams))
        self.assertEqual((10, 5), found.truncated)
        self.assertRegex(json.loads(found.data), r"the result of 67\d+ bytes is too large")
        self.assertEqual((1, set()), (len(self.results("b")), self.unfinished()))

    async def test_unwritable(self) -> None:
        """
        A result that cannot be encoded is answered by the reason, and nothing waits behind it.
        """
        self.take(1)
        self.take(2)
        await self.finish(final(1, data="\udc80"), final(2, "b"))
        self.assertEqual(1, len(self.flushLoggedErrors(UnicodeEncodeError)))
        self.assertEqual((State.ERROR, 500), (self.results()[0].state, self.results()[0].code))
        self.assertEqual((1, set()), (len(self.results("b")), self.unfinished()))

    async def test_odd_types(self) -> None:
        """
        What somebody else has made of an id or of a result counts for nothing.
        """
        for place, odd in enumerate((keys.claim("a"), keys.result("a"))):
            self.client.flushall()
            if place:
                await self.claim(1)
                await self.finish(final(1))
                self.client.delete(odd)
            self.client.sadd(odd, "x")
            self.assertTrue(await self.claim(3, digest=OTHER))
            self.client.delete(keys.claim("a"))
            self.client.sadd(keys.claim("a"), "x")
            await self.finish(final(3, digest=OTHER, data="done"))
            self.assertEqual((["done"], set()), ([each.data for each in self.results()], self.unfinished()))

    async def test_poison(self) -> None:
        """
        An answer on which the server drops the connection each time does not hold the others back.
        """
        proxy = Proxy(self.valkey.folder / "proxy.sock", self.valkey.socket)
        self.addCleanup(proxy.close)
        ledger = self.begun(proxy.url)
        proxy.cut(b"poison", carried_out=False, times=1_000_000)
        for seq, id in enumerate(("a", "poison", "b"), 1):
            self.take(seq)
            ledger.finish(final(seq, id))
        while self.unfinished() != {2}:
            await self.turns(1)
        self.assertEqual([1, 0, 1], [len(self.results(id)) for id in ("a", "poison", "b")])

    async def test_poison_does_not_stop_taking(self) -> None:
        """
        Nor does it hold back a repeat of its command, which shares it: nothing that comes later would be taken.
        """
        proxy = Proxy(self.valkey.folder / "other.sock", self.valkey.socket)
        self.addCleanup(proxy.close)
        ledger = self.begun(proxy.url)
        self.take(1)
        self.take(2)
        self.assertEqual([True], list(await ledger.claim([Claim(1, "poison", ONE)])))
        proxy.cut(b"the end", carried_out=False, times=1_000_000)
        ledger.finish(final(1, "poison", data="the end"))
        self.assertEqual([False], list(await ledger.claim([Claim(2, "poison", ONE)])))
        self.assertEqual({1}, self.unfinished())

    async def test_refused(self) -> None:
        """
        An answer that the server refuses, though it takes others, is rejected with the reason; others are written.
        """
        rules = ("on", ">pw", "~core*", "~result:a", "~result:b", "&*", "+@all")
        self.client.execute_command("ACL", "SETUSER", "tight", *rules)
        self.addCleanup(self.client.execute_command, "ACL", "DELUSER", "tight")
        ledger = self.begun(self.valkey.tcp.replace("://", "://tight:pw@"))
        for seq, id in enumerate(("a", "other", "b"), 1):
            self.take(seq)
            ledger.finish(final(seq, id))
        await ledger.flushed()
        self.assertEqual([1, 0, 1], [len(self.results(id)) for id in ("a", "other", "b")])
        self.assertEqual(set(), self.unfinished())
        (found,) = self.rejections()
        self.assertEqual((State.ERROR, "other"), (found.state, found.id))
        self.assertIn("the server does not take the result", found.reason)
