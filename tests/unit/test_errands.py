"""
A CoreX answers for its own errands, each once, and its records are those of its own jobs.
"""

import json
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from msgspec import UNSET, Raw
from msgspec.structs import replace
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from core0 import corex_messages as wire
from core0.containers.errands import AFTERWARDS, LONGEST_LIFE, REMEMBERED, Errand, Errands, Numbers
from core0.containers.reports import LARGEST, Live, Log, Own, Report, Reports, Sample
from core0.corex_messages import Ready
from core0.messages import Command, Message, Outcome, Record, Result, State, encode, result_of
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


class ResultTests(ErrandsCase):
    """
    Results.
    """

    def test_answer(self) -> None:
        """
        An answer is that of the CoreX, to what core0 itself has asked: id, command, tags, digest, container.
        """
        self.errands.add(errand(5, "a", tags=["x"]))
        found = self.final(5, result("a", code=3, state=State.ERROR, streams=("out", "")), traces=True)
        self.assertEqual((5, "a", DIGEST, False, 0.0, True), (found.seq, found.id, found.digest, *_of(found)))
        body = found.result
        self.assertEqual(("a", "core.system", ["x"], NUMBER), (body.id, body.command, body.tags, body.container))
        self.assertEqual((3, State.ERROR, ("out", ""), "1"), (body.code, body.state, body.streams, body.data))
        self.assertEqual((0, False), (len(self.errands), 5 in self.errands))

    def test_once(self) -> None:
        """
        It is answered once.
        """
        self.errands.add(errand(5))
        self.final(5, result("5"))
        self.assert_ignored(5, result("5"))

    def test_forged(self) -> None:
        """
        What was not dispatched there cannot be answered there, whichever of number and id is right.
        """
        self.errands.add(errand(5, "a"))
        self.errands.add(errand(6, "b"))
        self.assert_ignored(4, result("a"))
        self.assert_ignored(5, result("b"))
        self.assert_ignored(5, result("result of somebody else"))
        self.assert_ignored(0, result("a"))
        self.assert_ignored(2**63, result("a"))
        self.final(5, result("a"))
        self.final(6, result("b"))

    def test_without_an_id(self) -> None:
        """
        A CoreX that could not read the id of an order answers without one.
        """
        self.errands.add(errand(5, "a"))
        self.assertEqual("a", self.final(5, result("")).result.id)

    def test_recurring(self) -> None:
        """
        A command that recurs has many results, each living as long as core0 itself would have it; another has one.
        """
        self.errands.add(errand(5, recurring_period=10.0))
        self.errands.add(errand(6))
        for life in (1.0, 1e300, -1.0):
            found = self.final(5, result("5"), keep=True, life=life)
            self.assertTrue(found.keep)
            self.assertTrue(0 <= found.life <= 10 + 86400.0)
        self.assert_ignored(6, result("6"), keep=True)
        self.assertFalse(self.final(5, result("5"), life=5.0).keep)
        self.assert_ignored(5, result("5"), keep=True)

    def test_nonsense(self) -> None:
        """
        An answer with the right number that is none ends the errand with an error that says so.
        """
        bodies = (
            b"[]",
            b'{"id": "1"}',
            encode(result("1", code=-1)),
            encode(result("1", code=600)),
            encode(result("1", level=7)),
            encode(result("1", time=-1)),
            encode(result("1", runs=2**60)),
            encode(result("1", truncated=(0, -5))),
            encode(result("1")).replace(b"SUCCESS", b"FINE"),
        )
        for seq, body in enumerate(bodies, 1):
            self.errands.add(errand(seq))
            found = self.final(seq, body)
            self.assertEqual(
                (State.ERROR, 500, NUMBER), (found.result.state, found.result.code, found.result.container)
            )
            self.assertIn("CoreX 7 has sent nonsense", json.loads(found.result.data))
        self.assertEqual((0, 0), (len(self.errands), self.errands.ignored))

    def test_nonsense_around_it(self) -> None:
        """
        The same if the message around it cannot be read, or is of another version; without a number it is ignored.
        """
        for seq, line in enumerate(
            (b'{"v":1,"kind":"result","seq":1,"keep":7}', b'{"v":2,"kind":"result","seq":2}'), 1
        ):
            self.errands.add(errand(seq))
            found = self.errands.read(line)
            assert isinstance(found, Final)
            self.assertEqual((seq, 500), (found.seq, found.result.code))
        self.assertIsNone(self.errands.read(b"\xff"))
        self.assertIsNone(self.errands.read(b'{"v":1,"kind":"result","seq":77,"keep":7}'))
        self.assertEqual(2, self.errands.ignored)

    def test_ready(self) -> None:
        """
        That a CoreX is ready is no result.
        """
        self.assertEqual(Ready(1, 3), self.errands.read(wire.ready_line(3)))

    def test_orphaned(self) -> None:
        """
        When a container ends everything that it has not answered is answered by the reason.
        """
        for seq in (2, 1):
            self.errands.add(errand(seq, tags="t"))
        finals = self.errands.orphaned("container 7 has ended")
        self.assertEqual({1, 2}, {final.seq for final in finals})
        for final in finals:
            body = final.result
            self.assertEqual((State.ERROR, 503, "t", NUMBER), (body.state, body.code, body.tags, body.container))
            self.assertEqual("container 7 has ended", json.loads(body.data))
        self.assertEqual(([], []), (self.errands.orphaned("again"), self.errands.again()))

    def test_again(self) -> None:
        """
        What is unanswered can be sent again, in the order of its numbers.
        """
        sent = {seq: errand(seq) for seq in (3, 1, 2)}
        for each in sent.values():
            self.errands.add(each)
        self.final(2, result("2"))
        self.assertEqual([sent[1].line, sent[3].line], self.errands.again())

    @given(
        st.lists(st.tuples(st.integers(0, 4), st.sampled_from(["1", "2", "3", "x", ""]), st.booleans(), st.booleans()))
    )
    def test_any_sequence(self, answers: list[tuple[int, str, bool, bool]]) -> None:
        """
        Whatever a CoreX says, each errand has at most one last result, and none after that.
        """
        errands = Errands(self.clock, NUMBER)
        for seq in (1, 2, 3):
            errands.add(errand(seq, recurring_period=1.0 if seq == 3 else None))
        over: set[int] = set()
        for seq, id, keep, sound in answers:
            body = encode(result(id)) if sound else b"{}"
            found = errands.read(wire.result_line(seq, body, keep=keep))
            if isinstance(found, Final):
                self.assertNotIn(found.seq, over)
                self.assertEqual((str(found.seq), NUMBER), (found.result.id, found.result.container))
                self.assertTrue(found.seq == 3 or not found.keep)
                if not found.keep:
                    over.add(found.seq)
        self.assertEqual({1, 2, 3} - over, {final.seq for final in errands.orphaned("over")})


