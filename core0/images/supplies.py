"""
Where the contents of files come from: a store on a server, a folder of this host, an archive.
"""

import hashlib
import io
import os
import shutil
import stat
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from typing import BinaryIO, Protocol

from core0.images import attributes
from core0.images.coding import TooLarge, decoded
from core0.images.compression import Damaged
from core0.images.deposit import Readable
from core0.images.download import Download
from core0.images.entry import Entry
from core0.images.patience import Patience
from core0.images.room import SECTOR, Room
from core0.images.source import Source
from core0.images.sparse import put
from core0.images.transfers import Transfers
from core0.messages import shown

IN_MEMORY = 1 << 18  # bytes of a content that needs no file on its way
PIECE = 1 << 20  # bytes that are read at once
BLOCK = 4096  # bytes that a file takes besides
MD5_DIGITS = 32
EMPTY = frozenset({hashlib.sha256().hexdigest(), hashlib.md5(usedforsecurity=False).hexdigest()})

# what writes a content into its file, and verifies it; or returns the path of another file that is the content
Work = Callable[[], str | None]
Keep = Callable[[Entry, Work], None]


class Wrong(Exception):
    """
    A content cannot be had; the text says why.
    """


class Supply(Protocol):
    """
    Where contents come from.
    """

    def bring(self, wanted: Iterator[tuple[Entry, int]], keep: Keep, count: Callable[[int], None]) -> None:
        """
        Get contents, many at once.

        :param wanted: each with the file that takes it, empty; the next is asked for when there is room.
        :param keep: called with the entry and what writes it into its file, which another thread then does.
        :param count: called with bytes, as they come.
        :raises Wrong: one cannot be had.
        """

    def needed(self, missing: Mapping[str, int]) -> int:
        """
        Bytes of the disk that contents will take, as far as that can be known.

        :param missing: hashes, each with the size of its content, holes included.
        """


class Remote:
    """
    A store on an HTTP server.

    :param folder: for what is on its way.
    """

    def __init__(self, storage: Source, patience: Patience, folder: str, room: Room) -> None:
        self._storage = storage
        self._room = room
        self._patience = patience
        self._folder = folder

    def bring(self, wanted: Iterator[tuple[Entry, int]], keep: Keep, count: Callable[[int], None]) -> None:
        """
        See :class:`Supply`.
        """
        entries: dict[Download, tuple[Entry, int]] = {}

        def downloads() -> Iterator[Download]:
            for entry, fd in wanted:
                self._room.take(entry.size)
                small = entry.size <= IN_MEMORY
                # what is encoded may be a little larger than what it stands for
                limit = entry.size + entry.size // 64 + IN_MEMORY
                source = self._storage.content(entry.hash)
                download = Download(source, limit, -1 if small else fd, lasting=True)
                entries[download] = (entry, fd)
                yield download

        for download in Transfers(self._patience, self._patience.contents, count).run(downloads()):
            entry, fd = entries.pop(download)
            if download.failure is not None:
                raise Wrong(_named(entry, download.failure.text))
            keep(entry, _Received(download, entry, fd, self._folder))

    def needed(self, missing: Mapping[str, int]) -> int:
        """
        See :class:`Supply`.
        """
        return sum(missing.values())


class _Received:
    """
    A body that is here, and has to be looked at.
    """

    __slots__ = ("_download", "_entry", "_fd", "_folder")

    def __init__(self, download: Download, entry: Entry, fd: int, folder: str) -> None:
        self._download = download
        self._entry = entry
        self._fd = fd
        self._folder = folder

    def __call__(self) -> str | None:
        download, encoding = self._download, self._download.encoding
        if download.fd < 0:
            body = io.BytesIO(b"".join(download.pieces))
            download.pieces.clear()
            verify(_decoded(body, encoding, self._entry), self._entry, self._fd)
            return None
        with open(os.dup(self._fd), "rb") as file:
            if not encoding:
                file.seek(0)
                verify(_pieces(file), self._entry)
                return None
            self._unpack(file, encoding)
        return None

    def _unpack(self, file: BinaryIO, encoding: str) -> None:
        # its own file is to hold what it stands for
        with tempfile.TemporaryFile(dir=self._folder) as body:
            file.seek(0)
            shutil.copyfileobj(file, body, PIECE)
            body.seek(0)
            os.ftruncate(self._fd, 0)
            os.lseek(self._fd, 0, os.SEEK_SET)
            verify(_decoded(body, encoding, self._entry), self._entry, self._fd)


