"""
The encodings that servers send contents in: read in pieces, so that a small body that stands for a huge one is found
out before it fills the memory or the disk.
"""

from collections.abc import Iterator
from typing import BinaryIO

import brotli  # type: ignore[import-untyped]

from core0.images.compression import CHUNK, Damaged, decompressed

ACCEPTED = "gzip, zstd, br"
_KINDS = {"": "", "gzip": "gz", "x-gzip": "gz", "zstd": "zst"}


class TooLarge(Exception):
    """
    There is more of it than was declared, or than core0 takes.
    """


def decoded(file: BinaryIO, encoding: str, limit: int) -> Iterator[bytes]:
    """
    What a body is, in pieces.

    :param encoding: as in ``Content-Encoding``; empty for none.
    :param limit: bytes of the result.
    :raises Damaged: it cannot be read, or the encoding is unknown.
    :raises TooLarge: it would be longer.
    """
    if encoding == "br":
        pieces = _brotli(file)
    elif encoding in _KINDS:
        pieces = _others(file, _KINDS[encoding])
    else:
        raise Damaged(f"the encoding {encoding[:40]!r} is unknown; core0 reads {ACCEPTED}")
    yield from _limited(pieces, limit)


def unpacked(file: BinaryIO, how: str, limit: int) -> Iterator[bytes]:
    """
    What a compressed file is, in pieces.

    :param how: as :func:`core0.images.compression.compression_of` says.
    :param limit: bytes of the result.
    :raises Damaged: it cannot be read.
    :raises TooLarge: it would be longer.
    """
    yield from _limited(_others(file, how), limit)


def _limited(pieces: Iterator[bytes], limit: int) -> Iterator[bytes]:
    left = limit
    for piece in pieces:
        left -= len(piece)
        if left < 0:
            raise TooLarge(f"expected at most {limit} bytes, there are more")
        yield piece


def _others(file: BinaryIO, kind: str) -> Iterator[bytes]:
    content = decompressed(file, kind)
    while piece := content.read(CHUNK):
        yield piece


def _brotli(file: BinaryIO) -> Iterator[bytes]:
    machine = brotli.Decompressor()
    while piece := file.read(CHUNK):
        out = b""
        while piece or out or not machine.can_accept_more_data():
            try:
                out = machine.process(piece, output_buffer_limit=CHUNK)
            except brotli.error as error:
                raise Damaged("the br data is damaged, or none") from error
            piece = b""
            if out:
                yield out
    if not machine.is_finished():
        raise Damaged("the br data is cut off")
