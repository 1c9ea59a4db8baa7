"""
From a process of the host to a process of a container: into its namespaces and cgroups, with no more rights than the
container's own processes have.

What a process gets that comes out of this is what the OCI runtime's ``exec`` would give it, with one difference: it
cannot be traced or looked into from inside, because its memory belongs to the host.
"""

import ctypes
import os
import resource
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


class _Namespace(Struct):
    type: str


class _Linux(Struct):
    namespaces: list[_Namespace]


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
    """

    namespaces: int
    capabilities: tuple[int, ...]
    no_new_privileges: bool
    limits: tuple[tuple[int, int, int], ...]
    oom_score: int | None
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
    with open("/proc/self/stat", "rb") as file:
        fields = file.read().rpartition(b") ")[2].split()
    start, end = int(fields[45]), int(fields[46])
    text = name.encode()[: end - start - 1]
    ctypes.memset(start, 0, end - start)
    ctypes.memmove(start, text, len(text))


def enter(init: int, confinement: Confinement, places: list[str]) -> None:
    """
    Join the namespaces and cgroups of a container. Only children of this process are in its pid namespace.

    :param init: its first process.
    :param places: folders of its cgroups.
    """
    last = _last_capability()
    fd = os.pidfd_open(init)
    try:
        for place in places:
            procfs.write(os.path.join(place, "cgroup.procs"), b"0")
        if confinement.oom_score is not None:
            with open("/proc/self/oom_score_adj", "w") as file:
                file.write(str(confinement.oom_score))
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
