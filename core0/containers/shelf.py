"""
What is known of the containers, on disk: it survives core0 and the machine.

``<state_dir>/containers/<n>/container.json`` is the record of container n; ``last`` holds the highest number that was
ever given. All functions block; they are called in a thread.
"""

import errno
import os
from dataclasses import dataclass
from enum import StrEnum
from threading import Lock

import msgspec
from msgspec import Struct
from twisted.logger import Logger

from core0.containers.request import Request
from core0.containers.runtime import Runtime
from core0.durable import sync_names
from core0.errors import Core0Error
from core0.images.removal import remove

LAST = "last"
NEW = ".new"  # behind the name of a file while it is written
RECORD = "container.json"
WRITTEN = ("upper", "work")  # by the processes of a container
LARGEST = 64 << 20  # bytes of a record
REMOVALS = 3
VERSION = 1
_log = Logger()


class Unreadable(Core0Error):
    """
    A record that says nothing which this core0 understands; the text names it.
    """


class Phase(StrEnum):
    """
    Where a container is.
    """

    CREATING = "being created"
    LIVE = "live"
    REMOVING = "being removed"


class Life(Struct, frozen=True):
    """
    A process, told from all others since the machine started: see :func:`core0.procfs.started`.
    """

    pid: int
    start: int


class Record(Struct, frozen=True, kw_only=True):
    """
    :ivar slot: which range of user ids it has.
    :ivar entry: the number of the command that makes it: as long as that is not answered nobody knows of the container.
    :ivar secret: the hash of the password of its CoreX.
    :ivar shown: where its root is from, without what is secret in that.
    :ivar runtime: what has made it, and is to remove it.
    :ivar boot: the machine's run in which it was made: of another one nothing lives.
    :ivar started: in ms since the epoch.
    """

    version: int = VERSION
    number: int
    slot: int
    entry: int = 0
    secret: str
    boot: str
    runtime: Runtime
    request: Request
    shown: str = ""
    phase: Phase = Phase.CREATING
    started: int = 0
    init: Life | None = None
    corex: Life | None = None


@dataclass(slots=True)
class Found:
    """
    What there is of containers on disk.

    :ivar records: of those whose record can be read, in the order of their numbers.
    :ivar corrupt: the numbers of those whose record nobody can make anything of. They may live.
    :ivar unread: why the records of others cannot be read now. They may live, and nothing may be made of that.
    :ivar unlisted: why it cannot be said now which there are; empty if it can.
    """

    records: list[Record]
    corrupt: list[int]
    unread: dict[int, str]
    unlisted: str = ""

    @property
    def numbers(self) -> list[int] | None:
        """
        Of those that may live on; None if that is not known.
        """
        return None if self.unlisted else [*(record.number for record in self.records), *self.unread]

    @property
    def unknown(self) -> str:
        """
        Why something is not known; empty if all is.
        """
        return self.unlisted or next(iter(self.unread.values()), "")


