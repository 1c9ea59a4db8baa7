"""
What a program reads: told when it has all of it, so that core0 need not keep it.
"""

import os
import signal
from typing import Any

from twisted.internet import reactor
from twisted.internet.task import Clock
from twisted.trial.unittest import TestCase

from core0.jobs.output import Output, Printing
from core0.jobs.process import Program
from core0.jobs.results import ResultBuffers
from core0.waiting import Occurrence, within
from tests.fakes import MemoryRecords
from tests.functional.shared import GENEROUS
from tests.work import make_job

SIZE = 1 << 20  # bytes: far more than a pipe holds


class StdinTests(TestCase):
    """
    Real programs.
    """

    def start(self, *argv: str) -> "tuple[int, Occurrence[int]]":
        """
        Start one.

        :returns: its number; and what happens once it needs its stdin no more, with the size of that.
        """
        spent: Occurrence[int] = Occurrence()
        output = Output(make_job(), MemoryRecords(), 1024, lambda: 0.0, ResultBuffers(1024, 1024))
        printing = Printing(Clock(), output, b"x" * SIZE, spent.happen)
        child: Any = reactor.spawnProcess(printing, f"/bin/{argv[0]}", argv, env={}, childFDs={0: "w", 1: "r", 2: "r"})
        pid: int = child.pid
        self.addCleanup(self._end, child, printing, pid)
        return pid, spent

    async def _end(self, child: Any, printing: Printing, pid: int) -> None:
        if child.pid is not None:
            os.kill(pid, signal.SIGKILL)
        await self.within(printing.closed)

    async def within(self, occurrence: "Occurrence[Any]") -> Any:
        """
        Wait for it.
        """
        return await within(reactor, GENEROUS, occurrence.wait())

    async def test_read(self) -> None:
        """
        A program that has read all of it is still live when that is told.
        """
        pid, spent = self.start("sh", "-c", "cat >/dev/null; exec sleep 1000")
        self.assertEqual(SIZE, await self.within(spent))
        os.kill(pid, 0)

    async def test_unread(self) -> None:
        """
        As long as a program does not read, it is kept; it is let go of when the program ends.
        """
        pid, spent = self.start("sh", "-c", "echo; exec sleep 1000")
        _, told = self.start("cat")
        self.assertEqual(SIZE, await self.within(told))
        self.assertFalse(spent.happened)
        os.kill(pid, signal.SIGKILL)
        self.assertEqual(SIZE, await self.within(spent))

    def test_not_kept(self) -> None:
        """
        Whoever writes it has it alone.
        """
        program = Program("cat", stdin="ü")
        self.assertEqual(("ü".encode(), None), (program.take_stdin(), program.take_stdin()))
