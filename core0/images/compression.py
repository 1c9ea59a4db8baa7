"""
Reads compressed files: a little at a time, whatever they would come to.
"""

import bz2
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
LZMA_USUAL = 0x5D  # the properties that all programs use, in the first byte
LZMA_HEADER = 13  # bytes
_STARTS: Mapping[str, tuple[bytes, ...]] = {
    "gz": (b"\x1f\x8b",),
    "xz": (b"\xfd7zXZ\0",),
    "zst": (ZSTD_MAGIC.to_bytes(4, "little"),),
    # a block, or the end of an empty file, after the digit of its size
    "bz2": tuple(b"BZh%d%s" % (size, next) for size in range(1, 10) for next in (b"1AY&SY", b"\x17rE8P\x90")),
}


class Damaged(Core0Error):
    """
    What is compressed cannot be read to its end.
    """


def decompressed(file: BinaryIO, how: str) -> BinaryIO:
    """
    A file that reads as the content of a compressed one does, from where that is. It cannot be sought in, and closing
    it leaves the other open.

    :param how: one that :func:`compression_of` finds; "" for what is not compressed.
    :raises Damaged: when read: it is cut off, no such file, or wants too much memory.
    """
    return io.BufferedReader(_Chunks(_READERS[how](file), how), CHUNK) if how else file


def compression_of(head: bytes) -> str:
    """
    How a file is compressed that begins like this: ``gz``, ``zst``, ``xz``, ``bz2`` or ``lzma``; "" if it is not.
    """
    for how, starts in _STARTS.items():
        if head.startswith(starts):
            return how
    if ZSTD_SKIPPABLE.start <= int.from_bytes(head[:4], "little") < ZSTD_SKIPPABLE.stop:
        return "zst"
    return "lzma" if _is_lzma(head) else ""


def _is_lzma(head: bytes) -> bool:
    """
    It has no magic number: but the usual properties, a dictionary of 4 KiB or a larger power of two or half as much
    again, and a size that is unknown or below 1 TiB.
    """
    if len(head) < LZMA_HEADER or head[0] != LZMA_USUAL:
        return False
    dictionary, size = int.from_bytes(head[1:5], "little"), head[5:LZMA_HEADER]
    usual = dictionary >= 1 << 12 and (dictionary & (dictionary - 1) == 0 or dictionary % 3 == 0)
    return usual and (size == b"\xff" * 8 or not any(size[5:]))


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
        except (zlib.error, lzma.LZMAError, zstandard.ZstdError, OSError) as error:
            if isinstance(error, OSError) and error.errno is not None:
                raise  # of the file itself
            self._failed = Damaged(f"the {self._how} data is damaged, or none: {error}")
        raise self._failed


def _gzip(file: BinaryIO) -> Iterator[bytes]:
    with gzip.GzipFile(fileobj=file) as unpacked:
        while chunk := unpacked.read(CHUNK):
            yield chunk


def _xz(file: BinaryIO) -> Iterator[bytes]:
    yield from _streams(file, lambda: lzma.LZMADecompressor(lzma.FORMAT_XZ, MAX_DICTIONARY))


def _bz2(file: BinaryIO) -> Iterator[bytes]:
    yield from _streams(file, bz2.BZ2Decompressor)


def _lzma(file: BinaryIO) -> Iterator[bytes]:
    yield from _streams(file, lambda: lzma.LZMADecompressor(lzma.FORMAT_ALONE, MAX_DICTIONARY))


def _streams(file: BinaryIO, begin: Callable[[], "lzma.LZMADecompressor | bz2.BZ2Decompressor"]) -> Iterator[bytes]:
    """
    One compressed stream after the other; there may be zeros in between.
    """
    data = file.read(CHUNK)
    while True:
        unpacked = begin()
        while not unpacked.eof:
            if unpacked.needs_input and not data:
                data = file.read(CHUNK)
                if not data:
                    raise EOFError
            if chunk := unpacked.decompress(data, CHUNK):
                yield chunk
            data = b""
        data = unpacked.unused_data
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


_READERS: Mapping[str, Callable[[BinaryIO], Iterator[bytes]]] = {
    "gz": _gzip,
    "xz": _xz,
    "zst": _zstd,
    "bz2": _bz2,
    "lzma": _lzma,
}