class Shelf:
    """
    :param folder: of all containers.
    """

    def __init__(self, folder: str) -> None:
        self.folder = folder
        self._numbering = Lock()

    def place(self, number: int) -> str:
        """
        The folder of one container.
        """
        return os.path.join(self.folder, str(number))

    def next_number(self) -> int:
        """
        One that no container ever had.
        """
        with self._numbering:
            return self._next_number()

    def _next_number(self) -> int:
        os.makedirs(self.folder, mode=0o700, exist_ok=True)
        path = os.path.join(self.folder, LAST)
        taken = [int(name) for name in os.listdir(self.folder) if name.isdigit()]
        try:
            with open(path, encoding="ascii") as file:
                taken.append(int(file.read()))
        except (FileNotFoundError, ValueError):
            pass
        number = max(taken, default=0) + 1
        _write(path, str(number).encode(), safely=True)
        return number

    def make(self, record: Record) -> str:
        """
        A folder for a new container.
        """
        place = self.place(record.number)
        os.mkdir(place, mode=0o700)
        self.save(record)
        return place

    def save(self, record: Record) -> None:
        """
        All of it or nothing.
        """
        _write(os.path.join(self.place(record.number), RECORD), msgspec.json.encode(record))

    def empty(self, number: int) -> None:
        """
        Remove what the processes of a container have written, which are gone, as far as it can be.
        """
        for name in WRITTEN:
            try:
                remove(os.path.join(self.place(number), name))
            except OSError:
                pass  # whoever removes the folder says so

    def remove(self, number: int) -> None:
        """
        All that there is of a container; what its processes left there may be anything.
        """
        place = self.place(number)
        for _ in range(REMOVALS):
            try:
                if os.path.lexists(place):
                    # the record goes last: until then it is known that something is left
                    for name in os.listdir(place):
                        if name != RECORD:
                            remove(os.path.join(place, name))
                    remove(place)
                return
            except OSError as error:
                # whoever was asked for its root may put the link to it there just now
                if error.errno != errno.ENOTEMPTY:
                    raise
        raise OSError(errno.ENOTEMPTY, f"{place} fills up again and again")

    def find(self) -> "Found":
        """
        What there is of containers. A folder that has no record and nothing else is removed: nothing of it was ever
        started. One that has something else has lost its record, and what it is of may live.
        """
        found = Found([], [], {})
        try:
            numbers = self._numbers()
        except OSError as error:
            found.unlisted = f"{self.folder}: {error.strerror}"
            return found
        for number in sorted(numbers):
            try:
                record = self._read(number)
                if record is not None:
                    found.records.append(record)
                    continue
                _log.error("container {number} was never begun; removing its folder", number=number)
                self._discard(number)
            except Unreadable as error:
                _log.error("{error}", error=error)
                found.corrupt.append(number)
            except OSError as error:
                found.unread[number] = f"{error.filename}: {error.strerror}"
        return found

    def _numbers(self) -> list[int]:
        try:
            names = os.listdir(self.folder)
        except FileNotFoundError:
            return []
        if LAST + NEW in names:
            try:
                remove(os.path.join(self.folder, LAST + NEW))  # core0 was killed while it wrote
            except OSError:
                pass  # it is written over next time
        return [int(name) for name in names if name.isascii() and name.isdigit()]

    def _read(self, number: int) -> Record | None:
        """
        :returns: None if nothing of the container was ever started.
        :raises Unreadable: it is missing, or says nothing that this core0 understands.
        :raises OSError: it cannot be read now; then nothing may be made of that.
        """
        path = os.path.join(self.place(number), RECORD)
        try:
            with open(path, "rb") as file:
                text = file.read(LARGEST + 1)
        except FileNotFoundError:
            # it is the first thing in a folder, and the last that goes
            if set(os.listdir(self.place(number))) - {RECORD + NEW}:
                raise Unreadable(f"{path} is missing") from None
            return None
        except MemoryError as error:
            raise OSError(errno.ENOMEM, os.strerror(errno.ENOMEM), path) from error
        except OSError as error:
            error.filename = path  # reading does not say it
            raise
        if len(text) > LARGEST:
            raise OSError(errno.EFBIG, os.strerror(errno.EFBIG), path)
        try:
            record = msgspec.json.decode(text, type=Record)
        except msgspec.MsgspecError as error:
            raise Unreadable(f"{path} cannot be read: {error}") from error
        if (record.version, record.number) != (VERSION, number):
            raise Unreadable(
                f"{path} cannot be read: expected version {VERSION} of container {number}, "
                f"got version {record.version} of container {record.number}"
            )
        return record

    def _discard(self, number: int) -> None:
        try:
            self.remove(number)
        except OSError as error:
            _log.error("cannot remove {place}: {error}", place=self.place(number), error=error)


def _write(path: str, data: bytes, *, safely: bool = False) -> None:
    """
    :param safely: it, and that it is the new one, has to be there after a power cut, too.
    """
    new = path + NEW
    try:
        with open(new, "wb") as file:
            file.write(data)
            if safely:
                file.flush()
                os.fsync(file.fileno())
        os.rename(new, path)
        if safely:
            sync_names(os.path.dirname(path))
    except BaseException:
        if os.path.exists(new):
            os.unlink(new)
        raise
