"""
Flows of packets, as the kernel's connection tracking tells them over netlink. pyroute2 takes much longer to make sense
of one, and there may be hundreds of thousands.
"""

import socket
import struct
from collections.abc import Iterator
from dataclasses import dataclass

REQUEST, DUMP = 0x1, 0x300  # NLM_F_
GET, DELETE = 0x101, 0x102  # NFNL_SUBSYS_CTNETLINK with IPCTNL_MSG_CT_
NESTED, KIND = 0x8000, 0x3FFF  # NLA_F_NESTED, NLA_TYPE_MASK
ORIGINAL, STATUS, ID, ZONE, FILTER, STATUS_MASK = 1, 3, 12, 18, 25, 26  # CTA_
IP, PROTOCOL = 1, 2  # CTA_TUPLE_
TO = (2, 4)  # CTA_IP_V4_DST, CTA_IP_V6_DST
NUMBER, PORT = 1, 3  # CTA_PROTO_NUM, CTA_PROTO_DST_PORT
FLAGS = 1  # CTA_FILTER_ORIG_FLAGS
BY_NUMBER, BY_PORT = 1 << 3, 1 << 5  # CTA_FILTER_F_CTA_PROTO_NUM, CTA_FILTER_F_CTA_PROTO_DST_PORT
ANSWERED = 0x2  # IPS_SEEN_REPLY
HEAD = 4  # bytes before what netfilter says

_MESSAGE, _ATTRIBUTE, _NETFILTER = struct.Struct("=IHHII"), struct.Struct("=HH"), struct.Struct("=BBH")


@dataclass(frozen=True, slots=True)
class Flow:
    """
    A flow, by its first packet.

    :ivar to: the address that this was sent to, packed.
    :ivar port: to which port.
    :ivar answered: whether packets have come the other way.
    :ivar name: what the kernel knows it by.
    """

    to: bytes
    protocol: int
    port: int
    answered: bool
    name: bytes


def messages(data: bytes) -> Iterator[tuple[int, bytes]]:
    """
    Kind and content of each netlink message. What is not whole is left out.
    """
    at = 0
    while at + _MESSAGE.size <= len(data):
        length, kind, *_ = _MESSAGE.unpack_from(data, at)
        if not _MESSAGE.size <= length <= len(data) - at:
            return
        yield kind, data[at + _MESSAGE.size : at + length]
        at += _aligned(length)


def attributes(data: bytes, at: int = 0) -> Iterator[tuple[int, bytes]]:
    """
    Kind and content of each attribute. What is not whole is left out.

    :param at: where they begin.
    """
    end = len(data) - _ATTRIBUTE.size
    while at <= end:
        length, kind = _ATTRIBUTE.unpack_from(data, at)
        if not _ATTRIBUTE.size <= length <= len(data) - at:
            return
        yield kind & KIND, data[at + _ATTRIBUTE.size : at + length]
        at += _aligned(length)


def flow_of(data: bytes, protocol: int, ports: frozenset[int] | set[int]) -> Flow | None:
    """
    :param data: the content of a message of netfilter's.
    :returns: None unless it is one of this protocol to one of these ports.
    """
    first = _first(data, HEAD, ORIGINAL)
    parts = dict(attributes(first))
    there = dict(attributes(parts.get(PROTOCOL, b"")))
    port = int.from_bytes(there.get(PORT, b"")[:2], "big")
    if port not in ports or there.get(NUMBER, b"")[:1] != bytes([protocol]):
        return None
    addresses = dict(attributes(parts.get(IP, b"")))
    found = dict(attributes(data, HEAD))
    status = int.from_bytes(found.get(STATUS, b"")[:4], "big")
    name = _attribute(ORIGINAL | NESTED, first)
    name += b"".join(_attribute(kind, found[kind]) for kind in (ID, ZONE) if kind in found)
    to = next((addresses[kind] for kind in TO if kind in addresses), b"")
    return Flow(to, protocol, port, bool(status & ANSWERED), name)


def question(family: int, protocol: int, port: int | None, *, unanswered: bool) -> bytes:
    """
    What has the kernel tell flows. One that is too old for what it is to tell only tells others as well.

    :param family: of addresses.
    :param port: that they go to; None: any.
    :param unanswered: only those.
    """
    flags, there = BY_NUMBER, _attribute(NUMBER, bytes([protocol]))
    if port is not None:
        flags, there = flags | BY_PORT, there + _attribute(PORT, port.to_bytes(2, "big"))
    body = _attribute(ORIGINAL | NESTED, _attribute(PROTOCOL | NESTED, there))
    body += _attribute(FILTER | NESTED, _attribute(FLAGS, struct.pack("=I", flags)))
    if unanswered:
        body += _attribute(STATUS, bytes(4)) + _attribute(STATUS_MASK, ANSWERED.to_bytes(4, "big"))
    return message(GET, REQUEST | DUMP, _NETFILTER.pack(family, 0, 0) + body)


def deletion(flow: Flow) -> bytes:
    """
    What has the kernel forget a flow.
    """
    family = socket.AF_INET if len(flow.to) == 4 else socket.AF_INET6
    return message(DELETE, REQUEST, _NETFILTER.pack(family, 0, 0) + flow.name)


def message(kind: int, flags: int, content: bytes) -> bytes:
    """
    One for the kernel.
    """
    return _MESSAGE.pack(_MESSAGE.size + len(content), kind, flags, 0, 0) + content


def _attribute(kind: int, content: bytes) -> bytes:
    length = _ATTRIBUTE.size + len(content)
    return _ATTRIBUTE.pack(length, kind) + content + bytes(_aligned(length) - length)


def _first(data: bytes, at: int, wanted: int) -> bytes:
    return next((content for kind, content in attributes(data, at) if kind == wanted), b"")


def _aligned(length: int) -> int:
    return (length + 3) & ~3
