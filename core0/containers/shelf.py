"""
What is known of the containers, on disk: it survives core0 and the machine.

``<state_dir>/containers/<n>/container.json`` is the record of container n; ``last`` holds the highest number that was
ever given. All functions block; they are called in a thread.
"""

import os
from enum import StrEnum
from threading import Lock

import msgspec
from msgspec import Struct
from twisted.logger import Logger

from core0.containers.request import Request
from core0.containers.runtime import Runtime
from core0.images.removal import remove

LAST = "last"
NEW = ".new"  # behind the name of a file while it is written
RECORD = "container.json"
_log = Logger()


class Phase(StrEnum):
    """
    Where a container is.
    """

    CREATING = "being created"
    LIVE = "live"
    REMOVING = "being removed"


class Life(Struct, frozen=True):
    """
    A process, told from all others since the machine started: see :func:`core0.containers.watch.started`.
    """

    pid: int
    start: int


class Record(Struct, frozen=True, kw_only=True):
    """
    :ivar slot: which range of user ids it has.
    :ivar entry: the number of the command that makes it: as long as that is not answered nobody knows of the container.
    :ivar secret: the hash of the password of its CoreX.
    :ivar runtime: what has made it, and is to remove it.
    :ivar boot: the machine's run in which it was made: of another one nothing lives.
    :ivar started: in ms since the epoch.
    """

    version: int = 1
    number: int
    slot: int
    entry: int = 0
    secret: str
    boot: str
    runtime: Runtime
    request: Request
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

    def remove(self, number: int) -> None:
        """
        All that there is of a container; what its processes left there may be anything.
        """
        place = self.place(number)
        if os.path.lexists(place):
            # the record goes last: until then it is known that something is left
            for name in os.listdir(place):
                if name != RECORD:
                    remove(os.path.join(place, name))
            remove(place)

    def records(self) -> list[Record]:
        """
        Of all containers. A folder without a record that can be read is removed: nothing of it can have been started.
        """
        found: list[Record] = []
        for name in os.listdir(self.folder) if os.path.isdir(self.folder) else ():
            if name == LAST + NEW:
                remove(os.path.join(self.folder, name))  # core0 was killed while it wrote
            if not name.isdigit():
                continue
            try:
                with open(os.path.join(self.folder, name, RECORD), "rb") as file:
                    found.append(msgspec.json.decode(file.read(), type=Record))
            except (OSError, msgspec.MsgspecError) as error:
                _log.error(
                    "nothing is known of container {name} any more: {error}; removing it", name=name, error=error
                )
                self.remove(int(name))
        return sorted(found, key=lambda record: record.number)


def _write(path: str, data: bytes, *, safely: bool = False) -> None:
    """
    :param safely: it has to be there after a power cut, too.
    """
    new = path + NEW
    try:
        with open(new, "wb") as file:
            file.write(data)
            if safely:
                file.flush()
                os.fsync(file.fileno())
        os.rename(new, path)
    except BaseException:
        if os.path.exists(new):
            os.unlink(new)
        raise


def boot() -> str:
    """
    The machine's present run.
    """
    with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as file:
        return file.read().strip()
