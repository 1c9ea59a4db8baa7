"""
Sparse files in archives, in each format that programs write; and maps of holes that are made to do harm.
"""

import io
import os
import tarfile
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from core0.images import archive, sparse, tar_headers
from core0.images.archive import BadArchive
from core0.images.sparse import PAGE, extents, put
from tests.unit.archive_shared import BLOCK, END, ArchiveTestCase, header, padded, pax, record

SIZE = 100_000
SEGMENTS = ((0, 1024), (8192, 512), (90_112, 9888))  # the last one to the end
CONTENT = bytearray(SIZE)
for start, length in SEGMENTS:
    CONTENT[start : start + length] = bytes([start % 251 + 1]) * length
DATA = b"".join(bytes(CONTENT[start : start + length]) for start, length in SEGMENTS)
Segments = Sequence[tuple[int, int]]


def octal(number: int) -> bytes:
    """
    A number in a map of old GNU tar.
    """
    return b"%011o\0" % number


def old(segments: Segments, size: int, data: bytes, **more: Any) -> bytes:
    """
    In the format of old GNU tar.
    """
    block = bytearray(header("f", data, tarfile.GNUTYPE_SPARSE, format=tarfile.GNU_FORMAT, **more)[:BLOCK])
    pairs = [octal(start) + octal(length) for start, length in segments]
    block[386:482] = b"".join(pairs[:4]).ljust(96, b"\0")
    block[482] = len(pairs) > 4
    block[483:495] = octal(size)
    block[148:156] = b" " * 8
    block[148:156] = b"%06o\0 " % sum(block)
    maps = b""
    for place in range(4, len(pairs), 21):
        more_pairs = b"".join(pairs[place : place + 21]).ljust(504, b"\0")
        maps += more_pairs + bytes([place + 21 < len(pairs)]) + bytes(7)
    return bytes(block) + maps + padded(data)


def posix_0_0(segments: Segments, size: int, data: bytes) -> bytes:
    """
    In the first format of POSIX headers: a record for each number.
    """
    records = record("GNU.sparse.size", str(size)) + record("GNU.sparse.numblocks", str(len(segments)))
    for start, length in segments:
        records += record("GNU.sparse.offset", str(start)) + record("GNU.sparse.numbytes", str(length))
    return pax(records) + header("f", data)


def posix_0_1(segments: Segments, size: int, data: bytes) -> bytes:
    """
    In the second: all in one record, and the name elsewhere.
    """
    numbers = ",".join(f"{start},{length}" for start, length in segments)
    records = record("GNU.sparse.size", str(size)) + record("GNU.sparse.numblocks", str(len(segments)))
    records += record("GNU.sparse.map", numbers) + record("GNU.sparse.name", "f")
    return pax(records) + header("GNUSparseFile.1/f", data)


def posix_1_0(segments: Segments, size: int, data: bytes) -> bytes:
    """
    In the third: the map in front of the data.
    """
    records = record("GNU.sparse.major", "1") + record("GNU.sparse.minor", "0") + record("GNU.sparse.name", "f")
    numbers = [len(segments), *(number for segment in segments for number in segment)]
    text = b"".join(b"%d\n" % number for number in numbers)
    return pax(records + record("GNU.sparse.realsize", str(size))) + header("GNUSparseFile.1/f", padded(text) + data)


FORMATS = (old, posix_0_0, posix_0_1, posix_1_0)


