"""
What a program leaves running when it ends, and a core0 that is told to stop meanwhile.
"""

import os
from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from core0.jobs.output import Printing
from core0.jobs.process import Processes
from core0.jobs.results import ResultBuffers
from core0.jobs.tagged import TaggedTrees
from core0.reaper import Reaper
from core0.spawn import Surroundings
from tests.fakes import MemoryRecords, MemoryTree


class LeftTests(SynchronousTestCase):
    """
    A program that has ended, and one process that it has left, which ignores TERM.
    """

    def setUp(self) -> None:
        """
        A pool whose work is done when the test says so.
        """
        self.clock, self.work = Clock(), list[tuple[Deferred[Any], Callable[[], object]]]()
        self.tree = MemoryTree(os.getpid())
        processes = Processes(
            self.clock,  # type: ignore[arg-type] # all that is asked of it here
            Reaper(self.clock),  # type: ignore[arg-type]
            Surroundings((1024, 1024)),
            TaggedTrees(1),
            MemoryRecords(),
            self.later,
            kill_grace=600.0,
            buffer=1024,
            results=ResultBuffers(1, 1),
            env={},
        )
        self.addCleanup(os.close, processes._null)
        protocol = Printing(self.clock, None, None, len)  # type: ignore[arg-type]
        protocol.exited.happen(0)
        self.found: list[tuple[int, str]] = []
        self.cleared = Deferred.fromCoroutine(processes._clear(self.tree, protocol, self.found))

    async def later(self, work: Callable[..., Any], *arguments: Any) -> Any:
        """
        Keep it.
        """
        done: Deferred[Any] = Deferred()
        self.work.append((done, lambda: work(*arguments)))
        return await done

    def do(self) -> None:
        """
        Do what has been kept longest.
        """
        done, work = self.work.pop(0)
        done.callback(work())

    def test_named_and_asked(self) -> None:
        """
        What is left is named before it is asked to end, and killed after its grace.
        """
        self.do()
        self.assertEqual([os.getpid()], [pid for pid, _ in self.found])
        self.assertEqual([15], self.tree.signals)
        self.clock.pump([1.0] * 599)
        self.assertEqual([], self.work)
        self.clock.pump([1.0, 1.0])
        self.do()
        self.assertEqual([15, 9], self.tree.signals)
        self.assertTrue(self.successResultOf(self.cleared))

    def test_hurried_while_named(self) -> None:
        """
        Told to be quick while what is left is being looked up, core0 does not wait for the grace to end.
        """
        self.cleared.cancel()
        self.do()
        self.do()
        self.assertEqual([15, 9], self.tree.signals)
        self.assertTrue(self.successResultOf(self.cleared))
