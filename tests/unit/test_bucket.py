"""
How many records a second core0 takes the trouble of.
"""

import json
from typing import Any

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from core0.bucket import Bucket
from core0.records import BURST, RATE, TELL, Records


class Sink:
    """
    Keeps what it gets.
    """

    def __init__(self) -> None:
        self.lines: list[dict[str, Any]] = []

    def log(self, line: bytes) -> None:
        self.lines.append(json.loads(line))

    def stream(self, job: str, line: bytes, last: bool) -> None:
        self.lines.append(json.loads(line))

    def clogged(self, job: str) -> bool:
        """
        Never.
        """
        return False

    def sample(self, job: str, fields: Any, life: float) -> None:
        raise AssertionError("none was asked for")


class BucketTests(SynchronousTestCase):
    """
    The token bucket.
    """

    def test_burst_and_rate(self) -> None:
        """
        As many as it holds go at once, then as many as come in.
        """
        clock = Clock()
        bucket = Bucket(clock, 10, 3)
        self.assertEqual([True, True, True, False], [bucket.take() for _ in range(4)])
        clock.advance(0.25)
        self.assertEqual([True, True, False], [bucket.take() for _ in range(3)])
        clock.advance(100)
        self.assertEqual(3, bucket.left())

    def test_clock_set_back(self) -> None:
        """
        A clock that is set back takes no tokens away.
        """
        clock = Clock()
        clock.advance(100)
        bucket = Bucket(clock, 10, 3)
        clock.rightNow = 5.0
        self.assertEqual(3, bucket.left())


class FloodTests(SynchronousTestCase):
    """
    A job that prints faster than anybody could read.
    """

    def test_flood(self) -> None:
        """
        What goes beyond the rate is dropped, and a second later a record tells how many that were.
        """
        clock, sink = Clock(), Sink()
        records = Records(clock, "1:1", 0, [2], sink)
        for _ in range(BURST + 7):
            records.log("flood", 2, "x")
        records.drop(5)
        self.assertEqual(BURST, len(sink.lines))
        clock.advance(TELL)
        (told,) = sink.lines[BURST:]
        self.assertEqual("", told["command"])
        self.assertEqual(f"12 records dropped: jobs print more than {RATE} a second", told["message"]["message"])
