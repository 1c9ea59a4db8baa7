"""
Trees of processes by cgroup v2: a job's first process is born in the job's cgroup, and nothing that it forks leaves it.

Moving a process into a cgroup waits for an RCU grace period, some 8 ms when it happens now and then. A *thread* that
moves itself between threaded cgroups waits for nothing (some 10 µs), and a process starts in the cgroup of the thread
that forks it. So the reactor's thread steps into the job's cgroup, forks, and steps back: no launcher, and no moment at
which a child is outside. The price: a threaded cgroup has no ``cgroup.kill`` and no ``cgroup.procs``; freezing it and
killing its threads does the same.
"""

import errno
import os
import select
import signal
import time
from collections.abc import Sequence
from typing import Any

from twisted.logger import Logger
from zope.interface import implementer

from core0 import procfs
from core0.errors import Core0Error
from core0.jobs.cgroup_place import clean, folders, own_folder, own_path, remove
from core0.spawn import Start
from core0.tree_interfaces import ITree, ITrees

MAX_IDLE = 64  # empty cgroups kept for the next jobs: making one costs more than stepping into it
KILL_ROUNDS = 50
ROUND = 0.02  # seconds
LEFT_WAIT = 10.0  # seconds
SCARCE = (errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.EAGAIN, errno.EINTR)  # says nothing about a cgroup


@implementer(ITree)
class CgroupTree:
    """
    The processes of one threaded cgroup, those in cgroups that they make in it included, until it is closed: its
    directory is another tree's then.
    """

    __slots__ = ("_closed", "_trees", "path")

    def __init__(self, trees: "CgroupTrees", path: str) -> None:
        self._trees = trees
        self._closed = False
        self.path = path

    def populated(self) -> bool:
        """
        Whether any process of it is alive; zombies do not count.
        """
        if self._closed:
            return False
        try:
            return b"populated 1" in procfs.read(f"{self.path}/cgroup.events")
        except OSError:
            return True  # no descriptor to look with: it is looked again

    def pids(self) -> Sequence[int]:
        """
        The living processes, threads told apart from them.
        """
        return [pid for pid in self._threads() if procfs.leads(pid)]

    def members(self, pass_: dict[object, Any]) -> Sequence[int]:
        """
        The same: each has a list of its own.
        """
        return self.pids()

    def _threads(self) -> list[int]:
        if self._closed:
            return []
        lists = [procfs.read(f"{folder}/cgroup.threads") for folder in folders(self.path)]
        # closed meanwhile: what was read may be another job's
        found = [] if self._closed else [int(word) for words in lists for word in words.split()]
        # a thread of core0 that could not step back is nobody to be signalled
        return [pid for pid in found if pid != os.getpid()]

    def signal(self, number: int) -> None:
        """
        Send a signal to each process once.
        """
        for pid in self._threads():
            # a descriptor is only had of a thread group's leader, and cannot mean another process by now
            fd = procfs.open_process(pid)
            if fd is None:
                continue
            try:
                if not self._closed:
                    signal.pidfd_send_signal(fd, number)
            except (ProcessLookupError, PermissionError):
                pass
            finally:
                os.close(fd)

    def kill(self) -> bool:
        """
        Freeze, so that nothing forks, and KILL.
        """
        for _ in range(KILL_ROUNDS):
            if not self.populated():
                return True
            # what is made inside of it is frozen with it
            self._freeze()
            self.signal(signal.SIGKILL)
            self._wait(ROUND)
        return not self.populated()

    def _freeze(self) -> None:
        if self._trees.astray:
            return  # the reactor would be frozen with it
        try:
            procfs.write(f"{self.path}/cgroup.freeze", b"1")
        except OSError:
            pass  # without it KILL needs more rounds, no more

    def _wait(self, seconds: float) -> None:
        """
        Until the cgroup's state changes: the kernel reports that as POLLPRI.
        """
        try:
            fd = os.open(f"{self.path}/cgroup.events", os.O_RDONLY | os.O_CLOEXEC)
        except OSError:
            return
        try:
            if b"populated 1" in os.read(fd, 256):
                poll = select.poll()
                poll.register(fd, select.POLLPRI)
                poll.poll(seconds * 1000)
        finally:
            os.close(fd)

    def close(self) -> None:
        """
        Give the cgroup to the next job.
        """
        if not self._closed:
            self._closed = True
            self._trees.release(self.path)


