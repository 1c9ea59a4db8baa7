"""
Archives of root file systems: tar, compressed or not, and what is not one.
"""

import gzip
import hashlib
import io
import lzma
import tarfile
import tracemalloc
import zlib
from collections.abc import Callable, Mapping
from typing import Any, Literal

import zstandard
from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from core0.images import archive, compression, tar_headers
from core0.images.archive import BadArchive, Content, Member
from core0.images.entry import Entry, Kind
from core0.images.names import MAX_ID

BLOCK = tarfile.BLOCKSIZE
END = bytes(2 * BLOCK)
Format = Literal[0, 1, 2]
FORMATS: tuple[Format, ...] = (tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT)
COMPRESS: Mapping[str, Callable[[bytes], bytes]] = {
    "tar": bytes,
    "tar.gz": gzip.compress,
    "tar.xz": lzma.compress,
    "tar.zst": zstandard.ZstdCompressor(write_checksum=True).compress,
}


def header(
    name: str = "f", content: bytes = b"", type: bytes = tarfile.REGTYPE, format: Format = 1, **more: Any
) -> bytes:
    """
    A member: its headers, and its content in blocks.
    """
    info = tarfile.TarInfo(name)
    info.size, info.type = len(content), type
    for key, value in more.items():
        setattr(info, key, value)
    return info.tobuf(format, "utf-8", "surrogateescape") + padded(content)


def padded(content: bytes) -> bytes:
    """
    In whole blocks.
    """
    return content + bytes(-len(content) % BLOCK)


def pax(records: bytes, type: bytes = tarfile.XHDTYPE) -> bytes:
    """
    A header of POSIX that says this of the next member.
    """
    return header("pax", records, type)


def record(key: str, value: str) -> bytes:
    """
    One of its records.
    """
    rest = f" {key}={value}\n".encode()
    length = len(rest) + 1
    while len(f"{length}") + len(rest) != length:
        length += 1
    return f"{length}".encode() + rest


def keep(content: Content) -> str:
    """
    Hashes a content, as if to store it.
    """
    digest = hashlib.sha256()
    while data := content.read(1000):
        digest.update(data)
    return digest.hexdigest()


class ArchiveTestCase(SynchronousTestCase):
    """
    Reads archives.
    """

    def entries(self, data: bytes, kind: str = "tar", **more: Any) -> list[Entry]:
        """
        All entries of an archive.
        """
        return list(archive.stored(archive.read(io.BytesIO(data), kind, **more), keep))

    def members(self, data: bytes) -> list[Member]:
        """
        All members of an archive, their contents not read.
        """
        return list(archive.read(io.BytesIO(data), "tar"))

    def assert_refused(self, words: str, data: bytes, kind: str = "tar", **more: Any) -> None:
        """
        It is no archive, because of this.
        """
        error = self.assertRaises(BadArchive, self.entries, data, kind, **more)
        self.assertIn(words, str(error))
        str(error).encode()


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
        for member in archive.read(io.BytesIO(data), "tar"):
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
            self.assertEqual(self.entries(data), self.entries(compress(data), kind), kind)

    def test_several_streams(self) -> None:
        """
        Compressed files may be several, one after the other, as parallel programs write them.
        """
        data = header("a", bytes(300_000)) + END
        skippable = (0x184D2A53).to_bytes(4, "little") + (5).to_bytes(4, "little") + b"hello"
        for kind, between in (("tar.gz", b""), ("tar.xz", bytes(8)), ("tar.zst", skippable)):
            compress = COMPRESS[kind]
            parts = between + compress(data[:1000]) + between + compress(data[1000:]) + between
            parts = parts[len(between) :] if kind == "tar.xz" else parts
            self.assertEqual(self.entries(data), self.entries(parts, kind), kind)

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
                self.assertEqual(self.entries(data), self.entries(compressed, "tar.zst"))

    def test_kind_of(self) -> None:
        """
        What a file is, is known by its name.
        """
        for name, kind in (
            ("x.tar", "tar"),
            ("/a/x.TAR.GZ", "tar.gz"),
            ("x.tgz", "tar.gz"),
            ("x.tar.zst", "tar.zst"),
            ("x.tar.xz", "tar.xz"),
            ("x.plist", None),
            ("tar", None),
            ("x.gz", None),
            ("x.tar.bz2", None),
        ):
            self.assertEqual(kind, archive.kind_of(name))


