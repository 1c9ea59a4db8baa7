"""
What a guest keeps open when it becomes a CoreX.
"""

import os
import resource

from twisted.trial.unittest import SynchronousTestCase

from core0.guest import guest

KEPT, LOW, HIGH = 40, 41, 900
LIMIT = 100  # open files


def closed(number: int) -> bool:
    """
    Whether a descriptor is.
    """
    try:
        os.fstat(number)
    except OSError:
        return True
    return False


class DescriptorTests(SynchronousTestCase):
    """
    In a process of its own, which has nothing to lose.
    """

    def test_beyond_limit(self) -> None:
        """
        Nothing of the host stays open in a CoreX but one descriptor, not even what is beyond the limit on open files of
        its container.
        """
        pid = os.fork()
        if pid == 0:
            code = 1
            try:
                null = os.open("/dev/null", os.O_RDWR)
                for number in (KEPT, LOW, HIGH):
                    os.dup2(null, number)
                resource.setrlimit(resource.RLIMIT_NOFILE, (LIMIT, LIMIT))
                guest._close_all_but(KEPT)
                code = 0 if not closed(KEPT) and closed(LOW) and closed(HIGH) else 2
            finally:
                os._exit(code)
        self.assertEqual(0, os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
