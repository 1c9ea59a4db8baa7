"""
One core0 for one state directory.
"""

import errno
import fcntl
import os
import shutil
import tempfile
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from core0.errors import AlreadyRunning
from core0.lock import Lock
from tests.faults import Fault, os_error


class LockTests(SynchronousTestCase):
    """
    A lock in a folder of its own.
    """

    def setUp(self) -> None:
        """
        A folder that is gone afterwards.
        """
        folder = Path(tempfile.mkdtemp(prefix="core0-lock-"))
        self.addCleanup(shutil.rmtree, folder)
        self.path = folder / "core0.lock"

    def take(self) -> Lock:
        """
        Take it.
        """
        lock = Lock(str(self.path))
        lock.take()
        self.addCleanup(lock.release)
        return lock

    def test_free(self) -> None:
        """
        It is taken where nobody holds it, and its file is the owner's alone.
        """
        self.take()
        self.assertEqual(0o600, self.path.stat().st_mode & 0o777)

    def test_held(self) -> None:
        """
        Whoever comes second learns who holds it, and does not change what that one said.
        """
        self.take().say("process 7, listening at /run/r.sock")
        for _ in range(2):
            error = self.assertRaises(AlreadyRunning, self.take)
            self.assertEqual("core0 runs already: process 7, listening at /run/r.sock", str(error))

    def test_file_removed(self) -> None:
        """
        With its folder it is held also when its file was removed, or another one is in its place; given up it is free.
        """
        lock = Lock(str(self.path), folder=True)
        lock.take()
        for _ in range(2):
            self.path.unlink()
            self.assertRaises(AlreadyRunning, Lock(str(self.path), folder=True).take)
        lock.release()
        again = Lock(str(self.path), folder=True)
        again.take()
        again.release()

    def test_held_by_somebody_silent(self) -> None:
        """
        It is held even if its holder has not said who it is yet.
        """
        self.take()
        self.assertIn("does not say", str(self.assertRaises(AlreadyRunning, self.take)))

    def test_says_again(self) -> None:
        """
        What is said last counts, also if it is shorter.
        """
        lock = self.take()
        lock.say("something long")
        lock.say("short")
        self.assertEqual("short\n", self.path.read_text())

    def test_left(self) -> None:
        """
        A file that one who died has left holds nothing.
        """
        self.path.write_text("process 7\n")
        self.take()

    def test_released(self) -> None:
        """
        What was given up can be taken again, and says nothing any more; giving it up twice does no harm.
        """
        lock = self.take()
        lock.say("process 7")
        lock.release()
        lock.release()
        self.assertEqual("", self.path.read_text())
        self.take()

    def test_disk_fails(self) -> None:
        """
        What cannot be written to is held and given up all the same; what cannot be locked leaves nothing open.
        """
        lock = self.take()
        faults = [Fault(self, os, name, os_error(errno.EIO)) for name in ("pwrite", "ftruncate")]
        lock.say("somewhere")
        lock.release()
        for fault in faults:
            fault.mend()
        before = len(os.listdir("/proc/self/fd"))
        unlocked = Fault(self, fcntl, "flock", os_error(errno.ENOLCK), times=1)
        self.assertRaises(OSError, self.take)
        self.assertEqual((1, before), (unlocked.failed, len(os.listdir("/proc/self/fd"))))
        self.take()

    def test_never_taken(self) -> None:
        """
        One that never had it gives nothing up.
        """
        held = self.take()
        held.say("process 7")
        other = Lock(str(self.path))
        self.assertRaises(AlreadyRunning, other.take)
        other.release()
        self.assertEqual("process 7\n", self.path.read_text())

    def test_through_a_fork(self) -> None:
        """
        It is held for as long as a process has it that came of the holder: twistd goes into the background by forking.
        """
        lock = self.take()
        reader, writer = os.pipe()
        inherited = [(os.POSIX_SPAWN_DUP2, reader, 0), (os.POSIX_SPAWN_DUP2, lock._fd, 9)]
        child = os.posix_spawn("/bin/cat", ["cat"], {}, file_actions=inherited)
        os.close(reader)
        os.close(lock._fd)
        lock._fd = -1
        self.assertRaises(AlreadyRunning, self.take)
        os.close(writer)
        os.waitpid(child, 0)
        self.take()

    def test_not_inherited_by_programs(self) -> None:
        """
        No program that is started keeps it.
        """
        self.assertFalse(os.get_inheritable(self.take()._fd))

    def test_no_folder(self) -> None:
        """
        Where the file cannot be made there is an error.
        """
        self.assertRaises(FileNotFoundError, Lock(str(self.path.parent / "none" / "lock")).take)

    def test_no_leak(self) -> None:
        """
        Trying in vain leaves nothing open.
        """
        self.take()
        before = len(os.listdir("/proc/self/fd"))
        for _ in range(5):
            self.assertRaises(AlreadyRunning, self.take)
        self.assertEqual(before, len(os.listdir("/proc/self/fd")))
