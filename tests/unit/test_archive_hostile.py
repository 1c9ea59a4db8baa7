"""
Archives that are damaged, or made to do harm.
"""

import gzip
import hashlib
import io
import lzma
import tarfile
import tracemalloc
import zlib

import zstandard
from hypothesis import given
from hypothesis import strategies as st

from core0.images import archive, compression, tar_headers
from core0.images.archive import BadArchive
from core0.images.names import MAX_ID
from core0.images.tree import BadTree
from tests.unit.archive_shared import (
    BLOCK,
    COMPRESS,
    END,
    ArchiveTestCase,
    header,
    pax,
    record,
)


class HostileTests(ArchiveTestCase):
    """
    What is no archive of a root file system.
    """

    def test_names(self) -> None:
        """
        Names that lead out, or cannot be, are refused, those of hard links, too.
        """
        for name, words in (
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

    def test_other_types(self) -> None:
        """
        What is none of the things that a root file system has is refused.
        """
        self.assert_refused("expected a file, a link, a directory, a device or a FIFO", header(type=b"Z") + END)
        self.assert_refused("a part of an archive in several volumes", header(type=b"M") + END)
        volume = pax(record("GNU.volume.filename", "x") + record("GNU.volume.offset", "5"), tarfile.XGLTYPE)
        self.assert_refused("a part of an archive in several volumes", volume + header() + END)

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
            self.assertEqual(2, len(self.entries(compress(data), limit=10_000_000)))

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
        self.assertEqual(1, len(self.entries(bytes(compressed))))
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
            self.entries(bytes(changed))
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
        except (BadArchive, BadTree) as error:
            str(error).encode()
