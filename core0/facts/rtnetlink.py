"""
The links and addresses of this network namespace, asked from the kernel over rtnetlink.

By hand, because CoreX answers ``info.nic`` too: for these two requests pyroute2 would cost each Core 19 MB, and libc's
``getifaddrs`` files an address that has a label under the label.
"""

import os
import socket
import struct
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

LINKS, ADDRESSES = 18, 22  # RTM_GETLINK, RTM_GETADDR
_NEW_LINK, _NEW_ADDRESS = 16, 20
_ERROR, _DONE = 2, 3
_DUMP = 0x301  # NLM_F_REQUEST | NLM_F_DUMP
_INTERRUPTED = 0x10  # NLM_F_DUMP_INTR: something changed meanwhile, so the list may lack an entry
_TRIES = 5
_BUFFER = 1 << 18  # bytes, more than the kernel ever puts in one datagram

_HEADER = struct.Struct("=IHHII")  # length, type, flags, sequence, port
_LINK = struct.Struct("=BxHiII")  # family, ARP type, index, flags, change
_ADDRESS = struct.Struct("=BBBBI")  # family, prefix, flags, scope, index
_ATTRIBUTE = struct.Struct("=HH")  # length, type
_LINK_ADDRESS, _LINK_NAME, _LINK_MTU, _LINK_STATE = 1, 3, 4, 16
_ADDRESS_PEER, _ADDRESS_LOCAL = 1, 2  # without a peer, IPv6 has the first only, and IPv4 the same twice
_LENGTHS = {socket.AF_INET: 4, socket.AF_INET6: 16}  # bytes


@dataclass(frozen=True, slots=True)
class Message:
    """
    One netlink message.
    """

    type: int
    flags: int
    body: bytes


@dataclass(frozen=True, slots=True)
class Link:
    """
    One network interface. ``arp_type`` and ``flags`` are ARPHRD_* and IFF_*, ``state`` is its RFC 2863 state.
    """

    index: int
    name: bytes
    arp_type: int
    flags: int
    mtu: int
    hardware: bytes
    state: int


def dump(kind: int) -> list[Message]:
    """
    Everything of one kind.

    :param kind: LINKS or ADDRESSES.
    :raises OSError: the kernel refuses.
    """
    found: list[Message] = []
    for _ in range(_TRIES):
        found = list(_dump(kind))
        if not any(message.flags & _INTERRUPTED for message in found):
            break
    return found


def _dump(kind: int) -> Iterator[Message]:
    size = (_LINK if kind == LINKS else _ADDRESS).size
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE) as kernel:
        kernel.sendto(_HEADER.pack(_HEADER.size + size, kind, _DUMP, 1, 0) + bytes(size), (0, 0))
        while True:
            for message in split(kernel.recv(_BUFFER)):
                if message.type == _ERROR:
                    code = -int.from_bytes(message.body[:4], sys.byteorder, signed=True)
                    raise OSError(code, f"cannot list the network interfaces: {os.strerror(code)}")
                yield message
                if message.type == _DONE:
                    return


def split(datagram: bytes) -> Iterator[Message]:
    """
    Take a datagram apart.
    """
    start = 0
    while start + _HEADER.size <= len(datagram):
        length, type, flags, _, _ = _HEADER.unpack_from(datagram, start)
        if length < _HEADER.size:
            return
        yield Message(type, flags, datagram[start + _HEADER.size : start + length])
        start += _aligned(length)


def links(messages: Iterable[Message]) -> list[Link]:
    """
    The interfaces among the messages.
    """
    found = []
    for message in messages:
        if message.type == _NEW_LINK and len(message.body) >= _LINK.size:
            _, arp_type, index, flags, _ = _LINK.unpack_from(message.body)
            facts = _attributes(message.body[_LINK.size :])
            found.append(
                Link(
                    index=index,
                    name=facts.get(_LINK_NAME, b"").rstrip(b"\0"),
                    arp_type=arp_type,
                    flags=flags,
                    mtu=_number(facts.get(_LINK_MTU, b"")),
                    hardware=facts.get(_LINK_ADDRESS, b""),
                    state=_number(facts.get(_LINK_STATE, b"")),
                )
            )
    return found


def addresses(messages: Iterable[Message]) -> dict[int, list[str]]:
    """
    The addresses among the messages, as ``ip/prefix``, by the index of their interface.
    """
    found: dict[int, list[str]] = {}
    for message in messages:
        if message.type == _NEW_ADDRESS and len(message.body) >= _ADDRESS.size:
            family, prefix, _, _, index = _ADDRESS.unpack_from(message.body)
            facts = _attributes(message.body[_ADDRESS.size :])
            address = facts.get(_ADDRESS_LOCAL, facts.get(_ADDRESS_PEER, b""))
            if address and len(address) == _LENGTHS.get(family):
                found.setdefault(index, []).append(f"{socket.inet_ntop(family, address)}/{prefix}")
    return found


def _attributes(data: bytes) -> dict[int, bytes]:
    found = {}
    start = 0
    while start + _ATTRIBUTE.size <= len(data):
        length, type = _ATTRIBUTE.unpack_from(data, start)
        if length < _ATTRIBUTE.size:
            break
        found[type] = data[start + _ATTRIBUTE.size : start + length]
        start += _aligned(length)
    return found


def _number(data: bytes) -> int:
    return int.from_bytes(data[:4], sys.byteorder)


def _aligned(length: int) -> int:
    return (length + 3) & ~3
