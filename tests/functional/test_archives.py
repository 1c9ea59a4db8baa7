"""
Archives as people have them, made by the real tar: laid out, and made into plists.
"""

import bz2
import gzip
import hashlib
import io
import json
import lzma
import os
import shutil
import subprocess
import tarfile
import tempfile
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

import zstandard
from twisted.trial.unittest import SynchronousTestCase

from core0.errors import Core0Error, Refusal
from core0.images import plist
from core0.images.build import build
from core0.images.entry import Entry, Kind
from core0.images.making import Making
from core0.images.patience import Patience
from core0.images.removal import remove
from core0.images.store import Store
from core0.images.tree import Tree
from tests.web import Web

MIB = 1 << 20
COMPRESS: Mapping[str, Callable[[bytes], bytes]] = {
    "gz": gzip.compress,
    "xz": lzma.compress,
    "zst": zstandard.ZstdCompressor().compress,
    "bz2": bz2.compress,
    "lzma": partial(lzma.compress, format=lzma.FORMAT_ALONE),
}
SPARSE = (["--format=gnu"], *([f"--sparse-version={version}", "--format=posix"] for version in ("0.0", "0.1", "1.0")))


class ArchivesTestCase(SynchronousTestCase):
    """
    A folder to make archives of, and a store.
    """

    def setUp(self) -> None:
        """
        Empty ones.
        """
        self.folder = Path(tempfile.mkdtemp(prefix="core0-archives-"))
        self.addCleanup(remove, str(self.folder))
        self.store = Store(str(self.folder / "images"))
        self.addCleanup(self.store.close)
        self.making = Making(self.store, Patience(tries=1, wait=0.01), lambda text: None)
        self.source = self.folder / "source"
        self.source.mkdir()

    def write(self, files: Mapping[str, str]) -> None:
        """
        Put files into the folder, in place of others.
        """
        shutil.rmtree(self.source)
        for name, content in files.items():
            path = self.source / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(content)

    def tar(self, *options: str | Path, name: str = "x.tar") -> Path:
        """
        Have tar do something with an archive, in the folder.
        """
        archive = self.folder / name
        subprocess.run(["tar", "-f", archive, "-C", self.source, *options], check=True, stderr=subprocess.PIPE)
        return archive

    def made(self, source: Path | str) -> Path:
        """
        Have a root file system.
        """
        digest, complaint = self.making.root(str(source), "", str(self.folder / "hold"))
        self.assertEqual("", complaint)
        return Path(self.store.root(digest))

    def built(self, source: Path) -> dict[str, Entry]:
        """
        Make a plist.
        """
        path = self.folder / "x.plist"
        build(str(source), str(self.folder / "store"), str(path), lambda files, size: None)
        with path.open("rb") as file:
            return {entry.path: entry for entry in Tree.of(plist.parse(plist.lines(file))).entries}

    def refused(self, source: Path | str, code: int = 400) -> str:
        """
        Why there is no root file system of it.
        """
        refusal = self.assertRaises(Refusal, self.making.root, str(source), "", str(self.folder / "hold"))
        self.assertEqual(code, refusal.code, str(refusal))
        self.assertIn("arguments.plist: ", str(refusal))
        return str(refusal)

    def content(self, entry: Entry) -> Path:
        """
        In the store of a plist.
        """
        return self.folder / "store" / entry.hash


class RepeatedTests(ArchivesTestCase):
    """
    Archives that were added to.
    """

    def test_appended(self) -> None:
        """
        Of what is there several times the last one counts, and folders merge, just as where tar unpacks it.
        """
        self.write({"etc/a": "old", "etc/b": "b", "bin/sh": "sh", "lib/x": "x"})
        self.tar("-c", ".")
        self.write({"etc/a": "newer", "etc/c/d": "d"})
        (self.source / "bin").mkdir()
        (self.source / "bin/more").symlink_to("sh")
        self.tar("-r", ".")
        archive = self.tar("-r", "./etc/a")
        (self.folder / "unpacked").mkdir()
        subprocess.run(["tar", "-xf", archive, "-C", self.folder / "unpacked"], check=True)
        expected = {path.relative_to(self.folder / "unpacked") for path in (self.folder / "unpacked").rglob("*")}
        root = self.made(archive)
        self.assertEqual(expected, {path.relative_to(root) for path in root.rglob("*")})
        self.assertEqual("newer", (root / "etc/a").read_text())
        self.assertEqual(5, self.built(archive)["etc/a"].size)

    def test_below_symlink(self) -> None:
        """
        What was added below a symlink to a folder is in that folder; nothing is ever written outside of the root.
        """
        self.write({"usr/bin/sh": "sh"})
        (self.source / "bin").symlink_to("usr/bin")
        outside = self.folder / "outside"
        outside.mkdir()
        (self.source / "out").symlink_to(outside)
        self.tar("-c", ".")
        self.write({"bin/more": "more", "out/x": "x"})
        root = self.made(self.tar("-r", "bin/more", "out/x"))
        self.assertEqual(["more", "sh"], sorted(os.listdir(root / "usr/bin")))
        self.assertEqual([], os.listdir(outside))
        self.assertEqual("x", (root / str(outside).lstrip("/") / "x").read_text())

    def test_absolute(self) -> None:
        """
        Absolute names, targets of hard links too, and a volume label: as ``tar -P`` and ``tar -V`` write them.
        """
        self.write({"d/f": "text"})
        os.link(self.source / "d/f", self.source / "d/g")
        archive = self.tar("-c", "-P", "-V", "a label", self.source)
        root = self.made(archive)
        self.assertEqual("text", (root / str(self.source).lstrip("/") / "d/g").read_text())
        self.assertFalse((root / "a label").exists())

    def test_volumes(self) -> None:
        """
        A part of an archive in several volumes is told as that.
        """
        self.write({"large": "x" * 300_000})
        self.tar("-c", "-M", "-L", "150", "-F", f"echo {self.folder}/second.tar >&$TAR_FD", ".")
        self.assertIn("several volumes", self.refused(self.folder / "second.tar"))


