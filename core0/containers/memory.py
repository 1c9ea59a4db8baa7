"""
Containers whose memory limit is reached: the kernel kills processes in them, and those whose jobs fail are told why.
"""

import os
from collections.abc import Callable, Iterable, Sequence

from msgspec.structs import replace
from twisted.internet.defer import CancelledError
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

from core0.clock import epoch
from core0.containers import groups
from core0.interfaces import ThreadRunner
from core0.messages import Result, State
from core0.redis.task import Task
from core0.waiting import pause

LOOK = 5.0  # seconds between looks
TELL = 60.0  # seconds between entries of the log about one container
MIB = 1 << 20
_log = Logger()
FILES = ("memory.events", "memory.oom_control")  # of cgroups v2 and v1


def killed(text: str) -> int | None:
    """
    How many processes the kernel has killed, as a file of a cgroup says it; None if it does not say.
    """
    for line in text.splitlines():
        name, _, count = line.partition(" ")
        if name == "oom_kill" and count.isdecimal():
            return int(count)
    return None


class MemoryLimit:
    """
    The memory limit of one container, and how often the kernel has killed a process in it for that.

    :param limit: in bytes; None for none.
    :param cgroup: of the container, from the root of each hierarchy.
    :param fresh: it has been made by this core0.
    :ivar kills: how many processes have been killed.
    """

    _log = Logger()

    def __init__(self, clock: IReactorTime, number: int, limit: int | None, cgroup: str, *, fresh: bool) -> None:
        self._clock = clock
        self._number = number
        self.limit = limit
        self._cgroup = cgroup
        self._known = fresh  # else what happened before this core0 is not told
        self._path = ""
        self._last = -1.0  # when more were seen to have been killed, in seconds since the epoch
        self._untold = 0
        self._told = -TELL
        self.kills = 0

    @property
    def text(self) -> str:
        """
        What has happened, in words.
        """
        size = f"{(self.limit or 0) / MIB:g} MiB"
        return f"out of memory: the limit of the container, {size}, was reached, and the kernel has killed a process"

    def read(self) -> int | None:
        """
        The kernel's count. Reads a file: call it in a thread.

        :returns: None if there is none: the container is gone.
        """
        paths = [self._path] if self._path else [os.path.join(each, name) for each in self._folders() for name in FILES]
        for path in paths:
            try:
                with open(path, encoding="ascii", errors="replace") as file:
                    found = killed(file.read())
            except OSError:
                continue
            if found is not None:
                self._path = path
                return found
        return None

    def _folders(self) -> Sequence[str]:
        try:
            return groups.existing(self._cgroup)
        except OSError:
            return ()

    def seen(self, count: int | None) -> None:
        """
        Take note of what was read.
        """
        if count is None:
            return
        more, self.kills = count - self.kills, max(count, self.kills)
        if more > 0 and self._known:
            self._last = epoch(self._clock)
            self._untold += more
        self._known = True
        now = self._clock.seconds()
        if self._untold and now - self._told >= TELL:
            text = "container {number}: {reason}: {count} so far"
            self._log.warn(text, number=self._number, reason=self.text, count=self.kills)
            self._told, self._untold = now, 0

    def explained(self, result: Result) -> Result:
        """
        A result that says so if the limit was reached during a run that failed.
        """
        if result.state != State.ERROR or not result.runs or self._last * 1000 < result.starttime:
            return result
        return replace(result, critical=f"{result.critical}\n{self.text}".lstrip("\n"))

    def cause(self, reason: str) -> str:
        """
        Why the container died, with that if it has just happened.
        """
        now = epoch(self._clock)
        return f"{reason}; {self.text}" if now - self._last <= 2 * LOOK else reason


class MemoryWatcher:
    """
    Looks at the limits of all containers now and then.

    :param limits: of those that live.
    """

    def __init__(
        self, clock: IReactorTime, in_thread: ThreadRunner, limits: Callable[[], Iterable[MemoryLimit]]
    ) -> None:
        self._clock = clock
        self._in_thread = in_thread
        self._limits = limits
        self._task = Task("nobody looks whether containers are out of memory any more")

    def start(self) -> None:
        """
        From now on.
        """
        self._task.start(self._watch())

    def stop(self) -> None:
        """
        No more.
        """
        self._task.stop()

    async def _watch(self) -> None:
        while True:
            await pause(self._clock, LOOK)
            await look(self._in_thread, self._limits())


async def look(in_thread: ThreadRunner, limits: Iterable[MemoryLimit]) -> None:
    """
    Look at these, as far as they are limits. What goes wrong is logged: it keeps nothing from going on.
    """
    known = [each for each in limits if each.limit]
    if not known:
        return
    try:
        counts = await in_thread(_read, known)
    except CancelledError:
        raise
    except Exception:
        _log.failure("cannot see whether containers are out of memory", Failure())
        return
    for each, count in zip(known, counts, strict=True):
        each.seen(count)


def _read(limits: Sequence[MemoryLimit]) -> list[int | None]:
    return [each.read() for each in limits]
