"""
What core0 tells of network interfaces: the kernel's messages taken apart.
"""

import json
import socket
import struct

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from core0.facts import nic, rtnetlink
from core0.facts.rtnetlink import Link, Message
from core0.messages import encode


def attribute(type: int, value: bytes) -> bytes:
    return struct.pack("=HH", 4 + len(value), type) + value + bytes(-len(value) % 4)


def link(name: bytes = b"eth0", index: int = 2) -> Message:
    facts = attribute(3, name + b"\0") + attribute(4, struct.pack("=I", 9000)) + attribute(16, b"\6")
    return Message(16, 2, struct.pack("=BxHiII", 0, 1, index, 0x1043, 0) + facts + attribute(1, bytes(range(6))))


def address(index: int, prefix: int, *addresses: tuple[int, str]) -> Message:
    family = socket.AF_INET6 if ":" in addresses[0][1] else socket.AF_INET
    facts = b"".join(attribute(type, socket.inet_pton(family, text)) for type, text in addresses)
    return Message(20, 2, struct.pack("=BBBBI", family, prefix, 0, 0, index) + facts)


class MessageTests(SynchronousTestCase):
    """
    Netlink messages.
    """

    def test_datagram(self) -> None:
        """
        A datagram holds several messages, each at a multiple of four bytes.
        """
        datagram = b"".join(
            struct.pack("=IHHII", 16 + len(body), type, 2, 1, 0) + body + bytes(-len(body) % 4)
            for type, body in [(16, b"abcde"), (3, b"")]
        )
        self.assertEqual([Message(16, 2, b"abcde"), Message(3, 2, b"")], list(rtnetlink.split(datagram)))

    def test_link(self) -> None:
        """
        A link has its name, size of packets, address, flags and state.
        """
        self.assertEqual(
            [Link(2, b"eth0", 1, 0x1043, 9000, bytes(range(6)), 6)], rtnetlink.links([link(), Message(3, 0, b"")])
        )

    def test_addresses(self) -> None:
        """
        An address is the link's own, not that of the other end, with its prefix.
        """
        found = rtnetlink.addresses(
            [
                address(2, 24, (1, "10.0.0.2"), (2, "10.0.0.2")),
                address(2, 64, (1, "fe80::1")),
                address(3, 32, (1, "10.9.9.9"), (2, "10.1.1.1")),
                link(),
            ]
        )
        self.assertEqual({2: ["10.0.0.2/24", "fe80::1/64"], 3: ["10.1.1.1/32"]}, found)

    @given(st.binary(), st.sampled_from([16, 20]), st.sampled_from([0, 8, 16]), st.binary())
    def test_any_bytes(self, datagram: bytes, type: int, header: int, body: bytes) -> None:
        """
        A message that is cut short, or makes no sense, is read as far as it goes.
        """
        for messages in (list(rtnetlink.split(datagram)), [Message(type, 0, bytes([2] * header) + body)]):
            addresses = rtnetlink.addresses(messages)
            for found in rtnetlink.links(messages):
                json.loads(encode(nic.describe(found, addresses.get(found.index, ()), "")))


class DescriptionTests(SynchronousTestCase):
    """
    What ``info.nic`` makes of a link.
    """

    def test_answer(self) -> None:
        """
        Every fact has its field.
        """
        (found,) = rtnetlink.links([link()])
        self.assertEqual(
            {
                "name": "eth0",
                "mtu": 9000,
                "hardwareaddr": "00:01:02:03:04:05",
                "flags": ["up", "broadcast", "multicast"],
                "addrs": [{"addr": "10.0.0.2/24"}],
                "speed": 10000,
                "operstate": "up",
            },
            json.loads(encode(nic.describe(found, ["10.0.0.2/24"], "10000\n"))),
        )

    def test_no_hardware_address(self) -> None:
        """
        Loopback's zeros and the IP address of a tunnel are no hardware addresses; InfiniBand's long one is.
        """
        for arp_type, hardware, expected in [
            (772, bytes(6), ""),
            (776, bytes([10, 0, 0, 1]), ""),
            (65534, b"", ""),
            (32, bytes(range(20)), ":".join(f"{number:02x}" for number in range(20))),
        ]:
            found = nic.describe(Link(1, b"x", arp_type, 0, 1500, hardware, 0), [], "")
            self.assertEqual(expected, found.hardwareaddr)

    def test_unknown_speed(self) -> None:
        """
        The ways in which drivers say that they do not know their speed are all -1.
        """
        (found,) = rtnetlink.links([link()])
        for speed in ("", "-1", "0", "4294967295", "2147483647"):
            self.assertEqual(-1, nic.describe(found, [], speed).speed)

    def test_odd_link(self) -> None:
        """
        A name that is no UTF-8, and a state that no kernel has yet, can be told.
        """
        found = nic.describe(Link(1, b"e\xff", 1, 0x18, 1500, b"", 9), [], "")
        self.assertEqual(
            ("e\ufffd", "unknown", ("loopback", "pointtopoint")), (found.name, found.operstate, found.flags)
        )
