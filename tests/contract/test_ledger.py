"""
The unfinished commands of a node: what holds for the real ledger holds for the one in memory.
"""

import json
from typing import Any

from twisted.internet import reactor
from twisted.internet.defer import Deferred
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
    decode_mark,
    decode_result,
    encode,
    rejection,
    result_of,
)
from core0.redis import keys
from core0.redis.ledger import BATCH, SHORT, Ledger
from core0.redis.link import Link
from core0.redis.url import parse
from core0.values import Claim, Final
from core0.waiting import pause
from tests.fakes import MemoryLedger
from tests.valkey import Valkey

NODE = "1:1"
LIFE = 300  # seconds
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


class LedgerContract(TestCase):
    """
    What every ledger does. Here on the one in memory.
    """

    def setUp(self) -> Any:
        """
        A new ledger.
        """
        self.memory = MemoryLedger(NODE)
        self.ledger: ILedger = self.memory

    def take(self, seq: int, payload: bytes = b"{}") -> None:
        """
        Move a command to the unfinished ones.
        """
        self.memory.unfinished[seq] = payload

    def lose(self, seq: int) -> None:
        """
        Have the server forget a command.
        """
        del self.memory.unfinished[seq]

    def unfinished(self) -> set[int]:
        """
        The numbers of the unfinished ones.
        """
        return set(self.memory.unfinished)

    def marks(self) -> dict[int, Mark]:
        """
        All notes.
        """
        return self.memory.marks

    def results(self, id: str = "a") -> list[Result]:
        """
        What a client finds of an id.
        """
        return [self.memory.results[id]] if id in self.memory.results else []

    def consume(self, id: str = "a") -> None:
        """
        A client takes a result away.
        """
        del self.memory.results[id]

    def rejections(self) -> list[Rejection]:
        """
        What was rejected, newest first.
        """
        return self.memory.rejected

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

    def assert_conflict(self, seq: int) -> None:
        """
        An entry was rejected because its id is taken.
        """
        self.assertNotIn(seq, self.unfinished())
        found = self.rejections()[0]
        self.assertEqual((State.DUPLICATE_ID, "a", f"payload {seq}"), (found.state, found.id, found.payload))
        self.assertEqual(NODE, found.node)

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


class ValkeyLedgerTests(LedgerContract):
    """
    The same on a real server, and what only a real one can do.
    """

    valkey: Valkey

    @classmethod
    def setUpClass(cls) -> None:
        """
        Start a server.
        """
        cls.valkey = Valkey().start()

    @classmethod
    def tearDownClass(cls) -> None:
        """
        End it.
        """
        cls.valkey.close()

    def setUp(self) -> Any:
        """
        A ledger on an empty server.
        """
        self.client = self.valkey.client()
        self.addCleanup(self.client.close)
        self.client.flushall()
        self.real = self.begin()
        self.ledger = self.real

    def begin(self) -> Ledger:
        """
        Start a ledger.
        """
        ledger = Ledger(reactor, Link(reactor, parse(self.valkey.url), "test"), NODE, LIFE)
        ledger.start()
        self.addCleanup(self.end, ledger)
        return ledger

    def end(self, ledger: Ledger) -> "Deferred[None]":
        """
        Stop it, and let its connection close.
        """
        ledger.stop()
        return Deferred.fromCoroutine(self.turns(3))

    @staticmethod
    async def turns(count: int) -> None:
        """
        Let some turns of the reactor pass.
        """
        for _ in range(count):
            await pause(reactor, 0)

    def take(self, seq: int, payload: bytes = b"{}") -> None:
        """
        As the script does.
        """
        self.client.hset(keys.unfinished(NODE), str(seq), payload)

    def lose(self, seq: int) -> None:
        """
        Remove it behind core0's back.
        """
        self.client.hdel(keys.unfinished(NODE), str(seq))

    def unfinished(self) -> set[int]:
        """
        The hash.
        """
        return {int(seq) for seq in self.client.hkeys(keys.unfinished(NODE))}

    def marks(self) -> dict[int, Mark]:
        """
        The hash.
        """
        return {int(seq): decode_mark(mark) for seq, mark in self.client.hgetall(keys.marks(NODE)).items()}

    def results(self, id: str = "a") -> list[Result]:
        """
        The list of one.
        """
        return [decode_result(text) for text in self.client.lrange(keys.result(id), 0, -1)]

    def consume(self, id: str = "a") -> None:
        """
        Pop it.
        """
        self.client.lpop(keys.result(id))

    def rejections(self) -> list[Rejection]:
        """
        The list.
        """
        found = [json.loads(text) for text in self.client.lrange(keys.REJECTED, 0, -1)]
        return [Rejection(**{**each, "state": State(each["state"])}) for each in found]

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
        self.ledger = self.real = self.begin()
        self.assertEqual([1], await self.real.unfinished())
        self.assertEqual([True], list(await self.ledger.claim([Claim(1, "a", ONE)])))
