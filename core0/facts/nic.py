"""
The network interfaces of this machine, those of core0's own network namespace.
"""

import os
from collections.abc import Sequence
from pathlib import Path

from msgspec import Struct

from core0.facts import rtnetlink
from core0.facts.files import ROOT, integer, text
from core0.facts.rtnetlink import Link

_FLAGS = {0x1: "up", 0x2: "broadcast", 0x8: "loopback", 0x10: "pointtopoint", 0x1000: "multicast"}
_STATES = ("unknown", "notpresent", "down", "lowerlayerdown", "testing", "dormant", "up")
_TUNNELS = frozenset({768, 769, 776, 778, 823})  # IPIP, IP6IP6, SIT, GRE, GRE6: theirs is an IP address
_NO_SPEED = 0x7FFFFFFF  # some drivers write -1 as a number without a sign


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
    links = rtnetlink.links(rtnetlink.dump(rtnetlink.LINKS))
    addresses = rtnetlink.addresses(rtnetlink.dump(rtnetlink.ADDRESSES))
    folder = root / "sys/class/net"
    return [
        describe(link, addresses.get(link.index, ()), text(folder / os.fsdecode(link.name) / "speed"))
        for link in sorted(links, key=lambda link: link.index)
    ]


def describe(link: Link, addresses: Sequence[str], speed: str) -> Nic:
    """
    Put together what is known of one interface.

    :param speed: as the kernel wrote it, if it did.
    """
    return Nic(
        name=link.name.decode("utf-8", "replace"),
        mtu=link.mtu,
        hardwareaddr=_hardware_address(link),
        flags=tuple(name for flag, name in _FLAGS.items() if link.flags & flag),
        addrs=tuple(Address(address) for address in addresses),
        speed=known if 0 < (known := integer(speed, -1)) < _NO_SPEED else -1,
        operstate=_STATES[link.state] if link.state < len(_STATES) else "unknown",
    )


def _hardware_address(link: Link) -> str:
    if link.arp_type in _TUNNELS or not any(link.hardware):
        return ""
    return link.hardware.hex(":")
