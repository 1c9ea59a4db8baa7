"""
What jobs say on their way becomes records, and goes where it belongs.
"""

import json
from collections.abc import Mapping
from typing import Any

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from core0.interfaces import IRecords
from core0.messages import Message
from core0.records import Records


class Sink:
    """
    Takes everything.
    """

    def __init__(self) -> None:
        self.logs: list[Any] = []
        self.streams: list[tuple[str, Any, bool]] = []
        self.samples: list[tuple[str, Mapping[str, Any], float]] = []

    def log(self, line: bytes) -> None:
        """
        Kept.
        """
        self.logs.append(json.loads(line))

    def stream(self, job: str, line: bytes, last: bool) -> None:
        """
        Kept.
        """
        self.streams.append((job, json.loads(line), last))

    def clogged(self, job: str) -> bool:
        """
        Never.
        """
        return False

    def sample(self, job: str, fields: Mapping[str, Any], life: float) -> None:
        """
        Kept.
        """
        self.samples.append((job, fields, life))


class RecordsTests(SynchronousTestCase):
    """
    Records of one Core.
    """

    def setUp(self) -> None:
        """
        Both places.
        """
        self.clock = Clock()
        self.clock.advance(1000.5)
        self.sink, self.files = Sink(), Sink()
        self.records = Records(self.clock, "1:2", 3, (2, 9), self.sink, self.files)

    def test_interface(self) -> None:
        """
        They are what jobs are promised.
        """
        verifyObject(IRecords, self.records)

    def test_log(self) -> None:
        """
        A log record says who printed what and when, and is kept in both places alike.
        """
        self.records.log("a", 7, "é\n\0")
        message = {"level": 7, "message": "é\n\0", "epoch": 1_000_500_000_000}
        expected = {"core": 3, "node": "1:2", "command": "a", "message": message}
        self.assertEqual([expected], self.sink.logs)
        self.assertEqual([expected], self.files.logs)

    def test_without_files(self) -> None:
        """
        Where there are no files, one place is enough.
        """
        Records(self.clock, "1:2", 3, (), self.sink).log("a", 7, "x")
        self.assertEqual(1, len(self.sink.logs))

    def test_one_line(self) -> None:
        """
        A record is one line of JSON, whatever was printed.
        """
        line = self.records.record("a", 1, 'a\nb\r\u2028"\\\x00\x7f')
        self.assertEqual(1, len(line.split(b"\n")))
        self.assertEqual('a\nb\r\u2028"\\\x00\x7f', json.loads(line)["message"]["message"])

    def test_levels(self) -> None:
        """
        Which levels are kept by default can be changed on the way.
        """
        self.assertEqual([2, 9], [level for level in range(31) if self.records.wants(level)])
        self.records.reload((1,))
        self.assertEqual([1], [level for level in range(31) if self.records.wants(level)])

    def test_dropped(self) -> None:
        """
        How many were dropped is a record of an operational error itself.
        """
        record = json.loads(self.records.dropped(12, "the disk"))
        self.assertEqual(("", 8), (record["command"], record["message"]["level"]))
        self.assertIn("12 records dropped", record["message"]["message"])

    def test_stream(self) -> None:
        """
        Live output carries its flags, and goes to whoever follows alone.
        """
        self.records.stream("a", Message(1, "x", 5, 1 << 16), False)
        self.records.stream("a", Message(1, "", 6, 1 << 16 | 2), True)
        (first, second), files = self.sink.streams, self.files.streams
        self.assertEqual(
            ("a", {"level": 1, "message": "x", "epoch": 5, "meta": 65536}, False),
            (first[0], first[1]["message"], first[2]),
        )
        self.assertEqual((65538, True), (second[1]["message"]["meta"], second[2]))
        self.assertEqual(([], []), (files, self.sink.logs))

    def test_sample(self) -> None:
        """
        Samples are handed on as they are.
        """
        self.records.sample("a", {"cpu": 1.5}, 60.0)
        self.assertEqual([("a", {"cpu": 1.5}, 60.0)], self.sink.samples)
