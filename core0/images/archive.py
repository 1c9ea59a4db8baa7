"""
Reads the archive of a root file system: tar, as it is or compressed.
"""

import tarfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import BinaryIO

from core0.errors import Core0Error
from core0.images.compression import CHUNK, Damaged, decompressed
from core0.images.entry import Entry, Kind
from core0.images.names import (
    MAX_ID,
    MAX_MAJOR,
    MAX_MINOR,
    MAX_SIZE,
    PERMISSIONS,
    BadName,
    checked_target,
    normal,
    possible_time,
)
from core0.images.tar_headers import BLOCK, MAX_CHAIN, BadHeader, length_about_next, merge, said
from core0.images.tree import MAX_BYTES, MAX_ENTRIES
from core0.messages import shown

KINDS = ("tar", "tar.gz", "tar.zst", "tar.xz")
MAX_TRAILING = 16 << 20  # bytes after the end; tar fills up its last record, at most some MiB
TYPES: Mapping[bytes, Kind] = {
    tarfile.REGTYPE: Kind.REGULAR,
    tarfile.AREGTYPE: Kind.REGULAR,
    tarfile.CONTTYPE: Kind.REGULAR,
    tarfile.SYMTYPE: Kind.SYMLINK,
    tarfile.DIRTYPE: Kind.DIRECTORY,
    tarfile.CHRTYPE: Kind.CHARACTER,
    tarfile.BLKTYPE: Kind.BLOCK,
    tarfile.FIFOTYPE: Kind.FIFO,
}


class BadArchive(Core0Error):
    """
    A file is no archive of a root file system; the text says where and why.
    """


class _Blocks:
    """
    What an archive is made of, and how far it is read.
    """

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self.offset = 0

    def take(self, count: int) -> bytes:
        """
        As many bytes.
        """
        data = self.some(count)
        if len(data) < count:
            raise BadArchive(f"expected more after byte {self.offset}: the archive is cut off")
        return data

    def some(self, count: int) -> bytes:
        """
        As many bytes, or fewer at the end of the file.
        """
        try:
            data = self._file.read(count)
            while 0 < len(data) < count and (more := self._file.read(count - len(data))):
                data += more
        except Damaged as error:
            raise BadArchive(str(error)) from error
        self.offset += len(data)
        return data

    def skip(self, count: int) -> None:
        """
        Go on after as many bytes.
        """
        while count:
            count -= len(self.take(min(count, CHUNK)))

    def body(self, count: int) -> bytes:
        """
        As many bytes, and go on after the block that they end in.
        """
        data = self.take(count)
        self.skip(-count % BLOCK)
        return data


class Content:
    """
    The content of one regular file of an archive; whatever is not read is skipped.
    """

    def __init__(self, blocks: _Blocks, size: int) -> None:
        self._blocks = blocks
        self._rest = size
        self._padding = -size % BLOCK

    def read(self, count: int) -> bytes:
        """
        :param count: of bytes, at most.
        :returns: b"" at its end only.
        :raises BadArchive: it is cut off, or damaged.
        """
        data = self._blocks.take(min(max(count, 0), self._rest))
        self._rest -= len(data)
        return data

    def skip(self) -> None:
        """
        Go on after it.
        """
        self._blocks.skip(self._rest + self._padding)
        self._rest = self._padding = 0


@dataclass(frozen=True, slots=True)
class Member:
    """
    :ivar entry: has no hash yet, but a size.
    :ivar content: of a regular file, to be read before the next member is asked for.
    :ivar link: of a hard link, the path of an earlier member that is the same file; ``entry`` says nothing else then.
    """

    entry: Entry
    content: Content | None = None
    link: str | None = None


def kind_of(name: str) -> str | None:
    """
    Which of :data:`KINDS` the name of a file, or the path of a URL, says that it is; None for others.
    """
    name = name.lower()
    if name.endswith(".tgz"):
        return "tar.gz"
    return next((kind for kind in KINDS if name.endswith(f".{kind}")), None)


def read(file: BinaryIO, kind: str, limit: int = MAX_BYTES) -> Iterator[Member]:
    """
    Read an archive once, from where the file is. Owners are its numbers, not its names; extended attributes are lost.

    :param kind: one of :data:`KINDS`.
    :param limit: bytes that all files may have together.
    :raises BadArchive: it is damaged, cut off, or has something in it that no root file system may have.
    """
    blocks = _Blocks(decompressed(file, kind.removeprefix("tar").removeprefix(".")))
    shared: dict[str, str] = {}
    count = 0
    while (found := _next(blocks, shared)) is not None:
        count += 1
        if count > MAX_ENTRIES:
            raise BadArchive(f"expected at most {MAX_ENTRIES} members")
        member = _member(found, blocks)
        limit -= member.entry.size
        if limit < 0:
            raise BadArchive(f"{shown(found.name)}: too large: its size goes beyond what all files may have together")
        yield member
        if member.content is not None:
            member.content.skip()
    _finish(blocks)


