"""
The file systems and disks of this machine.
"""

import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from msgspec import Struct
from msgspec.structs import replace

from core0.facts import block, mounts
from core0.facts.block import Block
from core0.facts.files import ROOT, data
from core0.facts.mounts import Mount
from core0.facts.space import Gauge, Space

# They hold no files of size. Most of them would say so, but asking autofs is what makes it mount something.
PSEUDO = frozenset(
    {
        "autofs",
        "binfmt_misc",
        "bpf",
        "cgroup",
        "cgroup2",
        "configfs",
        "debugfs",
        "devpts",
        "efivarfs",
        "fusectl",
        "hugetlbfs",
        "mqueue",
        "nsfs",
        "proc",
        "pstore",
        "rpc_pipefs",
        "securityfs",
        "selinuxfs",
        "sysfs",
        "tracefs",
    }
)

GAUGE = Gauge()  # one for all calls: it knows the file systems that did not answer yet


class Disk(Struct, frozen=True):
    """
    A file system, a disk, or both, in bytes: ``total``, ``used``, ``free`` of the file system, ``size`` of the device.
    """

    device: str = ""
    mountpoint: str = ""
    fstype: str = ""
    opts: str = ""
    total: int = 0
    used: int = 0
    free: int = 0
    size: int = 0
    model: str = ""
    rotational: bool = False
    type: str = ""
    parent: str = ""


def collect(root: Path = ROOT, gauge: Gauge = GAUGE) -> list[Disk]:
    """
    The file systems in the order of their mounts, then the devices that are not mounted, by name.
    """
    devices = Devices(block.collect(root), root)
    found = mounts.parse(data(root / "proc/self/mountinfo"))
    reachable = mounts.visible(found)
    mounted = [(mount, devices.find(mount.device, mount.source)) for mount in found if mount.fstype not in PSEUDO]
    spaces = _measure([mount for mount, _ in mounted if mount.id in reachable], root, gauge)
    busy = {device.name for _, device in mounted if device}
    swapping = {device.name for path in _swaps(data(root / "proc/swaps")) if (device := devices.find("", path))}
    return [
        *_file_systems(mounted, spaces),
        *(
            replace(_drive(device), fstype="swap" if device.name in swapping else "")
            for device in devices.every
            if device.name not in busy
        ),
    ]


def _measure(mounted: Sequence[Mount], root: Path, gauge: Gauge) -> dict[int, Space | None]:
    paths = [os.path.join(os.fsencode(root), mount.point.lstrip(b"/")) for mount in mounted]
    return {mount.id: space for mount, space in zip(mounted, gauge.measure(paths), strict=True)}


def _swaps(swaps: bytes) -> list[bytes]:
    return [mounts.unescape(line.split()[0]) for line in swaps.splitlines()[1:] if line.strip()]


def _file_systems(mounted: Sequence[tuple[Mount, Block | None]], spaces: Mapping[int, Space | None]) -> Iterator[Disk]:
    for mount, device in mounted:
        # what lies below another mount cannot be asked; a device there is listed nevertheless, for it is in use
        space = spaces.get(mount.id, Space())
        if device or space is None or space.total > 0:
            yield _describe(mount, device, space or Space())


def _describe(mount: Mount, device: Block | None, space: Space) -> Disk:
    unnamed = mount.source == b"/dev/root"  # what kernels call the one that they started from
    return replace(
        _drive(device) if device else Disk(),
        device=device.path if device and unnamed else mount.source.decode("utf-8", "replace"),
        mountpoint=mount.point.decode("utf-8", "replace"),
        fstype=mount.fstype,
        opts=mount.options,
        total=space.total,
        used=space.used,
        free=space.free,
    )


def _drive(device: Block) -> Disk:
    return Disk(
        device=device.path,
        size=device.size,
        model=device.model,
        rotational=device.rotational,
        type=device.type,
        parent=device.parent,
    )


class Devices:
    """
    Finds block devices by what a mount says of them.
    """

    def __init__(self, devices: Sequence[Block], root: Path) -> None:
        self.every = devices
        self._root = root
        self._by_number = {device.number: device for device in devices}
        self._by_path = {path: device for device in devices for path in (device.path, f"/dev/{device.name}")}

    def find(self, number: str, source: bytes) -> Block | None:
        """
        The device of a mount. Its number tells, but for file systems such as btrfs, which go by a number of their own.
        """
        if number in self._by_number:
            return self._by_number[number]
        if not source.startswith(b"/dev/"):
            return None
        path = os.fsdecode(source)
        link = os.path.realpath(self._root / path.lstrip("/"))
        return self._by_path.get(path) or self._by_path.get(f"/dev/{os.path.basename(link)}")
