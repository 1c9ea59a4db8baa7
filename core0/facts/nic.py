"""
The network interfaces of this machine, those of core0's own network namespace.
"""

import socket
from collections.abc import Sequence
from ipaddress import ip_interface
from pathlib import Path
from typing import Any

import psutil
from msgspec import Struct

from core0.facts.files import ROOT, integer, text

FLAGS = ("up", "broadcast", "loopback", "pointopoint", "multicast")
_LAST = 1 << 30  # sorts those behind that are gone by now


class Address(Struct, frozen=True):
    """
    An IPv4 or IPv6 address, ``ip/prefix``.
    """

    addr: str


class Nic(Struct, frozen=True):
    """
    One network interface. ``mtu`` is in bytes, ``speed`` in Mbit/s, -1 if unknown.
    """

    name: str
    mtu: int
    hardwareaddr: str
    flags: tuple[str, ...]
    addrs: tuple[Address, ...]
    speed: int
    operstate: str


def collect(root: Path = ROOT) -> list[Nic]:
    """
    The interfaces in the order in which they were made.
    """
    folder = root / "sys/class/net"
    addresses: dict[str, list[Any]] = {}
    for label, found in psutil.net_if_addrs().items():
        # an address with a label, eth0:1, is one of eth0
        addresses.setdefault(label.partition(":")[0], []).extend(found)
    nics = [
        describe(name, figures, addresses.get(name, ()), text(folder / name / "operstate"))
        for name, figures in psutil.net_if_stats().items()
    ]
    return sorted(nics, key=lambda nic: integer(text(folder / nic.name / "ifindex"), _LAST))


def describe(name: str, figures: Any, addresses: Sequence[Any], operstate: str) -> Nic:
    """
    Put together what psutil knows of one interface.

    :param operstate: as the kernel wrote it, if it did.
    """
    words = figures.flags.split(",")
    return Nic(
        name=name.encode("utf-8", "surrogateescape").decode("utf-8", "replace"),
        mtu=figures.mtu,
        hardwareaddr=_hardware_address(addresses),
        flags=tuple("pointtopoint" if flag == "pointopoint" else flag for flag in FLAGS if flag in words),
        addrs=tuple(Address(address) for found in addresses if (address := _with_prefix(found))),
        speed=figures.speed or -1,
        operstate=operstate.strip() or "unknown",
    )


def _hardware_address(addresses: Sequence[Any]) -> str:
    for found in addresses:
        if found.family == socket.AF_PACKET and found.address.strip("0:"):
            return str(found.address)
    return ""


def _with_prefix(found: Any) -> str:
    """
    ``ip/prefix``; empty for what is no IP address.
    """
    if found.family not in (socket.AF_INET, socket.AF_INET6):
        return ""
    address = found.address.partition("%")[0]
    if not found.netmask:
        return f"{address}/{32 if found.family == socket.AF_INET else 128}"
    if found.family == socket.AF_INET:
        return str(ip_interface(f"{address}/{found.netmask}"))
    prefix = sum(group.bit_count() for group in socket.inet_pton(socket.AF_INET6, found.netmask))
    return f"{address}/{prefix}"
