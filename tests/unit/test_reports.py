"""
What the CoreX of a container may report of its jobs besides their results.
"""

import json
from sys import getrefcount
from typing import Any

from msgspec import UNSET, Raw

from core0 import corex_messages as wire
from core0.containers.errands import AFTERWARDS, LONGEST_LIFE, REMEMBERED
from core0.containers.reports import LARGEST, Live, Log, Own, Report, Reports, Sample
from core0.messages import Message, Record, Result, encode
from core0.values import Final
from tests.unit.errands_shared import NODE, NUMBER, ErrandsCase, errand, result


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

    def test_places(self) -> None:
        """
        Live output keeps its place and its bytes, as far as they are possible.
        """
        fields: dict[str, Any] = {"meta": 65536, "run": 5, "offset": 7, "part": True, "base64": "/w==", "ends": (1, 2)}
        found = self.read(wire.stream_line("a", self.body("a", "x", 1, **fields), False))
        assert isinstance(found, Live)
        message = json.loads(found.line)["message"]
        self.assertEqual({**fields, "ends": [1, 2]}, {name: message[name] for name in fields})
        wrong: list[dict[str, Any]] = [
            {"offset": -1},
            {"run": 2**60},
            {"ends": (0, -1)},
            {"base64": "é"},
            {"base64": "A" * (LARGEST + 1)},
        ]
        self.assert_refused(*(wire.stream_line("a", self.body("a", "x", 1, **each), False) for each in wrong))

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

    def test_small(self) -> None:
        """
        Nothing large is kept of what is answered: neither the order nor the arguments.
        """
        large = errand(10, arguments=Raw(b'"%s"' % (b"x" * 100_000)))
        before = [getrefcount(large), getrefcount(large.line), getrefcount(large.command)]
        self.errands.add(large)
        self.final_of(10, "10")
        self.assertEqual(before, [getrefcount(large), getrefcount(large.line), getrefcount(large.command)])
        self.assertTrue(self.errands.knows("10"))

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
