"""
How full file systems are, though some of them hang.
"""

import os
from collections.abc import Callable
from threading import Event

from twisted.trial.unittest import SynchronousTestCase

from core0.facts import space
from core0.facts.files import LARGEST
from core0.facts.space import Gauge, Space


class GaugeTests(SynchronousTestCase):
    """
    Asking file systems that may hang.
    """

    def setUp(self) -> None:
        self.asked: list[bytes] = []
        self.wake = Event()
        self.addCleanup(self.wake.set)

    def hanging(self, *paths: bytes) -> Callable[[bytes], Space | None]:
        def question(path: bytes) -> Space | None:
            self.asked.append(path)
            if path in paths:
                self.wake.wait()
            return Space(3, 2, 1)

        return question

    def test_hanging(self) -> None:
        """
        Those that hang have no answer, the others have theirs.
        """
        gauge = Gauge(self.hanging(b"/x", b"/y"), patience=0.05)
        self.assertEqual([None, Space(3, 2, 1), None], gauge.measure([b"/x", b"/z", b"/y"]))

    def test_asked_once(self) -> None:
        """
        One that hangs is not asked again, however often its figures are wanted, until it answered.
        """
        gauge = Gauge(self.hanging(b"/x"), patience=0.01)
        for _ in range(3):
            self.assertEqual([None], gauge.measure([b"/x"]))
        self.assertEqual([b"/x"], self.asked)
        self.wake.set()
        answered = next(found for _ in range(1000) if (found := gauge.measure([b"/x"])) != [None])
        self.assertEqual([Space(3, 2, 1)], answered)

    def test_refusals(self) -> None:
        """
        What is not there has no space at all; a file system that is broken has an unknown one.
        """
        self.assertEqual(Space(), space.ask(b"/nonexistent"))
        self.assertEqual(Space(), space.ask(b"/dev/null/x"))
        self.assertIsNone(space.ask(b"/" + b"x" * 300))

    def test_figures_fit(self) -> None:
        """
        The figures of a file system that claims more than there can be are the largest that fit.
        """
        claim = os.statvfs_result((1 << 20, 1 << 20, 2**64 - 1, 5, 3, 0, 0, 0, 0, 255))
        self.assertEqual(Space(LARGEST, LARGEST, 3 << 20), space.room(claim))