class SparseTests(ArchivesTestCase):
    """
    Files with holes.
    """

    def sparse(self) -> str:
        """
        Have one: 64 MiB, of which a few pages are there.

        :returns: its hash.
        """
        with (self.source / "sparse").open("wb") as file:
            for place in (0, 20 * MIB, 40 * MIB):
                file.seek(place)
                file.write(b"data" * 2000)
            file.truncate(64 * MIB)
        (self.source / "after").write_text("text")
        return hashlib.sha256((self.source / "sparse").read_bytes()).hexdigest()

    def assert_holes(self, path: Path) -> None:
        """
        They are still there.
        """
        found = path.stat()
        self.assertEqual(64 * MIB, found.st_size)
        self.assertLess(found.st_blocks * 512, MIB)

    def test_formats(self) -> None:
        """
        In each format of sparse archives, holes are holes in the store, in the root file system, and in what a plist is
        made of.
        """
        digest = self.sparse()
        for options in SPARSE:
            archive = self.tar("-c", "-S", *options, ".")
            self.assertLess(archive.stat().st_size, MIB)
            root = self.made(archive)
            self.assertEqual(digest, hashlib.sha256((root / "sparse").read_bytes()).hexdigest(), options)
            self.assertEqual("text", (root / "after").read_text())
            self.assert_holes(root / "sparse")
            self.assert_holes(Path(self.store.content(digest)))
            entry = self.built(archive)["sparse"]
            self.assertEqual(digest, entry.hash)
            self.assert_holes(self.content(entry))
            shutil.rmtree(self.folder / "store")

    def test_directory(self) -> None:
        """
        Holes of a directory's files stay holes on their way through a plist, copies in other modes included.
        """
        digest = self.sparse()
        shutil.copy2(self.source / "sparse", self.source / "copy")
        (self.source / "copy").chmod(0o600)
        found = self.built(self.source)
        self.assertEqual([digest, digest], [found[name].hash for name in ("sparse", "copy")])
        self.assert_holes(self.content(found["sparse"]))
        root = self.made(self.folder / "x.plist")
        for name in ("sparse", "copy"):
            self.assert_holes(root / name)
        self.assertEqual(digest, hashlib.sha256((root / "copy").read_bytes()).hexdigest())

    def test_http(self) -> None:
        """
        Holes are made again of what a server sends.
        """
        digest = self.sparse()
        self.built(self.source)
        web = Web()
        self.addCleanup(web.close)
        web.pages["/x.plist"] = (self.folder / "x.plist").read_bytes()
        web.pages |= {f"/store/{path.name}": path.read_bytes() for path in (self.folder / "store").iterdir()}
        self.made(web.url("/x.plist"))
        self.assert_holes(Path(self.store.content(digest)))


