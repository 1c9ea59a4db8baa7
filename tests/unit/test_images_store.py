"""
The store of this host: what is in it, who may touch it, and what is removed.
"""

import builtins
import os
import shutil
import tempfile
from collections.abc import Iterable
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from core0.images.collect import Freed, collect, size
from core0.images.removal import remove
from core0.images.store import Store
from tests.faults import STORAGE, Fault

ONE, TWO, THREE = "1" * 64, "2" * 64, "3" * 32
A, B = "a" * 64, "b" * 64
BLOCK = 4096  # bytes; each file here takes one


class StoreTestCase(SynchronousTestCase):
    """
    Tests with a store.
    """

    def setUp(self) -> None:
        """
        A store.
        """
        self.folder = Path(tempfile.mkdtemp(prefix="core0-store-"))
        self.addCleanup(remove, str(self.folder))
        self.store = self.more()

    def more(self) -> Store:
        """
        The store, as another process has it.
        """
        store = Store(str(self.folder / "images"))
        self.addCleanup(store.close)
        return store

    def add(self, hash: str) -> None:
        """
        Have a content.
        """
        fd = self.store.claim(hash)
        assert fd is not None
        os.write(fd, b"x")
        self.store.publish(hash)
        os.close(fd)

    def add_root(self, digest: str, hashes: Iterable[str], size: int = 0, used: int = 0) -> None:
        """
        Have a root.
        """
        path = self.store.temporary("made")
        os.makedirs(os.path.join(path, "fs"))
        self.store.publish_root(digest, path, hashes, size)
        os.utime(os.path.join(os.path.dirname(self.store.root(digest)), "meta.json"), (used, used))

    def hold(self, digest: str) -> None:
        """
        Have a container use it.
        """
        folder = self.folder / "containers" / digest[:1]
        folder.mkdir(parents=True)
        self.store.hold(digest, str(folder / "root"))


class ClaimTests(StoreTestCase):
    """
    Who fetches what.
    """

    def test_one(self) -> None:
        """
        One at a time fetches a content; when it is there nobody does.
        """
        fd = self.store.claim(ONE)
        assert fd is not None
        self.assertIsNone(self.more().claim(ONE))
        self.assertIsNone(self.store.look(ONE))
        os.write(fd, b"x")
        self.store.publish(ONE)
        os.close(fd)
        self.assertIsNone(self.more().claim(ONE))
        found = self.store.look(ONE)
        assert found is not None
        self.assertEqual(1, found.st_size)

    def test_given_up(self) -> None:
        """
        When somebody gives up, or ends, another one may fetch it, and begins with nothing.
        """
        for give_up in (self.store.disclaim, lambda hash: None):
            fd = self.store.claim(ONE)
            assert fd is not None
            os.write(fd, b"half")
            give_up(ONE)
            os.close(fd)
            again = self.more().claim(ONE)
            assert again is not None
            self.assertEqual(0, os.fstat(again).st_size)
            os.close(again)

    def test_locks(self) -> None:
        """
        Whoever lays out keeps others from removing, not from laying out; whoever removes is alone.
        """
        other = self.more()
        with self.store.lock(), other.lock(wait=False) as shared, other.lock(alone=True, wait=False) as alone:
            self.assertEqual((True, False), (shared, alone))
        with self.store.lock(alone=True), other.lock(wait=False) as shared:
            self.assertFalse(shared)


