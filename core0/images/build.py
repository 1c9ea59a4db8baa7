"""
Makes a plist, and the contents that it names, out of a directory or an archive.
"""

import gzip
import os
import secrets
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from typing import IO, BinaryIO, cast

import zstandard

from core0.errors import Core0Error
from core0.images import archive
from core0.images.deposit import Deposit, Readable, discard
from core0.images.directory import Scan
from core0.images.entry import Entry, Kind
from core0.images.head import Head
from core0.images.plist import write
from core0.images.recognition import BINARY, packaged, recognize
from core0.images.tree import Tree

ZSTD_LEVEL, GZIP_LEVEL = 12, 9
LEFT_OUT = frozenset({Kind.SOCKET, Kind.BLOCK, Kind.CHARACTER})
Progress = Callable[[int, int], None]


class CannotBuild(Core0Error):
    """
    There can be no plist of this there; the text says what to change.
    """


@dataclass(frozen=True, slots=True)
class Built:
    """
    :ivar entries: of the plist; ``files`` of them are regular files, with ``size`` bytes in all.
    :ivar new: contents that the store did not have before.
    :ivar skipped: sockets and devices, which are not in the plist.
    """

    entries: int
    files: int
    size: int
    new: int
    skipped: int


class _Tally:
    """
    How much is read, told to whoever wants to know.
    """

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._files = self._bytes = 0

    def add(self, files: int, bytes: int) -> None:
        """
        So much more.
        """
        self._files += files
        self._bytes += bytes
        self._progress(self._files, self._bytes)


class _Watched:
    """
    A content that is counted while it is read.
    """

    def __init__(self, content: Readable, tally: _Tally) -> None:
        self._content = content
        self._tally = tally

    def read(self, count: int) -> bytes:
        """
        Passed on.
        """
        data = self._content.read(count)
        self._tally.add(0, len(data))
        return data


def build(source: str, store: str, plist: str, progress: Progress) -> Built:
    """
    Make a plist. It depends on the source alone: ctime is written as mtime, and everything is in order.

    :param source: path of a directory, or of an archive, whatever its name is.
    :param store: folder for the contents, made if it is missing; what it has is not written again.
    :param plist: path of the plist, replaced when all is done; compressed if it ends in .gz or .zst.
    :param progress: called often, with the number of files and of bytes that have been read.
    :raises Core0Error: the source cannot be read, or is no root file system; says what in it.
    :raises OSError: something cannot be written.
    """
    _check(source, store, plist)
    with nullcontext() if os.path.isdir(source) else _opened(source) as file:
        deposit, tally = Deposit(store), _Tally(progress)

        def keep(content: Readable) -> str:
            digest = deposit.keep(_Watched(content, tally))
            tally.add(1, 0)
            return digest

        tree, skipped = _read(source, file, keep)
    if reason := packaged(tree):
        raise CannotBuild(f"{source!r}: {reason}")
    _write(plist, tree.entries)
    files = [entry for entry in tree.entries if entry.kind is Kind.REGULAR]
    return Built(len(tree.entries), len(files), sum(file.size for file in files), deposit.new, skipped)


def _check(source: str, store: str, plist: str) -> None:
    if archive.named(plist):
        raise CannotBuild(f"expected another name than {plist!r} for a plist: it would be taken for an archive")
    if not os.path.isdir(os.path.dirname(plist) or "."):
        raise CannotBuild(f"expected a directory for {plist!r}, got {os.path.dirname(plist)!r}")
    if not os.path.isdir(source):
        return
    root = os.path.realpath(source)
    for place in (store, plist):
        if os.path.commonpath([root, os.path.realpath(place)]) == root:
            raise CannotBuild(f"{place!r} is in {source!r}, and would be a part of what is read; choose another place")


@contextmanager
def _opened(source: str) -> Iterator[Head]:
    """
    An archive, from its beginning.

    :raises CannotBuild: it is none.
    """
    with open(source, "rb") as file:
        head = Head(file)
        found = recognize(head.peeked)
        if not head.peeked:
            raise CannotBuild(f"expected a directory or a tar archive, got {source!r}, which is empty")
        if not found.tar and not (archive.named(source) and found.other in ("", BINARY)):
            looks = found.other or "a plist"
            raise CannotBuild(f"expected a directory or a tar archive, got {source!r}, which looks like {looks}")
        yield head


def _read(source: str, file: Head | None, keep: Callable[[Readable], str]) -> tuple[Tree, int]:
    """
    All of it, and how many were left out.
    """
    if file is None:
        scan = Scan(source, keep)
        return Tree.of(scan.entries()), scan.skipped
    skipped = 0

    def wanted(entries: Iterable[Entry]) -> Iterator[Entry]:
        nonlocal skipped
        for entry in entries:
            if entry.kind in LEFT_OUT:
                skipped += 1
            else:
                yield entry

    return Tree.of(wanted(archive.stored(archive.read(cast(BinaryIO, file)), keep))), skipped


def _write(path: str, entries: Iterable[Entry]) -> None:
    """
    Wholly or not at all.
    """
    temporary = os.path.join(os.path.dirname(path), f".{secrets.token_hex(8)}.new")
    try:
        with open(temporary, "xb") as file:
            with _compressed(file, path) as output:
                for line in write(entries):
                    output.write(line)
            file.flush()
            os.fsync(file.fileno())
        os.rename(temporary, path)
    except BaseException:
        discard(temporary)
        raise


def _compressed(file: BinaryIO, path: str) -> AbstractContextManager[IO[bytes]]:
    """
    What writes to a file as its name says; nothing in it depends on the time.
    """
    if path.endswith(".gz"):
        return cast(IO[bytes], gzip.GzipFile("", "wb", GZIP_LEVEL, file, mtime=0))
    if path.endswith(".zst"):
        return zstandard.ZstdCompressor(level=ZSTD_LEVEL).stream_writer(file, closefd=False)
    return nullcontext(file)
