"""
Sparse files: where the data of one is, as tar archives say it, and how one is written with its holes.

Archives have four formats for that: that of old GNU tar, in the header and blocks after it, and three in records of
POSIX headers, of which the third (1.0, bsdtar's) keeps the map in front of the data.
"""

import os
import re
import tarfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from errno import EINVAL, ENXIO

from core0.images.tar_headers import BLOCK, SPARSE, SPARSE_MAP, BadHeader
from core0.messages import shown

MAX_SEGMENTS = 1 << 18  # of one file
OLD_MAP, OLD_MORE, OLD_SIZE = slice(386, 482), 482, slice(483, 495)  # in a header of old GNU tar
MORE_MAP, MORE_MORE = slice(0, 504), 504  # in a block of its map
FIELD = 12  # bytes of a number in such a map
PAGE = 4096  # bytes: the smallest hole that is worth one
_DIGITS = 20  # of a number, at most
_NUMBER = re.compile(r"[0-9]{1,20}", re.ASCII)
_EMPTY = bytes(PAGE)

Segment = tuple[int, int]  # where it begins in the file, and its length in bytes
Take = Callable[[int], bytes]


@dataclass(frozen=True, slots=True)
class Sparse:
    """
    :ivar size: of the file, holes included.
    :ivar stored: bytes of data that the archive has.
    :ivar segments: of data, in order; everything else is zeros.
    """

    size: int
    stored: int
    segments: Sequence[Segment]


def of_header(block: bytes, stored: int, take: Take) -> Sparse:
    """
    In the format of old GNU tar.

    :param block: the header.
    :param take: reads on; the rest of the map follows the header.
    :raises BadHeader: the map is wrong.
    :raises tarfile.HeaderError: something in it is no number.
    """
    numbers, more = list(_fields(block[OLD_MAP])), block[OLD_MORE]
    while more:
        block_of_map = take(BLOCK)
        numbers += _fields(block_of_map[MORE_MAP])
        more = block_of_map[MORE_MORE]
        _check_count(len(numbers) // 2)
    return _checked(tarfile.nti(block[OLD_SIZE]), stored, numbers)  # type: ignore[attr-defined]


def of_records(words: Mapping[str, str], stored: int, take: Take) -> Sparse | None:
    """
    In one of the formats of POSIX headers; None if they say nothing of holes.

    :param take: reads on; the map may be in front of the data.
    :raises BadHeader: the map is wrong.
    """
    if not any(key.startswith(SPARSE) for key in words):
        return None
    version = words.get(f"{SPARSE}major", "0"), words.get(f"{SPARSE}minor", "0")
    size = words.get(f"{SPARSE}realsize") or words.get(f"{SPARSE}size", "")
    if version == ("1", "0"):
        numbers, length = _in_data(stored, take)
        return _checked(_number(size), stored - length, numbers)
    if version[0] != "0":
        raise BadHeader(f"expected a sparse file in format 0.0, 0.1 or 1.0, got {shown('.'.join(version))}")
    given = words.get(SPARSE_MAP, "")
    return _checked(_number(size), stored, [_number(number) for number in given.split(",")] if given else [])


def _fields(octets: bytes) -> Iterator[int]:
    for place in range(0, len(octets) - FIELD + 1, FIELD):
        yield tarfile.nti(octets[place : place + FIELD])  # type: ignore[attr-defined]


def _in_data(stored: int, take: Take) -> tuple[list[int], int]:
    """
    Lines of numbers: how many segments there are, then of each where it begins, and its length.

    :returns: the numbers of the segments, and the bytes of whole blocks that hold them.
    """
    numbers: list[int] = []
    rest, length = b"", 0
    while not numbers or len(numbers) <= 2 * numbers[0]:
        if len(rest) > _DIGITS:
            raise BadHeader(
                f"sparse file: expected a whole number, got {shown(rest[:_DIGITS].decode('ascii', 'replace'))}"
            )
        length += BLOCK
        if length > stored:
            raise BadHeader("sparse file: its map is cut off")
        *lines, rest = (rest + take(BLOCK)).split(b"\n")
        numbers += [_number(line.decode("ascii", "replace")) for line in lines]
        _check_count(numbers[0] if numbers else 0)
    return numbers[1 : 1 + 2 * numbers[0]], length


def _number(text: str) -> int:
    if _NUMBER.fullmatch(text) is None:
        raise BadHeader(f"sparse file: expected a whole number, got {shown(text)}")
    return int(text)


def _check_count(count: int) -> None:
    if count > MAX_SEGMENTS:
        raise BadHeader(f"sparse file: expected at most {MAX_SEGMENTS} segments, got {count}")


def _checked(size: int, stored: int, numbers: Sequence[int]) -> Sparse:
    """
    :raises BadHeader: segments overlap, are out of order or beyond the end, or are not what is stored.
    """
    if len(numbers) % 2:
        raise BadHeader(f"sparse file: expected pairs of numbers, got {len(numbers)} of them")
    _check_count(len(numbers) // 2)
    segments: list[Segment] = []
    end = total = 0
    for start, length in zip(numbers[::2], numbers[1::2], strict=True):
        if not length:
            continue  # such as the last one, which says where the end is
        if start < end or length < 0 or start + length > size:
            text = f"expected segments in order, below {size}; got {length} bytes at {start}, after {end}"
            raise BadHeader(f"sparse file: {text}")
        end = start + length
        total += length
        segments.append((start, length))
    if total != stored:
        raise BadHeader(f"sparse file: expected {total} bytes of data as its map says, got {stored}")
    return Sparse(size, stored, segments)


def put(fd: int, data: bytes, offset: int) -> None:
    """
    Write all of it at a place of a file that has nothing there yet, but leave holes where pages would be zeros only.

    :raises OSError: it cannot be written.
    """
    end = offset + len(data)
    for start, stop in _runs(data, -offset % PAGE):
        _write_at(fd, memoryview(data)[start:stop], offset + start)
        written = offset + stop
        if written == end:
            return
    if data and os.fstat(fd).st_size < end:
        os.ftruncate(fd, end)


def _runs(data: bytes, first: int) -> Iterator[tuple[int, int]]:
    """
    The parts of it in pages that are not zeros only; of a page at either end there may be a part.

    :param first: where the first whole page begins.
    """
    start = place = 0
    end = min(first, len(data)) or min(PAGE, len(data))
    while place < end:
        if data[place:end] == (_EMPTY if end - place == PAGE else bytes(end - place)):
            if start < place:
                yield start, place
            start = end
        place, end = end, min(end + PAGE, len(data))
    if start < len(data):
        yield start, len(data)


def _write_at(fd: int, data: memoryview, offset: int) -> None:
    while data:
        count = os.pwrite(fd, data, offset)
        data, offset = data[count:], offset + count


def extents(fd: int, size: int) -> Iterator[Segment]:
    """
    Where a file has data, as far as its file system knows of holes.

    :raises OSError: it cannot be read.
    """
    end = 0
    while end < size:
        try:
            start = os.lseek(fd, end, os.SEEK_DATA)
        except OSError as error:
            if error.errno == ENXIO:  # a hole up to the end
                return
            if error.errno != EINVAL:
                raise
            yield end, size - end
            return
        if start >= size:
            return
        end = min(os.lseek(fd, start, os.SEEK_HOLE), size)
        yield start, end - start
