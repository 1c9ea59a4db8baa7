"""
Trees to directories.
"""

import os
import stat
import tempfile
from pathlib import Path
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from core0.images import attributes
from core0.images.entry import Entry, Kind
from core0.images.layout import Layout
from core0.images.removal import remove
from core0.images.store import Store
from core0.images.supplies import EMPTY
from core0.images.tree import Tree

HASH, OTHER = "1" * 64, "2" * 64
NOTHING = min(EMPTY)
TIME = 1_479_000_000


def entry(path: str, kind: Kind, **fields: Any) -> Entry:
    """
    An entry that belongs to whoever runs this.
    """
    return Entry(path, kind, **{"user": os.geteuid(), "group": os.getegid(), "mtime": TIME, **fields})


def file(path: str, **fields: Any) -> Entry:
    """
    A regular file of one byte.
    """
    return entry(path, Kind.REGULAR, **{"hash": HASH, "size": 1, "mode": 0o644, **fields})


class LayoutTests(SynchronousTestCase):
    """
    With two contents in the store.
    """

    def setUp(self) -> None:
        """
        A store.
        """
        self.folder = Path(tempfile.mkdtemp(prefix="core0-layout-"))
        self.addCleanup(remove, str(self.folder))
        self.store = Store(str(self.folder / "images"))
        self.addCleanup(self.store.close)
        for hash, content in ((HASH, b"1"), (OTHER, b"2")):
            fd = self.store.claim(hash)
            assert fd is not None
            os.write(fd, content)
            attributes.apply(fd, file("x"))
            self.store.publish(hash)
            os.close(fd)
        self.root = self.folder / "root"

    def lay_out(self, *entries: Entry) -> Layout:
        """
        Lay out a tree.
        """
        layout = Layout(self.store)
        layout.make(Tree.of(entries), str(self.root))
        return layout

    def test_links(self) -> None:
        """
        A file that is as the store's own is that file.
        """
        layout = self.lay_out(file("a"), file("b/c"))
        inode = os.stat(self.store.content(HASH)).st_ino
        self.assertEqual([inode, inode], [os.stat(self.root / path).st_ino for path in ("a", "b/c")])
        self.assertEqual({HASH}, layout.shared)

    def test_copies(self) -> None:
        """
        One that differs in owner, mode or time is a file of its own; the store's is not changed.
        """
        entries = [file("a", mode=0o755), file("b", mtime=TIME + 1), file("c", mode=0o4711)]
        if os.geteuid() == 0:
            entries.append(file("d", user=1234, group=4321, mode=0o6755))
        layout = self.lay_out(*entries)
        kept = os.stat(self.store.content(HASH))
        self.assertTrue(attributes.fits(kept, file("x")))
        for each in entries:
            found = os.stat(self.root / each.path)
            self.assertNotEqual(kept.st_ino, found.st_ino)
            self.assertTrue(attributes.fits(found, each), each.path)
            self.assertEqual(b"1", (self.root / each.path).read_bytes())
        self.assertEqual(set(), layout.shared)
        self.assertGreaterEqual(layout.size, len(entries) * 4096)

    def test_full_inodes(self) -> None:
        """
        A file that can have no more names is copied.
        """
        layout = Layout(self.store)
        self.patch(layout, "_link", lambda *arguments: False)
        layout.make(Tree.of([file("a")]), str(self.root))
        self.assertEqual(b"1", (self.root / "a").read_bytes())

    def test_empty(self) -> None:
        """
        Empty files need no content, and are never shared.
        """
        self.lay_out(*(file(name, hash=NOTHING, size=0) for name in "ab"))
        self.assertNotEqual(os.stat(self.root / "a").st_ino, os.stat(self.root / "b").st_ino)
        self.assertTrue(attributes.fits(os.stat(self.root / "a"), file("a")))

    def test_directories(self) -> None:
        """
        A directory has its own mode and time, whatever is made in it afterwards, and may be closed to its owner.
        """
        self.lay_out(
            entry("", Kind.DIRECTORY, mode=0o711, mtime=1),
            entry("a", Kind.DIRECTORY, mode=0o1777, mtime=2),
            entry("a/b", Kind.DIRECTORY, mode=0o500, mtime=3),
            file("a/b/c"),
            file("a/d"),
        )
        found = [os.stat(self.root / path) for path in ("", "a", "a/b")]
        self.assertEqual([(0o711, 1), (0o1777, 2), (0o500, 3)], [(stat.S_IMODE(s.st_mode), s.st_mtime) for s in found])
        os.chmod(self.root / "a" / "b", 0o700)

    def test_symlinks(self) -> None:
        """
        Symlinks are made as they are, and never followed.
        """
        outside = self.folder / "outside"
        outside.mkdir(mode=0o755)
        before = os.stat(outside)
        self.lay_out(
            entry("absolute", Kind.SYMLINK, target=str(outside), mtime=TIME, mode=0o777),
            entry("up", Kind.SYMLINK, target="../../..", mtime=TIME),
            entry("zz", Kind.SYMLINK, target="\udcff", mtime=TIME),
        )
        self.assertEqual(str(outside), os.readlink(self.root / "absolute"))
        self.assertEqual(b"\xff", os.readlink(os.fsencode(self.root) + b"/zz"))
        self.assertEqual(TIME, os.lstat(self.root / "up").st_mtime)
        self.assertEqual(before, os.stat(outside))
        self.assertEqual([], list(outside.iterdir()))

    def test_special(self) -> None:
        """
        A FIFO is made; devices and sockets are left out.
        """
        self.lay_out(
            entry("block", Kind.BLOCK, device=(8, 0)),
            entry("fifo", Kind.FIFO, mode=0o622, mtime=TIME),
            entry("null", Kind.CHARACTER, device=(1, 3)),
            entry("socket", Kind.SOCKET),
        )
        self.assertEqual(["fifo"], os.listdir(self.root))
        found = os.stat(self.root / "fifo")
        self.assertEqual((True, 0o622, TIME), (stat.S_ISFIFO(found.st_mode), found.st_mode & 0o7777, found.st_mtime))

    def test_odd_names(self) -> None:
        """
        Names may be any bytes, and directories as deep as paths may be long.
        """
        deep = "/".join(["d"] * 1000)
        self.lay_out(file("\udcff\n|"), file(f"{deep}/x", hash=OTHER))
        self.assertIn(b"\xff\n|", os.listdir(os.fsencode(self.root)))
        self.assertEqual(b"2", (self.root / deep / "x").read_bytes())

    def test_missing(self) -> None:
        """
        Without a content nothing is made up.
        """
        self.assertRaises(FileNotFoundError, self.lay_out, file("a", hash="3" * 64))
