"""
The disks, partitions and other block devices of this machine.
"""

from dataclasses import dataclass
from pathlib import Path

from core0.facts.files import ROOT, integer, names, text

_SECTOR = 512  # bytes; in /sys whatever the device's own is
_RAM = "1"  # the major number of RAM disks
_MAPPED = {"CRYPT": "crypt", "LVM": "lvm", "mpath": "mpath", "part": "part", "DMRAID": "dmraid"}
_OPTICAL = {"4", "5"}  # SCSI types: write-once and CD-ROM


@dataclass(frozen=True, slots=True)
class Block:
    """
    One block device with a medium in it. ``number`` is ``major:minor``, ``size`` in bytes; the rest is as in ``lsblk``.
    """

    name: str
    number: str
    path: str
    size: int
    model: str
    rotational: bool
    type: str
    parent: str


def collect(root: Path = ROOT) -> list[Block]:
    """
    All block devices, less those without a size (no medium, no file, not set up) and RAM disks.
    """
    folder = root / "sys/class/block"
    found = [_describe(name, folder / name) for name in names(folder)]
    return [block for block in found if block.size > 0 and block.number.partition(":")[0] not in ("", _RAM)]


def _describe(name: str, folder: Path) -> Block:
    whole = folder.resolve()
    partition = (whole / "partition").exists()
    if partition:
        whole = whole.parent  # it has the facts of the drive itself
    mapped = text(folder / "dm/name")
    return Block(
        name=name.replace("!", "/"),
        number=text(folder / "dev"),
        path=f"/dev/mapper/{mapped}" if mapped else f"/dev/{name.replace('!', '/')}",
        size=max(0, integer(text(folder / "size"))) * _SECTOR,
        model=text(whole / "device/model") or text(whole / "device/name"),
        rotational=text(whole / "queue/rotational") == "1",
        type="part" if partition else _type(name, folder),
        parent=(whole.name if partition else next(iter(names(folder / "slaves")), "")).replace("!", "/"),
    )


def _type(name: str, folder: Path) -> str:
    if name.startswith("dm-"):
        kind = text(folder / "dm/uuid").partition("-")[0]
        return _MAPPED.get(kind.rstrip("0123456789"), "dm")
    if name.startswith("loop"):
        return "loop"
    if text(folder / "device/type") in _OPTICAL:
        return "rom"
    return text(folder / "md/level") or "disk"
