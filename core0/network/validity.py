"""
Whether a picture that was read from a file is one that core0 could have written: it may have been edited by hand.
"""

from ipaddress import ip_address, ip_interface

from core0.messages import shown
from core0.network import subnets
from core0.network.desired import Bridge, Desired, Forward, Link
from core0.network.host_lease import is_domain
from core0.network.links import MOST as MOST_LINKS
from core0.network.mtu import check_mtu
from core0.network.names import check_hwaddr, check_name, is_hostname, is_plain
from core0.network.ports import LAST

VERSION = 1
LARGEST = 2**53


def check(desired: Desired) -> None:
    """
    :raises ValueError: it is none; says what is wrong.
    """
    if desired.version != VERSION:
        raise ValueError(f"expected version {VERSION}, got {desired.version}")
    for bridge in desired.bridges:
        _bridge(bridge)
    for link in desired.links:
        _link(link)
    for forward in desired.forwards:
        _forward(forward)
    _once("bridge", [bridge.name for bridge in desired.bridges])
    _once("link", [link.host_name for link in desired.links])
    _once("port", [(*forward.kind, forward.host_address) for forward in desired.forwards])


def _once(what: str, all: list[object]) -> None:
    if len(set(all)) < len(all):
        raise ValueError(f"the same {what} is there more than once")


def _bridge(bridge: Bridge) -> None:
    check_name(bridge.name)
    if check_hwaddr(bridge.hwaddr) != bridge.hwaddr:
        raise ValueError(f"expected a MAC address in lower case, got {shown(bridge.hwaddr)}")
    subnet = bridge.subnet
    _mtu(bridge.mtu)
    if subnet is None:
        return
    if not is_plain(bridge.name):
        raise ValueError(f"expected letters, digits and _.- for a bridge with a network, got {shown(bridge.name)}")
    if subnet.start:
        made = subnets.dnsmasq(subnet.address, subnet.start, subnet.end, nat=subnet.nat)
    else:
        made = subnets.static(subnet.address, nat=subnet.nat)
    if made != subnet:
        raise ValueError(f"expected addresses such as {made}, got {subnet}")


def _mtu(mtu: int) -> None:
    if mtu:
        check_mtu(mtu, ipv6=False)


def _link(link: Link) -> None:
    _mtu(link.mtu)
    check_name(link.bridge)
    check_hwaddr(link.hwaddr)
    if not 1 <= link.container <= LARGEST or not 0 <= link.index < MOST_LINKS:
        raise ValueError(f"expected the link of a container, got {link.host_name}")
    for text in (link.address,) if link.address else ():
        ip_interface(text)
    for text in (*((link.gateway,) if link.gateway else ()), *link.dns):
        ip_address(text)
    if (link.hostname and not is_hostname(link.hostname)) or (link.domain and not is_domain(link.domain)):
        raise ValueError(f"expected names, got {shown(link.hostname)} and {shown(link.domain)}")


def _forward(forward: Forward) -> None:
    if not (1 <= forward.host_port <= LAST and 1 <= forward.port <= LAST and is_plain(forward.bridge)):
        raise ValueError(f"expected a port of 1 to {LAST} by a bridge, got {forward}")
    if forward.host_address and ip_address(forward.host_address).version != forward.ip.version:
        raise ValueError(f"expected addresses of one version, got {forward}")
