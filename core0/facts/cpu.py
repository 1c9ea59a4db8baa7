"""
The processors of this machine.
"""

import re
from collections.abc import Mapping
from pathlib import Path

from msgspec import Struct

from core0.facts.files import ROOT, integer, names, text

# ARM writes a number where x86 writes a name
_IMPLEMENTERS = {
    0x41: "ARM",
    0x42: "Broadcom",
    0x43: "Cavium",
    0x46: "Fujitsu",
    0x48: "HiSilicon",
    0x4D: "Motorola",
    0x4E: "NVIDIA",
    0x50: "APM",
    0x51: "Qualcomm",
    0x53: "Samsung",
    0x56: "Marvell",
    0x61: "Apple",
    0x69: "Intel",
    0x6D: "Microsoft",
    0x70: "Phytium",
    0xC0: "Ampere",
}

# What some architectures print once, above or below the list of processors, and means each of them.
# Nothing else there does: "model" of a POWER machine and "Revision" of a Raspberry Pi are not about the processor.
_COMMON = frozenset(
    {
        "CPU architecture",
        "CPU implementer",
        "CPU part",
        "CPU revision",
        "Features",
        "Processor",
        "cpu model",
        "features",
        "model name",
        "vendor_id",
    }
)

_DECIMAL = re.compile(r"[0-9]{1,9}(\.[0-9]{1,9})?")
_RANGE = re.compile(r"([0-9]{1,6})(?:-([0-9]{1,6}))?")
_MOST = 1 << 16  # CPUs; no kernel can be built for more


class Cpu(Struct, frozen=True, rename="camel"):
    """
    One logical CPU. ``mhz`` is its clock in MHz, ``cache_size`` is in KB.
    """

    cpu: int
    vendor_id: str
    family: str
    model: str
    stepping: int
    physical_id: str
    core_id: str
    cores: int
    model_name: str
    mhz: float
    cache_size: int
    flags: tuple[str, ...]
    microcode: str


def collect(root: Path = ROOT) -> list[Cpu]:
    """
    The logical CPUs that are online.
    """
    system = root / "sys/devices/system/cpu"
    found, common = parse(text(root / "proc/cpuinfo"))
    if not found:
        found = dict.fromkeys(parse_range(text(system / "online")), common)
    return [describe(number, fields, system / f"cpu{number}") for number, fields in sorted(found.items())]


def parse(cpuinfo: str) -> tuple[dict[int, dict[str, str]], dict[str, str]]:
    """
    Read ``/proc/cpuinfo`` of any architecture.

    :returns: the fields of each processor by its number, and those that are common to all.
    """
    found: dict[int, dict[str, str]] = {}
    common: dict[str, str] = {}
    fields = common
    for line in cpuinfo.splitlines():
        key, colon, value = (part.strip() for part in line.partition(":"))
        if not key:
            fields = common
        elif not colon:
            continue
        elif key in ("processor", "cpu number") and integer(value, -1) >= 0:
            fields = found[integer(value)] = {}
        elif fields is not common or key in _COMMON:
            fields[key] = value
    return {number: {**common, **own} for number, own in found.items()}, common


def parse_range(online: str) -> list[int]:
    """
    Read a list of numbers in the form of ``0-3,8``.
    """
    numbers: list[int] = []
    for part in online.split(","):
        found = _RANGE.fullmatch(part.strip())
        if found:
            numbers += range(int(found[1]), min(int(found[2] or found[1]), _MOST) + 1)
    return numbers


def describe(number: int, fields: Mapping[str, str], system: Path) -> Cpu:
    """
    Put together what is known of one CPU.

    :param fields: of ``/proc/cpuinfo``.
    :param system: its folder in /sys, which knows some facts that other architectures than x86 do not print.
    """

    def first(*keys: str) -> str:
        return next((fields[key] for key in keys if fields.get(key)), "")

    return Cpu(
        cpu=number,
        vendor_id=first("vendor_id") or _vendor(first("CPU implementer")),
        family=first("cpu family", "CPU Family", "CPU architecture"),
        model=first("model", "CPU part"),
        stepping=integer(first("stepping", "CPU revision")),
        physical_id=first("physical id", "package") or _identity(system / "topology/physical_package_id"),
        core_id=first("core id", "core") or _identity(system / "topology/core_id"),
        cores=1,
        model_name=first("model name", "Model Name", "cpu model", "Processor", "cpu", "uarch"),
        mhz=_decimal(first("cpu MHz", "CPU MHz", "cpu MHz dynamic", "clock")) or _fastest(system),
        cache_size=integer(first("cache size")) or _largest_cache(system / "cache"),
        flags=tuple(first("flags", "Features", "features", "isa").split()),
        microcode=first("microcode"),
    )


def _vendor(implementer: str) -> str:
    try:
        return _IMPLEMENTERS.get(int(implementer, 16), implementer)
    except ValueError:
        return implementer


def _identity(path: Path) -> str:
    """
    An id in /sys; it is negative where the kernel does not know.
    """
    found = text(path)
    return "" if found.startswith("-") else found


def _decimal(value: str) -> float:
    found = _DECIMAL.match(value)
    return float(found[0]) if found else 0.0


def _fastest(system: Path) -> float:
    return integer(text(system / "cpufreq/cpuinfo_max_freq")) / 1000  # the file is in kHz


def _largest_cache(caches: Path) -> int:
    return max((integer(text(caches / name / "size")) for name in names(caches)), default=0)
