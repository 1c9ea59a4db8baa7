"""
The operating system of this machine.
"""

import os
import re
from pathlib import Path

from msgspec import Struct

from core0.facts import virtualization
from core0.facts.files import ROOT, integer, names, text

_ASSIGNMENT = re.compile(r"""\s*([A-Za-z_][A-Za-z_0-9]*)=(?:"((?:[^"\\]|\\.)*)"|'([^']*)'|(.*?))\s*""")
_ESCAPED = re.compile(r"""\\(["'$`\\])""")
_BOOTED = re.compile(r"^btime ([0-9]+)", re.MULTILINE)

# distributions that others are made from; os-release names the nearest relative first, whichever it is
_FAMILIES = frozenset({"alpine", "arch", "debian", "fedora", "gentoo", "rhel", "slackware", "suse"})


class System(Struct, frozen=True, rename="camel"):
    """
    The operating system. ``uptime`` is in seconds, ``boot_time`` in seconds since the epoch.
    """

    hostname: str
    os: str
    platform: str
    platform_family: str
    platform_version: str
    kernel_version: str
    arch: str
    uptime: int
    boot_time: int
    procs: int
    virtualization_system: str
    virtualization_role: str
    hostid: str


def collect(root: Path = ROOT) -> System:
    """
    What runs here, since when, and on what.
    """
    kernel = root / "proc/sys/kernel"
    release = parse_release(text(root / "etc/os-release") or text(root / "usr/lib/os-release"))
    booted = _BOOTED.search(text(root / "proc/stat"))
    virtual = virtualization.detect(root)
    return System(
        hostname=text(kernel / "hostname"),
        os="linux",
        platform=release.get("ID", ""),
        platform_family=family(release),
        platform_version=release.get("VERSION_ID") or release.get("BUILD_ID", ""),
        kernel_version=text(kernel / "osrelease"),
        arch=os.uname().machine,
        uptime=integer(text(root / "proc/uptime")),
        boot_time=integer(booted[1]) if booted else 0,
        procs=sum(name.isdecimal() for name in names(root / "proc")),
        virtualization_system=virtual.system,
        virtualization_role=virtual.role,
        hostid=host_id(root),
    )


def parse_release(os_release: str) -> dict[str, str]:
    """
    Read an os-release file: assignments as a shell has them, quoted or not.
    """
    found = {}
    for line in os_release.split("\n"):
        assignment = _ASSIGNMENT.fullmatch(line)
        if assignment:
            name, double, single, bare = assignment.groups()
            found[name] = single if single is not None else _ESCAPED.sub(r"\1", bare if double is None else double)
    return found


def family(release: dict[str, str]) -> str:
    """
    The distribution that this one descends from, itself if it is an origin.
    """
    relatives = release.get("ID_LIKE", "").split()
    own = release.get("ID", "")
    return next((name for name in (own, *relatives) if name in _FAMILIES), relatives[0] if relatives else own)


def host_id(root: Path) -> str:
    """
    What tells this machine from others: a name that outlives reboots if there is one.
    """
    for path in ("etc/machine-id", "var/lib/dbus/machine-id", "sys/class/dmi/id/product_uuid"):
        found = text(root / path)
        if found and found != "uninitialized":  # systemd's word for an image that was never booted
            return found.lower()
    return text(root / "proc/sys/kernel/random/boot_id")
