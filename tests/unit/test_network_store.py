"""
What is desired of the network, on disk, and edited by hand.
"""

import builtins
import errno
import os
import shutil
import tempfile
from pathlib import Path
from typing import Any

import msgspec
from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from core0.network import store
from core0.network.desired import Desired, decode, encode
from core0.network.store import FILE, Store
from core0.network.validity import check
from tests.faults import STORAGE, Fault, below, os_error
from tests.unit.network import ALL, BR0, MAC

# where somebody has put something else: the way to it, and what
EDITS: list[tuple[tuple[str | int, ...], Any]] = [
    (("version",), 99),
    (("bridges", 0, "name"), "../../../etc"),
    (("bridges", 0, "name"), "a\0b"),
    (("bridges", 0, "name"), "br 0"),
    (("bridges", 0, "hwaddr"), "zz"),
    (("bridges", 0, "subnet", "address"), "10.7.0.x/24"),
    (("bridges", 0, "subnet", "start"), "10.7.9.x"),
    (("bridges", 0, "subnet", "start"), "10.9.0.1"),
    (("links", 0, "bridge"), "../x"),
    (("links", 0, "hostname"), "a\nb"),
    (("links", 0, "address"), "nowhere"),
    (("links", 0, "gateway"), "nowhere"),
    (("links", 0, "hwaddr"), "--help"),
    (("links", 0, "container"), -1),
    (("links", 0, "index"), 64),
    (("links", 0, "dns"), ["nobody"]),
    (("links", 0, "domain"), "a\nnameserver 10.0.0.1"),
    (("forwards", 0, "host_port"), 99999),
    (("forwards", 0, "port"), 0),
    (("forwards", 0, "host_address"), "::1"),
    (("forwards", 0, "host_address"), "everywhere"),
    (("forwards", 0, "bridge"), '"; reboot'),
]


class StoreTests(SynchronousTestCase):
    """
    The file.
    """

    def setUp(self) -> None:
        """
        A folder for it.
        """
        self.folder = Path(tempfile.mkdtemp(prefix="core0-store-"))
        self.addCleanup(shutil.rmtree, self.folder)
        self.store = Store(str(self.folder))

    def test_kept(self) -> None:
        """
        What is saved is there again; nothing is, before anything was.
        """
        self.assertIsNone(self.store.load())
        self.store.save(ALL)
        self.assertEqual(ALL, Store(str(self.folder)).load())

    def test_back(self) -> None:
        """
        What was there before is there again without anything written, as on a disk that is full.
        """
        one = Desired(bridges=(BR0,))
        self.store.save(one)
        self.store.save(ALL)
        self.patch(os, "write", None)
        self.store.back()
        self.assertEqual(one, self.store.load())

    def test_back_to_nothing(self) -> None:
        """
        Nor is anything left of the first that was desired.
        """
        self.store.save(ALL)
        self.store.back()
        self.assertIsNone(self.store.load())
        self.assertEqual([], os.listdir(self.folder))

    def test_edited(self) -> None:
        """
        A file that somebody has edited so that it means something else than it could is put aside, whatever it says.
        """
        for way, value in EDITS:
            found = msgspec.json.decode(encode(ALL))
            place = found
            for step in way[:-1]:
                place = place[step]
            place[way[-1]] = value
            (self.folder / FILE).write_bytes(msgspec.json.encode(found))
            self.assertEqual(Desired(), self.store.load(), (way, value))
            self.assertTrue((self.folder / f"{FILE}.broken").exists(), (way, value))
            self.assertFalse((self.folder / FILE).exists())

    def test_twice(self) -> None:
        """
        The same bridge, link or port twice is none that can be made.
        """
        for field in ("bridges", "links", "forwards"):
            found = msgspec.json.decode(encode(ALL))
            found[field].append(found[field][0])
            self.assertRaises(ValueError, check, decode(msgspec.json.encode(found)))

    @given(st.binary(max_size=200) | st.just(encode(ALL)), st.integers(0, 2000), st.binary(max_size=4))
    def test_garbage(self, text: bytes, place: int, piece: bytes) -> None:
        """
        Whatever is there is a picture, or an error that says so.
        """
        try:
            check(decode(text[:place] + piece + text[place + len(piece) :]))
        except ValueError:
            pass

    def test_own(self) -> None:
        """
        What core0 writes is nothing that it would put aside.
        """
        check(decode(encode(ALL)))
        self.assertIn(MAC, encode(ALL).decode())

    def test_cannot_be_read(self) -> None:
        """
        A disk that fails, or core0 without a descriptor or memory, is no file that is broken: it stays where it is.
        """
        self.store.save(ALL)
        for error in (*STORAGE, MemoryError()):
            fault = Fault(self, builtins, "open", error, times=1, where=below(self.folder))
            self.assertRaises(OSError, self.store.load)
            fault.mend()
            self.assertEqual([FILE], os.listdir(self.folder))
            self.assertEqual((1, ALL), (fault.failed, self.store.load()))

    def test_cannot_be_put_aside(self) -> None:
        """
        A broken file that cannot be put aside is not overwritten either.
        """
        (self.folder / FILE).write_text("{")
        fault = Fault(self, os, "replace", os_error(errno.EROFS))
        self.assertRaises(OSError, self.store.load)
        fault.mend()
        self.assertEqual("{", (self.folder / FILE).read_text())
        self.assertEqual(Desired(), self.store.load())

    def test_too_large(self) -> None:
        """
        What was not read whole is not taken for broken.
        """
        self.patch(store, "LARGEST", 10)
        self.store.save(ALL)
        self.assertRaises(OSError, self.store.load)
        self.assertEqual([FILE], os.listdir(self.folder))

    def test_cannot_be_written(self) -> None:
        """
        Whichever step of writing fails: what was there before is there, or what is new, and nothing half.
        """
        before = Desired(bridges=(BR0,))
        for name in ("unlink", "link", "open", "fsync", "replace"):
            for error in STORAGE:
                self.store.save(before)
                fault = Fault(self, os, name, error, times=1)
                try:
                    self.store.save(ALL)
                except OSError:
                    pass
                fault.mend()
                self.assertEqual(1, fault.failed, name)
                self.assertIn(self.store.load(), (before, ALL), name)
