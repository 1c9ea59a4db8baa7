"""
Reads a directory as a root file system: what is in it and nothing else, whoever moves things meanwhile.
"""

import os
import stat
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from core0.errors import Core0Error
from core0.images.deposit import Readable
from core0.images.entry import Entry, Kind
from core0.images.names import PERMISSIONS, BadName, checked_target, normal, possible_time, text

NANOSECONDS = 10**9
_CLOSED = os.O_RDONLY | os.O_CLOEXEC
# of no program that writes to a pipe of that name is waited for
_FILE = _CLOSED | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY
_FOLDER = _CLOSED | os.O_NOFOLLOW | os.O_DIRECTORY
KINDS: Mapping[int, Kind] = {
    stat.S_IFLNK: Kind.SYMLINK,
    stat.S_IFREG: Kind.REGULAR,
    stat.S_IFDIR: Kind.DIRECTORY,
    stat.S_IFIFO: Kind.FIFO,
}
Keep = Callable[[Readable], str]


class BadSource(Core0Error):
    """
    A directory cannot be read; the text says what in it, and why.
    """


@dataclass(slots=True)
class _Level:
    """
    A directory that is open: ``names`` of what is still to be looked at, ``state`` from when that was asked for.
    """

    fd: int
    path: str
    names: list[str]
    state: tuple[int, ...]


class _File:
    """
    The content of a file, as long as it was when it was opened.
    """

    def __init__(self, fd: int, size: int, unreadable: Callable[[OSError], BadSource]) -> None:
        self._fd = fd
        self._unreadable = unreadable
        self.rest = size

    def read(self, count: int) -> bytes:
        """
        At most so many bytes.
        """
        try:
            data = os.read(self._fd, min(count, self.rest))
        except OSError as error:
            raise self._unreadable(error) from error
        self.rest -= len(data)
        return data


class Scan:
    """
    :param keep: stores a content and returns its hash.
    :ivar skipped: how many sockets and devices there were; none of them is among the entries.
    """

    def __init__(self, source: str, keep: Keep) -> None:
        self._source = source
        self._keep = keep
        self._linked: dict[tuple[int, ...], str] = {}  # hashes of what has several names
        self.skipped = 0

    def entries(self) -> Iterator[Entry]:
        """
        All of it, in any order. No symlink is followed, except for the directory itself.

        :raises BadSource: something cannot be read, or changes meanwhile.
        """
        levels: list[_Level] = []
        try:
            levels.append(self._open("", _CLOSED | os.O_DIRECTORY, self._source, None))
            yield self._entry("", os.fstat(levels[0].fd), Kind.DIRECTORY)
            while levels:
                if not levels[-1].names:
                    self._close(levels.pop())
                    continue
                entry = self._next(levels)
                if entry is not None:
                    yield entry
        finally:
            for level in levels:
                os.close(level.fd)

    def _next(self, levels: list[_Level]) -> Entry | None:
        level = levels[-1]
        name = level.names.pop()
        shown = f"{level.path}/{name}" if level.path else name
        target = ""
        try:
            path = normal(text(os.fsencode(shown)))
            found = os.stat(name, dir_fd=level.fd, follow_symlinks=False)
            kind = KINDS.get(stat.S_IFMT(found.st_mode))
            if kind is Kind.SYMLINK:
                target = checked_target(text(os.fsencode(os.readlink(name, dir_fd=level.fd))))
        except BadName as error:
            raise BadSource(f"{self._place(shown)}: {error}") from None
        except OSError as error:
            raise self._unreadable(shown, error) from error
        if kind is None:
            self.skipped += 1
            return None
        if kind is Kind.REGULAR:
            return self._regular(level, name, path)
        if kind is Kind.DIRECTORY:
            levels.append(self._open(shown, _FOLDER, name, level.fd))
            found = os.fstat(levels[-1].fd)
        return self._entry(path, found, kind, target=target)

    def _open(self, path: str, flags: int, name: str, above: int | None) -> _Level:
        try:
            fd = os.open(name, flags, dir_fd=above)
            try:
                state = _state(os.fstat(fd))
                return _Level(fd, path, os.listdir(fd), state)
            except BaseException:
                os.close(fd)
                raise
        except OSError as error:
            raise self._unreadable(path, error) from error

    def _close(self, level: _Level) -> None:
        state = _state(os.fstat(level.fd))
        os.close(level.fd)
        if state != level.state:
            raise self._changed(level.path)

    def _regular(self, level: _Level, name: str, path: str) -> Entry:
        shown = f"{level.path}/{name}" if level.path else name
        try:
            fd = os.open(name, _FILE, dir_fd=level.fd)
        except OSError as error:
            raise self._unreadable(shown, error) from error
        try:
            found = os.fstat(fd)
            state = _state(found)
            if not stat.S_ISREG(found.st_mode):
                raise self._changed(shown)
            digest = self._linked.get(state)
            if digest is None:
                file = _File(fd, found.st_size, lambda error: self._unreadable(shown, error))
                digest = self._keep(file)
                if file.rest or os.read(fd, 1) or _state(os.fstat(fd)) != state:
                    raise self._changed(shown)
            if found.st_nlink > 1:
                self._linked[state] = digest
        finally:
            os.close(fd)
        return self._entry(path, found, Kind.REGULAR, hash=digest, size=found.st_size)

    def _entry(
        self, path: str, found: os.stat_result, kind: Kind, hash: str = "", size: int = 0, target: str = ""
    ) -> Entry:
        # nobody can set a ctime: with it, no two copies of a directory would make the same plist
        time = possible_time(found.st_mtime_ns // NANOSECONDS)
        mode = found.st_mode & PERMISSIONS
        return Entry(path, kind, hash, size, found.st_uid, found.st_gid, mode, time, time, target)

    def _place(self, path: str) -> str:
        return repr(os.path.join(self._source, path) if path else self._source)

    def _changed(self, path: str) -> BadSource:
        return BadSource(f"{self._place(path)} changes while it is read; build again when nobody writes there")

    def _unreadable(self, path: str, error: OSError) -> BadSource:
        return BadSource(f"cannot read {self._place(path)}: {error.strerror}")


def _state(found: os.stat_result) -> tuple[int, ...]:
    """
    What changes when a file or a directory is written.
    """
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns
