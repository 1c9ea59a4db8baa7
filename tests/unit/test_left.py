"""
What is said of processes that a program has left behind.
"""

import os

from twisted.trial.unittest import SynchronousTestCase

from core0.jobs.left import names, told


class LeftTests(SynchronousTestCase):
    """
    Names, and what is said.
    """

    def test_names(self) -> None:
        """
        Processes that live have names; those that do not are left out.
        """
        pid = os.fork()
        if not pid:
            os._exit(0)
        os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
        own = os.getpid()
        found = names([own, pid, 2**22 + 1])
        os.waitpid(pid, 0)
        self.assertEqual([own], [each for each, _ in found])
        self.assertTrue(found[0][1])

    def test_told(self) -> None:
        """
        A few are named, whatever they call themselves.
        """
        self.assertEqual("", told([]))
        self.assertEqual("ended 1 process that the program had left running: a?b (pid 7)", told([(7, "a\nb")]))
        text = told([(number, "x" * 100) for number in range(1000)])
        self.assertIn("1000 processes", text)
        self.assertTrue(text.endswith("(pid 4) and 995 more"), text)
        self.assertLess(len(text), 400)