class Local:
    """
    A folder of this host.
    """

    def __init__(self, storage: Source, room: Room) -> None:
        self._storage = storage
        self._room = room

    def bring(self, wanted: Iterator[tuple[Entry, int]], keep: Keep, count: Callable[[int], None]) -> None:
        """
        See :class:`Supply`.
        """
        for entry, fd in wanted:
            self._room.take(self._taken(entry.hash, entry.size))
            keep(entry, _Copying(self._storage.content(entry.hash).path, entry, fd))
            count(entry.size)

    def needed(self, missing: Mapping[str, int]) -> int:
        """
        See :class:`Supply`.
        """
        return sum(self._taken(hash, size) for hash, size in missing.items())

    def _taken(self, hash: str, size: int) -> int:
        """
        Without holes, if it is there.
        """
        try:
            return min(size, os.stat(self._storage.content(hash).path).st_blocks * SECTOR)
        except OSError:
            return size


class _Copying:
    """
    A file to be copied.
    """

    __slots__ = ("_entry", "_fd", "_path")

    def __init__(self, path: str, entry: Entry, fd: int) -> None:
        self._path = path
        self._entry = entry
        self._fd = fd

    def __call__(self) -> str | None:
        try:
            # it may be a FIFO that nobody writes to
            fd = os.open(self._path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY)
        except OSError as error:
            raise Wrong(_named(self._entry, error.strerror or "it cannot be read")) from error
        with open(fd, "rb") as file:
            if not stat.S_ISREG(os.fstat(fd).st_mode):
                raise Wrong(_named(self._entry, "it is not a regular file"))
            verify(_pieces(file), self._entry, self._fd)
        return None


class Moved:
    """
    Files named by their hashes in a folder of the store's own file system, verified already.
    """

    def __init__(self, folder: str) -> None:
        self._folder = folder

    def bring(self, wanted: Iterator[tuple[Entry, int]], keep: Keep, count: Callable[[int], None]) -> None:
        """
        See :class:`Supply`.
        """
        for entry, _ in wanted:
            path = os.path.join(self._folder, entry.hash)
            fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
            try:
                attributes.apply(fd, entry)
            finally:
                os.close(fd)
            keep(entry, partial(str, path))
            count(entry.size)

    def needed(self, missing: Mapping[str, int]) -> int:
        """
        See :class:`Supply`. They are on this disk already.
        """
        return 0


def verify(pieces: Iterable[bytes], entry: Entry, fd: int = -1) -> None:
    """
    See that a content is what its hash says.

    :param fd: of a file that takes it, unless it is there already.
    :raises Wrong: it is another one.
    """
    machine = hashlib.md5(usedforsecurity=False) if len(entry.hash) == MD5_DIGITS else hashlib.sha256()
    size = 0
    for piece in pieces:
        machine.update(piece)
        size += len(piece)
        if size > entry.size:
            break
        if fd >= 0:
            put(fd, piece, size - len(piece))
    check_size(size, entry)
    if machine.hexdigest() != entry.hash:
        raise Wrong(_named(entry, "what is there is not what its hash says"))


def check_size(size: int, entry: Entry) -> None:
    """
    :raises Wrong: it is not that of the entry.
    """
    if size != entry.size:
        more = "more" if size > entry.size else str(size)
        raise Wrong(_named(entry, f"expected {entry.size} bytes, there are {more}"))


def write(fd: int, data: bytes) -> None:
    """
    Write all of it.
    """
    rest = memoryview(data)
    while rest:
        rest = rest[os.write(fd, rest) :]


def _pieces(file: BinaryIO) -> Iterator[bytes]:
    while piece := file.read(PIECE):
        yield piece


def _decoded(file: BinaryIO, encoding: str, entry: Entry) -> Iterator[bytes]:
    try:
        yield from decoded(file, encoding, entry.size)
    except TooLarge:
        raise Wrong(_named(entry, f"expected {entry.size} bytes, there are more")) from None
    except Damaged as error:
        raise Wrong(_named(entry, str(error))) from None


def _named(entry: Entry, text: str) -> str:
    return f"content {entry.hash} of {shown('/' + entry.path)}: {text}"


def keep_file(content: Readable, folder: str, room: Room) -> str:
    """
    Have a content in a file that is named by its hash.

    :returns: the hash.
    :raises OSError: it cannot be written.
    """
    machine = hashlib.sha256()
    room.take(BLOCK)
    with tempfile.NamedTemporaryFile(dir=folder, delete=False) as file:
        size = 0
        while piece := content.read(PIECE):
            room.take(len(piece))
            machine.update(piece)
            put(file.fileno(), piece, size)
            size += len(piece)
    hash = machine.hexdigest()
    os.rename(file.name, os.path.join(folder, hash))
    return hash
