"""
Tests of the room that is left to others on a disk.
"""

import errno
import os
import tempfile
from shutil import rmtree
from types import SimpleNamespace

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from core0.images import room
from core0.images.room import EVERY, Room

GIB = 1 << 30


class RoomTests(SynchronousTestCase):
    """
    A disk of some size.
    """

    def setUp(self) -> None:
        """
        A folder, whose disk is as large and as empty as the test says.
        """
        self.folder = tempfile.mkdtemp()
        self.addCleanup(rmtree, self.folder)
        self.looks = 0

    def disk(self, total: int, free: int) -> None:
        """
        What there is from now on.

        :param total: bytes.
        :param free: bytes.
        """

        def look(path: str) -> SimpleNamespace:
            self.assertEqual(self.folder, path)
            self.looks += 1
            return SimpleNamespace(f_frsize=4096, f_blocks=total // 4096, f_bavail=free // 4096)

        self.patch(room, "os", SimpleNamespace(statvfs=look))

    def test_reserve(self) -> None:
        """
        A twentieth is kept free, at least 1 GiB and at most 8; of a small disk a quarter.
        """
        for total, kept in ((40 * GIB, 2), (4 * GIB, 1), (10 * GIB, 1), (1000 * GIB, 8), (2 * GIB, 0.5)):
            self.disk(total, 0)
            self.assertEqual(kept * GIB, Room(self.folder).reserve, total)

    def test_real(self) -> None:
        """
        Of a real disk something is kept free, but not all of it.
        """
        found = os.statvfs(self.folder)
        self.assertTrue(0 < Room(self.folder).reserve < found.f_blocks * found.f_frsize)

    def test_full(self) -> None:
        """
        What would not leave the reserve is refused with what to do, and what leaves it is not.
        """
        self.disk(100 * GIB, 11 * GIB)
        one = Room(self.folder)
        one.take(6 * GIB)
        error = self.assertRaises(OSError, one.take, 6 * GIB + 1)
        self.assertEqual(errno.ENOSPC, error.errno)
        self.assertIn(f"{5 * GIB} kept free; 'corectl store gc --all'", str(error.strerror))
        self.disk(100 * GIB, GIB)
        self.assertEqual(0, one.free())

    @given(st.lists(st.integers(0, 4 << 20), max_size=200))
    def test_looks(self, pieces: list[int]) -> None:
        """
        However it is written, one looks after each 16 MiB, and seldom more often.
        """
        self.disk(100 * GIB, 50 * GIB)
        one = Room(self.folder, 0)
        self.looks = 0
        for piece in pieces:
            one.take(piece)
        self.assertTrue(sum(pieces) // (EVERY + (4 << 20)) <= self.looks <= sum(pieces) // EVERY)