def stored(members: Iterable[Member], keep: Callable[[Content], str]) -> Iterator[Entry]:
    """
    The entries of an archive, complete.

    :param keep: stores a content and returns its hash.
    :raises BadArchive: see :func:`read`.
    """
    known: dict[str, Entry] = {}
    for member in members:
        entry = member.entry
        if member.content is not None:
            entry = replace(entry, hash=keep(member.content))
        elif member.link is not None:
            first = known.get(member.link)
            if first is None:
                there = shown(member.link)
                raise BadArchive(f"{shown(entry.path)}: expected a hard link to a member before, got {there}")
            entry = replace(first, path=entry.path)
        if entry.kind is not Kind.DIRECTORY:
            known[entry.path] = entry
        yield entry


def _next(blocks: _Blocks, shared: dict[str, str]) -> tarfile.TarInfo | None:
    """
    The next header of a member, with all that others say of it; None at the end of the archive.

    :param shared: what is said of all members that follow.
    """
    own: dict[str, str] = {}
    for _ in range(MAX_CHAIN):
        start = blocks.offset
        block = blocks.take(BLOCK)
        if not any(block):
            if own:
                raise BadArchive(f"at byte {start}: expected a member, got the end of the archive")
            return None
        try:
            info = tarfile.TarInfo.frombuf(block, "utf-8", "surrogateescape")
            length = length_about_next(info)
            if length is None:
                return merge(info, shared | own)
            heard_of = shared if info.type == tarfile.XGLTYPE else own
            heard_of.update(said(info, blocks.body(length)))
        except tarfile.HeaderError as error:
            raise BadArchive(f"at byte {start}: damaged, or no tar archive: {error}") from error
        except BadHeader as error:
            raise BadArchive(f"at byte {start}: {error}") from error
    raise BadArchive(f"at byte {blocks.offset}: expected a member after {MAX_CHAIN} headers about it, got another")


def _member(info: tarfile.TarInfo, blocks: _Blocks) -> Member:
    try:
        path = _path(info.name)
        if info.type == tarfile.LNKTYPE:
            return Member(Entry(path, Kind.REGULAR), link=_path(info.linkname))
        entry = _entry(path, info)
    except BadName as error:
        raise BadArchive(f"{shown(info.name)}: {error}") from None
    return Member(entry, Content(blocks, entry.size) if entry.kind is Kind.REGULAR else None)


def _path(name: str) -> str:
    if name.startswith("/"):
        raise BadName(f"expected a path relative to the root, got {shown(name)}")
    return normal(name)


def _entry(path: str, info: tarfile.TarInfo) -> Entry:
    if info.type == tarfile.GNUTYPE_SPARSE:
        raise BadName("expected a file without holes; make the archive without --sparse")
    kind = TYPES.get(info.type)
    if kind is None:
        raise BadName(f"expected a file, a link, a directory, a device or a FIFO, got type {info.type!r}")
    regular, device = kind is Kind.REGULAR, kind in (Kind.BLOCK, Kind.CHARACTER)
    return Entry(
        path=path,
        kind=kind,
        size=_number("size", info.size, MAX_SIZE) if regular else 0,
        user=_number("uid", info.uid, MAX_ID),
        group=_number("gid", info.gid, MAX_ID),
        mode=info.mode & PERMISSIONS,
        ctime=possible_time(int(info.mtime)),
        mtime=possible_time(int(info.mtime)),
        target=checked_target(info.linkname) if kind is Kind.SYMLINK else "",
        device=_device(info) if device else (0, 0),
    )


def _number(field: str, value: int, limit: int) -> int:
    if not 0 <= value < limit:
        raise BadName(f"{field}: expected a number from 0 to {limit - 1}, got {value}")
    return value


def _device(info: tarfile.TarInfo) -> tuple[int, int]:
    return _number("major", info.devmajor, MAX_MAJOR), _number("minor", info.devminor, MAX_MINOR)


def _finish(blocks: _Blocks) -> None:
    """
    Read what is left, which has the checksum of what is compressed.
    """
    end = blocks.offset
    while blocks.some(CHUNK):
        if blocks.offset - end > MAX_TRAILING:
            raise BadArchive(f"expected at most {MAX_TRAILING} bytes after the end of the archive, got more")
