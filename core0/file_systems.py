"""
Whether file systems answer, asked in threads: one that hangs, as of a server that is gone, keeps some threads for
itself and holds up nothing that lies elsewhere.
"""

import os
from collections import deque
from collections.abc import Callable, Sequence
from threading import Lock

from twisted.internet.defer import Deferred, TimeoutError

from core0.errors import Core0Error
from core0.facts import mounts
from core0.interfaces import ICoreReactor
from core0.threads import DaemonPool, in_pool
from core0.waiting import within

WAITING = 4  # threads that wait for one file system
THREADS = 64  # that wait for all of them
ANSWER = 5.0  # seconds in which a file system has to answer
REREAD = 1.0  # seconds until it is looked again what is mounted
MAX_LINKS = 40  # as the kernel has it
MOUNTS = "/proc/self/mountinfo"


class Unanswered(Core0Error):
    """
    A file system does not answer.

    :param place: a path on it.
    """

    def __init__(self, place: str) -> None:
        super().__init__(f"the file system of {place!r} does not answer")
        self.place = place


class _Crowded(Exception):
    """
    As many threads wait for a file system as may.
    """

    def __init__(self, device: str, place: str) -> None:
        super().__init__(device)
        self.device = device
        self.place = place


class _Visit:
    """
    One walk along some paths, in a thread.
    """

    def __init__(self, place: str) -> None:
        self.device: str | None = None
        self.place = place


class FileSystems:
    """
    Walks along paths. Each step is counted for the file system that it is on, symlinks included, before it is taken.
    """

    def __init__(self, reactor: ICoreReactor) -> None:
        self._reactor = reactor
        self._pool = DaemonPool(0, THREADS, "core0-paths")
        self._pool.start()
        self._mounts = _Mounts(reactor.seconds)
        self._lock = Lock()
        self._visits: dict[str, dict[_Visit, float]] = {}  # and since when, by device
        self._waiting: dict[str, deque[Deferred[None]]] = {}

    async def check(self, paths: Sequence[str]) -> None:
        """
        Return once all of these have answered, whatever is there.

        :param paths: absolute ones.
        :raises Unanswered: one has not, within some seconds.
        :raises core0.errors.NoThread: there is none to ask with.
        """
        deadline = self._reactor.seconds() + ANSWER
        while True:
            visit = _Visit(paths[0])
            walking = in_pool(self._reactor, self._pool, self._walk, visit, paths)
            try:
                await within(self._reactor, max(deadline - self._reactor.seconds(), 0.0), walking)
                return
            except _Crowded as crowded:
                await self._freed(crowded, deadline)
            except TimeoutError as error:
                raise Unanswered(visit.place) from error

    async def _freed(self, crowded: _Crowded, deadline: float) -> None:
        """
        Wait until one thread less waits for a file system.
        """
        now = self._reactor.seconds()
        with self._lock:
            since = list(self._visits.get(crowded.device, {}).values())
        if len(since) < WAITING:
            return
        if all(each + ANSWER <= now for each in since):
            raise Unanswered(crowded.place)
        waiting = self._waiting.setdefault(crowded.device, deque())
        free: Deferred[None] = Deferred(waiting.remove)
        waiting.append(free)
        try:
            await within(self._reactor, max(deadline - now, 0.0), free)
        except TimeoutError as error:
            raise Unanswered(crowded.place) from error

    def _walk(self, visit: _Visit, paths: Sequence[str]) -> None:
        """
        In a thread.
        """
        try:
            for path in paths:
                _follow(path, lambda place: self._enter(visit, place))
        finally:
            with self._lock:
                self._leave(visit)
            self._reactor.callFromThread(self._wake)

    def _enter(self, visit: _Visit, place: str) -> None:
        device = self._mounts.device(place)
        if device == visit.device:
            visit.place = place
            return
        with self._lock:
            there = self._visits.setdefault(device, {})
            if len(there) >= WAITING:
                raise _Crowded(device, place)
            self._leave(visit)
            self._visits.setdefault(device, there)[visit] = self._reactor.seconds()
            visit.device, visit.place = device, place

    def _leave(self, visit: _Visit) -> None:
        if visit.device is not None:
            there = self._visits[visit.device]
            del there[visit]
            if not there:
                del self._visits[visit.device]
            visit.device = None

    def _wake(self) -> None:
        """
        Let one more come to each file system that has room.
        """
        for device in list(self._waiting):
            waiting = self._waiting[device]
            if waiting and len(self._visits.get(device, ())) < WAITING:
                waiting.popleft().callback(None)
            if not waiting:
                self._waiting.pop(device, None)


class _Mounts:
    """
    Which file system a path is on, without asking that.
    """

    def __init__(self, seconds: Callable[[], float]) -> None:
        self._seconds = seconds
        self._devices: dict[bytes, str] = {}
        self._read = -REREAD

    def device(self, path: str) -> str:
        """
        :param path: absolute and without symlinks.
        """
        self._look()
        place = os.fsencode(path)
        while place not in self._devices and place != b"/":
            place = os.path.dirname(place)
        return self._devices.get(place, "")

    def _look(self) -> None:
        if self._seconds() - self._read < REREAD:
            return
        try:
            with open(MOUNTS, "rb") as file:
                self._devices = {mount.point: mount.device for mount in mounts.parse(file.read())}
        except OSError:
            pass  # what was there before may do
        self._read = self._seconds()  # after that: until then other threads read for themselves


def _follow(path: str, enter: Callable[[str], None]) -> None:
    """
    Walk along a path as the kernel does.

    :param enter: called with each place before it is looked at.
    """
    here, links = "/", 0
    rest = deque(path.split("/"))
    while rest:
        name = rest.popleft()
        if name in ("", "."):
            continue
        there = os.path.dirname(here) if name == ".." else os.path.join(here, name)
        enter(there)
        target = _target(there)
        if target is None:
            here = there
            continue
        links += 1
        if links > MAX_LINKS:
            return
        here = "/" if target.startswith("/") else here
        rest.extendleft(reversed(target.split("/")))
    enter(here)
    try:
        os.stat(path)
    except (OSError, ValueError):
        pass  # it is an answer


def _target(path: str) -> str | None:
    """
    Where a symlink leads to; None for what is none.
    """
    try:
        return os.readlink(path)
    except (OSError, ValueError):
        return None
