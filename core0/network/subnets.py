"""
The addresses of bridges: what a client asks for, made complete; and whether there is room for them.
"""

from collections.abc import Iterable
from ipaddress import ip_address, ip_interface

from core0.messages import shown
from core0.network.desired import Interface, Ip, Network, Subnet

POINT_TO_POINT = 2  # bits for hosts at least, where an address is chosen


def static(cidr: str, *, nat: bool) -> Subnet:
    """
    A bridge with an address of its own.

    :param cidr: an address and the length of its prefix. The address of the network stands for the first one in it.
    :raises ValueError: it cannot be had; begins with ``@`` and the field, if it is about one.
    """
    return Subnet(address=str(_own(cidr)), nat=nat)


def dnsmasq(cidr: str, start: str | None, end: str | None, *, nat: bool) -> Subnet:
    """
    A bridge that hands out addresses, too.

    :param start: the first of them; without it the one after the bridge's own.
    :param end: the last; without it the last one that there is.
    :raises ValueError: see :func:`static`.
    """
    own = _own(cidr)
    network = own.network
    if network.max_prefixlen - network.prefixlen < POINT_TO_POINT:
        raise ValueError(f"@cidr: expected a network with room for others, got {shown(cidr)}")
    last = network[-2] if own.version == 4 else network[-1]
    first = _within(network, "start", start) if start else _after(own, last)
    final = _within(network, "end", end) if end else last
    if int(first) > int(final):
        raise ValueError(f"@end: expected an address from {first} on, got {shown(str(final))}")
    if int(first) <= int(own.ip) <= int(final):
        raise ValueError(f"@start: expected addresses without that of the bridge itself, {own.ip}")
    return Subnet(address=str(own), nat=nat, start=str(first), end=str(final))


def _own(cidr: str) -> Interface:
    if "/" not in cidr or "%" in cidr:
        raise ValueError(f"@cidr: expected an address and a length such as 10.0.0.1/24, got {shown(cidr)}")
    try:
        given = ip_interface(cidr)
    except ValueError as error:
        raise ValueError(f"@cidr: expected an address and a length such as 10.0.0.1/24, got {shown(cidr)}") from error
    network, ip = given.network, given.ip
    if network.max_prefixlen - network.prefixlen >= POINT_TO_POINT:
        if ip == network[0]:
            given = ip_interface(f"{network[1]}/{network.prefixlen}")
        elif given.version == 4 and ip == network[-1]:
            raise ValueError(f"@cidr: {ip} is the broadcast address of {network}")
    ip = given.ip
    if ip.is_multicast or ip.is_loopback or ip.is_unspecified or ip.is_link_local or network.prefixlen == 0:
        raise ValueError(f"@cidr: expected an address of a network of one's own, got {shown(cidr)}")
    if given.version == 4 and (int(ip) >> 24 == 0 or int(ip) >> 28 == 15):
        raise ValueError(f"@cidr: expected an address of a network of one's own, got {shown(cidr)}")
    return given


def _after(own: Interface, last: Ip) -> Ip:
    if own.ip == last:
        raise ValueError(f"@start: required: {own.ip} is the last address of {own.network}")
    return own.ip + 1


def _within(network: Network, field: str, text: str) -> Ip:
    try:
        found = ip_address(text)
    except ValueError as error:
        raise ValueError(f"@{field}: expected an address in {network}, got {shown(text)}") from error
    usable = found.version == network.version and found in network and found != network[0]
    if not usable or (found.version == 4 and found == network[-1]):
        raise ValueError(f"@{field}: expected an address of a host in {network}, got {shown(text)}")
    return found


def overlapping(network: Network, others: Iterable[Network]) -> Network | None:
    """
    The first of some networks that has addresses in common with this one.
    """
    return next((other for other in others if other.version == network.version and network.overlaps(other)), None)