class ReadingTests(ArchiveTestCase):
    """
    What is read.
    """

    def contents(self, data: bytes, piece: int = 1000) -> dict[str, bytes]:
        """
        Of all files.
        """
        found = {}
        for member in archive.read(io.BytesIO(data + END)):
            assert member.content is not None
            content = b""
            while more := member.content.read(piece):
                content += more
            self.assertEqual(member.entry.size, len(content))
            found[member.entry.path] = content
        return found

    def test_formats(self) -> None:
        """
        A sparse file is read with its holes as zeros in each format; so is what follows.
        """
        for make in FORMATS:
            for piece in (1, 700, 1 << 20) if make is old else (1 << 20,):
                found = self.contents(make(SEGMENTS, SIZE, DATA) + header("next", b"text"), piece)
                self.assertEqual({"f": bytes(CONTENT), "next": b"text"}, found, make.__name__)

    def test_end(self) -> None:
        """
        A hole may be at the end, and a segment without bytes may say where that is; a file may be nothing but a hole.
        """
        for make in FORMATS:
            self.assertEqual(
                {"f": b"x" * 512 + bytes(9488)}, self.contents(make([(0, 512), (10_000, 0)], 10_000, b"x" * 512))
            )
            self.assertEqual({"f": bytes(10_000)}, self.contents(make([(10_000, 0)], 10_000, b"")))
            self.assertEqual({"f": b""}, self.contents(make([(0, 0)], 0, b"")))

    def test_many_segments(self) -> None:
        """
        A map may go on in further blocks.
        """
        segments = [(number * 2 * BLOCK, BLOCK) for number in range(100)]
        expected = (b"x" * BLOCK + bytes(BLOCK)) * 100
        for make in FORMATS:
            self.assertEqual({"f": expected}, self.contents(make(segments, len(expected), b"x" * BLOCK * 100)))

    def test_skipped(self) -> None:
        """
        What is not read of a sparse file is skipped.
        """
        for make in FORMATS:
            found = []
            for member in archive.read(io.BytesIO(make(SEGMENTS, SIZE, DATA) + header("next") + END)):
                assert member.content is not None
                member.content.read(1500)
                found.append(member.entry.path)
            self.assertEqual(["f", "next"], found)


class HostileTests(ArchiveTestCase):
    """
    Maps that are wrong.
    """

    def test_wrong_maps(self) -> None:
        """
        Segments that overlap, go back or beyond the end, or are not what is stored, are refused.
        """
        for segments, size, words in (
            (((0, 512), (256, 512)), 2048, "expected segments in order"),
            (((1024, 512), (0, 512)), 2048, "expected segments in order"),
            (((0, 512), (1536, 512)), 2000, "expected segments in order"),
            (((0, 512),), 2048, "expected 512 bytes of data as its map says, got 1024"),
            (((0, 1024),) * 3, 2048, "expected segments in order"),
        ):
            for make in FORMATS:
                self.assert_refused(words, make(segments, size, b"x" * 1024) + END)

    def test_huge(self) -> None:
        """
        A few bytes that stand for more than all files may have together are refused before any of it is written.
        """
        for make in FORMATS[1:]:
            self.assert_refused("too large", make([(0, 512)], 1 << 50, b"x" * 512) + END)
            self.assert_refused("expected a number from 0", make([(0, 512)], 1 << 63, b"x" * 512) + END)
            self.assert_refused("too large", make([(0, 512)], 1 << 20, b"x" * 512) * 3 + END, limit=(3 << 20) - 1)
        block = bytearray(old([(0, 512)], 0, b"x" * 512))
        block[483:495] = b"\x80" + bytes(3) + (1 << 62).to_bytes(8, "big")
        block[148:156] = b" " * 8
        block[148:156] = b"%06o\0 " % sum(block[:BLOCK])
        self.assert_refused("expected a number from 0", bytes(block) + END)

    def test_too_many(self) -> None:
        """
        A map of more segments than any program writes is refused before it is in memory.
        """
        self.patch(sparse, "MAX_SEGMENTS", 100)
        segments = [(number * 2, 1) for number in range(101)]
        for make in FORMATS:
            self.assertEqual(1, len(self.entries(make(segments[:88], 1000, b"x" * 88) + END)))
            self.assert_refused("at most 100 segments", make(segments, 1000, b"x" * 101) + END)
        endless = old(segments, 1000, b"x" * 101)[: 2 * BLOCK]
        self.assert_refused("at most 100 segments", endless + endless[BLOCK:] * 10_000)

    def test_damaged(self) -> None:
        """
        Maps that are no numbers, or end too early, are refused.
        """
        major, size = record("GNU.sparse.major", "1"), record("GNU.sparse.realsize", "9")
        for records, body, words in (
            (major + size, b"x\n", "expected a whole number, got 'x'"),
            (major + size, b"3\n0\n", "expected a whole number, got '\\x00"),
            (major + size, b"300\n" * 128, "its map is cut off"),
            (major + size, b"1" * 600, "expected a whole number"),
            (major + size, b"", "its map is cut off"),
            (major + size, b"%d\n" % (1 << 40), "expected at most"),
            (major, b"0\n", "expected a whole number, got ''"),
            (record("GNU.sparse.major", "2") + size, b"0\n", "expected a sparse file in format"),
            (record("GNU.sparse.map", "1,x") + size, b"", "expected a whole number, got 'x'"),
            (record("GNU.sparse.map", "1") + size, b"", "expected pairs of numbers"),
            (record("GNU.sparse.numbytes", "1") + size, b"", "expected GNU.sparse.offset"),
        ):
            records = record("GNU.sparse.minor", "0") + records if body else records
            content = padded(body) if body else body
            self.assert_refused(words, pax(records) + header("f", content) + END)
        self.assert_refused("got one of all files", pax(size, tarfile.XGLTYPE) + header() + END)

    @given(st.lists(st.tuples(st.integers(-5, 3000), st.integers(-5, 3000)), max_size=30), st.integers(0, 5000))
    def test_any_map(self, segments: list[tuple[int, int]], size: int) -> None:
        """
        Whatever a map says, a file is exactly as long as is said, or refused.
        """
        for make in (posix_0_0, posix_0_1, posix_1_0):
            data = make(segments, size, b"x" * sum(length for _, length in segments if length > 0))
            try:
                (entry,) = self.entries(data + END)
            except BadArchive as error:
                str(error).encode()
            else:
                self.assertEqual(size, entry.size)

    def test_name(self) -> None:
        """
        The real name of a sparse file is checked like others.
        """
        records = record("GNU.sparse.map", "0,1") + record("GNU.sparse.size", "1") + record("GNU.sparse.name", "../x")
        self.assert_refused("expected a path without '..'", pax(records) + header("f", b"x") + END)
        self.assertTrue(tar_headers.SPARSE_NAME.startswith(tar_headers.SPARSE))


