"""
Tests of what is known of containers on disk.
"""

import os
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from shutil import rmtree

from twisted.trial.unittest import SynchronousTestCase

from core0.containers.request import Mount, Request
from core0.containers.runtime import Runtime
from core0.containers.shelf import Life, Phase, Record, Shelf
from core0.corex_settings import Limits


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
        self.assertEqual([record(2), record(10)], self.shelf.records())

    def test_none(self) -> None:
        """
        A host that never had containers has none.
        """
        self.assertEqual([], self.shelf.records())

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

    def test_damaged(self) -> None:
        """
        What a machine that lost power has left of a record is removed, and its number is not used again.
        """
        for number, text in ((1, ""), (2, '{"number": 2'), (3, "[]")):
            self.shelf.make(record(number))
            (self.folder / str(number) / "container.json").write_text(text)
        (self.folder / "4").mkdir()
        self.assertEqual([], self.shelf.records())
        self.assertEqual([], [name for name in os.listdir(self.folder) if name.isdigit()])
        self.flushLoggedErrors()

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
