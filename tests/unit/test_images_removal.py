"""
Removing trees.
"""

import os
import tempfile
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from core0.images.removal import remove


class RemoveTests(SynchronousTestCase):
    """
    Below a folder of their own.
    """

    def setUp(self) -> None:
        """
        A folder.
        """
        self.folder = Path(tempfile.mkdtemp(prefix="core0-removal-"))
        self.addCleanup(self.folder.rmdir)

    def test_deep(self) -> None:
        """
        A tree that is deeper than a path may be long is removed, without permissions on its directories, too.
        """
        top = self.folder / "top"
        top.mkdir()
        fd = os.open(top, os.O_RDONLY)
        for number in range(3000):
            os.mkdir("d", 0o700, dir_fd=fd)
            below = os.open("d", os.O_RDONLY, dir_fd=fd)
            if number % 100 == 0:
                os.close(os.open("f", os.O_CREAT | os.O_WRONLY, 0o000, dir_fd=fd))
                os.fchmod(fd, 0o000)
            os.close(fd)
            fd = below
        os.close(fd)
        remove(str(top))
        self.assertFalse(top.exists())

    def test_symlinks(self) -> None:
        """
        What a symlink points to stays, also where the symlink itself is what is removed.
        """
        outside = self.folder / "outside"
        outside.mkdir(mode=0o555)
        self.addCleanup(outside.rmdir)
        (self.folder / "top").mkdir()
        (self.folder / "top" / "link").symlink_to(outside)
        (self.folder / "link").symlink_to(outside)
        remove(str(self.folder / "top"))
        remove(str(self.folder / "link"))
        self.assertEqual(["outside"], os.listdir(self.folder))
        self.assertEqual(0o555, os.stat(outside).st_mode & 0o777)

    def test_files(self) -> None:
        """
        A file is removed, and what is not there is none the worse.
        """
        (self.folder / "file").touch()
        remove(str(self.folder / "file"))
        remove(str(self.folder / "file"))
        self.assertEqual([], os.listdir(self.folder))