class HolesTests(SynchronousTestCase):
    """
    Files that are written with holes.
    """

    def setUp(self) -> None:
        """
        An empty one.
        """
        self.file = self.enterContext(tempfile.TemporaryFile())
        self.fd = self.file.fileno()

    def test_put(self) -> None:
        """
        Whole pages of zeros are left out, wherever pieces begin; the size is right though nothing is at the end.
        """
        content = b"a" * 5000 + bytes(5 * PAGE) + b"b" + bytes(3 * PAGE) + b"c" * 10 + bytes(4 * PAGE)
        for size in (PAGE, 3 * PAGE, 1000, 10_001, len(content)):
            os.ftruncate(self.fd, 0)
            for place in range(0, len(content), size):
                put(self.fd, content[place : place + size], place)
            self.file.seek(0)
            self.assertEqual(content, self.file.read())
            if size >= 3 * PAGE:
                self.assertLess(sum(length for _, length in extents(self.fd, len(content))), len(content) - 5 * PAGE)

    def test_extents(self) -> None:
        """
        Where data is is found: nowhere, everywhere, in the middle.
        """
        self.assertEqual([], list(extents(self.fd, 0)))
        os.ftruncate(self.fd, 10 * PAGE)
        self.assertEqual([], list(extents(self.fd, 10 * PAGE)))
        os.pwrite(self.fd, b"x" * PAGE, 4 * PAGE)
        self.assertEqual([(4 * PAGE, PAGE)], list(extents(self.fd, 10 * PAGE)))
        os.pwrite(self.fd, b"x" * 10 * PAGE, 0)
        self.assertEqual([(0, 10 * PAGE)], list(extents(self.fd, 10 * PAGE)))
        self.assertEqual([(0, 10 * PAGE)], list(extents(self.fd, 20 * PAGE)))

    def test_device(self) -> None:
        """
        What cannot say where it has data has it everywhere.
        """
        read, write = os.pipe()
        self.addCleanup(os.close, read)
        self.addCleanup(os.close, write)
        self.assertRaises(OSError, list, extents(read, 10))
        with Path("/proc/self/stat").open("rb") as file:
            self.assertEqual([(0, 10)], list(extents(file.fileno(), 10)))
