"""
The OCI runtime: the program that makes processes into containers, and its commands.

Each command is a process of its own that ends; the container stays without it.
"""

import os
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from core0.containers import ground, groups
from core0.containers.bundle import INIT
from core0.containers.programs import NotRun, Programs, Said
from core0.errors import Core0Error
from core0.jobs.process import PATH
from core0.messages import printable
from core0.threads import in_pool
from core0.waiting import pause, to_the_end

NSENTER, UNSHARE, SHELL = "nsenter", "unshare", "/bin/sh"
MOST_SHOWN = 500  # characters of a runtime's last words
NAME = os.path.basename(INIT)
GONE = 10.0  # seconds that processes may take to begin, or to end once they are killed
FIRST_LOOK, LAST_LOOK = 0.001, 0.1  # seconds between looks

# The first step of a container on hosts where its runtime must not see the second version of cgroups: it is put there
# before, so that it is not where core0 is, whose unit may be stopped.
_PLACED = 'echo $$ > "$0/cgroup.procs" && exec "$@"'
_HIDDEN = f'mount -t tmpfs tmpfs {groups.UNIFIED} && exec "$@"'
_LOGFMT = re.compile(r'\bmsg="((?:[^"\\]|\\.)*)"')
_STAMP = re.compile(r"^\d{4}-\d\d-\d\dT[\d:.]+Z?:?\s*")
T = TypeVar("T")


class RuntimeFailed(Core0Error):
    """
    A command of the runtime failed; the text says which, and the runtime's own last words.
    """


@dataclass(frozen=True, slots=True)
class Runtime:
    """
    :ivar program: its path.
    :ivar name: what people call it.
    :ivar hide_unified: it refuses hosts that have both versions of cgroups, unless it does not see the second one.
    """

    program: str
    name: str
    hide_unified: bool = False


def find(name: str) -> str | None:
    """
    The path of a program by its name or path; core0's own PATH does not matter.
    """
    paths = [name] if "/" in name else [os.path.join(folder, name) for folder in PATH.split(":")]
    return next((path for path in paths if os.path.isfile(path) and os.access(path, os.X_OK)), None)


def hidden(command: Sequence[str]) -> list[str]:
    """
    A command that does not see the second version of cgroups, on a host that has both.
    """
    return [find(UNSHARE) or UNSHARE, "--mount", "--propagation", "private", "--", SHELL, "-c", _HIDDEN, "sh", *command]


def last_words(text: bytes) -> str:
    """
    What a runtime complained of at last, in one line, without its time stamps.
    """
    lines = [line for line in printable(text.decode("utf-8", "replace")).splitlines() if line.strip()]
    if not lines:
        return "it says nothing"
    messages = _LOGFMT.findall(lines[-1])
    # it is quoted as a string of Go, whose escapes are those of JSON as far as they occur
    said = re.sub(r"\\(.)", r"\1", messages[-1]) if messages else _STAMP.sub("", lines[-1].strip())
    return said if len(said) <= MOST_SHOWN else f"{said[: MOST_SHOWN // 2]} … {said[-MOST_SHOWN // 2 :]}"


