"""
Jobs that print more than can be handed on, and looks at /proc when there are no descriptors.
"""

import os
import resource
import subprocess
import sys
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from core0.jobs.levels import Levels
from core0.jobs.output import EXPENSIVE, MAX_WORD, Output, Printing
from core0.jobs.results import ResultBuffers
from core0.records import BURST, Records
from tests.fakes import MemoryRecords
from tests.unit.test_records import Sink
from tests.work import make_job

LINES = st.lists(
    st.sampled_from(
        [b"3::a\n", b"3::\n", b"4::b\n", b"20::r\n", b"9::c\n", b"10::d\n", b"3:::\nx\n:::\n", b"plain\n", b"3::"]
    )
)


class FloodTests(SynchronousTestCase):
    """
    Messages that there is no room for.
    """

    def setUp(self) -> None:
        """
        Records that are kept in memory.
        """
        self.records = MemoryRecords()

    def print(self, data: bytes, room: int, **fields: Any) -> Output:
        """
        Have this printed while there is so much room.
        """
        self.records.left = room
        output = Output(make_job("a", **fields), self.records, 1000, lambda: 5.5, ResultBuffers(1000, 1000))
        output.feed(1, data)
        output.close()
        return output

    def test_counted(self) -> None:
        """
        Messages without room are counted, those that somebody wants; results and plain text among them are kept.
        """
        data = b"3::a\n11::b\n" * 50 + b"20::result\n9::bad\nplain\n" + b"3::a\n" * 20
        output = self.print(data, 0, log_levels=[3])
        self.assertEqual(
            ("result", 20, "bad", b"plain\n"), (output.data, output.level, output.critical, output.tails()[0])
        )
        self.assertEqual(70, self.records.dropped)

    def test_unwanted(self) -> None:
        """
        What nobody wants is not counted.
        """
        self.print(b"3::a\n" * 50, 1000, log_levels=[])
        self.assertEqual(0, self.records.dropped)

    @given(LINES, st.integers(0, 5), st.integers(1, 9))
    def test_same(self, pieces: list[bytes], room: int, size: int) -> None:
        """
        Apart from messages that only records are made of, the same comes out with and without room.
        """
        data = b"".join(pieces)
        every, some = self.split(data, size, sys.maxsize), self.split(data, size, room)
        self.assertEqual(every[1], some[1])
        self.assertEqual([item for item in every[0] if item[0] >= 9], [item for item in some[0] if item[0] >= 9])
        self.assertEqual(len(every[0]), len(some[0]) + some[2])

    def split(self, data: bytes, size: int, room: int) -> tuple[list[tuple[int, bytes]], bytes, int]:
        """
        The messages, the plain text, and how many were skipped.
        """
        messages: list[tuple[int, bytes]] = []
        plain, skipped = bytearray(), bytearray()
        levels = Levels(
            plain.extend,
            lambda level, text, dropped: messages.append((level, text)),
            1000,
            lambda: max(0, room - len(messages)),
            skipped.extend,
        )
        for first in range(0, len(data), size):
            levels.feed(data[first : first + size])
        levels.close()
        return messages, bytes(plain), skipped.count(b"\n")

    def test_break(self) -> None:
        """
        A program whose output takes long is not read again at once.
        """
        clock, transport = Clock(), _Transport()
        printing = Printing(clock, _Slow(clock), None)  # type: ignore[arg-type] # all that it needs
        printing.makeConnection(transport)
        printing.childDataReceived(1, b"x")
        self.assertEqual(["pause"], transport.calls)
        clock.advance(EXPENSIVE * 2)
        self.assertEqual(["pause", "resume"], transport.calls)


class _Slow:
    def __init__(self, clock: Clock) -> None:
        self._clock = clock

    def feed(self, fd: int, data: bytes) -> None:
        self._clock.advance(EXPENSIVE * 2)

    def partial(self) -> bool:
        return False

    def clogged(self) -> bool:
        return False


class _Transport:
    def __init__(self) -> None:
        self.calls: list[str] = []

    def pauseProducing(self) -> None:
        self.calls.append("pause")

    def resumeProducing(self) -> None:
        self.calls.append("resume")


class SampleTests(SynchronousTestCase):
    """
    Samples that jobs print.
    """

    def test_long(self) -> None:
        """
        One with a part that is too long is a mere message.
        """
        for number in range(4):
            parts = ["k", "1", "c", "tag"]
            parts[number] = "é" * (MAX_WORD // 2) + "x"
            records = MemoryRecords()
            output = Output(make_job("a", log_levels=[10]), records, 10_000, lambda: 5.5, ResultBuffers(1000, 1000))
            output.feed(1, "10::{}:{}|{}|{}\n".format(*parts).encode())
            self.assertEqual((0, 1), (len(records.samples), len(records.logs)))

    def test_bounded(self) -> None:
        """
        There are not more of them than records of any kind; those that core0 itself takes always have room.
        """
        clock, sink = Clock(), Sink()
        records = Records(clock, "1:2", 0, (), sink)
        for _ in range(BURST + 10):
            records.sample("a", {}, 0.0)
        records.sample("a", {}, 60.0)
        self.assertEqual(BURST + 1, len(sink.samples))
        clock.advance(1)
        self.assertIn("10 records dropped", sink.logs[0]["message"]["message"])


class CrowdedTests(SynchronousTestCase):
    """
    When no more files can be opened.
    """

    def test_crowded(self) -> None:
        """
        A process is not taken to be gone because it cannot be looked at.
        """
        script = f"""
import os, resource
from core0 import procfs
from core0.jobs.cgroup import CgroupTree, CgroupTrees
from core0.jobs.tagged import TaggedTree, TaggedTrees
trees = CgroupTree(CgroupTrees("/proc"), "/proc/self"), TaggedTree(TaggedTrees(1), 1, os.getpgrp())
resource.setrlimit({resource.RLIMIT_NOFILE}, (3, 3))
print([tree.populated() for tree in trees])
for look in (procfs.alive, procfs.leads):
    try:
        print(look(os.getpid()))
    except OSError as error:
        print(error.errno)
"""
        environ = {**os.environ, "PYTHONPATH": os.getcwd()}
        done = subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, text=True, env=environ)
        self.assertEqual("[True, True]\n24\n24\n", done.stdout)