class HostileTests(ArchiveTestCase):
    """
    What is no archive of a root file system.
    """

    def test_names(self) -> None:
        """
        Names that are absolute, lead out, or cannot be, are refused, those of hard links, too.
        """
        for name, words in (
            ("/etc/passwd", "expected a path relative to the root"),
            ("../x", "expected a path without '..'"),
            ("a/../../x", "expected a path without '..'"),
            ("x" * 256, "expected names of at most 255 bytes"),
            ("x/" * 2100, "expected at most 4096 bytes"),
        ):
            member = header(name, format=tarfile.GNU_FORMAT)
            self.assert_refused(words, member + END)
            self.assert_refused(words, pax(record("path", name)) + header() + END)
            self.assert_refused(words, pax(record("linkpath", name)) + header(type=tarfile.LNKTYPE, linkname="y") + END)
        self.assert_refused("expected a path without NUL", pax(record("path", "a\0b")) + header() + END)
        self.assert_refused("expected a path, got nothing", header("") + END)

    def test_links(self) -> None:
        """
        A hard link to what is not there yet, to a directory or to itself is refused; so is a symlink to nothing.
        """
        link = header("l", type=tarfile.LNKTYPE, linkname="d")
        self.assert_refused("expected a hard link to a member before, got 'd'", link + header("d") + END)
        self.assert_refused("expected a hard link", header("d", type=tarfile.DIRTYPE) + link + END)
        self.assert_refused("expected a hard link", header("l", type=tarfile.LNKTYPE, linkname="l") + END)
        self.assert_refused("expected the target of a symlink", header("l", type=tarfile.SYMTYPE) + END)

    def test_numbers(self) -> None:
        """
        Owners, sizes and devices that there cannot be are refused.
        """
        for about, words in (
            ({"uid": MAX_ID}, "uid: expected a number from 0"),
            ({"gid": -1}, "gid: expected a number from 0"),
            ({"size": -1}, "size: expected a number from 0"),
            ({"size": 1 << 60}, "size: expected a number from 0"),
            ({"type": tarfile.CHRTYPE, "devmajor": 4096}, "major: expected a number from 0"),
        ):
            self.assert_refused(words, header(**about, format=tarfile.GNU_FORMAT) + END)
        for key in ("size", "uid", "gid", "mtime"):
            for value in ("x", "1 ", "1_0", "9" * 400, "1e3", "nan"):
                self.assert_refused(f"{key}: expected", pax(record(key, value)) + header() + END)
        self.assert_refused("size: expected", pax(record("size", "9" * 20)) + header() + END)

    def test_sparse(self) -> None:
        """
        Files with holes are refused, in every form: a small archive could fill a disk.
        """
        self.assert_refused("make the archive without --sparse", header(type=tarfile.GNUTYPE_SPARSE) + END)
        for key in ("GNU.sparse.major", "GNU.sparse.map", "GNU.sparse.realsize", "GNU.sparse.size"):
            self.assert_refused("make the archive without --sparse", pax(record(key, "1")) + header() + END)

    def test_other_types(self) -> None:
        """
        What is none of the things that a root file system has is refused.
        """
        for type in (b"V", b"D", b"M", b"Z"):
            self.assert_refused("expected a file, a link, a directory, a device or a FIFO", header(type=type) + END)

    def test_large_headers(self) -> None:
        """
        A header that claims to be huge is refused before anything of it is read.
        """
        for type, limit in (
            (tarfile.XHDTYPE, tar_headers.MAX_RECORDS),
            (tarfile.XGLTYPE, tar_headers.MAX_RECORDS),
            (tarfile.GNUTYPE_LONGNAME, tar_headers.MAX_NAME),
            (tarfile.GNUTYPE_LONGLINK, tar_headers.MAX_NAME),
        ):
            for size in (limit + 1, 1 << 40, -1):
                self.assert_refused(
                    f"at byte 0: expected a header of at most {limit} bytes",
                    header(type=type, size=size, format=tarfile.GNU_FORMAT),
                )

    def test_endless_headers(self) -> None:
        """
        Headers about headers about headers are refused.
        """
        for one in (
            header("n", b"name\0", tarfile.GNUTYPE_LONGNAME),
            pax(record("path", "x")),
            pax(record("path", "x"), tarfile.XGLTYPE),
        ):
            self.assert_refused("expected a member after 16 headers", one * 10_000 + header() + END)

    def test_records(self) -> None:
        """
        Headers of POSIX that are damaged are refused.
        """
        for records in (
            b"x",
            b"5 a=b",
            b"0 a=b\n",
            b"99 a=b\n",
            b"6 ab\n\n",
            b"6 a=b\n6 a=bX",
            b"-6 a=b\n",
            b"6  =b\n ",
        ):
            self.assert_refused("at byte 0: expected 'length keyword=value'", pax(records) + header() + END)

    def test_damaged(self) -> None:
        """
        An archive with a damaged header is refused, wherever that is; nothing is left out silently.
        """
        good = header("a", b"text")
        bad = bytearray(header("b"))
        bad[0] ^= 1
        self.assert_refused("at byte 0: damaged, or no tar archive", bytes(bad) + good + END)
        self.assert_refused("at byte 1024: damaged, or no tar archive", good + bytes(bad) + good + END)
        self.assert_refused("at byte 0: damaged, or no tar archive", b"x" * 2000)

    def test_cut_off(self) -> None:
        """
        An archive that is cut off anywhere before its end is refused.
        """
        data = header("a", b"text" * 200) + pax(record("path", "b")) + header("b")
        for length in range(0, len(data), 100):
            self.assert_refused("cut off", data[:length])
        self.assert_refused("cut off", data)
        self.assert_refused("got the end of the archive", pax(record("path", "b")) + END)

    def test_compressed_cut_off(self) -> None:
        """
        A compressed archive that is cut off, or damaged, is refused.
        """
        data = header("a", b"".join(hashlib.sha256(bytes([i])).digest() for i in range(250)) * 3) + END
        for kind, compress in COMPRESS.items():
            if kind == "tar":
                continue
            good = compress(data)
            for length in range(0, len(good), 97):
                self.assert_refused("cut off", good[:length], kind)
            self.assert_refused("cut off", good[:-1], kind)
            self.assert_refused(" data is damaged", b"\x55" * 1000, kind)
            self.assert_refused(" data is damaged", good[:-3] + bytes([good[-3] ^ 1]) + good[-2:], kind)
            self.assert_refused(" data is damaged", good + b"x" * 100, kind)

    def test_damage_stays(self) -> None:
        """
        Who reads on after damage was found does not get an end that looks like a good one.
        """
        file = compression.decompressed(io.BytesIO(gzip.compress(bytes(100))[:-2]), "gz")
        for _ in range(3):
            self.assertRaises(compression.Damaged, file.read, 1000)

    def test_bombs(self) -> None:
        """
        A small archive that comes to more than is allowed is refused before that much is read.
        """
        data = header("a", bytes(5_000_000)) + header("b", bytes(5_000_000)) + END
        for kind, compress in COMPRESS.items():
            self.assert_refused("'b': too large", compress(data), kind, limit=9_999_999)
            self.assertEqual(2, len(self.entries(compress(data), kind, limit=10_000_000)))

    def test_small_pieces(self) -> None:
        """
        Of a bomb no more is unpacked at once than is asked for, or a piece.
        """
        for kind, compress in COMPRESS.items():
            if kind == "tar":
                continue
            bomb = io.BytesIO(compress(bytes(32 << 20)))
            tracemalloc.start()
            self.addCleanup(tracemalloc.stop)
            self.assertEqual(bytes(10), compression.decompressed(bomb, kind.removeprefix("tar.")).read(10))
            self.assertLess(tracemalloc.get_traced_memory()[1], 10 << 20, kind)  # xz has a dictionary of 8 MiB
            tracemalloc.stop()

    def test_memory(self) -> None:
        """
        What asks for more memory than any program needs is refused.
        """
        content = header("a") + END
        parameters = zstandard.ZstdCompressionParameters.from_level(1, window_log=28)
        machine = zstandard.ZstdCompressor(compression_params=parameters).compressobj()
        self.assert_refused("data is damaged", machine.compress(content) + machine.flush(), "tar.zst")
        compressed = bytearray(lzma.compress(content))
        self.assertEqual(1, len(self.entries(bytes(compressed), "tar.xz")))
        end = 12 + 4 * (compressed[12] + 1)  # of the first block's header, which ends in its checksum
        compressed[16] = 40  # 4 GiB
        compressed[end - 4 : end] = zlib.crc32(compressed[12 : end - 4]).to_bytes(4, "little")
        self.assert_refused("Memory usage limit exceeded", bytes(compressed), "tar.xz")

    def test_what_follows(self) -> None:
        """
        After the end there may be as much as tar fills up, and no more.
        """
        self.assertEqual(1, len(self.entries(header() + bytes(20 * BLOCK))))
        self.assert_refused("after the end of the archive", header() + END + bytes(archive.MAX_TRAILING + (1 << 20)))

    @given(st.data())
    def test_any_damage(self, data: st.DataObject) -> None:
        """
        Whatever is changed in an archive, it is read or refused, and nothing else happens.
        """
        good = header("a/b", b"text", format=tarfile.GNU_FORMAT) + header("x/" * 80, format=tarfile.GNU_FORMAT)
        good += pax(record("path", "é") + record("mtime", "1.5")) + header("s", type=tarfile.SYMTYPE, linkname="t")
        kind = data.draw(st.sampled_from(sorted(COMPRESS)))
        changed = bytearray(COMPRESS[kind](good + END))
        for place, value in data.draw(
            st.lists(st.tuples(st.integers(0, len(changed) - 1), st.integers(0, 255)), min_size=1, max_size=3)
        ):
            changed[place] = value
        try:
            self.entries(bytes(changed), kind)
        except BadArchive as error:
            str(error).encode()

    @given(st.binary(max_size=345), st.sampled_from(b"05LKxgS12\0"))
    def test_any_header(self, start: bytes, type: int) -> None:
        """
        Whatever is in a header with a right checksum, it is read or refused.
        """
        block = bytearray(start.ljust(BLOCK, b"\0"))
        block[148:157] = b" " * 8 + bytes([type])
        block[148:156] = b"%06o\0 " % sum(block)
        try:
            self.entries(bytes(block) + END + END)
        except BadArchive as error:
            str(error).encode()
