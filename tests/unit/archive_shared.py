"""
What tests of archives have in common: tars made by hand.
"""

import bz2
import gzip
import hashlib
import io
import lzma
import tarfile
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, Literal

import zstandard
from twisted.trial.unittest import SynchronousTestCase

from core0.images import archive
from core0.images.archive import BadArchive, Content, Member
from core0.images.entry import Entry

BLOCK = tarfile.BLOCKSIZE
END = bytes(2 * BLOCK)
Format = Literal[0, 1, 2]
FORMATS: tuple[Format, ...] = (tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT)
COMPRESS: Mapping[str, Callable[[bytes], bytes]] = {
    "tar": bytes,
    "tar.gz": gzip.compress,
    "tar.xz": lzma.compress,
    "tar.zst": zstandard.ZstdCompressor(write_checksum=True).compress,
    "tar.bz2": bz2.compress,
    "tar.lzma": partial(lzma.compress, format=lzma.FORMAT_ALONE),
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

    def entries(self, data: bytes, **more: Any) -> list[Entry]:
        """
        All entries of an archive.
        """
        return list(archive.stored(archive.read(io.BytesIO(data), **more), keep))

    def members(self, data: bytes) -> list[Member]:
        """
        All members of an archive, their contents not read.
        """
        return list(archive.read(io.BytesIO(data)))

    def assert_refused(self, words: str, data: bytes, kind: str = "", **more: Any) -> None:
        """
        It is no archive, because of this.
        """
        error = self.assertRaises(BadArchive, self.entries, data, **more)
        self.assertIn(words, str(error), kind)
        str(error).encode()
