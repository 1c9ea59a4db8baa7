"""
core0 and a CoreX speak to each other: in order, each thing once, whatever becomes of the connections between them.
"""

import json
import signal

from hypothesis import given
from hypothesis import strategies as st
from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from core0.corex_messages import order_line
from core0.messages import Command, Outcome, State, encode, result_of
from core0.redis import keys
from core0.redis.far_consumer import Seen
from core0.redis.far_ledger import PENDING_BYTES
from core0.redis.far_sink import MAX_LAST_BYTES
from core0.redis.script import RECEIVE
from core0.values import Final
from core0.waiting import pause
from tests.functional.far import NUMBER, Counted, FarCase, names

TIMES = 3
FILLER = b"x"

TOLD = 120  # commands, one after another


class OrdersTests(FarCase):
    """
    Orders go there, results come back.
    """

    async def test_all(self) -> None:
        """
        Many orders are all answered, each once, in their order; nothing is left of them.
        """
        ids = [f"id {number}" for number in range(3000)]
        self.dispatch(*ids[:2000])
        self.start_corex()
        self.dispatch(*ids[2000:])
        await self.answered(*ids)
        self.assertEqual(ids, self.host.ids())
        self.assertEqual(
            ({'"pong"'}, 0), ({final.result.data for final in self.host.finals}, self.host.errands.ignored)
        )
        self.assertEqual([7], [ready.pid for ready in self.host.ready])

    async def test_at_once(self) -> None:
        """
        Either side is told when there is something for it: an answer does not wait for somebody to look.
        """
        self.start_corex()
        await self.until(lambda: self.host.ready, "it is ready")
        before = reactor.seconds()
        for number in range(TOLD):
            self.dispatch(str(number))
            await self.answered(*(str(each) for each in range(number + 1)))
        # both look by themselves once in a second
        self.assertLess(reactor.seconds() - before, TOLD / 4)

    async def test_lost_connection(self) -> None:
        """
        A connection that is lost at any step, before or after the server did it, loses nothing and doubles nothing.
        """
        self.start_corex()
        await self.until(lambda: self.host.ready, "it is ready")
        steps = [(self.near, word) for word in (b"RPUSH", RECEIVE.sha.encode())]
        steps += [(self.far, word) for word in (b"BLMOVE", b"LRANGE", b"LTRIM", b"RPUSH")]
        sent: list[str] = []
        for place, (proxy, word) in enumerate(steps):
            for carried_out in (False, True):
                cut = proxy.cut(word, carried_out=carried_out, times=TIMES)
                while not cut.done.is_set():
                    sent.append(f"{place} {len(sent)}")
                    self.dispatch(sent[-1], command="test.counted")
                    await pause(reactor, 0.002)
                    self.assertLess(len(sent), 50_000, f"{word!r} was not cut")
                await self.answered(*sent)
        self.assertEqual(sorted(sent), sorted(Counted.ran))

    async def test_killed_clients(self) -> None:
        """
        The same if the server throws everybody out again and again.
        """
        self.start_corex()
        sent = []
        for number in range(40):
            ids = [f"{number} {place}" for place in range(25)]
            sent += ids
            self.dispatch(*ids, command="test.counted")
            await pause(reactor, 0.01)
            self.client.execute_command("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
        await self.answered(*sent)
        self.assertEqual(sorted(sent), sorted(Counted.ran))

    async def test_restart(self) -> None:
        """
        While the server is away the CoreX works on; everything arrives once it is back.
        """
        self.start_corex()
        self.dispatch("a", "b", command="test.work")
        await self.until(lambda: len(self.work.running) == 2, "both run")
        self.valkey.stop(signal.SIGKILL)
        self.work.end("a")
        self.dispatch("c", command="test.counted")
        await pause(reactor, 0.05)
        self.valkey.start()
        self.admit()
        await self.until(lambda: {"a", "c"} <= set(self.host.ids()), "they are answered")
        self.work.end("b")
        await self.answered("a", "b", "c")

    async def test_core0_dies(self) -> None:
        """
        A result that core0 has read and not written is read again by the next core0; orders that it sends again change
        nothing.
        """
        self.start_corex()
        await self.until(lambda: self.host.ready, "it is ready")
        self.host.hold = Deferred()
        self.dispatch("a", command="test.counted")
        self.dispatch("b", command="test.work")
        await self.until(lambda: self.lengths() == [0, 1, 0], "the result is there")
        await pause(reactor, 0.05)
        self.channels.stop()
        await pause(reactor, 0.05)
        self.assertEqual(([0, 1, 0], []), (self.lengths(), self.host.finals))
        self.host.hold = None
        self.channels = self.begin()
        self.channels.open(NUMBER, self.host)
        for line in self.host.errands.again():
            self.channels.send(NUMBER, line)
        await self.until(lambda: self.host.ids() == ["a"], "the first is answered")
        self.work.end("b")
        await self.answered("a", "b")
        self.assertEqual((["a"], ["b"]), (Counted.ran, self.work.begun))

    async def test_recurring(self) -> None:
        """
        A command that recurs is answered after each run, until its last one.
        """
        self.start_corex()
        self.dispatch("a", command="test.counted", recurring_period=0.02)
        await self.until(lambda: len(self.host.finals) > 3, "it recurs")
        self.assertEqual({True}, {final.keep for final in self.host.finals})
        await self.jobs.kill("a", None)
        await self.until(lambda: not len(self.host.errands), "it is over")
        self.assertEqual(State.KILLED, self.host.finals[-1].result.state)

    async def test_unreadable(self) -> None:
        """
        An order that cannot be read is answered by that, and does not hold up others.
        """
        self.start_corex()
        content = Command(id="x", command="core.ping")
        for id, line in (("a", b'{"v":9,"seq":%d}'), ("b", b'{"v":1,"seq":%d,"payload":7}'), ("c", b"no order %d")):
            self.channels.send(NUMBER, line % self.errand(id).seq)
        self.channels.send(NUMBER, order_line(self.errand("d").seq, b'{"id":"d","command":"unknown"}'))
        self.channels.send(NUMBER, order_line(5, encode(content)))
        self.dispatch("e")
        await self.until(lambda: len(self.host.finals) == 4, "what has a number is answered")
        found = {final.id: (final.result.code, final.result.data) for final in self.host.finals}
        self.assertEqual({"a": 400, "b": 400, "d": 404, "e": 0}, {id: code for id, (code, _) in found.items()})
        self.assertIn("version 9", found["a"][1])
        self.assertEqual((1, 1), (self.host.errands.ignored, len(self.host.errands)))


class SeenTests(SynchronousTestCase):
    """
    Which orders have come already.
    """

    @given(st.lists(st.integers(1, 40)))
    def test_window(self, numbers: list[int]) -> None:
        """
        None comes twice, and none is taken for one that has come while it is among the highest numbers.
        """
        seen, came = Seen(10), set[int]()
        for number in numbers:
            if number not in seen:
                self.assertNotIn(number, came)
                seen.add(number)
                came.add(number)
            elif number not in came:
                self.assertLess(number, sorted(came)[-10])


class CrowdedTests(FarCase):
    """
    A CoreX that has no room.
    """

    limit = waiting = 2

    async def test_urgent(self) -> None:
        """
        While there is no room only what may not wait is taken, out of its turn, and once; the others wait in order.
        """
        self.start_corex()
        ids = [str(number) for number in range(50)]
        self.dispatch(*ids, command="test.work")
        self.dispatch("urgent", command="test.urgent")
        self.dispatch("in a queue", command="test.urgent", queue="q")
        await self.until(lambda: "urgent" in self.urgent.running, "the urgent one runs")
        self.assertNotIn("in a queue", self.urgent.begun)
        self.assertEqual(["0", "1"], self.work.begun)
        self.urgent.end("urgent")
        for id in ids:
            await self.until(lambda id=id: id in self.work.running, f"{id} runs")  # type: ignore[misc] # of a lambda
            self.work.end(id)
        await self.until(lambda: "in a queue" in self.urgent.running, "the last one runs")
        self.urgent.end("in a queue")
        await self.answered(*ids, "urgent", "in a queue")
        self.assertEqual((ids, ["urgent", "in a queue"]), (self.work.begun, self.urgent.begun))


class AwayTests(FarCase):
    """
    A CoreX whose server is away, or whose core0 is.
    """

    def final(self, seq: int, stream: bytes = b"", *, keep: bool = False) -> Final:
        """
        A result.
        """
        outcome = Outcome(streams=(stream, b""))
        command = Command(id=str(seq), command="x")
        result = result_of(command, str(seq), outcome, container=1, starttime=1, time=1, runs=1)
        return Final(seq, str(seq), "", result, keep)

    def listed(self) -> list[dict[str, object]]:
        """
        The results in the list.
        """
        found = self.client.lrange(keys.corex_results(NUMBER), 0, -1)
        return [json.loads(line)["result"] for line in found if b'"result"' in line]

    async def test_bounded_results(self) -> None:
        """
        While the server is away results are kept whole up to a bound; beyond it their streams are cut, never a result.
        """
        self.channels.stop()
        self.valkey.stop()
        self.start_corex()
        for seq in range(1, 101):
            self.ledger.finish(self.final(seq, b"x" * (1 << 20)))
        self.assertEqual(set(range(1, 101)), self.ledger.entries())
        self.valkey.start()
        self.admit()
        await self.ledger.flushed()
        sizes = [len(result["streams"][0]) for result in self.listed()]  # type: ignore[index] # a list
        self.assertEqual(100, len(sizes))
        self.assertTrue(PENDING_BYTES - (2 << 20) < sum(sizes) < PENDING_BYTES + (2 << 20))

    async def test_recurring_while_core0_is_away(self) -> None:
        """
        Results of what recurs do not pile up while core0 is away: the latest waits. Those that end something are sent.
        """
        self.channels.stop()
        self.start_corex()
        self.client.rpush(keys.corex_results(NUMBER), *[FILLER] * 10_000)
        for number in range(50):
            self.ledger.finish(self.final(1, b"%d" % number, keep=True))
            await pause(reactor, 0.002)
        self.ledger.finish(self.final(2))
        await self.until(lambda: [each["id"] for each in self.listed()[-1:]] == ["2"], "it is sent")
        self.assertLess(self.client.llen(keys.corex_results(NUMBER)), 10_010)
        self.client.ltrim(keys.corex_results(NUMBER), 10_000, -1)
        await self.ledger.flushed()
        self.assertEqual("49", self.listed()[-1]["streams"][0])  # type: ignore[index] # a list

    def told(self) -> tuple[list[object], int]:
        """
        The log records that have arrived, and how many are said to have been dropped.
        """
        bodies = [json.loads(line) for line in self.host.lines]
        logs = [body["body"] for body in bodies if body["kind"] == "log"]
        return logs, sum(body["body"] for body in bodies if body["kind"] == "dropped")

    async def test_many_records(self) -> None:
        """
        Of records that core0 does not take the newest are kept, and it is told how many were dropped.
        """
        self.channels.stop()
        self.start_corex()
        for start in range(0, 30_000, 5000):
            for number in range(start, start + 5000):
                self.sink.log(b"%d" % number)
            await self.sink.flushed()
        self.sink.stream("a", b"{}", True)
        self.assertLessEqual(self.lengths()[2], 10_000)
        self.channels = self.begin()
        self.channels.open(NUMBER, self.host)
        await self.until(lambda: self.told()[1], "it is told")
        logs, dropped = self.told()
        self.assertEqual((29_999, 30_000), (logs[-1], len(logs) + dropped))
        self.assertEqual(1, sum(b'"stream"' in line for line in self.host.lines))

    async def test_records_without_a_server(self) -> None:
        """
        While the server is away records fill some megabytes of memory; how many were dropped is told afterwards.
        """
        self.channels.stop()
        self.valkey.stop()
        self.start_corex()
        for _ in range(25_000):
            self.sink.log(b"{}")
        self.sink.sample("a", {"cpu": 1}, 1.0)
        self.sink.stream("a", b"{}", False)
        self.sink.stream("a", b"{}", True)
        self.sink.own("x")
        self.valkey.start()
        self.admit()
        await self.sink.flushed()
        self.channels = self.begin()
        self.channels.open(NUMBER, self.host)
        await self.until(lambda: self.told()[1] > 6000, "it is told")
        logs, dropped = self.told()
        # one of each kind besides the log records had no room either
        self.assertEqual(25_003, len(logs) + dropped)
        self.assertTrue(any(b'"last":true' in line for line in self.host.lines))

    async def test_last_pieces_without_a_server(self) -> None:
        """
        Last pieces of live output have some megabytes of their own; what has no room there is dropped and counted, too.
        """
        self.channels.stop()
        self.valkey.stop()
        self.start_corex()
        large, sent = b'"%s"' % (b"x" * (1 << 20)), MAX_LAST_BYTES // (1 << 20) + 5
        for _ in range(sent):
            self.sink.stream("a", large, True)
        self.valkey.start()
        self.admit()
        await self.sink.flushed()
        self.channels = self.begin()
        self.channels.open(NUMBER, self.host)
        await self.until(lambda: self.told()[1], "it is told")
        kept = sum(b'"last":true' in line for line in self.host.lines)
        self.assertEqual((sent - 6, 6), (kept, self.told()[1]))
        # there is room again
        self.sink.stream("a", large, True)
        await self.until(lambda: sum(b'"last":true' in line for line in self.host.lines) > kept, "it comes")

    async def test_full_server(self) -> None:
        """
        On a server without any room orders are taken all the same, and answered once there is some.
        """
        self.start_corex()
        await self.until(lambda: self.host.ready, "it is ready")
        self.valkey.stop()
        self.valkey.start()
        self.admit()
        self.client.rpush(names(NUMBER)[0], self.errand("a", "test.counted").line)
        self.client.config_set("maxmemory", "1")
        self.addCleanup(self.client.config_set, "maxmemory", "0")
        await self.until(lambda: Counted.ran == ["a"], "it runs")
        self.client.config_set("maxmemory", "0")
        await self.answered("a")
