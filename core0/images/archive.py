"""
Reads the archive of a root file system: tar, as it is or compressed.
"""

import tarfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import BinaryIO, cast

from core0.errors import Core0Error
from core0.images.compression import CHUNK, Damaged, compression_of, decompressed
from core0.images.entry import Entry, Kind
from core0.images.extraction import BadPlace, Extraction
from core0.images.head import Head
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
from core0.images.sparse import Segment, Sparse, of_header, of_records
from core0.images.tar_headers import BLOCK, MAX_CHAIN, MULTI_VOLUME, BadHeader, length_about_next, merge, said
from core0.images.tree import MAX_BYTES, MAX_ENTRIES, bounded
from core0.messages import shown

# the endings of names, each with what is the same
KINDS: Mapping[str, tuple[str, ...]] = {
    "tar": (),
    "tar.gz": ("tgz",),
    "tar.zst": ("tzst",),
    "tar.xz": ("txz",),
    "tar.bz2": ("tbz2", "tbz"),
    "tar.lzma": ("tlz",),
}
ENDINGS = tuple(f".{ending}" for kind, others in KINDS.items() for ending in (kind, *others))
MAX_TRAILING = 16 << 20  # bytes after the end; tar fills up its last record, at most some MiB
LABEL, DUMPED_FOLDER, VOLUME = b"V", b"D", b"M"  # of GNU: types of what is no file
TYPES: Mapping[bytes, Kind] = {
    DUMPED_FOLDER: Kind.DIRECTORY,
    tarfile.REGTYPE: Kind.REGULAR,
    tarfile.AREGTYPE: Kind.REGULAR,
    tarfile.CONTTYPE: Kind.REGULAR,
    tarfile.GNUTYPE_SPARSE: Kind.REGULAR,
    tarfile.SYMTYPE: Kind.SYMLINK,
    tarfile.DIRTYPE: Kind.DIRECTORY,
    tarfile.CHRTYPE: Kind.CHARACTER,
    tarfile.BLKTYPE: Kind.BLOCK,
    tarfile.FIFOTYPE: Kind.FIFO,
}
FILES = frozenset(type for type, kind in TYPES.items() if kind is Kind.REGULAR)


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

    :param size: of the file, in bytes.
    :param segments: of it that the archive has, in order; between them there are zeros.
    """

    def __init__(self, blocks: _Blocks, size: int, stored: int, segments: Sequence[Segment]) -> None:
        self._blocks = blocks
        self._size = size
        self._segments = iter(segments)
        self._segment = next(self._segments, (size, 0))
        self._at = 0
        self._stored = stored
        self._padding = -stored % BLOCK

    def read(self, count: int) -> bytes:
        """
        :param count: of bytes, at most.
        :returns: b"" at its end only.
        :raises BadArchive: it is cut off, or damaged.
        """
        start, length = self._segment
        if self._at < start:
            zeros = min(max(count, 0), start - self._at)
            self._at += zeros
            return bytes(zeros)
        data = self._blocks.take(min(max(count, 0), start + length - self._at))
        self._at += len(data)
        self._stored -= len(data)
        if self._at == start + length:
            self._segment = next(self._segments, (self._size, 0))
        return data

    def skip(self) -> None:
        """
        Go on after it.
        """
        self._blocks.skip(self._stored + self._padding)
        self._stored = self._padding = 0


@dataclass(frozen=True, slots=True)
class _Header:
    """
    Of a member.

    :ivar block: as it is in the archive.
    :ivar words: what other headers say.
    """

    info: tarfile.TarInfo
    block: bytes
    words: Mapping[str, str]


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


def named(name: str) -> bool:
    """
    Whether the name of a file, or the path of a URL, says that it is an archive.
    """
    return name.lower().endswith(ENDINGS)


def read(file: BinaryIO, limit: int = MAX_BYTES) -> Iterator[Member]:
    """
    Read an archive once, from where the file is; how it is compressed is seen from how it begins. Owners are its
    numbers, not its names; extended attributes are lost.

    :param limit: bytes that all files may have together, holes included.
    :raises BadArchive: it is damaged, cut off, or has something in it that no root file system may have.
    """
    head = Head(file)
    blocks = _Blocks(decompressed(cast(BinaryIO, head), compression_of(head.peeked)))
    shared: dict[str, str] = {}
    count = 0
    while (found := _next(blocks, shared)) is not None:
        count += 1
        if count > MAX_ENTRIES:
            raise BadArchive(f"expected at most {MAX_ENTRIES} members")
        if found.info.type == LABEL:
            blocks.body(max(found.info.size, 0))
            continue
        member = _member(found, blocks)
        limit -= member.entry.size
        if limit < 0:
            name = shown(found.info.name)
            raise BadArchive(f"{name}: too large: its size goes beyond what all files may have together")
        yield member
        if member.content is not None:
            member.content.skip()
    _finish(blocks)


def stored(members: Iterable[Member], keep: Callable[[Content], str]) -> Iterator[Entry]:
    """
    What an archive comes to, as if it was unpacked: each path once.

    :param keep: stores a content and returns its hash.
    :raises BadArchive: see :func:`read`.
    :raises BadTree: it is too large.
    """
    found = Extraction()
    for entry in bounded(_placed(members, keep, found)):
        found.add(entry)
    yield from found.entries()


def _placed(members: Iterable[Member], keep: Callable[[Content], str], found: Extraction) -> Iterator[Entry]:
    """
    Complete entries, each where it belongs by what is there so far.
    """
    for member in members:
        entry = member.entry
        try:
            place = found.place(entry.path) if entry.path else ""
            if member.content is not None:
                entry = replace(entry, hash=keep(member.content))
            elif member.link is not None:
                entry = _linked(entry, found.find(found.place(member.link)), member.link)
        except BadPlace as error:
            raise BadArchive(f"{shown(entry.path)}: {error}") from None
        yield entry if entry.path == place else replace(entry, path=place)


def _linked(entry: Entry, first: Entry | None, link: str) -> Entry:
    if first is None:
        raise BadArchive(f"{shown(entry.path)}: expected a hard link to a member before, got {shown(link)}")
    return replace(first, path=entry.path)


def _next(blocks: _Blocks, shared: dict[str, str]) -> _Header | None:
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
                words = shared | own
                return _Header(merge(info, words), block, words)
            heard_of = shared if info.type == tarfile.XGLTYPE else own
            heard_of.update(said(info, blocks.body(length)))
        except tarfile.HeaderError as error:
            raise BadArchive(f"at byte {start}: damaged, or no tar archive: {error}") from error
        except BadHeader as error:
            raise BadArchive(f"at byte {start}: {error}") from error
    raise BadArchive(f"at byte {blocks.offset}: expected a member after {MAX_CHAIN} headers about it, got another")


def _member(header: _Header, blocks: _Blocks) -> Member:
    info, start = header.info, blocks.offset
    try:
        # of a folder, its last slash is gone already
        path = normal(info.name or ("/" if header.block.startswith(b"/") else ""))
        if info.type == tarfile.LNKTYPE:
            return Member(Entry(path, Kind.REGULAR), link=normal(info.linkname))
        sparse = _sparse(header, blocks)
        entry = _entry(path, info, sparse)
    except (BadName, BadHeader) as error:
        raise BadArchive(f"{shown(info.name)}: {error}") from None
    except tarfile.HeaderError as error:
        raise BadArchive(f"at byte {start}: damaged, or no tar archive: {error}") from error
    if info.type == DUMPED_FOLDER:
        blocks.skip(info.size + -info.size % BLOCK)  # the names that were in it
    if entry.kind is not Kind.REGULAR:
        return Member(entry)
    return Member(entry, Content(blocks, sparse.size, sparse.stored, sparse.segments))


def _sparse(header: _Header, blocks: _Blocks) -> Sparse:
    """
    What a file has of data; all of it, unless headers tell of holes.
    """
    info = header.info
    stored = _number("size", info.size, MAX_SIZE) if info.type in FILES or info.type == DUMPED_FOLDER else 0
    if info.type == tarfile.GNUTYPE_SPARSE:
        return of_header(header.block, stored, blocks.take)
    found = of_records(header.words, stored, blocks.take) if info.type in FILES else None
    return found or Sparse(stored, stored, [(0, stored)])


def _entry(path: str, info: tarfile.TarInfo, sparse: Sparse) -> Entry:
    kind = TYPES.get(info.type)
    if kind is None:
        if info.type == VOLUME:
            raise BadName(MULTI_VOLUME)
        raise BadName(f"expected a file, a link, a directory, a device or a FIFO, got type {info.type!r}")
    regular, device = kind is Kind.REGULAR, kind in (Kind.BLOCK, Kind.CHARACTER)
    return Entry(
        path=path,
        kind=kind,
        size=_number("size", sparse.size, MAX_SIZE) if regular else 0,
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
