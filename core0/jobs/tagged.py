"""
Trees of processes without cgroups: each job's processes carry a number that they inherit and do not see.

The number is the soft limit of ``RLIMIT_LOCKS``, which Linux has not looked at since 2.4.25. It passes through fork,
exec, ``setsid`` and an emptied environment, every user may set it, and ``/proc/<pid>/limits`` shows it. A program that
wanted to escape could set it; one that does so by accident is not known.
"""

import errno
import os
import resource
import secrets
import signal
import time
from collections.abc import Sequence
from typing import Any

from zope.interface import implementer

from core0 import procfs
from core0.spawn import Start
from core0.tree_interfaces import ITree, ITrees

RLIMIT_LOCKS = 10
KILL_ROUNDS = 50
ROUND = 0.02  # seconds
QUIET_LOOKS = 2  # in a row that find nothing: whoever forks and ends may be missed by one
LEFT_WAIT = 10.0  # seconds
# a tag: that it is one, which side of a container's wall it is for, whose, and which job of his
TAGGED, INSIDE = 1 << 62, 1 << 61
FAMILY_BITS, JOB_BITS = 36, 25
OWN_NAMESPACE = "/proc/self/ns/pid"
_NAME = b"Max file locks"


def parse_tag(limits: bytes) -> int:
    """
    The tag in the text of ``/proc/<pid>/limits``; 0 if there is none.
    """
    _, found, rest = limits.partition(_NAME)
    words = rest.split(maxsplit=1) if found else []
    return int(words[0]) if words and words[0].isdigit() else 0


def tag_of(pid: int) -> int:
    """
    The tag of a living process; 0 if it has none.
    """
    return parse_tag(procfs.read(f"/proc/{pid}/limits"))


@implementer(ITree)
class TaggedTree:
    """
    The processes of one tag, until it is closed.
    """

    __slots__ = ("_closed", "_pid", "_tag", "_trees")

    def __init__(self, trees: "TaggedTrees", tag: int, pid: int) -> None:
        self._trees = trees
        self._tag = tag
        self._pid = pid
        self._closed = False

    def populated(self) -> bool:
        """
        Whether its process group has a member, or core0 inherited an orphan of it. That covers all of them: whoever has
        left the group has a parent in the tree, or is an orphan. An orphan that is not reaped yet counts: it may have
        forked another one just before it ended.
        """
        try:
            return not self._closed and (self._grouped() or self._orphaned())
        except OSError:
            return True  # no descriptor to look with: it is looked again

    def _grouped(self) -> bool:
        try:
            os.killpg(self._pid, 0)
        except ProcessLookupError:
            return False
        except PermissionError:
            return True
        # the number may be another group's by now
        return tag_of(self._pid) in (0, self._tag)

    def _orphaned(self) -> bool:
        return any(tag_of(pid) == self._tag for pid in self._trees.strangers())

    def pids(self) -> Sequence[int]:
        """
        All processes with the tag.
        """
        if self._closed:
            return []
        return [pid for pid in procfs.processes() if tag_of(pid) == self._tag]

    def members(self, pass_: dict[object, Any]) -> Sequence[int]:
        """
        Its first process and what came of that, and orphans.
        """
        if self._closed:
            return []
        if self._trees not in pass_:
            pass_[self._trees] = self._trees.orphans()
        left, found = [self._pid, *pass_[self._trees].get(self._tag, ())], []
        while left:
            pid = left.pop()
            found.append(pid)
            left += procfs.all_children(pid)
        return found

    def signal(self, number: int) -> None:
        """
        Send a signal to each of them once.
        """
        for pid in self.pids():
            _signal(pid, self._tag, number)

    def kill(self) -> bool:
        """
        Stop all first, so that nothing forks meanwhile, then KILL.
        """
        quiet = 0
        for _ in range(KILL_ROUNDS):
            pids = [pid for pid in self.pids() if procfs.alive(pid)]
            if not pids and not self.populated():
                quiet += 1
                if quiet == QUIET_LOOKS:
                    return True
                continue
            quiet = 0
            for number in (signal.SIGSTOP, signal.SIGKILL):
                for pid in pids:
                    _signal(pid, self._tag, number)
            self._hunt()
        return False

    def _hunt(self) -> None:
        """
        KILL orphans as they come: one that forks and ends is somebody else by the time /proc has been walked through.
        """
        deadline = time.monotonic() + ROUND
        while time.monotonic() < deadline:
            orphans = [pid for pid in self._trees.strangers() if tag_of(pid) == self._tag and procfs.alive(pid)]
            for pid in orphans:
                _signal(pid, self._tag, signal.SIGKILL)
            if not orphans:
                time.sleep(ROUND / 20)

    def close(self) -> None:
        """
        Forget its first process.
        """
        self._closed = True
        self._trees.forget(self._pid, self._tag)


