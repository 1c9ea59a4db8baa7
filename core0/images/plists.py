"""
Gets plists and archives, each once for as long as it does not change.
"""

import hashlib
import json
import os
import stat
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any, BinaryIO

from core0.errors import Core0Error, Refusal
from core0.images import plist
from core0.images.coding import TooLarge, decoded, unpacked
from core0.images.compression import Damaged
from core0.images.download import Download, Known
from core0.images.head import PEEKED
from core0.images.names import octets
from core0.images.patience import Patience
from core0.images.recognition import BINARY, UNREADABLE, Recognized, recognize
from core0.images.source import FIELD, Packing, Source
from core0.images.store import PLISTS, TEMPORARY, Store
from core0.images.supplies import write
from core0.images.transfers import Transfers

MAX_PLIST = 512 << 20  # bytes, as it is and unpacked
MAX_ARCHIVE = 64 << 30  # bytes, as it is and unpacked
MAX_RECORD = 1 << 16  # bytes
PIECE = 1 << 20  # bytes that are read at once
MEGA = 1_000_000
_GONE = (FileNotFoundError, NotADirectoryError)
_SAME = {  # what a server may say of a file that is compressed itself, and does not mean
    "gzip": (Packing.GZIP, Packing.TAR_GZIP, Packing.TGZ),
    "x-gzip": (Packing.GZIP, Packing.TAR_GZIP, Packing.TGZ),
    "zstd": (Packing.ZSTD, Packing.TAR_ZSTD, Packing.TZST),
}


@dataclass(frozen=True, slots=True)
class Recipe:
    """
    What a root file system is made from.

    :ivar digest: SHA-256 of a plist, unpacked, or of an archive, as it is.
    :ivar file: holds it, from its beginning; None: a root of this digest is there.
    :ivar archive: whether it is an archive.
    :ivar found: what was known of the file when it was read.
    """

    digest: str
    file: BinaryIO | None = None
    archive: bool = False
    found: Sequence[int] = ()

    def changed(self) -> bool:
        """
        Whether somebody wrote to the file since.
        """
        return self.file is not None and bool(self.found) and _identity(os.fstat(self.file.fileno())) != self.found


