"""
Reads compressed files: a little at a time, whatever they would come to.
"""

import gzip
import io
import lzma
import zlib
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, BinaryIO

import zstandard

from core0.errors import Core0Error

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

CHUNK = 128 << 10  # bytes that are read, or come out, at once
MAX_WINDOW = 128 << 20  # bytes of memory for zstd; what its strongest level asks for
MAX_DICTIONARY = 256 << 20  # bytes of memory for xz; its strongest level asks for 65 MiB
ZSTD_MAGIC = 0xFD2FB528
ZSTD_SKIPPABLE = range(0x184D2A50, 0x184D2A60)
ZSTD_CHECKSUM = 4  # bytes
RLE, RESERVED = 1, 3  # types of blocks of zstd


class Damaged(Core0Error):
    """
    What is compressed cannot be read to its end.
    """


def decompressed(file: BinaryIO, how: str) -> BinaryIO:
    """
    A file that reads as the content of a compressed one does, from where that is. It cannot be sought in, and closing
    it leaves the other open.

    :param how: ``gz``, ``zst`` or ``xz``; "" for what is not compressed.
    :raises Damaged: when read: it is cut off, no such file, or wants too much memory.
    """
    return io.BufferedReader(_Chunks(_READERS[how](file), how), CHUNK) if how else file


class _Chunks(io.RawIOBase):
    """
    A file out of the pieces of its content.
    """

    def __init__(self, chunks: Iterator[bytes], how: str) -> None:
        self._chunks = chunks
        self._how = how
        self._rest = memoryview(b"")
        self._failed: Damaged | None = None

    def readable(self) -> bool:
        """
        It is for that.
        """
        return True

    def readinto(self, buffer: "WriteableBuffer") -> int:
        """
        :raises Damaged: it ends too early; and each time again.
        """
        if not self._rest:
            self._rest = memoryview(self._next())
        room = memoryview(buffer).cast("B")
        count = min(len(room), len(self._rest))
        room[:count] = self._rest[:count]
        self._rest = self._rest[count:]
        return count

    def _next(self) -> bytes:
        if self._failed is not None:
            raise self._failed
        try:
            return next(self._chunks, b"")
        except EOFError:
            self._failed = Damaged(f"the {self._how} data is cut off")
        except (zlib.error, gzip.BadGzipFile, lzma.LZMAError, zstandard.ZstdError) as error:
            self._failed = Damaged(f"the {self._how} data is damaged, or none: {error}")
        raise self._failed


def _gzip(file: BinaryIO) -> Iterator[bytes]:
    with gzip.GzipFile(fileobj=file) as unpacked:
        while chunk := unpacked.read(CHUNK):
            yield chunk


def _xz(file: BinaryIO) -> Iterator[bytes]:
    data = file.read(CHUNK)
    while True:
        unpacked = lzma.LZMADecompressor(lzma.FORMAT_XZ, MAX_DICTIONARY)
        while not unpacked.eof:
            if unpacked.needs_input and not data:
                data = file.read(CHUNK)
                if not data:
                    raise EOFError
            if chunk := unpacked.decompress(data, CHUNK):
                yield chunk
            data = b""
        data = unpacked.unused_data
        # there may be zeros after a stream, and then another one
        while not (data := data.lstrip(b"\0")):
            data = file.read(CHUNK)
            if not data:
                return


def _zstd(file: BinaryIO) -> Iterator[bytes]:
    while start := file.read(4):
        magic = int.from_bytes(_all(start, file, 4), "little")
        if magic in ZSTD_SKIPPABLE:
            _skip(file, int.from_bytes(_all(b"", file, 4), "little"))
        elif magic == ZSTD_MAGIC:
            yield from _zstd_frame(file, magic.to_bytes(4, "little"))
        else:
            raise zstandard.ZstdError("no frame where one should begin")


def _zstd_frame(file: BinaryIO, start: bytes) -> Iterator[bytes]:
    """
    Block by block: the library tells neither how much comes out of what is put in, nor that the end is missing.
    """
    header = _all(start, file, len(start) + 1)
    header = _all(header, file, zstandard.frame_header_size(header + bytes(14)))
    unpacked = zstandard.ZstdDecompressor(max_window_size=MAX_WINDOW).decompressobj()
    yield from _some(unpacked.decompress(header))
    last = 0
    while not last:
        block = _all(b"", file, 3)
        about = int.from_bytes(block, "little")
        last, kind, size = about & 1, about >> 1 & 3, about >> 3
        if kind == RESERVED or (kind != RLE and size > CHUNK):
            raise zstandard.ZstdError("a block of a kind that there is not")
        yield from _some(unpacked.decompress(_all(block, file, len(block) + (1 if kind == RLE else size))))
    if header[4] & ZSTD_CHECKSUM:
        yield from _some(unpacked.decompress(_all(b"", file, ZSTD_CHECKSUM)))


def _some(chunk: bytes) -> Iterator[bytes]:
    if chunk:
        yield chunk


def _all(data: bytes, file: BinaryIO, count: int) -> bytes:
    """
    As many bytes, those included that are there already.

    :raises EOFError: there are fewer.
    """
    while len(data) < count:
        more = file.read(count - len(data))
        if not more:
            raise EOFError
        data += more
    return data


def _skip(file: BinaryIO, count: int) -> None:
    while count:
        count -= len(_all(b"", file, min(count, CHUNK)))


_READERS: Mapping[str, Callable[[BinaryIO], Iterator[bytes]]] = {"gz": _gzip, "xz": _xz, "zst": _zstd}
