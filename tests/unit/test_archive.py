"""
Archives of root file systems: tar, compressed or not, and what is not one.
"""

import hashlib
import io
import tarfile
from typing import Any

import zstandard

from core0.images import archive
from core0.images.entry import Entry, Kind
from core0.images.names import MAX_ID
from tests.unit.archive_shared import COMPRESS, END, FORMATS, ArchiveTestCase, header, padded, pax, record


class ReadingTests(ArchiveTestCase):
    """
    What is an archive.
    """

    def test_kinds_of_members(self) -> None:
        """
        Files, directories, links, devices and FIFOs are read with owners, permissions and times, in every format.
        """
        for format in FORMATS:
            about: dict[str, Any] = {
                "uid": 7,
                "gid": 8,
                "mtime": 9,
                "mode": 0o4755,
                "format": format,
                "uname": "u",
                "gname": "g",
            }
            data = b"".join(
                (
                    header("./", type=tarfile.DIRTYPE, **about),
                    header("./bin/", type=tarfile.DIRTYPE, **about),
                    header("./bin/f", b"text", **about),
                    header("s", type=tarfile.SYMTYPE, linkname="/bin/../f", **about),
                    header("c", type=tarfile.CHRTYPE, devmajor=1, devminor=3, **about),
                    header("b", type=tarfile.BLKTYPE, devmajor=8, devminor=0, **about),
                    header("p", type=tarfile.FIFOTYPE, **about),
                    END,
                )
            )
            common: dict[str, Any] = {"user": 7, "group": 8, "mode": 0o4755, "ctime": 9, "mtime": 9}
            digest = hashlib.sha256(b"text").hexdigest()
            self.assertEqual(
                [
                    Entry("", Kind.DIRECTORY, **common),
                    Entry("bin", Kind.DIRECTORY, **common),
                    Entry("bin/f", Kind.REGULAR, hash=digest, size=4, **common),
                    Entry("s", Kind.SYMLINK, target="/bin/../f", **common),
                    Entry("c", Kind.CHARACTER, device=(1, 3), **common),
                    Entry("b", Kind.BLOCK, device=(8, 0), **common),
                    Entry("p", Kind.FIFO, **common),
                ],
                self.entries(data),
            )

    def test_long_names(self) -> None:
        """
        Names and targets are read whole, whichever way a program writes those that have no room in a header.
        """
        name, target = "d\udcff/" * 50 + "name\n|", "é/" * 200 + "target"
        for format in (tarfile.GNU_FORMAT, tarfile.PAX_FORMAT):
            data = header(name, type=tarfile.SYMTYPE, linkname=target, format=format) + header("next") + END
            if format == tarfile.PAX_FORMAT:
                data = pax(record("path", "x" * 200) + record("linkpath", target)) + header("f", type=tarfile.SYMTYPE)
                data += header("next") + END
                self.assertEqual(["x" * 200, "next"], [entry.path for entry in self.entries(data)])
            else:
                self.assertEqual([name, "next"], [entry.path for entry in self.entries(data)])
            self.assertEqual(target, self.entries(data)[0].target)

    def test_what_posix_headers_say(self) -> None:
        """
        Size, owners and times that have no room in a header are read; the last word counts, and only for one member.
        """
        data = b"".join(
            (
                pax(record("uid", "1") + record("mtime", "5"), tarfile.XGLTYPE),
                pax(record("size", "600") + record("uid", str(MAX_ID - 1)) + record("gid", "3000000")),
                pax(record("mtime", "-1.5") + record("comment", "=\n") + record("gid", "4")),
                header("a") + padded(bytes(600)),
                pax(record("uid", "")),
                header("b", uid=2),
                header("c", uid=2),
                END,
            )
        )
        found = self.entries(data)
        self.assertEqual(
            [(MAX_ID - 1, 4, -1, 600), (2, 0, 5, 0), (1, 0, 5, 0)],
            [(entry.user, entry.group, entry.mtime, entry.size) for entry in found],
        )

    def test_hard_links(self) -> None:
        """
        A hard link is the same file, or symlink, as the member that it names.
        """
        data = header("./a", b"text", mode=0o4711) + header("s", type=tarfile.SYMTYPE, linkname="x")
        data += header("b", type=tarfile.LNKTYPE, linkname="./a", mode=0) + header(
            "c", type=tarfile.LNKTYPE, linkname="b"
        )
        data += header("t", type=tarfile.LNKTYPE, linkname="s") + END
        found = {entry.path: entry for entry in self.entries(data)}
        for name in ("b", "c"):
            self.assertEqual((found["a"].hash, 4, 0o4711), (found[name].hash, found[name].size, found[name].mode))
        self.assertEqual("x", found["t"].target)
        self.assertEqual(["a", "b"], [member.link for member in self.members(data) if member.link in ("a", "b")])

    def test_contents(self) -> None:
        """
        A content is read in pieces, ends with the file, and is skipped as far as nobody reads it.
        """
        data = header("a", b"x" * 1000) + header("b", b"y" * 513) + header("c", b"") + END
        read = []
        for member in archive.read(io.BytesIO(data)):
            assert member.content is not None
            read.append(member.content.read(600))
        self.assertEqual([b"x" * 600, b"y" * 513, b""], read)

    def test_compressed(self) -> None:
        """
        Archives are read in each compression.
        """
        data = header("a", bytes(300_000)) + END
        self.assertEqual(set(archive.KINDS), set(COMPRESS))
        for kind, compress in COMPRESS.items():
            self.assertEqual(self.entries(data), self.entries(compress(data)), kind)

    def test_several_streams(self) -> None:
        """
        Compressed files may be several, one after the other, as parallel programs write them.
        """
        data = header("a", bytes(300_000)) + END
        skippable = (0x184D2A53).to_bytes(4, "little") + (5).to_bytes(4, "little") + b"hello"
        for kind, between in (("tar.gz", b""), ("tar.xz", bytes(8)), ("tar.zst", skippable), ("tar.bz2", b"")):
            compress = COMPRESS[kind]
            parts = between + compress(data[:1000]) + between + compress(data[1000:]) + between
            parts = parts[len(between) :] if kind == "tar.xz" else parts
            self.assertEqual(self.entries(data), self.entries(parts), kind)

    def test_zstd_of_unknown_size(self) -> None:
        """
        A zstd frame need not say how much is in it, nor have a checksum.
        """
        data = header("a", hashlib.sha256(b"").digest() * 10_000) + END
        for checksum in (True, False):
            for level in (-5, 3, 19):
                machine = zstandard.ZstdCompressor(level=level, write_checksum=checksum).compressobj()
                compressed = machine.compress(data[:5000]) + machine.flush(zstandard.COMPRESSOBJ_FLUSH_BLOCK)
                compressed += machine.compress(data[5000:]) + machine.flush()
                self.assertEqual(self.entries(data), self.entries(compressed))

    def test_named(self) -> None:
        """
        The name of a file may say that it is an archive, in each form that people have for each compression.
        """
        names = "x.tar /a/x.TAR.GZ x.tgz x.tar.zst x.tzst x.tar.xz x.txz x.tar.bz2 x.tbz2 x.tbz x.tar.lzma x.tlz"
        for name in names.split():
            self.assertTrue(archive.named(name), name)
        for name in ("x.plist", "tar", "x.gz", "x.tar.gz/x", "x.xz"):
            self.assertFalse(archive.named(name), name)
