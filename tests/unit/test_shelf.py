"""
Tests of what is known of containers on disk.
"""

import builtins
import os
import resource
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from shutil import rmtree

import msgspec
from twisted.trial.unittest import SynchronousTestCase

from core0.containers.request import Mount, Request
from core0.containers.runtime import Runtime
from core0.containers.shelf import Life, Phase, Record, Shelf
from core0.corex_settings import Limits
from tests.faults import STORAGE, Fault, below


def record(number: int) -> Record:
    """
    Of a container with everything.
    """
    request = Request(
        plist="/x", env={"A": "b"}, mounts=[Mount("/a", "/b", True)], limits=Limits(memory=1 << 30, cpu=0.5)
    )
    return Record(
        number=number,
        slot=3,
        secret="#abc",
        boot="boot",
        runtime=Runtime("/usr/bin/crun", "crun", True),
        request=request,
        phase=Phase.LIVE,
        started=1,
        init=Life(10, 20),
        corex=Life(11, 21),
    )


class ShelfTests(SynchronousTestCase):
    """
    Records and numbers.
    """

    def setUp(self) -> None:
        """
        An empty folder.
        """
        self.folder = Path(tempfile.mkdtemp())
        self.addCleanup(rmtree, self.folder)
        self.shelf = Shelf(str(self.folder))

    def test_kept(self) -> None:
        """
        A record is read as it was saved, in the order of the numbers.
        """
        for number in (10, 2):
            self.shelf.make(record(number))
        self.assertEqual([record(2), record(10)], self.shelf.find().records)

    def test_none(self) -> None:
        """
        A host that never had containers has none.
        """
        self.assertEqual([], self.shelf.find().records)

    def test_numbers(self) -> None:
        """
        Numbers rise, also after all containers are gone and core0 was started again.
        """
        self.assertEqual([1, 2], [self.shelf.next_number() for _ in range(2)])
        self.shelf.make(record(7))
        self.assertEqual(8, Shelf(str(self.folder)).next_number())
        self.shelf.remove(7)
        self.assertEqual(9, Shelf(str(self.folder)).next_number())

    def test_numbers_at_once(self) -> None:
        """
        Of many who ask at once each gets a number of his own.
        """
        with ThreadPoolExecutor(8) as pool:
            numbers = list(pool.map(lambda _: self.shelf.next_number(), range(200)))
        self.assertEqual(list(range(1, 201)), sorted(numbers))

    def test_unreadable(self) -> None:
        """
        A record that says nothing is left where it is, and the container, which may live, is told by its number.
        """
        other = msgspec.json.encode(msgspec.structs.replace(record(4), version=2)).decode()
        texts = {1: "", 2: '{"number": 2', 3: "[]", 4: other, 5: msgspec.json.encode(record(6)).decode()}
        for number, text in texts.items():
            self.shelf.make(record(number))
            (self.folder / str(number) / "container.json").write_text(text)
        self.shelf.make(record(7))
        self.assertEqual([record(7)], self.shelf.find().records)
        found = self.shelf.find()
        self.assertEqual(([1, 2, 3, 4, 5], {}, ""), (found.corrupt, found.unread, found.unknown))
        self.assertEqual(8, self.shelf.next_number())

    def test_never_begun(self) -> None:
        """
        A folder without a record, or with half of one, is removed, and its number is not used again.
        """
        (self.folder / "3").mkdir()
        (self.folder / "4").mkdir()
        (self.folder / "4" / "container.json.new").write_text("{")
        self.shelf.next_number()
        found = self.shelf.find()
        self.assertEqual(([], [], {}), (found.records, found.corrupt, found.unread))
        self.assertEqual(["last"], os.listdir(self.folder))
        self.assertEqual(6, self.shelf.next_number())

    def test_lost(self) -> None:
        """
        Where a record is gone, but something of its container is there, that may live, and is left for who ends it.
        """
        place = Path(self.shelf.make(record(4)))
        (place / "upper").mkdir()
        (place / "container.json").unlink()
        found = self.shelf.find()
        self.assertEqual(([], [4], {}), (found.records, found.corrupt, found.unread))
        self.assertTrue((place / "upper").exists())

    def test_not_now(self) -> None:
        """
        Where a record or the folder cannot be read for now that is told, nothing is removed, and others are read.
        """
        place = Path(self.shelf.make(record(1)))
        self.shelf.make(record(2))
        (place / "container.json").unlink()
        (place / "container.json").mkdir()
        found = self.shelf.find()
        self.assertEqual(([record(2)], [], ""), (found.records, found.corrupt, found.unlisted))
        self.assertEqual({1: f"{place}/container.json: Is a directory"}, found.unread)
        self.assertEqual([2, 1], found.numbers)
        self.assertTrue(place.exists())
        limits = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (0, limits[1]))
        try:
            found = self.shelf.find()
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, limits)
        self.assertEqual((f"{self.folder}: Too many open files", None), (found.unknown, found.numbers))

    def test_faults(self) -> None:
        """
        Whatever fails while records are read, none is taken for broken, and none is removed.
        """
        for number in (1, 2):
            self.shelf.make(record(number))
        for error in (*STORAGE, MemoryError()):
            fault = Fault(self, builtins, "open", error, first=2, times=1, where=below(self.folder))
            found = self.shelf.find()
            fault.mend()
            self.assertEqual((1, [record(1)], [], [2]), (fault.failed, found.records, found.corrupt, [*found.unread]))
            self.assertEqual([record(1), record(2)], self.shelf.find().records)

    def test_cannot_be_written(self) -> None:
        """
        Whichever step of writing a record fails, the one before is there, or the new one, and nothing beside it.
        """
        place = self.shelf.make(record(1))
        new = msgspec.structs.replace(record(1), started=7)
        for owner, name in ((builtins, "open"), (os, "rename")):
            for error in STORAGE:
                fault = Fault(self, owner, name, error, times=1, where=below(self.folder))
                self.assertRaises(OSError, self.shelf.save, new)
                fault.mend()
                self.assertEqual((1, [record(1)]), (fault.failed, self.shelf.find().records))
                self.assertEqual(["container.json"], os.listdir(place))

    def test_numbers_lasting(self) -> None:
        """
        A number is on the disk, and so is its file's name, before anybody is given it.
        """
        synced: list[tuple[str, str]] = []
        fsync = os.fsync

        def look(fd: int) -> None:
            synced.append((os.readlink(f"/proc/self/fd/{fd}"), ",".join(sorted(os.listdir(self.folder)))))
            fsync(fd)

        self.patch(os, "fsync", look)
        self.shelf.next_number()
        self.assertEqual([(str(self.folder / "last.new"), "last.new"), (str(self.folder), "last")], synced)

    def test_emptied(self) -> None:
        """
        What a container wrote can go before all the rest, which stays known.
        """
        place = Path(self.shelf.make(record(1)))
        (place / "upper/a/b").mkdir(parents=True)
        self.shelf.empty(1)
        self.shelf.empty(2)
        self.assertEqual(["container.json"], os.listdir(place))
        self.assertEqual([record(1)], self.shelf.find().records)

    def test_removed(self) -> None:
        """
        A folder goes with all that is in it, and what links in it point to stays.
        """
        outside = self.folder / "outside"
        outside.mkdir(parents=True)
        place = Path(self.shelf.make(record(1)))
        (place / "root").symlink_to(outside)
        (place / "upper/a/b").mkdir(parents=True)
        self.shelf.remove(1)
        self.shelf.remove(1)
        self.assertEqual((False, True), (place.exists(), outside.exists()))

    def test_renamed(self) -> None:
        """
        A folder goes even if a link in it gets another name each time when it is to be removed.
        """
        place = Path(self.shelf.make(record(1)))
        (place / "root.new").symlink_to("/nowhere")
        unlink, names = os.unlink, {"root.new": "root.2", "root.2": "root"}

        def late(path: str, *, dir_fd: int | None = None) -> None:
            name = os.path.basename(path)
            if name in names:
                os.rename(place / name, place / names[name])
            unlink(path, dir_fd=dir_fd)

        self.patch(os, "unlink", late)
        self.shelf.remove(1)
        self.assertFalse(place.exists())