@implementer(ITrees)
class CgroupTrees:
    """
    A cgroup of core0's own, which it lives in, and a threaded one for each job in it.

    Any of them may be removed or changed by others at any time, and this process may be moved elsewhere: what was kept
    is then dropped, the rest made anew.

    :param path: that cgroup's directory; made if it is not there.
    :ivar astray: the job's cgroup that this thread has stepped into and cannot step back from; empty as a rule.
    """

    _log = Logger()

    def __init__(self, path: str) -> None:
        self.path = path
        self.astray = ""
        self._warned = self._failing = False
        self._idle: list[str] = []
        self._unremoved: list[str] = []
        self._made = 0
        self._origin = ""
        self._home = -1

    @classmethod
    def find(cls, name: str) -> "CgroupTrees":
        """
        Below the cgroup that this process is in.

        :raises Core0Error: this host, or this user, cannot have them; says why.
        """
        own = own_path(procfs.read("/proc/self/cgroup"))
        parent = own_folder(procfs.read("/proc/self/mountinfo"), own) if own is not None else None
        if parent is None:
            raise Core0Error("cannot use cgroups: no cgroup v2 hierarchy is mounted that this process is in")
        # started again from inside: the same place, not one level further down
        path = parent if os.path.basename(parent) == name else f"{parent}/{name}"
        return cls(path)

    def open(self) -> "CgroupTrees":
        """
        Make the cgroup and move this process into it.

        :raises Core0Error: it cannot be done; nothing is changed then.
        """
        try:
            self._enter()
            # an attempt: not every place in the hierarchy takes threaded children
            self._idle.append(self._make())
            self._step(self._idle[0])
            os.write(self._home, b"0")
        except OSError as error:
            self.close()
            try:
                os.rmdir(self.path)
            except OSError:
                pass  # it was not made, or there was something in it before
            raise Core0Error(f"cannot use cgroups at {self.path}: {error.strerror}") from error
        return self

    def _enter(self) -> None:
        self._origin = os.path.dirname(self.path)
        os.makedirs(self.path, exist_ok=True)
        procfs.write(f"{self.path}/cgroup.procs", b"0")
        home = os.open(f"{self.path}/cgroup.threads", os.O_WRONLY | os.O_CLOEXEC)
        if self._home >= 0:
            os.close(self._home)  # of a cgroup that may be removed
        self._home = home

    def _make(self) -> str:
        while True:
            self._made += 1
            path = f"{self.path}/job-{self._made}"
            try:
                os.mkdir(path)
            except FileExistsError:
                continue
            try:
                procfs.write(f"{path}/cgroup.type", b"threaded")
            except OSError:
                os.rmdir(path)
                raise
            return path

    @staticmethod
    def _step(path: str) -> None:
        procfs.write(f"{path}/cgroup.threads", b"0")

    def spawn(self, start: Start) -> tuple[int, ITree]:
        """
        Fork inside a job's cgroup.
        """
        path = self._stepped()
        try:
            pid = start()
        except BaseException:
            self._step_back(path)
            self.release(path)
            raise
        tree = CgroupTree(self, path)
        try:
            self._step_back(path)
        except OSError:
            tree.signal(signal.SIGKILL)
            raise
        return pid, tree

    def _stepped(self) -> str:
        """
        Step into an empty cgroup.

        :raises OSError: there is none to be had; why is logged once, until there is one again.
        """
        try:
            path = self._step_in()
        except OSError as error:
            text = f"core0 has no cgroup for it at {self.path}: {error.strerror}"
            if not self._failing:
                self._log.error("cannot start programs: {text}", text=text)
            self._failing = True
            raise OSError(error.errno, text) from error
        self._failing = False
        return path

    def _step_in(self) -> str:
        if path := self.astray:
            self._step_back(path)
            remove(path)
        while self._idle:
            path = self._idle.pop()
            try:
                self._step(path)
            except OSError as error:
                if error.errno in SCARCE:
                    self._idle.append(path)
                    raise
                self._lose(path)
            else:
                return path
        try:
            return self._step_anew()
        except OSError as error:
            if error.errno in SCARCE:
                raise
        # this process was moved elsewhere, or its own cgroup is gone, too
        self._warn()
        self._enter()
        return self._step_anew()

    def _step_anew(self) -> str:
        path = self._make()
        try:
            self._step(path)
        except OSError:
            remove(path)
            raise
        return path

    def _lose(self, path: str) -> None:
        self._warn()
        try:
            remove(path)
        except OSError:
            pass  # whatever it is now

    def _warn(self) -> None:
        if not self._warned:
            self._warned = True
            text = "cgroups in {path} were removed or changed by something other than core0; it makes others"
            self._log.warn(text, path=self.path)

    def _step_back(self, path: str) -> None:
        """
        :raises OSError: this thread stays where it is; no program can be started until it steps back.
        """
        self.astray = path
        try:
            os.write(self._home, b"0")
        except OSError:
            self._enter()  # with all threads, and by name
        self.astray = ""

    def release(self, path: str) -> None:
        """
        Keep an empty cgroup for the next job, or remove it. One that cannot be removed now, as with too many files
        open, is removed with a later one: its job is over, and that is no part of its result.
        """
        if len(self._idle) < MAX_IDLE and clean(path):
            self._idle.append(path)
        else:
            self._unremoved.append(path)
        while self._unremoved:
            try:
                remove(self._unremoved[-1])
            except OSError:
                return
            self._unremoved.pop()

    def _left(self) -> list[CgroupTree]:
        try:
            names = os.listdir(self.path)
        except OSError:
            return []  # there is none, or none to be seen from here
        paths = [f"{self.path}/{name}" for name in names if name.startswith("job-")]
        return [CgroupTree(self, path) for path in paths if path not in self._idle]

    def in_use(self) -> bool:
        """
        Whether another core0 lives here: one process in the cgroup itself, not this one, has others in those of jobs.
        """
        here = {int(word) for word in procfs.read(f"{self.path}/cgroup.threads").split()} - {os.getpid()}
        for tree in self._left():
            for pid in tree.pids():
                while pid := procfs.parent(pid):
                    if pid in here:
                        return True
        return False

    def kill_left(self) -> int:
        """
        All that lives in jobs' cgroups before the first job is started is left from before.
        """
        if self.in_use():
            self._log.error("another core0 is in the cgroup {path}: what is there is not touched", path=self.path)
            return 0
        killed = 0
        deadline = time.monotonic() + LEFT_WAIT
        left = self._left()
        while left and time.monotonic() < deadline:
            killed += sum(len(tree.pids()) for tree in left)
            left = [tree for tree in left if not tree.kill()]
        for tree in self._left():
            remove(tree.path)
        return killed

    def close(self) -> None:
        """
        Leave the cgroup and remove it, unless something still lives in it.
        """
        if self._home < 0:
            return
        os.close(self._home)
        self._home = -1
        for path in [*self._idle, *self._unremoved]:
            remove(path)
        self._idle.clear()
        self._unremoved.clear()
        try:
            procfs.write(f"{self._origin}/cgroup.procs", b"0")
        except OSError:
            return  # its parent takes no processes any more; it stays where it is
        remove(self.path)
