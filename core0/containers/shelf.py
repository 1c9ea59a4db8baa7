"""
What is known of the containers, on disk: it survives core0 and the machine.

``<state_dir>/containers/<n>/container.json`` is the record of container n; ``last`` holds the highest number that was
ever given. All functions block; they are called in a thread.
"""

import errno
import os
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

    def records(self) -> list[Record]:
        """
        Of all containers whose record can be read. A folder without one is removed: nothing of it was ever started.

        :raises Core0Error: a record, or the folder, cannot be read now; then nothing may be made of its absence.
        """
        found: list[Record] = []
        for number in self._numbers():
            try:
                found.append(self._read(number))
            except FileNotFoundError:
                _log.error("container {number} was never begun; removing its folder", number=number)
                self._discard(number)
            except Unreadable as error:
                _log.error("{error}", error=error)
        return sorted(found, key=lambda record: record.number)

    def unreadable(self) -> list[int]:
        """
        The numbers of containers that have a record, which nobody can make anything of. They may live.

        :raises Core0Error: one cannot be read now.
        """
        found: list[int] = []
        for number in self._numbers():
            try:
                self._read(number)
            except FileNotFoundError:
                pass
            except Unreadable:
                found.append(number)
        return sorted(found)

    def _numbers(self) -> list[int]:
        try:
            names = os.listdir(self.folder)
        except FileNotFoundError:
            return []
        except OSError as error:
            raise Core0Error(f"{self.folder}: {error.strerror}") from error
        if LAST + NEW in names:
            remove(os.path.join(self.folder, LAST + NEW))  # core0 was killed while it wrote
        return [int(name) for name in names if name.isascii() and name.isdigit()]

    def _read(self, number: int) -> Record:
        """
        :raises FileNotFoundError: there is none.
        :raises Unreadable: it says nothing that this core0 understands.
        :raises Core0Error: it cannot be read now.
        """
        path = os.path.join(self.place(number), RECORD)
        try:
            with open(path, "rb") as file:
                text = file.read(LARGEST)
        except FileNotFoundError:
            raise
        except OSError as error:
            raise Core0Error(f"{path}: {error.strerror}") from error
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
            raise Core0Error(f"{self.place(number)} cannot be removed: {error.strerror}") from error


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