class RecoveryTests(StoreTestCase):
    """
    After a crash.
    """

    def test_same_boot(self) -> None:
        """
        While the machine runs nothing is lost; what was not ready is removed.
        """
        self.store.journal.begin([ONE], [A])
        self.add(ONE)
        self.add_root(A, [ONE])
        os.makedirs(self.store.temporary("made"))
        self.store.claim(TWO)
        store = self.more()
        store.recover()
        self.assertIsNotNone(store.look(ONE))
        self.assertTrue(store.has_root(A))
        self.assertEqual([], os.listdir(self.folder / "images" / "tmp"))
        self.assertEqual(1, len(store.journal.left()))
        store.journal.end(store.journal.left())
        self.assertEqual([], store.journal.left())

    def test_other_boot(self) -> None:
        """
        After the machine was started anew, what may not have reached the disk is removed, and nothing else.
        """
        pending = self.folder / "images" / "pending"
        name = self.store.journal.begin([ONE, THREE], [A])
        for hash in (ONE, TWO, THREE):
            self.add(hash)
        self.add_root(A, [ONE])
        self.add_root(B, [TWO])
        (pending / name).rename(pending / "another.1")
        with (pending / "another.1").open("a") as file:
            file.write(f"c ../../../x\nr ..\nc {TWO}0\nhalf a li")
        self.store.recover()
        found = {hash: self.store.look(hash) is not None for hash in (ONE, TWO, THREE)}
        self.assertEqual({ONE: False, TWO: True, THREE: False}, found)
        self.assertEqual((False, True), (self.store.has_root(A), self.store.has_root(B)))
        self.assertEqual([], os.listdir(pending))


class CollectTests(StoreTestCase):
    """
    What goes.
    """

    def setUp(self) -> None:
        """
        Two roots of three contents, the older one in no use.
        """
        super().setUp()
        for hash in (ONE, TWO, THREE):
            self.add(hash)
        self.add_root(A, [ONE, TWO], size=10, used=1)
        self.add_root(B, [TWO], size=20, used=2)

    def left(self) -> tuple[set[str], set[str]]:
        """
        Contents and roots.
        """
        return (
            {hash for hash in (ONE, TWO, THREE) if self.store.look(hash)},
            set(self.store.roots()),
        )

    def test_nothing(self) -> None:
        """
        Nothing is removed that there is room for.
        """
        everything = 3 * BLOCK + 30
        self.assertEqual(everything, size(self.store))
        self.assertEqual(Freed(0, 0, 0, everything), collect(self.store, everything))

    def test_orphans_first(self) -> None:
        """
        A content that no root needs goes before any root.
        """
        self.assertEqual(Freed(0, 1, BLOCK, 2 * BLOCK + 30), collect(self.store, 2 * BLOCK + 30))
        self.assertEqual(({ONE, TWO}, {A, B}), self.left())

    def test_oldest_first(self) -> None:
        """
        Then that root goes that was used least recently, with what it alone needs.
        """
        collect(self.store, 2 * BLOCK)
        self.assertEqual(({TWO}, {B}), self.left())

    def test_used(self) -> None:
        """
        Using a root makes it the newest.
        """
        self.assertTrue(self.store.has_root(A))
        collect(self.store, 2 * BLOCK + 10)
        self.assertEqual(({ONE, TWO}, {A}), self.left())

    def test_held(self) -> None:
        """
        What a container holds stays, with what it needs, whatever the cap is.
        """
        self.hold(A)
        self.assertEqual(Freed(1, 1, BLOCK + 20, 2 * BLOCK + 10), collect(self.store, 0))
        self.assertEqual(({ONE, TWO}, {A}), self.left())
        shutil.rmtree(self.folder / "containers")
        collect(self.store, 0)
        self.assertEqual((set(), set()), self.left())
        self.assertEqual([], os.listdir(self.folder / "images" / "tmp"))

    def test_unreadable(self) -> None:
        """
        Nothing is removed as long as it cannot be known what containers hold and what roots need.
        """
        self.hold(A)
        everything = self.left()
        for error in STORAGE:
            for owner, name, place in (
                (os, "readlink", "containers/"),
                (os, "listdir", "../containers"),
                (builtins, "open", "contents"),
            ):
                fault = Fault(self, owner, name, error, where=lambda path, *_, place=place, **__: place in str(path))
                self.assertRaises(OSError, collect, self.store, 0)
                self.assertTrue(fault.failed)
                fault.mend()
                self.assertEqual(everything, self.left(), (error, name))
        (self.folder / "containers" / "file").touch()
        (self.folder / "containers" / "folder").mkdir()
        collect(self.store, 0)
        self.assertEqual(({ONE, TWO}, {A}), self.left())

    def test_jobs(self) -> None:
        """
        Nothing is removed while something is laid out.
        """
        with self.more().lock():
            self.assertIsNone(collect(self.store, 0))
        self.assertEqual(({ONE, TWO, THREE}, {A, B}), self.left())