class KindsTests(ArchivesTestCase):
    """
    What a file is, is seen from how it begins.
    """

    def test_compressed(self) -> None:
        """
        An archive is read in each compression, under whatever name: of another one, of a plist, of nothing.
        """
        self.write({"f": "text"})
        data = self.tar("-c", ".").read_bytes()
        for how, compress in COMPRESS.items():
            for name in (f"x.tar.{how}", "x.tar", "y.tgz", "rootfs", "x.plist.gz"):
                path = self.folder / f"{how}-{name}"
                path.write_bytes(compress(data))
                self.assertEqual("text", (self.made(path) / "f").read_text(), path.name)
                self.assertEqual(4, self.built(path)["f"].size, path.name)

    def test_short_names(self) -> None:
        """
        Over HTTP, too, with the names that people give them.
        """
        self.write({"f": "text"})
        data = self.tar("-c", ".").read_bytes()
        web = Web()
        self.addCleanup(web.close)
        for name, how in (("txz", "xz"), ("tzst", "zst"), ("tbz2", "bz2"), ("tlz", "lzma"), ("tgz", "gz")):
            web.pages[f"/x.{name}"] = COMPRESS[how](data)
            self.assertEqual("text", (self.made(web.url(f"/x.{name}")) / "f").read_text(), name)

    def test_plist(self) -> None:
        """
        A plist may be compressed in other ways than its name says.
        """
        self.write({"f": "text"})
        self.built(self.source)
        data = (self.folder / "x.plist").read_bytes()
        for how, compress in COMPRESS.items():
            (self.folder / "y.plist.gz").write_bytes(compress(data))
            self.assertEqual("text", (self.made(self.folder / "y.plist.gz") / "f").read_text(), how)

    def test_others(self) -> None:
        """
        What is neither an archive nor a plist is named.
        """
        for content, words in (
            (b"PK\x03\x04" + bytes(100), "a zip archive"),
            (b"!<arch>\ndebian-binary   " + bytes(100), "a Debian package"),
            (b"hsqs" + bytes(100), "a squashfs image"),
            (b"QFI\xfb" + bytes(100), "a qcow2 disk image"),
            (bytes(1080) + b"\x53\xef" + bytes(100), "an image of an ext file system"),
            (b"070701" + b"0" * 104, "a cpio archive"),
            (gzip.compress(b"070701" + b"0" * 104), "a cpio archive"),
            (b"\x7fELF" + bytes(100), "a program"),
            (b"LZIP" + bytes(100), "lzip"),
            (b"\r\n<!DOCTYPE html>\n<html><body>404</body></html>", "an HTML page"),
            (b'<?xml version="1.0"?>\n<html><body>404</body></html>', "an HTML page"),
            (b'<?xml version="1.0"?>\n<Error>AccessDenied</Error>', "an XML document"),
            (b'{"schemaVersion": 2}', "JSON"),
            (b"#!/bin/sh\necho", "a script"),
            (b"Hello.\n", "plain text"),
            ("/|||\n".encode("utf-16"), "text in UTF-16"),
        ):
            for name in ("x.plist", "x.tar", "x"):
                (self.folder / name).write_bytes(content)
                text = self.refused(self.folder / name)
                self.assertIn("not an archive or plist that core0 can read: it looks like", text)
                self.assertIn(words, text)
                error = self.assertRaises(Core0Error, self.built, self.folder / name)
                self.assertIn(words, str(error))

    def test_line(self) -> None:
        """
        Of what may have been meant as a plist the line is told, too.
        """
        (self.folder / "x.plist").write_text("\nnot a plist\n")
        self.assertIn("plain text (line 2: expected 10 fields", self.refused(self.folder / "x.plist"))


class LayersTests(ArchivesTestCase):
    """
    Images in layers.
    """

    def layer(self) -> bytes:
        """
        An archive.
        """
        data = io.BytesIO()
        with tarfile.open(fileobj=data, mode="w") as archive:
            archive.addfile(tarfile.TarInfo("f"))
        return data.getvalue()

    def fill(self, files: Mapping[str, bytes]) -> None:
        """
        Have these files.
        """
        self.write(dict.fromkeys(files, ""))
        for name, content in files.items():
            (self.source / name).write_bytes(content)

    def assert_told(self, *words: str) -> None:
        """
        As an archive, and as a folder that somebody has unpacked.
        """
        archive = self.tar("-c", ".")
        for text in (
            self.refused(archive),
            str(self.assertRaises(Core0Error, self.built, archive)),
            str(self.assertRaises(Core0Error, self.built, self.source)),
        ):
            for word in words:
                self.assertIn(word, text)
        self.assertFalse((self.folder / "x.plist").exists())

    def test_docker(self) -> None:
        """
        An archive of docker save is told as that, with what to do, in the form of each of its versions.
        """
        manifest = json.dumps([{"Config": "c.json", "RepoTags": ["a:1"], "Layers": ["l/layer.tar"]}]).encode()
        for others in (
            {"repositories": b"{}", "l/layer.tar": self.layer(), "l/VERSION": b"1.0"},
            {"l/layer.tar": self.layer(), "c.json": b"{}"},
            {f"{'0' * 64}.tar": self.layer(), f"{'1' * 64}.json": b"{}"},
            {"oci-layout": b"{}", "index.json": b"{}", f"blobs/sha256/{'0' * 64}": self.layer()},
        ):
            self.fill({"manifest.json": manifest, **others})
            self.assert_told("docker save", "docker export")

    def test_oci(self) -> None:
        """
        An OCI image layout is told as that.
        """
        self.fill({"oci-layout": b"{}", "index.json": b"{}", f"blobs/sha256/{'0' * 64}": self.layer()})
        self.assert_told("OCI image layout", "umoci")

    def test_neither(self) -> None:
        """
        A root file system that happens to have such files is one.
        """
        self.fill({"manifest.json": b"{}", "etc/x": b"", "blobs/x": b"", "app/layer.tar": self.layer()})
        self.assertIs(Kind.REGULAR, self.built(self.source)["manifest.json"].kind)
        self.made(self.tar("-c", "."))
