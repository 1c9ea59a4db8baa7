"""
Ports of the host that lead to containers, as clients ask for them; and whether they are free.
"""

import errno
import os
import re
import socket
from collections.abc import Sequence
from ipaddress import ip_address

from core0.errors import Refusal
from core0.messages import shown
from core0.network.desired import Desired, Forward, Ip, Link, Transport
from core0.network.names import is_plain
from core0.network.wishes import Port

LAST = 65535
TAKEN = (errno.EADDRINUSE, errno.EACCES)
MOST, MOST_OF_ALL = 1000, 20_000  # of a container, and of all
_NUMBERS = r"[0-9]{1,5}(?:-[0-9]{1,5})?"
_HOST = re.compile(rf"(?:(?P<address>[0-9.]+|\[[0-9A-Fa-f:.]+\]):)?(?P<ports>{_NUMBERS})(?:/(?P<protocol>tcp|udp))?")
_CONTAINER = re.compile(rf"(?P<ports>{_NUMBERS})(?:/(?P<protocol>tcp|udp))?")
_BOTH = re.compile(r"(?P<host>[0-9-]+):(?P<container>[0-9-]+)(?P<protocol>/[a-z]+)?")
_EXPECTED_HOST = f"expected a port of the host (1 to {LAST}), address:port, or a range 8000-8010, and /udp behind it"


def parse(host: str, container: int | str) -> list[Port]:
    """
    :param host: ``8080``, ``127.0.0.1:8080``, ``[::1]:8080``; each of them also with ``/udp`` or ``/tcp``, and with a
        range of ports, ``8000-8010``.
    :param container: its port, or as many of them, also as text.
    :raises ValueError: it is something else.
    """
    found = _HOST.fullmatch(host)
    if found is None:
        raise ValueError(f"{_EXPECTED_HOST}, got {shown(host)}{_advice(host, container)}")
    protocol: Transport = "udp" if found["protocol"] == "udp" else "tcp"
    outer = _numbers(found["ports"], host)
    address = _address(found["address"] or "", host, container)
    inner = _inner(container, found["protocol"])
    if len(outer) != len(inner):
        raise ValueError(f"expected as many ports of the container as of the host ({len(outer)}), got {len(inner)}")
    return [Port(mine, its, address, protocol) for mine, its in zip(outer, inner, strict=True)]


def _inner(container: int | str, protocol: str | None) -> range:
    text = str(container)
    found = _CONTAINER.fullmatch(text)
    if found is None:
        raise ValueError(f"expected a port of the container (1 to {LAST}), or a range 8000-8010, got {shown(text)}")
    if found["protocol"] and found["protocol"] != (protocol or "tcp"):
        text = f"expected the protocol behind the port of the host, which counts for both, got {shown(text)}"
        raise ValueError(f'{text}: write "8080/{found["protocol"]}": 80')
    return _numbers(found["ports"], text)


def _numbers(ports: str, text: str) -> range:
    first, _, last = ports.partition("-")
    found = range(int(first), int(last or first) + 1)
    if not (found and found[0] > 0 and found[-1] <= LAST):
        raise ValueError(f"expected ports of 1 to {LAST}, a range with the smaller one first, got {shown(text)}")
    if len(found) > MOST:
        raise ValueError(f"expected at most {MOST} ports, got {shown(text)}")
    return found


def _advice(host: str, container: int | str) -> str:
    """
    Where it is what other programs take: both sides in one text, or a protocol or a name that cannot be had.
    """
    if host.endswith("/sctp"):
        return "; only tcp and udp can be led to a container"
    if host.lower().endswith(("/tcp", "/udp")) and host != host.lower():
        return "; write the protocol in small letters"
    if re.search(r"[A-Za-z*]", host.partition("/")[0]) and "[" not in host:
        return "; write an address of the host, or none for all of them"
    both = _BOTH.fullmatch(host)
    if both is not None:
        protocol = both["protocol"] or ""
        return f'; write "{both["host"]}{protocol}": {both["container"]}'
    return ""


def _address(text: str, host: str, container: int | str) -> str:
    """
    An address of the host; empty for all of them.
    """
    address = text.strip("[]")
    try:
        ip = ip_address(address) if address else None
    except ValueError as error:
        expected = "expected an address of the host before the port"
        raise ValueError(f"{expected}, got {shown(host)}{_advice(host, container)}") from error
    if ip is not None and ip.version == 6 and ip.is_loopback:
        raise ValueError(
            f"expected 127.0.0.1 or another address: the kernel lets nothing out from ::1, got {shown(host)}"
        )
    if ip is not None and (ip.is_multicast or ip.is_link_local or getattr(ip, "ipv4_mapped", None) or _is_for_all(ip)):
        raise ValueError(f"expected an address of the host alone before the port, got {shown(host)}")
    # the one that stands for all
    return "" if ip is None or ip.is_unspecified else str(ip)


def _is_for_all(ip: Ip) -> bool:
    return ip.version == 4 and int(ip) >> 28 == 15  # reserved, and the broadcast


def forwards_of(container: int, ports: Sequence[Port], links: Sequence[Link]) -> list[Forward]:
    """
    To the first address of each kind that the container has, and that the host reaches.
    """
    if len(ports) > MOST:
        raise Refusal(400, f"arguments.port: expected at most {MOST}, got {len(ports)}")
    targets: dict[int, Link] = {}
    for link in links:
        if link.ip is not None and link.gateway and is_plain(link.bridge):
            targets.setdefault(link.ip.version, link)
    found: list[Forward] = []
    for port in ports:
        chosen = [link for link in targets.values() if _can_lead(port, link)]
        if not chosen:
            text = "needs a link to a bridge that has an address in the same network as the container"
            raise Refusal(400, f"arguments.port: {port.host_port}: {text}")
        for link in chosen:
            forward = Forward(
                container=container,
                host_port=port.host_port,
                port=port.port,
                address=str(link.ip),
                bridge=link.bridge,
                host_address=port.host_address,
                protocol=port.protocol,
            )
            found.append(forward)
    return found


def _can_lead(port: Port, link: Link) -> bool:
    return not port.host_address or (link.ip is not None and ip_address(port.host_address).version == link.ip.version)


def check_free(forwards: Sequence[Forward], desired: Desired) -> None:
    """
    Whether ports of the host lead nowhere yet, and only one way each. Asks the kernel for them: in a thread.

    :raises Refusal: 409, somebody has one; 400, two are the same, or the host has no such address.
    """
    if len(desired.forwards) + len(forwards) > MOST_OF_ALL:
        raise Refusal(
            503, f"arguments.port: all containers have {len(desired.forwards)} ports, of {MOST_OF_ALL} at most"
        )
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
    try:
        found = socket.socket(socket.AF_INET6 if ipv6 else socket.AF_INET, kind | socket.SOCK_CLOEXEC)
    except OSError as error:
        raise Refusal(503, f"{field} cannot be looked at: {os.strerror(error.errno or 0).lower()}") from error
    with found as tried:
        if ipv6:
            tried.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        if forward.protocol == "tcp":
            # connections that have ended do not count
            tried.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            tried.bind((forward.host_address or ("::" if ipv6 else "0.0.0.0"), forward.host_port))
        except OSError as error:
            if error.errno in TAKEN:
                reason = os.strerror(error.errno or 0).lower()
                raise Refusal(409, f"{field} is in use on the host: {reason}; choose another one") from error
            raise Refusal(400, f"{field}: the host has no address {forward.host_address}") from error