def _near(pid: int) -> bool:
    """
    Whether a process is in the same pid namespace as this one.
    """
    try:
        return os.readlink(f"/proc/{pid}/ns/pid") == os.readlink(OWN_NAMESPACE)
    except OSError:
        return False  # it is gone, or nobody that this process may signal


def _signal(pid: int, tag: int, number: int) -> None:
    """
    Signal a process that still has the tag: its pid may be another's by now.
    """
    fd = procfs.open_process(pid)
    if fd is None:
        return
    try:
        if tag_of(pid) == tag:
            signal.pidfd_send_signal(fd, number)
    except (ProcessLookupError, PermissionError):
        pass
    finally:
        os.close(fd)


@implementer(ITrees)
class TaggedTrees:
    """
    :param family: the same at every start of one core0; of longer numbers the last bits count.
    :param inside: for a CoreX: what it gives is never what the core0 of a host gives.
    """

    def __init__(self, family: int, *, inside: bool = False) -> None:
        family &= (1 << FAMILY_BITS) - 1
        self._first = TAGGED | (INSIDE if inside else 0) | family << JOB_BITS
        self._last = secrets.randbits(JOB_BITS)  # so that tags of the run before are not met again
        self._known: dict[int, int] = {}  # first processes of trees, and the tags of those
        self._tags: set[int] = set()

    def spawn(self, start: Start) -> tuple[int, ITree]:
        """
        Fork with the tag set.
        """
        tag = self._next()
        usual = resource.getrlimit(RLIMIT_LOCKS)
        try:
            resource.setrlimit(RLIMIT_LOCKS, (tag, usual[1]))
        except ValueError as error:
            raise OSError(errno.EOPNOTSUPP, "the hard limit on locks must be unlimited: set LimitLOCKS") from error
        try:
            pid = start()
        finally:
            resource.setrlimit(RLIMIT_LOCKS, usual)
        self._known[pid] = tag
        self._tags.add(tag)
        return pid, TaggedTree(self, tag, pid)

    def _next(self) -> int:
        while True:
            self._last = (self._last + 1) % (1 << JOB_BITS)
            tag = self._first | self._last
            if tag not in self._tags:
                return tag

    def strangers(self) -> list[int]:
        """
        Children of this process that it did not start as a job: orphans.
        """
        return [pid for pid in procfs.children(os.getpid()) if pid not in self._known]

    def forget(self, pid: int, tag: int) -> None:
        """
        The job of this first process is over.
        """
        self._tags.discard(tag)
        if self._known.get(pid) == tag:  # else it is the first one of another job by now
            del self._known[pid]

    def orphans(self) -> dict[int, list[int]]:
        """
        Children of this process that it did not start as a job, by their tags.
        """
        found: dict[int, list[int]] = {}
        for pid in self.strangers():
            found.setdefault(tag_of(pid), []).append(pid)
        return found

    def left(self) -> dict[int, int]:
        """
        The living processes with a tag of the family, and which. What is in another pid namespace was not started by a
        core0 in this one.
        """
        tags = {pid: tag_of(pid) for pid in procfs.processes()}
        return {pid: tag for pid, tag in tags.items() if self.belongs(tag) and procfs.alive(pid) and _near(pid)}

    def belongs(self, tag: int) -> bool:
        """
        Whether a tag is of the family.
        """
        return tag >> JOB_BITS == self._first >> JOB_BITS

    def kill_left(self) -> int:
        """
        All processes of the family before the first job is started are left from before.
        """
        self._untag()
        killed: set[int] = set()
        deadline = time.monotonic() + LEFT_WAIT
        quiet = 0
        while quiet < QUIET_LOOKS and time.monotonic() < deadline:
            left = self.left()
            quiet = 0 if left else quiet + 1
            killed.update(left)
            for pid, tag in left.items():
                _signal(pid, tag, signal.SIGKILL)
            if left:
                time.sleep(ROUND)
        return len(killed)

    def _untag(self) -> None:
        """
        This process may have been started by something that is left from before; it shall not end itself.
        """
        soft, hard = resource.getrlimit(RLIMIT_LOCKS)
        if self.belongs(soft):
            resource.setrlimit(RLIMIT_LOCKS, (hard, hard))

    def close(self) -> None:
        """
        Nothing is kept.
        """
