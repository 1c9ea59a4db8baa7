"""
The tag of a process, from what /proc says.
"""

import os
import resource

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from core0 import procfs
from core0.jobs.tagged import RLIMIT_LOCKS, parse_tag, tag_of

LIMITS = b"""\
Limit                     Soft Limit           Hard Limit           Units     
Max open files            1024                 1048576              files     
Max locked memory         8388608              8388608              bytes     
Max file locks            %s            unlimited            locks     
Max pending signals       15426                15426                signals   
"""  # noqa: W291 # as the kernel pads it


class TagTests(SynchronousTestCase):
    """
    ``/proc/<pid>/limits``.
    """

    def test_tag(self) -> None:
        """
        The tag is the soft limit of file locks.
        """
        for tag in (1, 1 << 40 | 7, (1 << 60) + 12):
            self.assertEqual(tag, parse_tag(LIMITS % str(tag).encode()))

    def test_none(self) -> None:
        """
        A process without one, or that is gone, has the tag 0.
        """
        for text in (LIMITS % b"unlimited", b"", b"Max file locks", b"Max file locks   \n", b"Max open files 7 8"):
            self.assertEqual(0, parse_tag(text))

    def test_kernel(self) -> None:
        """
        What this process sets the kernel tells.
        """
        usual = resource.getrlimit(RLIMIT_LOCKS)
        self.addCleanup(resource.setrlimit, RLIMIT_LOCKS, usual)
        tag = 7 << 40 | 12345
        resource.setrlimit(RLIMIT_LOCKS, (tag, usual[1]))
        self.assertEqual(tag, tag_of(os.getpid()))
        self.assertIn(b"Max file locks", procfs.read("/proc/self/limits"))

    def test_gone(self) -> None:
        """
        A process that there is not has none.
        """
        self.assertEqual(0, tag_of(0))

    @given(st.binary())
    def test_any_bytes(self, text: bytes) -> None:
        """
        Whatever there is to read, it is read.
        """
        self.assertGreaterEqual(parse_tag(text), 0)
        self.assertGreaterEqual(parse_tag(b"Max file locks" + text), 0)
