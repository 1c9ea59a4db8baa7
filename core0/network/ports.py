"""
Ports of the host that lead to containers, as clients ask for them; and whether they are free.
"""

import errno
import os
import re
import socket
from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import ip_address

from core0.errors import Refusal
from core0.messages import shown
from core0.network.desired import Desired, Forward, Transport

LAST = 65535
MOST = 1000  # of a container
_HOST = re.compile(r"(?:(?P<address>[0-9.]+|\[[0-9A-Fa-f:.]+\]):)?(?P<port>[0-9]{1,5})(?:/(?P<protocol>tcp|udp))?")


@dataclass(frozen=True, slots=True)
class Port:
    """
    :ivar host_address: one of the host; empty: every one.
    :ivar port: of the container.
    """

    host_port: int
    port: int
    host_address: str = ""
    protocol: Transport = "tcp"


def parse(host: str, container: int) -> Port:
    """
    :param host: ``8080``, ``127.0.0.1:8080``, ``[::1]:8080``; each of them also with ``/udp`` or ``/tcp``.
    :param container: its port.
    :raises ValueError: it is something else.
    """
    found = _HOST.fullmatch(host)
    if found is None or not 1 <= int(found["port"]) <= LAST:
        raise ValueError(f"expected a port (1 to {LAST}), address:port or port/udp, got {shown(host)}")
    if not 1 <= container <= LAST:
        raise ValueError(f"expected a port (1 to {LAST}), got {shown(str(container))}")
    address = (found["address"] or "").strip("[]")
    try:
        ip = ip_address(address) if address else None
    except ValueError as error:
        raise ValueError(f"expected an address of the host before the port, got {shown(host)}") from error
    if ip is not None and ip.version == 6 and ip.is_loopback:
        raise ValueError(
            f"expected 127.0.0.1 or another address: the kernel lets nothing out from ::1, got {shown(host)}"
        )
    # the one that stands for all
    text = "" if ip is None or ip.is_unspecified else str(ip)
    return Port(int(found["port"]), container, text, "udp" if found["protocol"] == "udp" else "tcp")


def check_free(forwards: Sequence[Forward], desired: Desired) -> None:
    """
    Whether ports of the host lead nowhere yet, and only one way each. Asks the kernel for them: in a thread.

    :raises Refusal: 409, somebody has one; 400, two are the same, or the host has no such address.
    """
    known: dict[tuple[str, int, int], list[Forward]] = {}
    for other in desired.forwards:
        known.setdefault(other.kind, []).append(other)
    for forward in forwards:
        field = f"arguments.port: {forward.host_port}/{forward.protocol}"
        for other in known.setdefault(forward.kind, []):
            if other.meets(forward) and other.container == forward.container:
                raise Refusal(400, f"{field} leads to {other.port} already")
            if other.meets(forward):
                raise Refusal(409, f"{field} leads to container {other.container} already")
        _check_unused(forward, field)
        known[forward.kind].append(forward)


def _check_unused(forward: Forward, field: str) -> None:
    """
    Whether nobody listens there.
    """
    ipv6 = forward.ip.version == 6
    kind = socket.SOCK_STREAM if forward.protocol == "tcp" else socket.SOCK_DGRAM
    with socket.socket(socket.AF_INET6 if ipv6 else socket.AF_INET, kind | socket.SOCK_CLOEXEC) as tried:
        if ipv6:
            tried.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        if forward.protocol == "tcp":
            # connections that have ended do not count
            tried.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            tried.bind((forward.host_address or ("::" if ipv6 else "0.0.0.0"), forward.host_port))
        except OSError as error:
            if error.errno == errno.EADDRNOTAVAIL:
                raise Refusal(400, f"{field}: the host has no address {forward.host_address}") from error
            reason = os.strerror(error.errno or 0).lower()
            raise Refusal(409, f"{field} is in use on the host: {reason}; choose another one") from error
