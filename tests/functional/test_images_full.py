"""
Images that would fill the disk.
"""

import gc
import gzip
import io
import os
import subprocess
import tarfile
import tempfile
from collections.abc import Iterator
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from core0.errors import Refusal
from core0.images.making import Making
from core0.images.patience import Patience
from core0.images.removal import remove
from core0.images.room import Room
from core0.images.store import CONTENTS, ROOTS, TEMPORARY, Store
from tests.functional.images_shared import plist, sha256
from tests.web import Page, Web

MIB = 1 << 20
BOMB = 512  # MiB that an archive of little more than 2 MB stands for
ROOM = 64  # MiB that may be written


class FullTests(SynchronousTestCase):
    """
    A store that has room for 64 MiB.
    """

    def setUp(self) -> None:
        """
        An empty one, and a server.
        """
        # what else happens on the disk of all tests does not matter there
        parent = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
        self.folder = Path(tempfile.mkdtemp(prefix="core0-full-", dir=parent))
        self.addCleanup(remove, str(self.folder))
        self.store = Store(str(self.folder / "images"))
        self.addCleanup(self.store.close)
        found = os.statvfs(self.folder)
        self.store.room = Room(self.store.folder, found.f_bavail * found.f_frsize - ROOM * MIB)
        self.web = Web()
        self.addCleanup(self.web.close)
        self.making = Making(self.store, Patience(tries=1, wait=0.01), lambda text: None)

    def tearDown(self) -> None:
        """
        What it leaves open, as a rule, ends with the process that does it; here the next test needs the room.
        """
        gc.collect()
        self.flushWarnings()

    def refuse(self, url: str, *words: str) -> None:
        """
        It is refused because there is no room, and nothing of it is left.
        """
        refusal = self.assertRaises(Refusal, self.making.root, url, "", str(self.folder / "hold"))
        for word in (*words, "kept free", "corectl store gc"):
            self.assertIn(word, str(refusal))
        self.assertEqual(503, refusal.code)
        for name in (CONTENTS, ROOTS, TEMPORARY):
            found = (Path(self.store.folder) / name).rglob("*")
            self.assertEqual([], [path for path in found if path.is_file() and path.stat().st_size])

    def pieces(self) -> Iterator[bytes]:
        """
        Of an archive with one file that is always the same byte: zeros would be a hole.
        """
        entry = tarfile.TarInfo("same")
        entry.size = BOMB * MIB
        yield entry.tobuf()
        same = b"x" * MIB
        for _ in range(BOMB):
            yield same
        yield bytes(tarfile.RECORDSIZE)

    def test_archive(self) -> None:
        """
        A small archive that unpacks to more than there is room for is refused long before the disk is full.
        """
        path = self.folder / "bomb.tar.gz"
        with gzip.open(path, "wb", 1) as file:
            for piece in self.pieces():
                file.write(piece)
        self.assertLess(path.stat().st_size, 16 * MIB)
        self.refuse(str(path), "arguments.plist", "cannot be laid out")

    def test_many(self) -> None:
        """
        Nor can that be got round with many small files.
        """
        path = self.folder / "many.tar"
        with tarfile.open(path, "w") as archive:
            for number in range(ROOM * 256 + 5000):
                entry = tarfile.TarInfo(str(number))
                entry.size = 6
                archive.addfile(entry, io.BytesIO(b"%06d" % number))
        self.refuse(str(path), "cannot be laid out")

    def test_download(self) -> None:
        """
        An archive or a plist that is too large as it is ends its download.
        """
        for name in ("/large.tar", "/large.plist"):
            self.web.pages[name] = Page(b"x" * ((ROOM + 40) * MIB))
            self.refuse(self.web.url(name), "cannot be stored")

    def test_packed_plist(self) -> None:
        """
        So does one that is too large once it is unpacked.
        """
        self.web.pages["/large.gz"] = gzip.compress(b"|" * ((ROOM + 40) * MIB), 1)
        self.refuse(self.web.url("/large.gz"), "cannot be laid out")

    def test_contents(self) -> None:
        """
        Contents that do not fit are not even begun.
        """
        content = bytes((ROOM + 40) * MIB)
        self.web.pages |= {"/x.plist": plist({"x": content}), f"/store/{sha256(content)}": content}
        self.refuse(self.web.url("/x.plist"), "it takes")
        self.assertEqual(0, self.web.asked[f"/store/{sha256(content)}"])

    def test_holes(self) -> None:
        """
        Holes take no room, however large they are: in an archive, and in a store of this host.
        """
        with (self.folder / "holes").open("wb") as file:
            file.truncate(2 * ROOM * MIB)
        subprocess.run(["tar", "-cSf", self.folder / "x.tar", "-C", self.folder, "holes"], check=True)
        digest, _ = self.making.root(str(self.folder / "x.tar"), "", str(self.folder / "hold"))
        made = Path(self.store.root(digest)) / "holes"
        self.assertEqual((2 * ROOM * MIB, 0), (made.stat().st_size, made.stat().st_blocks))
        content = bytes(2 * ROOM * MIB)
        (self.folder / "store").mkdir()
        (self.folder / "holes").rename(self.folder / "store" / sha256(content))
        (self.folder / "x.plist").write_bytes(plist({"x": content}))
        digest, _ = self.making.root(str(self.folder / "x.plist"), "", str(self.folder / "hold"))
        self.assertEqual(0, (Path(self.store.root(digest)) / "x").stat().st_blocks)

    def test_fits(self) -> None:
        """
        What fits is laid out.
        """
        content = bytes(20 * MIB)
        self.web.pages |= {"/x.plist": plist({"x": content}), f"/store/{sha256(content)}": content}
        digest, complaint = self.making.root(self.web.url("/x.plist"), "", str(self.folder / "hold"))
        self.assertEqual("", complaint)
        self.assertTrue(self.store.has_root(digest))
