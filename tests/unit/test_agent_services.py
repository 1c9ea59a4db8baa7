"""
What an agent does for commands and jobs.
"""

from typing import Any, NoReturn

from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from core0.commands.registry import Registry
from core0.errors import Refusal
from core0.host import Host
from core0.interfaces import IHost
from core0.jobs.manager import Jobs
from tests.fakes import MemoryLedger, MemoryRecords, MemoryTree, ThreadlessReactor
from tests.unit.agents import AgentCase
from tests.work import FAILED, payload


def no_thread(*_: Any, **__: Any) -> NoReturn:
    """
    What starting a thread comes to where there are as many as there may be.
    """
    raise RuntimeError("can't start new thread")


class ServiceTests(AgentCase):
    """
    What the agent does for commands and jobs.
    """

    def test_live_output_ends(self) -> None:
        """
        The last record of live output says whether the job succeeded; a job that is not followed has none.
        """
        for id, stream, outcome in (("a", True, None), ("b", True, FAILED), ("c", False, None)):
            self.admit(payload("test.work", id=id, stream=stream))
            self.work.end(id, outcome)
        self.assertEqual(
            [("a", "", 1 << 16 | 2, True), ("b", "", 1 << 16 | 4, True)],
            [(job, message.message, message.meta, last) for job, message, last in self.records.streams],
        )

    def test_signals_in_a_thread(self) -> None:
        """
        Signals are sent by a thread.
        """
        self.admit(payload("test.work", id="a"))
        tree = MemoryTree(7)
        self.jobs.find("a").attached(tree, 7)
        self.successResultOf(self.jobs.kill("a", 1))
        self.assertEqual([1], tree.signals)

    def test_uptime(self) -> None:
        """
        The time since its start is known.
        """
        self.reactor.advance(12.5)
        self.assertEqual(12.5, self.agent.uptime())

    def test_in_thread(self) -> None:
        """
        What blocks is called in a thread; its result and its errors come back.
        """
        self.assertEqual(6, self.successResultOf(self.agent.in_thread(lambda a, b: a * b, 2, 3)))
        self.failureResultOf(self.agent.in_thread(int, "x"), ValueError)


class HostTests(SynchronousTestCase):
    """
    The agent of a machine.
    """

    def host(self, obstacle: str) -> Host:
        """
        A host that can or cannot go down.
        """
        reactor, ledger = ThreadlessReactor(), MemoryLedger()
        jobs = Jobs(reactor, ledger, limit=1, waiting=1)
        self.went_down = 0
        parts = (reactor, Registry([]), ledger, jobs, None, MemoryRecords())
        none: Any = None  # it is not asked for any
        return Host(*parts, node="1:1", containers=none, networks=none, down=self.go_down, obstacle=lambda: obstacle)

    def go_down(self) -> None:
        """
        Counted.
        """
        self.went_down += 1

    def test_interface(self) -> None:
        """
        The host is what commands of a whole machine are promised.
        """
        verifyObject(IHost, self.host(""))

    def test_reboot(self) -> None:
        """
        A host that can brings the machine down.
        """
        self.host("").reboot()
        self.assertEqual(1, self.went_down)

    def test_cannot_reboot(self) -> None:
        """
        A host that cannot refuses with 503, and says what to do.
        """
        error = self.assertRaises(Refusal, self.host("not root, no [reboot] command").reboot)
        self.assertEqual((503, 0), (error.code, self.went_down))
        self.assertIn("[reboot] command", str(error))
