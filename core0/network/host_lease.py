"""
What a DHCP server says, made sense of: it may be anybody, and say anything.
"""

import re
from collections.abc import Mapping
from ipaddress import IPv4Address, IPv4Interface
from typing import Any

from core0.network.host_machine import Lease
from core0.network.host_settings import MAX_SERVERS

MAX_DOMAIN = 253  # characters
_DOMAIN = re.compile(r"(?!-)[A-Za-z0-9_-]{1,63}(\.[A-Za-z0-9_-]{1,63})*\.?\Z")


def lease_of(ack: Mapping[str, Any]) -> Lease:
    """
    :param ack: the fields of the message with which the server gives an address, decoded.
    :raises ValueError: it is no address that a machine can have, or not for any time.
    """
    options = ack.get("options") or {}
    if options.get("lease_time") == 0:
        raise ValueError("it is to be given back at once")
    address = IPv4Interface(f"{ack.get('yiaddr')}/{options.get('subnet_mask') or 32}")
    ip, network = address.ip, address.network
    if not _is_usable(ip) or network.prefixlen == 0:
        raise ValueError(f"{address} is no address of one machine")
    if network.prefixlen < 31 and ip in (network.network_address, network.broadcast_address):
        raise ValueError(f"{ip} is the network {network} itself, or all of it")
    domain = options.get("domain_name") or ""
    return Lease(
        address,
        _gateway(options.get("router"), address),
        tuple(_servers(options.get("name_server"))),
        domain if is_domain(domain) else "",
    )


def _is_usable(ip: IPv4Address) -> bool:
    first = ip.packed[0]
    return 0 < first < 224 and not ip.is_loopback  # 224 and above: for many, or for nobody


def _ips(given: Any) -> list[IPv4Address]:
    found = []
    for text in given if isinstance(given, list | tuple) else ():
        try:
            found.append(IPv4Address(text))
        except ValueError:
            continue
    return found


def _gateway(given: Any, address: IPv4Interface) -> IPv4Address | None:
    """
    The first that can be reached.
    """
    alone = address.network.prefixlen == 32
    for ip in _ips(given):
        if _is_usable(ip) and ip != address.ip and (alone or ip in address.network):
            return ip
    return None


def _servers(given: Any) -> list[IPv4Address]:
    return list(dict.fromkeys(ip for ip in _ips(given) if _is_usable(ip)))[:MAX_SERVERS]


def is_domain(given: Any) -> bool:
    """
    Whether it is a name that can be looked for.
    """
    # it goes into a file whose lines mean something
    return isinstance(given, str) and len(given) <= MAX_DOMAIN and _DOMAIN.match(given) is not None
