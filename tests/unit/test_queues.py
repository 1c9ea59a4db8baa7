"""
Of the jobs in one queue, one has the turn.
"""

from collections import deque

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from core0.jobs.job import Job
from core0.jobs.queues import Queues
from tests.work import make_job


class QueuesTests(SynchronousTestCase):
    """
    Serial queues.
    """

    def test_no_queue(self) -> None:
        """
        Jobs that name no queue, or the empty one, never wait for each other.
        """
        queues = Queues()
        for job in (make_job("a"), make_job("b"), make_job("c", queue=""), make_job("d", queue="")):
            self.assertTrue(queues.enter(job))
            self.assertFalse(job.queued)
            self.assertIsNone(queues.leave(job))

    def test_order(self) -> None:
        """
        The turn goes from one to the next in the order in which they came.
        """
        queues = Queues()
        first, second, third = (make_job(id, queue="q") for id in "abc")
        self.assertEqual([True, False, False], [queues.enter(job) for job in (first, second, third)])
        self.assertIs(second, queues.leave(first))
        self.assertIs(third, queues.leave(second))
        self.assertIsNone(queues.leave(third))

    def test_other_queues(self) -> None:
        """
        A queue does not wait for another one.
        """
        queues = Queues()
        self.assertTrue(queues.enter(make_job("a", queue="q")))
        self.assertTrue(queues.enter(make_job("b", queue="p")))

    def test_leaving_from_the_middle(self) -> None:
        """
        A job that leaves before its turn gives the turn to nobody.
        """
        queues = Queues()
        first, second, third = (make_job(id, queue="q") for id in "abc")
        for job in (first, second, third):
            queues.enter(job)
        self.assertIsNone(queues.leave(second))
        self.assertIs(third, queues.leave(first))

    def test_leaving_twice(self) -> None:
        """
        A job that has left already leaves nothing.
        """
        queues = Queues()
        first, second = (make_job(id, queue="q") for id in "ab")
        queues.enter(first)
        queues.enter(second)
        queues.leave(first)
        self.assertIsNone(queues.leave(first))
        self.assertIsNone(queues.leave(second))

    def test_coming_again(self) -> None:
        """
        A recurring job lines up behind those that came meanwhile.
        """
        queues = Queues()
        first, second = (make_job(id, queue="q") for id in "ab")
        queues.enter(first)
        queues.enter(second)
        queues.leave(first)
        self.assertFalse(queues.enter(first))
        self.assertIs(first, queues.leave(second))

    @given(st.lists(st.tuples(st.booleans(), st.integers(0, 9)), max_size=60))
    def test_any_sequence(self, steps: list[tuple[bool, int]]) -> None:
        """
        Whoever comes and goes, the first of those that are there has the turn, and is told so exactly once.
        """
        queues, line = Queues(), deque[Job]()
        jobs = [make_job(str(number), queue="q") for number in range(10)]
        turn: Job | None = None
        for coming, number in steps:
            job = jobs[number]
            if coming and job not in line:
                line.append(job)
                if queues.enter(job):
                    self.assertIsNone(turn)
                    turn = job
            elif not coming and job in line:
                line.remove(job)
                following = queues.leave(job)
                if job is turn:
                    turn = following
                else:
                    self.assertIsNone(following)
            self.assertIs(line[0] if line else None, turn)