def _of(final: Final) -> tuple[bool, float, bool]:
    return final.keep, final.life, final.traces


class NumbersTests(SynchronousTestCase):
    """
    The numbers of errands.
    """

    def test_rising(self) -> None:
        """
        They are µs since the epoch, and rise although the clock stands still or was set back.
        """
        clock = Clock()
        clock.advance(5)
        numbers = Numbers(clock)
        self.assertEqual([5_000_000, 5_000_001], [numbers.next(), numbers.next()])
        numbers.after(6_000_000)
        self.assertEqual(6_000_001, numbers.next())
        clock.advance(5)
        numbers.after(3)
        self.assertEqual(10_000_000, numbers.next())


class ReportTests(ErrandsCase):
    """
    Log records, live output, samples.
    """

    def setUp(self) -> None:
        """
        One errand that streams, and one that does not.
        """
        super().setUp()
        self.reports = Reports(self.errands, NODE, NUMBER)
        self.errands.add(errand(1, "a", stream=True))
        self.errands.add(errand(2, "b", stats_interval=5.0))

    def body(self, id: str, text: str = "hi", level: int = 2, epoch: int = 5, **fields: Any) -> bytes:
        """
        A record that says of itself whatever it likes.
        """
        return encode(Record(0, "9:9", id, Message(level, text, epoch, **fields)))

    def read(self, line: bytes) -> Report | None:  # type: ignore[override] # of records
        """
        Have it read.
        """
        return self.reports.read(line, 77)

    def assert_refused(self, *lines: bytes) -> None:
        """
        None of these is kept, and each is counted.
        """
        before = self.reports.ignored
        for line in lines:
            self.assertIsNone(self.read(line), line)
        self.assertEqual(before + len(lines), self.reports.ignored)

    def test_log(self) -> None:
        """
        A log record of a job is kept, with the number of the container and this node, whatever it says.
        """
        found = self.read(wire.log_line(self.body("b", meta=5)))
        assert isinstance(found, Log)
        expected = {"core": 7, "node": NODE, "command": "b", "message": {"level": 2, "message": "hi", "epoch": 5}}
        self.assertEqual(expected, json.loads(found.line))

    def test_of_itself(self) -> None:
        """
        What a CoreX says of itself has no job, and is kept as its own word.
        """
        found = self.read(wire.log_line(self.body("")))
        assert isinstance(found, Log)
        self.assertEqual((7, ""), (json.loads(found.line)["core"], json.loads(found.line)["command"]))
        self.assertEqual(Own("text"), self.read(wire.own_line("text")))
        found = self.read(wire.dropped_line(12))
        assert isinstance(found, Log)
        self.assertIn("12 records dropped", json.loads(found.line)["message"]["message"])
        self.assertEqual(77, json.loads(found.line)["message"]["epoch"])

    def test_others(self) -> None:
        """
        Records of jobs that were not dispatched there, and what is no record, are refused.
        """
        self.assert_refused(
            wire.log_line(self.body("c")),
            wire.stream_line("c", self.body("c"), False),
            wire.sample_line("c", {"cpu": 1}, 1.0),
            wire.log_line(self.body("a", level=77)),
            wire.log_line(self.body("a", level=0)),
            wire.log_line(self.body("a", epoch=-1)),
            wire.log_line(b'"text"'),
            wire.log_line(b"[" * 2000),
            b"",
            b"\xff",
            b'{"v":2,"kind":"log","body":{}}',
        )

    def test_live(self) -> None:
        """
        Live output is kept only of a command that has asked for it, and nothing follows the last piece.
        """
        self.assert_refused(wire.stream_line("b", self.body("b"), False))
        for last in (False, True):
            found = self.read(wire.stream_line("a", self.body("b", meta=1 << 16 | 2), last))
            assert isinstance(found, Live)
            content = json.loads(found.line)
            self.assertEqual(("a", last, "a", NODE), (found.id, found.last, content["command"], content["node"]))
            self.assertEqual(1 << 16 | 2, content["message"]["meta"])
        self.assert_refused(wire.stream_line("a", self.body("a"), False), wire.stream_line("a", self.body("a"), True))

    def test_samples(self) -> None:
        """
        Samples are kept, within bounds, and no longer than they are of use.
        """
        self.assertEqual(
            Sample("b", {"cpu": 1.5, "key": "x"}, 5.0), self.read(wire.sample_line("b", {"cpu": 1.5, "key": "x"}, 5.0))
        )
        found = self.read(wire.sample_line("b", {"cpu": 1}, 1e300))
        assert isinstance(found, Sample)
        self.assertEqual(LONGEST_LIFE, found.life)
        self.assert_refused(
            wire.sample_line("b", {}, 1.0),
            wire.sample_line("b", {"": 1}, 1.0),
            wire.sample_line("b", {"x" * 100: 1}, 1.0),
            wire.sample_line("b", {"x": "y" * 100_000}, 1.0),
            wire.sample_line("b", {"x": 1e300}, 1.0),
            wire.sample_line("b", {str(number): 1 for number in range(20)}, 1.0),
            wire.sample_line("b", {"x": 1}, -1.0),
        )

    def test_traces(self) -> None:
        """
        What has left live output or samples is known to have, whatever its result says, so that they expire with it.
        """
        self.read(wire.sample_line("b", {"cpu": 1}, 1.0))
        self.assertTrue(self.final_of(2, "b").traces)
        self.assertFalse(self.final_of(1, "a").traces)

    def final_of(self, seq: int, id: str) -> Final:
        """
        The last result of an errand.
        """
        found = self.errands.read(wire.result_line(seq, encode(result(id))))
        assert isinstance(found, Final)
        return found

    def test_late(self) -> None:
        """
        Records may come for a minute after the result, no longer.
        """
        self.final_of(2, "b")
        self.clock.advance(AFTERWARDS - 1)
        self.assertIsNotNone(self.read(wire.log_line(self.body("b"))))
        self.clock.advance(2)
        self.assert_refused(wire.log_line(self.body("b")))
        self.assertIsNotNone(self.read(wire.log_line(self.body("a"))))

    def test_id_again(self) -> None:
        """
        An id that was dispatched again is known for as long as the later errand.
        """
        self.final_of(2, "b")
        self.errands.add(errand(3, "b"))
        self.clock.advance(2 * AFTERWARDS)
        self.assertTrue(self.errands.knows("b"))

    def test_bounded(self) -> None:
        """
        Of those that are answered only so many are remembered.
        """
        for seq in range(10, 12 + REMEMBERED):
            self.errands.add(errand(seq))
            self.errands.result(wire.ResultMessage(1, seq, False, 0.0, False, _raw(result(str(seq)))))
        self.assertEqual((False, False, True), tuple(self.errands.knows(id) for id in ("10", "11", "12")))

    def test_long(self) -> None:
        """
        A record that is too long is cut.
        """
        found = self.read(wire.log_line(self.body("a", "x" * (LARGEST + 5))))
        assert isinstance(found, Log)
        self.assertEqual(LARGEST, len(json.loads(found.line)["message"]["message"]))

    def test_meta(self) -> None:
        """
        Only live output carries what is meant for its reader.
        """
        found = self.read(wire.log_line(self.body("a", meta=UNSET)))
        assert isinstance(found, Log)
        self.assertNotIn("meta", json.loads(found.line)["message"])


def _raw(value: Result) -> Any:
    return Raw(encode(value))
