"""
What is done in the network of a container.
"""

import resource
import threading

from twisted.trial.unittest import SynchronousTestCase

from core0.network.kernel import NotTaken
from core0.network.namespaces import within


class WithinTests(SynchronousTestCase):
    """
    By a thread of its own.
    """

    def test_no_thread(self) -> None:
        """
        Where there is none to be had that is said, and nothing is done.
        """
        done: list[int] = []
        former = threading.stack_size(1 << 40)
        self.addCleanup(threading.stack_size, former)
        soft, hard = resource.getrlimit(resource.RLIMIT_AS)
        self.addCleanup(resource.setrlimit, resource.RLIMIT_AS, (soft, hard))
        resource.setrlimit(resource.RLIMIT_AS, (1 << 40, hard))
        error = self.assertRaises(NotTaken, within, -1, lambda: done.append(1))
        self.assertIn("thread", str(error))
        self.assertEqual([], done)
