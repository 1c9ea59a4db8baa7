"""
The OCI bundle of a container: what is asked for, in; the runtime's ``config.json`` (OCI 1.0.2), out.

A pure function: everything that makes a container what it is is decided here.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from core0.containers import capabilities
from core0.containers.machine import Machine
from core0.containers.rootfs import IDS
from core0.containers.seccomp import profile
from core0.corex_settings import NO_LIMITS, Limits
from core0.jobs.process import PATH

VERSION = "1.0.2"
NUMBER = "core0.number"  # the annotation that says whose container it is
INIT = "/dev/core0-init"
DEFAULT_PIDS = 4096  # where nothing is said: a fork bomb must not take the host with it
SOFT_FILES, HARD_FILES = 1024, 1048576
TMP, SHM, DEV = 1 << 30, 64 << 20, 64 << 20  # bytes of files in memory, where it is not limited
PAGE = 4096  # bytes
LEAST_FILES = 1024
CPU_PERIOD, LEAST_QUOTA = 100_000, 1000  # µs; the kernel takes no smaller quota
EVERYBODY = 2147483647  # the largest group id that the kernel takes for ping_group_range

# what tells of the host or of other containers, or is a way to the hardware
MASKED = (
    *("/proc/acpi", "/proc/asound", "/proc/interrupts", "/proc/kcore", "/proc/keys", "/proc/latency_stats"),
    *("/proc/sched_debug", "/proc/scsi", "/proc/timer_list", "/proc/timer_stats"),
    *("/sys/devices/virtual/powercap", "/sys/firmware"),
)
READ_ONLY = ("/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger")

_READ = ("nosuid", "noexec", "nodev")
_DEVICES = (
    # kind, major, minor, access: mknod of anything is harmless, opening is what counts
    ("c", None, None, "m"),
    ("b", None, None, "m"),
    *(("c", 1, minor, "rwm") for minor in (3, 5, 7, 8, 9)),  # null, zero, full, random, urandom
    ("c", 5, 0, "rwm"),  # tty
    ("c", 5, 2, "rwm"),  # ptmx
    ("c", 136, None, "rwm"),  # pts
)


@dataclass(frozen=True, slots=True)
class Mount:
    """
    A directory of the host in the container, or a ``file``: ``source`` as the runtime sees it, ``target`` absolute.
    """

    source: str
    target: str
    read_only: bool = False
    file: bool = False


@dataclass(frozen=True, slots=True)
class Etc:
    """
    Files of the container's own that appear as ``/etc/hosts``, ``/etc/hostname``, ``/etc/resolv.conf``; it may write to
    them. Paths as the runtime sees them; empty: the image's own file stays.
    """

    hosts: str = ""
    hostname: str = ""
    resolv: str = ""


@dataclass(frozen=True, slots=True)
class Spec:
    """
    What a container shall be.

    :ivar rootfs: the folder of its root, as the runtime sees it.
    :ivar ids: the first of the 65,536 user and group ids of the host that are 0 and up inside; a privileged container
        has the host's own.
    :ivar cgroups: its cgroup, from the root of each hierarchy.
    :ivar shm: bytes of ``/dev/shm``; 0: as is usual.
    :ivar init: a static program that waits and reaps (``catatonit``), as the runtime sees it.
    """

    number: int
    hostname: str
    rootfs: str
    ids: int
    cgroups: str
    init: str
    etc: Etc = Etc()
    env: Mapping[str, str] = field(default_factory=dict)
    mounts: tuple[Mount, ...] = ()
    limits: Limits = NO_LIMITS
    shm: int = 0
    privileged: bool = False
    host_network: bool = False


def bundle(spec: Spec, machine: Machine) -> dict[str, Any]:
    """
    The ``config.json`` of a container; equal for equal arguments.
    """
    return {
        "ociVersion": VERSION,
        "hostname": spec.hostname,
        "annotations": {NUMBER: str(spec.number)},
        "root": {"path": spec.rootfs, "readonly": False},
        "process": _process(spec, machine),
        "mounts": _mounts(spec),
        "linux": _linux(spec, machine),
    }


def _process(spec: Spec, machine: Machine) -> dict[str, Any]:
    given = list(_capabilities(spec, machine))
    # neither inheritable nor ambient: a program of another user than root starts with none
    sets = {"bounding": given, "permitted": given, "effective": given, "inheritable": [], "ambient": []}
    hard = min(HARD_FILES, machine.files)
    env = {"PATH": PATH, "HOME": "/root", **spec.env}
    return {
        "terminal": False,
        "user": {"uid": 0, "gid": 0},
        "args": [INIT, "-P"],
        "cwd": "/",
        "env": [f"{name}={value}" for name, value in env.items()],
        "capabilities": sets,
        "noNewPrivileges": not spec.privileged,
        "oomScoreAdj": 0,
        "rlimits": [
            {"type": "RLIMIT_CORE", "soft": 0, "hard": 0},
            {"type": "RLIMIT_NOFILE", "soft": min(SOFT_FILES, hard), "hard": hard},
        ],
    }


def _capabilities(spec: Spec, machine: Machine) -> tuple[str, ...]:
    return tuple(
        name for name in capabilities.names(machine.capabilities) if spec.privileged or name in capabilities.CONFINED
    )


def _mounts(spec: Spec) -> list[dict[str, Any]]:
    access = () if spec.privileged else ("ro",)
    memory = spec.limits.memory
    mounts = [
        _mount("/proc", "proc", "proc", *_READ),
        _mount("/dev", "tmpfs", "tmpfs", "nosuid", "noexec", "strictatime", "mode=755", *_room(DEV, memory, 1)),
        _mount(
            "/dev/pts", "devpts", "devpts", "nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"
        ),
        _mount("/dev/shm", "tmpfs", "shm", *_READ, "mode=1777", *_shared(spec)),
        _mount("/dev/mqueue", "mqueue", "mqueue", *_READ),
        _mount(INIT, "bind", spec.init, "bind", "rprivate", "ro", "nosuid", "nodev"),
        _sys(spec),
        _mount("/sys/fs/cgroup", "cgroup", "cgroup", *_READ, "relatime", *access),
        _mount("/tmp", "tmpfs", "tmpfs", "nosuid", "nodev", "mode=1777", *_room(TMP, memory, 6)),
    ]
    etc = (("hosts", spec.etc.hosts), ("hostname", spec.etc.hostname), ("resolv.conf", spec.etc.resolv))
    given = [_mount(f"/etc/{name}", "bind", path, "bind", "rprivate", *_READ) for name, path in etc if path]
    given += [_bound(spec, mount) for mount in spec.mounts]
    # what is mounted later hides what is below its place: so the deeper the later
    return mounts + sorted(given, key=lambda mount: mount["destination"].count("/"))


def _room(usual: int, memory: int | None, part: int) -> tuple[str, str]:
    """
    What files in memory may take. All of them together leave half of a limited memory to the processes: no process that
    is ended makes room for files, so with more of them all processes would end.

    :param usual: bytes.
    :param memory: the limit of the container.
    :param part: sixteenths of that.
    """
    size = usual if memory is None else max(PAGE, min(usual, memory * part // 16))
    return f"size={size}", f"nr_inodes={max(LEAST_FILES, size // PAGE)}"


def _shared(spec: Spec) -> tuple[str, str]:
    """
    Of ``/dev/shm``. Who asks for a size knows what the processes need beside it.
    """
    return _room(spec.shm, None, 1) if spec.shm else _room(SHM, spec.limits.memory, 1)


def _mount(target: str, kind: str, source: str, *options: str) -> dict[str, Any]:
    return {"destination": target, "type": kind, "source": source, "options": list(options)}


def _sys(spec: Spec) -> dict[str, Any]:
    if spec.privileged:
        return _mount("/sys", "sysfs", "sysfs", *_READ)
    if spec.host_network:
        # sysfs shows a network, and only its owner may mount one
        return _mount("/sys", "bind", "/sys", "rbind", "rprivate", *_READ, "ro")
    return _mount("/sys", "sysfs", "sysfs", *_READ, "ro")


def _bound(spec: Spec, mount: Mount) -> dict[str, Any]:
    # set-uid programs and devices of a mounted directory are the host's
    flags = (*(() if spec.privileged else ("nosuid", "nodev")), *(("ro",) if mount.read_only else ()))
    if mount.file:
        return _mount(mount.target, "bind", mount.source, "bind", "rprivate", *flags)
    # What is mounted below it is as it is itself. crun 1.8 takes such flags for directories only, and forgets the
    # others unless one of them is ro.
    recursive = (f"r{flag}" for flag in flags)
    return _mount(mount.target, "bind", mount.source, "rbind", "rprivate", *flags, *recursive)


def _linux(spec: Spec, machine: Machine) -> dict[str, Any]:
    linux: dict[str, Any] = {
        "namespaces": [{"type": kind} for kind in _namespaces(spec)],
        "cgroupsPath": spec.cgroups,
        "resources": _resources(spec, machine),
        "rootfsPropagation": "rprivate",
        "sysctl": _sysctl(spec),
    }
    if spec.privileged:
        linux["devices"] = [
            {
                "path": device.path,
                "type": device.kind,
                "major": device.major,
                "minor": device.minor,
                "fileMode": device.mode,
                "uid": device.uid,
                "gid": device.gid,
            }
            for device in machine.devices
        ]
        return linux
    mappings = [{"containerID": 0, "hostID": spec.ids, "size": IDS}]
    return linux | {
        "uidMappings": mappings,
        "gidMappings": mappings,
        "maskedPaths": [*MASKED, *machine.throttles],
        "readonlyPaths": list(READ_ONLY),
        "seccomp": profile(machine.name),
    }


def _namespaces(spec: Spec) -> list[str]:
    kinds = ["pid", "mount", "ipc", "uts", "cgroup"]
    if not spec.host_network:
        kinds.append("network")
    if not spec.privileged:
        kinds.append("user")
    return kinds


def _sysctl(spec: Spec) -> dict[str, str]:
    if spec.host_network:
        return {}
    return {
        # neighbours on a bridge are no routers
        "net.ipv4.conf.all.accept_redirects": "0",
        "net.ipv4.conf.default.accept_redirects": "0",
        # its network is its own: nobody is kept from anything by ports of root
        "net.ipv4.ip_unprivileged_port_start": "0",
        # ping without a right of its own; a group must be one that exists inside
        "net.ipv4.ping_group_range": f"0 {EVERYBODY if spec.privileged else IDS - 1}",
    }


def _resources(spec: Spec, machine: Machine) -> dict[str, Any]:
    limits = spec.limits
    resources: dict[str, Any] = {
        "devices": _device_rules(spec),
        "pids": {"limit": DEFAULT_PIDS if limits.pids is None else limits.pids},
    }
    if limits.memory is not None:
        resources["memory"] = {"limit": limits.memory}
        if machine.swap:
            resources["memory"]["swap"] = limits.memory  # memory and swap together: none beyond the memory
    if limits.cpu is not None:
        resources["cpu"] = {"quota": max(LEAST_QUOTA, round(limits.cpu * CPU_PERIOD)), "period": CPU_PERIOD}
    return resources


def _device_rules(spec: Spec) -> list[dict[str, Any]]:
    if spec.privileged:
        return [{"allow": True, "access": "rwm"}]
    rules: list[dict[str, Any]] = [{"allow": False, "access": "rwm"}]
    for kind, major, minor, access in _DEVICES:
        numbers = {name: number for name, number in (("major", major), ("minor", minor)) if number is not None}
        rules.append({"allow": True, "type": kind, **numbers, "access": access})
    return rules