class Plists:
    """
    :param tell: called with how far it is.
    """

    def __init__(self, store: Store, patience: Patience, tell: Callable[[str], None]) -> None:
        self._store = store
        self._patience = patience
        self._tell = tell
        self._came = 0

    def get(self, source: Source) -> Recipe:
        """
        Find out what is at an address.

        :raises Refusal: 400, it is none; 404, nothing is there; 503, it cannot be had now.
        """
        try:
            return self._fetched(source) if source.remote else self._opened(source)
        except TooLarge as error:
            raise refusal(400, source, str(error)) from None
        except Damaged as error:
            raise refusal(400, source, str(error)) from None

    def _opened(self, source: Source) -> Recipe:
        """
        Of a file of this host.
        """
        file = _open(source)
        identity = _identity(os.fstat(file.fileno()))
        known = self._record(source)
        digest = known.get("digest", "")
        if known.get("stat") == identity and self._store.has_root(digest):
            file.close()
            return Recipe(digest)
        recipe = self._read(source, file, identity)
        self._note(source, recipe.digest, stat=identity)
        return recipe

    def _fetched(self, source: Source) -> Recipe:
        """
        Of a server.
        """
        record = self._record(source)
        digest = str(record.get("digest", ""))
        known = Known(str(record.get("etag", "")), str(record.get("modified", "")))
        asked = bool(known.etag or known.modified) and self._store.has_root(digest)
        file = self._temporary()
        limit = _limit(source)
        room = self._store.room
        download = Download(source, limit, file.fileno(), known=known if asked else None, room=room)
        seconds = self._patience.contents if source.packing.archive else self._patience.plist
        for ended in Transfers(self._patience, seconds, self._count).run([download]):
            if ended.failure is not None:
                raise refusal(ended.failure.code, source, ended.failure.text)
        if download.unchanged:
            file.close()
            return Recipe(digest)
        recipe = self._received(source, file, download.encoding)
        self._note(source, recipe.digest, etag=download.known.etag, modified=download.known.modified)
        return recipe

    def _received(self, source: Source, file: BinaryIO, encoding: str) -> Recipe:
        file.seek(0)
        if encoding and source.packing not in _SAME.get(encoding, ()):
            with file:
                file = self._written(decoded(file, encoding, _limit(source)))[1]
        return self._read(source, file)

    def _read(self, source: Source, file: BinaryIO, identity: Sequence[int] = ()) -> Recipe:
        """
        :param identity: of a file that others may write to.
        :returns: with the same file if that is an archive; it is closed otherwise.
        """
        with ExitStack() as stack:
            stack.enter_context(file)
            found = self._recognized(source, file)
            if not found.tar and not source.packing.archive:
                return Recipe(*self._written(unpacked(file, found.compression, MAX_PLIST)))
            size = os.fstat(file.fileno()).st_size
            if size > MAX_ARCHIVE:
                raise TooLarge(f"expected at most {MAX_ARCHIVE} bytes, got {size}")
            recipe = Recipe(self._digest(file), file, True, identity)
            stack.pop_all()
            return recipe

    def _recognized(self, source: Source, file: BinaryIO) -> Recognized:
        """
        What it is by how it begins.

        :raises Refusal: 400, it looks like something else.
        """
        head = file.read(PEEKED)
        file.seek(0)
        found = recognize(head)
        if not found.other or (found.other == BINARY and source.packing.archive):
            return found
        detail = ""
        if not found.compression and not source.packing.archive:
            try:
                list(plist.parse(head.split(b"\n")))
            except Core0Error as error:
                detail = f" ({error})"
        raise refusal(400, source, f"{UNREADABLE}: it looks like {found.other}{detail}")

    def _written(self, pieces: Iterator[bytes]) -> tuple[str, BinaryIO]:
        """
        A file of it, and its digest.
        """
        machine = hashlib.sha256()
        target = self._temporary()
        for piece in pieces:
            machine.update(piece)
            self._store.room.take(len(piece))
            write(target.fileno(), piece)
        target.seek(0)
        return machine.hexdigest(), target

    def _digest(self, file: BinaryIO) -> str:
        machine = hashlib.sha256()
        while piece := file.read(PIECE):
            machine.update(piece)
        file.seek(0)
        return machine.hexdigest()

    def _temporary(self) -> BinaryIO:
        return tempfile.TemporaryFile(dir=os.path.join(self._store.folder, TEMPORARY))

    def _count(self, size: int) -> None:
        self._came += size
        self._tell(f"plist: {self._came / MEGA:.1f} MB")

    def _path(self, source: Source) -> str:
        address = source.url if source.remote else source.path
        name = hashlib.sha256(octets(address)).hexdigest()
        return os.path.join(self._store.folder, PLISTS, name)

    def _record(self, source: Source) -> dict[str, Any]:
        try:
            with open(self._path(source), "rb") as file:
                found = json.loads(file.read(MAX_RECORD))
        except (OSError, ValueError):
            return {}
        return found if isinstance(found, dict) and isinstance(found.get("digest"), str) else {}

    def _note(self, source: Source, digest: str, **known: object) -> None:
        path = self._path(source)
        new = self._store.temporary("record")
        with open(new, "w", encoding="utf-8") as file:
            json.dump({"digest": digest, **known}, file)
        os.replace(new, path)


def refusal(code: int, source: Source, text: str) -> Refusal:
    """
    A refusal of what is at an address.
    """
    return Refusal(code, f"{FIELD}: {source.text}: {text}")


def _limit(source: Source) -> int:
    """
    Bytes that may be fetched: what has a name of neither kind may be an archive.
    """
    plain = source.packing.archive or (source.packing is Packing.PLAIN and not source.path.lower().endswith(".plist"))
    return MAX_ARCHIVE if plain else MAX_PLIST


def _open(source: Source) -> BinaryIO:
    try:
        # it may be a FIFO that nobody writes to
        fd = os.open(source.path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY)
    except OSError as error:
        code = 404 if isinstance(error, _GONE) else 503
        raise refusal(code, source, (error.strerror or "cannot be read").lower()) from error
    if not stat.S_ISREG(os.fstat(fd).st_mode):
        os.close(fd)
        raise refusal(400, source, "expected a regular file")
    return open(fd, "rb")


def _identity(found: os.stat_result) -> list[int]:
    return [found.st_size, found.st_mtime_ns, found.st_ctime_ns, found.st_ino, found.st_dev]
