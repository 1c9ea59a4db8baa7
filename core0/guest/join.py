"""
From a process of the host to a process of a container: into its namespaces and cgroups, with no more rights than the
container's own processes have.

What a process gets that comes out of this is what the OCI runtime's ``exec`` would give it, with one difference: it
cannot be traced or looked into from inside, because its memory belongs to the host.
"""

import ctypes
import os
import resource
import signal
from dataclasses import dataclass

import msgspec
from msgspec import Struct, field

from core0 import procfs
from core0.containers import capabilities, kernel

NAMESPACES = {
    "user": kernel.CLONE_NEWUSER,
    "mount": kernel.CLONE_NEWNS,
    "pid": kernel.CLONE_NEWPID,
    "network": kernel.CLONE_NEWNET,
    "ipc": kernel.CLONE_NEWIPC,
    "uts": kernel.CLONE_NEWUTS,
    "cgroup": kernel.CLONE_NEWCGROUP,
}

NEVER = b"-17"  # to end for want of memory
FIRST = 1000  # to end: what jobs get where nobody can be spared


class _Namespace(Struct):
    type: str


class _Memory(Struct, frozen=True):
    limit: int | None = None


class _Resources(Struct, frozen=True):
    memory: _Memory = _Memory()


class _Linux(Struct):
    namespaces: list[_Namespace]
    resources: _Resources = _Resources()


class _Limit(Struct):
    type: str
    soft: int
    hard: int


class _Capabilities(Struct):
    bounding: list[str]


class _Process(Struct):
    capabilities: _Capabilities
    rlimits: list[_Limit] = []
    no_new_privileges: bool = field(name="noNewPrivileges", default=False)
    oom_score: int | None = field(name="oomScoreAdj", default=None)


class _Config(Struct):
    """
    What of a bundle's configuration counts here; the rest is passed over.
    """

    process: _Process
    linux: _Linux


_decode = msgspec.json.Decoder(_Config).decode


@dataclass(frozen=True, slots=True)
class Confinement:
    """
    What a bundle says of the processes of its container.

    :ivar spared: the kernel shall end others when the memory of the container is full, not its CoreX and first process.
    """

    namespaces: int
    capabilities: tuple[int, ...]
    no_new_privileges: bool
    limits: tuple[tuple[int, int, int], ...]
    oom_score: int | None
    spared: bool
    calls: bytes  # the seccomp filter, empty for none

    @classmethod
    def of(cls, config: bytes, calls: bytes) -> "Confinement":
        """
        :param config: of ``config.json``.
        """
        read = _decode(config)
        process = read.process
        return cls(
            namespaces=sum(NAMESPACES[each.type] for each in read.linux.namespaces),
            capabilities=tuple(capabilities.ALL.index(name) for name in process.capabilities.bounding),
            no_new_privileges=process.no_new_privileges,
            limits=tuple((getattr(resource, each.type), each.soft, each.hard) for each in process.rlimits),
            oom_score=process.oom_score,
            spared=read.linux.resources.memory.limit is not None and process.oom_score is not None,
            calls=calls,
        )

    @classmethod
    def read(cls, bundle: str) -> "Confinement":
        """
        From the folder of a bundle.
        """
        with open(f"{bundle}/config.json", "rb") as file:
            config = file.read()
        try:
            with open(f"{bundle}/seccomp.bpf", "rb") as program:
                calls = program.read()
        except FileNotFoundError:
            calls = b""
        return cls.of(config, calls)


def hide(name: str) -> None:
    """
    Be nobody's business from here on: not to be traced, with a name and a command line of its own.
    """
    kernel.prctl(kernel.PR_SET_DUMPABLE, 0)
    kernel.name_process(name)
    _overwrite_arguments(name)


def _overwrite_arguments(name: str) -> None:
    """
    What ``ps`` shows is read from where the arguments were when the program started.
    """
    stat = procfs.parse_stat(procfs.read("/proc/self/stat"))
    assert stat is not None
    start, end = int(stat[1][44]), int(stat[1][45])
    text = name.encode()[: end - start - 1]
    ctypes.memset(start, 0, end - start)
    ctypes.memmove(start, text, len(text))


def enter(init: int, confinement: Confinement, places: list[str]) -> int | None:
    """
    Join the namespaces and cgroups of a container. Only children of this process are in its pid namespace.

    :param init: its first process.
    :param places: folders of its cgroups.
    :returns: the ``oom_score_adj`` that jobs have to be given; None for that of this process.
    """
    last = _last_capability()
    fd = os.pidfd_open(init)
    try:
        for place in places:
            procfs.write(os.path.join(place, "cgroup.procs"), b"0")
        if confinement.oom_score is not None:
            with open("/proc/self/oom_score_adj", "w") as file:
                file.write(str(confinement.oom_score))
        spared = confinement.spared and _spare(fd, init) and _spare(fd, os.getpid())
        for limit, soft, hard in confinement.limits:
            resource.setrlimit(limit, (soft, hard))
        kernel.setns(fd, confinement.namespaces)
    finally:
        os.close(fd)
    # the ids of before mean nobody in there
    os.setgroups([])
    os.setresgid(0, 0, 0)
    os.setresuid(0, 0, 0)
    kernel.prctl(kernel.PR_SET_DUMPABLE, 0)
    kernel.drop_bounding(confinement.capabilities, last)
    if not confinement.spared:
        return None
    return confinement.oom_score if spared else FIRST


def _spare(init: int, pid: int) -> bool:
    """
    Have the kernel end other processes when memory is full. A CoreX looks large: what it shares with all others counts.

    It takes the old file for that. What is written to the new one is also the least that the process and whatever comes
    of it may ask for by themselves: jobs could spare themselves, too.

    :param init: the descriptor of the container's first process.
    :returns: False if core0 may not do that: it lacks ``CAP_SYS_RESOURCE``, or the kernel the file.
    """
    try:
        with open(f"/proc/{pid}/oom_adj", "wb", buffering=0) as file:
            signal.pidfd_send_signal(init, 0)  # it lives, so its pid is nobody else's
            file.write(NEVER)
    except (FileNotFoundError, PermissionError):
        return False
    return True


def confine(confinement: Confinement) -> None:
    """
    Give up what the container's processes do not have; called in the process that stays.
    """
    os.setsid()
    os.chdir("/")
    os.umask(0o022)
    kernel.new_session_keyring()
    kernel.set_capabilities(confinement.capabilities)
    kernel.prctl(kernel.PR_SET_DUMPABLE, 0)
    if confinement.no_new_privileges:
        kernel.prctl(kernel.PR_SET_NO_NEW_PRIVS, 1)
    if confinement.calls:
        kernel.filter_calls(confinement.calls)


def _last_capability() -> int:
    with open("/proc/sys/kernel/cap_last_cap", encoding="ascii") as file:
        return int(file.read())
