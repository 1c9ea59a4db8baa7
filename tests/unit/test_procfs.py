"""
What /proc says of a process.
"""

import os
import signal
import tempfile

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from core0 import procfs

NUMBERS = b" ".join(b"%d" % number for number in range(4, 53))
STATUS = b"Name:\tVmSwap\nState:\tS (sleeping)\nVmRSS:\t 123 kB\nVmSwap:\t      32 kB\nThreads:\t1\n"


class StatTests(SynchronousTestCase):
    """
    ``/proc/<pid>/stat``.
    """

    def test_names(self) -> None:
        """
        The name may hold brackets, spaces, newlines and what looks like the rest of the line.
        """
        for name in (b"bash", b"a b", b"(sd-pam)", b"a) R 1 (", b") Z 1 2 3", b"\n", b"", b"\xff)", b"x " * 7):
            found = procfs.parse_stat(b"12 (" + name + b") S " + NUMBERS + b"\n")
            assert found is not None
            self.assertEqual((b"S", b"4", b"52"), (found[0], found[1][0], found[1][-1]))

    def test_short(self) -> None:
        """
        What has no brackets or too few fields says nothing.
        """
        for text in (b"", b"12", b"12 (bash) S 1 2", b"12 (bash)", NUMBERS):
            self.assertIsNone(procfs.parse_stat(text))

    @given(st.binary())
    def test_any_bytes(self, text: bytes) -> None:
        """
        Whatever there is to read, it is read.
        """
        found = procfs.parse_stat(text)
        self.assertTrue(found is None or len(found[1]) >= 20)


class SwapTests(SynchronousTestCase):
    """
    ``/proc/<pid>/status``.
    """

    def test_swap(self) -> None:
        """
        Swap is told in kB, and counts in bytes, whatever the process calls itself.
        """
        self.assertEqual(32 * 1024, procfs.parse_swap(STATUS))

    def test_none(self) -> None:
        """
        Kernel threads, and processes that are gone, have none.
        """
        for text in (b"", b"Name:\tkthreadd\nThreads:\t1\n", b"VmSwap:", b"VmSwap:\n"):
            self.assertEqual(0, procfs.parse_swap(text))


class ReadTests(SynchronousTestCase):
    """
    Reading.
    """

    def test_gone(self) -> None:
        """
        What is not there is empty.
        """
        self.assertEqual(b"", procfs.read("/proc/0/stat"))
        self.assertEqual(b"", procfs.read("/proc"))

    def test_long(self) -> None:
        """
        A long file is read to its end.
        """
        data = os.urandom(200_000)
        with tempfile.NamedTemporaryFile() as file:
            file.write(data)
            file.flush()
            self.assertEqual(data, procfs.read(file.name))


class ProcessTests(SynchronousTestCase):
    """
    Processes of this test's own.
    """

    def test_self(self) -> None:
        """
        A process has memory, threads, some CPU time behind it and a start that stays.
        """
        found = procfs.figures(os.getpid())
        assert found is not None
        self.assertGreater(found.rss, 1 << 20)
        self.assertGreater(found.vms, found.rss)
        self.assertGreaterEqual(found.threads, 1)
        self.assertGreater(found.cpu, 0)
        again = procfs.figures(os.getpid())
        assert again is not None
        self.assertEqual(found.started, again.started)
        self.assertIn(os.getpid(), procfs.processes())

    def test_life(self) -> None:
        """
        A child is alive until it has ended; then it is there, but not alive, until it is reaped.
        """
        reader, writer = os.pipe()
        pid = os.posix_spawn("/bin/cat", ["cat"], {}, file_actions=[(os.POSIX_SPAWN_DUP2, reader, 0)])
        os.close(reader)
        try:
            self.assertTrue(procfs.alive(pid))
            self.assertIn(pid, procfs.children(os.getpid()))
        finally:
            os.kill(pid, signal.SIGKILL)
            os.close(writer)
            os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
        self.assertFalse(procfs.alive(pid))
        self.assertIn(pid, procfs.children(os.getpid()))
        os.waitpid(pid, 0)
        self.assertFalse(procfs.alive(pid))
        self.assertIsNone(procfs.figures(pid))
        self.assertEqual([], procfs.children(pid))

    def test_swapping(self) -> None:
        """
        The machine has swap or has not.
        """
        self.assertIsInstance(procfs.swapping(), bool)
