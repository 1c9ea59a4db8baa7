"""
What a bundle has to know of the machine: read once, off the reactor's thread.
"""

import os
import resource
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from core0.containers import capabilities

MOST_DEVICES = 4096
DEEPEST = 4  # folders below /dev
# what a container has of its own
_OWN = {"pts", "shm", "mqueue", "console", "ptmx", "fd", "stdin", "stdout", "stderr", "core0-init"}


@dataclass(frozen=True, slots=True)
class Device:
    """
    A device node: ``kind`` is ``c`` or ``b``, ``mode`` its permission bits.
    """

    path: str
    kind: str
    major: int
    minor: int
    mode: int = 0o666
    uid: int = 0
    gid: int = 0


@dataclass(frozen=True, slots=True)
class Machine:
    """
    :ivar name: of its processor, as ``uname -m`` says it.
    :ivar cgroup2: whether ``/sys/fs/cgroup`` is cgroup v2 and nothing else.
    :ivar swap: whether cgroups can limit swap.
    :ivar files: the hard limit of open files.
    :ivar capabilities: the mask of all that the kernel has and core0 may give.
    :ivar throttles: folders that tell how hot which processor is, and so what others run.
    :ivar devices: all device nodes, for privileged containers.
    """

    name: str
    cgroup2: bool
    swap: bool
    files: int
    capabilities: int
    throttles: tuple[str, ...] = ()
    devices: tuple[Device, ...] = ()


def look(root: Path = Path("/")) -> Machine:
    """
    Look at this machine. It reads files; so not in the reactor's thread.
    """
    cgroups = root / "sys/fs/cgroup"
    cgroup2 = (cgroups / "cgroup.controllers").exists()
    return Machine(
        name=os.uname().machine,
        cgroup2=cgroup2,
        # a v2 runtime passes over what is not there, a v1 runtime fails
        swap=cgroup2 or (cgroups / "memory/memory.memsw.limit_in_bytes").exists(),
        files=resource.getrlimit(resource.RLIMIT_NOFILE)[1],
        capabilities=_bounding(root),
        throttles=tuple(
            f"/{path.relative_to(root)}"
            for path in sorted((root / "sys/devices/system/cpu").glob("cpu[0-9]*/thermal_throttle"))
        ),
        devices=tuple(_devices(str(root / "dev"), "/dev", DEEPEST))[:MOST_DEVICES],
    )


def _bounding(root: Path) -> int:
    for line in (root / "proc/self/status").read_text().splitlines():
        if line.startswith("CapBnd:"):
            return int(line.split()[1], 16)
    return capabilities.mask(capabilities.ALL)


def _devices(folder: str, shown: str, deep: int) -> Iterator[Device]:
    try:
        entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
    except OSError:
        return
    for entry in entries:
        if shown == "/dev" and entry.name in _OWN:
            continue
        try:
            found = entry.stat(follow_symlinks=False)
        except OSError:
            continue  # gone meanwhile
        path = f"{shown}/{entry.name}"
        if stat.S_ISDIR(found.st_mode) and deep:
            yield from _devices(entry.path, path, deep - 1)
        elif stat.S_ISCHR(found.st_mode) or stat.S_ISBLK(found.st_mode):
            kind = "c" if stat.S_ISCHR(found.st_mode) else "b"
            major, minor = os.major(found.st_rdev), os.minor(found.st_rdev)
            mode = stat.S_IMODE(found.st_mode)
            yield Device(path, kind, major, minor, mode, found.st_uid, found.st_gid)