class Runner:
    """
    Has a runtime do its work.

    :param root: the folder where it keeps its own records; it makes it.
    """

    def __init__(self, reactor: Any, programs: Programs, runtime: Runtime, root: str) -> None:
        self._reactor = reactor
        self._programs = programs
        self._root = root
        self.runtime = runtime

    async def run(
        self, id: str, bundle: str, pid_file: str, *, cgroups: str, mount_namespace: str | None = None
    ) -> int:
        """
        Start a container, which then lives without the runtime. If this fails or is cancelled, something of it may be
        there: it is for the caller to ``delete`` it.

        :param bundle: the folder of its ``config.json``.
        :param pid_file: where its pid is written; the same file for core0 and in the mount namespace.
        :param cgroups: as in the bundle.
        :param mount_namespace: the file of the mount namespace to do it in, ``/proc/<pid>/ns/mnt``. If the runtime has
            to be kept from seeing the second version of cgroups, that namespace does so.
        :returns: the pid of its first process.
        :raises RuntimeFailed: it does not start.
        """
        try:
            await self._in_thread(ground.check, bundle, mount_namespace)
        except (OSError, ValueError) as error:
            raise RuntimeFailed(f"this root file system cannot be used: {error}") from error
        options = ["run", "--detach", "--bundle", bundle, "--pid-file", pid_file, id]
        command = [self.runtime.program, "--root", self._root, *options]
        if mount_namespace is not None:
            command = [find(NSENTER) or NSENTER, f"--mount={mount_namespace}", "--", *command]
        elif self.runtime.hide_unified:
            command = hidden(command)
        if self.runtime.hide_unified:
            folder = await self._in_thread(groups.make_unified, cgroups)
            command = [SHELL, "-c", _PLACED, folder, *command]
        await self._done("run", command, lasting=True)
        try:
            pid = await self._in_thread(_read_pid, pid_file)
        except (OSError, ValueError) as error:
            raise RuntimeFailed(f"{self.runtime.name} does not tell the pid of what it started: {error}") from error
        await self._executed(pid)
        return pid

    async def _executed(self, pid: int) -> None:
        """
        Wait until the first process is what it is going to be. crun does not; and nobody else may be in the container
        while that process is still the runtime, with all that it has of the host.
        """
        deadline = self._reactor.seconds() + GONE
        wait = FIRST_LOOK
        while await self._in_thread(_name, pid) != NAME:
            if self._reactor.seconds() >= deadline:
                raise RuntimeFailed(f"{self.runtime.name} run: the first process has not begun within {GONE:.0f} s")
            await pause(self._reactor, wait)
            wait = min(wait * 1.5, LAST_LOOK)

    async def delete(self, id: str, *, cgroups: str) -> None:
        """
        End a container, whatever state it is in, and wait until nothing is left of its processes, its cgroups and the
        runtime's records. Fine if there is none.

        :raises RuntimeFailed: something is left.
        """
        # first, since runc looks only every 100 ms whether what it kills has ended
        await self._until(groups.kill, cgroups, "processes that cannot be killed, they hang in the kernel")
        record = os.path.join(self._root, id)
        if await self._in_thread(os.path.exists, record):
            command = self._command("delete", "--force", id)
            said = await self._said("delete", command)
            if said.code and await self._in_thread(os.path.exists, record):
                raise self._failed("delete", said)
        await self._until(groups.remove, cgroups, "cgroups that cannot be removed")

    def _command(self, *options: str) -> list[str]:
        command = [self.runtime.program, "--root", self._root, *options]
        return hidden(command) if self.runtime.hide_unified else command

    async def _done(self, what: str, command: Sequence[str], *, lasting: bool = False) -> Said:
        said = await self._said(what, command, lasting=lasting)
        if said.code:
            raise self._failed(what, said)
        return said

    async def _said(self, what: str, command: Sequence[str], *, lasting: bool = False) -> Said:
        try:
            return await self._programs.run(command, lasting=lasting)
        except NotRun as error:
            raise RuntimeFailed(f"{self.runtime.name} {what}: {error}") from error

    def _failed(self, what: str, said: Said) -> RuntimeFailed:
        return RuntimeFailed(f"{self.runtime.name} {what} failed with status {said.code}: {last_words(said.err)}")

    async def _until(self, step: Callable[[str], bool], cgroups: str, left: str) -> None:
        """
        Repeat a step until it says that it is done.
        """
        deadline = self._reactor.seconds() + GONE
        wait = FIRST_LOOK
        while not await self._in_thread(step, cgroups):
            if self._reactor.seconds() >= deadline:
                raise RuntimeFailed(f"the container in {cgroups} leaves {left}")
            await pause(self._reactor, wait)
            wait = min(wait * 1.5, LAST_LOOK)

    async def _in_thread(self, work: Callable[..., T], *arguments: Any) -> T:
        # to its end: what a thread does to a cgroup must not go on when that is somebody else's
        return await to_the_end(in_pool(self._reactor, self._reactor.getThreadPool(), work, *arguments))


def _name(pid: int) -> str:
    """
    :raises RuntimeFailed: there is no such process.
    """
    try:
        with open(f"/proc/{pid}/comm", "rb") as file:
            return file.read().decode("utf-8", "replace").rstrip()
    except (FileNotFoundError, ProcessLookupError) as error:
        raise RuntimeFailed("the first process of the container has ended at once") from error


def _read_pid(path: str) -> int:
    with open(path, "rb") as file:
        return int(file.read(32))
