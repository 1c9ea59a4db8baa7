"""
A job takes only the steps of its table.
"""

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from core0.interfaces import IJob
from core0.jobs.job import NEXT, CannotMove, Job, Phase
from core0.messages import State
from tests.fakes import MemoryTree
from tests.work import make_job


class JobTests(SynchronousTestCase):
    """
    A job by itself.
    """

    def test_interface(self) -> None:
        """
        A job is what commands are promised.
        """
        verifyObject(IJob, make_job())

    def test_table(self) -> None:
        """
        The table has each phase, and none follows the end.
        """
        self.assertEqual(set(Phase), set(NEXT))
        self.assertEqual(frozenset(), NEXT[Phase.DONE])
        for following in NEXT.values():
            self.assertNotIn(None, following)
        self.assertEqual({phase for phase in Phase if phase != Phase.DONE}, {p for p in Phase if Phase.DONE in NEXT[p]})

    def test_steps(self) -> None:
        """
        Each step of the table is taken, and each other one is refused, naming both phases, and changes nothing.
        """
        for phase in Phase:
            for following in Phase:
                job = make_job()
                job.phase = phase
                if following in NEXT[phase]:
                    job.move(following)
                    self.assertEqual(following, job.phase)
                    continue
                error = self.assertRaises(CannotMove, job.move, following)
                self.assertEqual(f"cannot go on to {following.value} while {phase.value}", str(error))
                self.assertEqual(phase, job.phase)

    def test_a_life(self) -> None:
        """
        A job may run, fail, try again, sleep, run again and end.
        """
        job = make_job()
        for word in "starting running retrying waiting starting running sleeping waiting done".split():
            job.move(Phase(word))
            self.assertEqual(word, job.state)

    def test_live(self) -> None:
        """
        A job is live from when it is being started until its run is over.
        """
        live = []
        for phase in Phase:
            job = make_job()
            job.phase = phase
            if job.live:
                live.append(phase)
        self.assertEqual([Phase.STARTING, Phase.RUNNING], live)

    def test_processes(self) -> None:
        """
        A job knows its processes for as long as it has them, and tells of both ends.
        """
        job, told = make_job(), []
        job.attached_to = lambda one: told.append(("attached", one.pid))
        job.detached_from = lambda one: told.append(("detached", one.pid))
        tree = MemoryTree(7)
        job.attached(tree, 7)
        self.assertEqual((tree, 7), (job.tree, job.pid))
        job.detached()
        self.assertEqual((None, 0), (job.tree, job.pid))
        self.assertEqual([("attached", 7), ("detached", 0)], told)

    def running(self) -> tuple[Job, "Deferred[None]"]:
        """
        A job and what it is waiting for.
        """
        job: Job = make_job()
        waiting: Deferred[None] = Deferred()
        job.running = waiting
        return job, waiting

    def test_first_verdict_stands(self) -> None:
        """
        A job that was killed stays killed, even if its time runs out meanwhile.
        """
        job, waiting = self.running()
        job.cut(State.KILLED)
        job.cut(State.TIMEOUT)
        self.assertEqual(State.KILLED, job.verdict)
        self.failureResultOf(waiting, CancelledError)

    def test_cut_without_verdict(self) -> None:
        """
        A run can be ended without saying how; a later reason still counts.
        """
        job, waiting = self.running()
        job.cut(None)
        self.failureResultOf(waiting, CancelledError)
        self.assertIsNone(job.verdict)
        job.cut(State.KILLED)
        self.assertEqual(State.KILLED, job.verdict)

    def test_stop_timer(self) -> None:
        """
        What was to happen later is forgotten, once or twice, and after it has happened, too.
        """
        clock, job = Clock(), make_job()
        rung: list[int] = []
        job.timer = clock.callLater(1, rung.append, 1)
        job.stop_timer()
        job.stop_timer()
        clock.advance(2)
        self.assertEqual([], rung)
        job.timer = clock.callLater(1, rung.append, 2)
        clock.advance(1)
        job.stop_timer()
        self.assertEqual([2], rung)
