"""
Flows as the kernel tells them.
"""

import socket
import struct
from ipaddress import ip_address

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from core0.network.flows import attributes, deletion, flow_of, messages, question

UDP, TCP = socket.IPPROTO_UDP, socket.IPPROTO_TCP
NOISE = st.binary(max_size=200)


def attribute(kind: int, *content: bytes) -> bytes:
    """
    One with what is in it.
    """
    joined = b"".join(content)
    return struct.pack("=HH", 4 + len(joined), kind) + joined + bytes(-len(joined) % 4)


def told(
    to: str = "192.0.2.1", protocol: int = UDP, port: int = 53, status: int = 8, *, zone: bytes = b"", pad: bytes = b""
) -> bytes:
    """
    What the kernel says of one flow.

    :param pad: something that this core0 does not know, before all else.
    """
    address = ip_address(to)
    kinds = (1, 2) if address.version == 4 else (3, 4)
    ends = attribute(0x8001, attribute(kinds[0], bytes(len(address.packed))), attribute(kinds[1], address.packed))
    ports = attribute(2, b"\x30\x39"), attribute(3, port.to_bytes(2, "big"))
    original = attribute(0x8001, ends, attribute(0x8002, attribute(1, bytes([protocol])), *ports))
    reply = attribute(0x8002, ends, attribute(0x8002, attribute(1, bytes([protocol])), *ports))
    more = attribute(3, status.to_bytes(4, "big")) + attribute(7, bytes(4)) + attribute(12, b"\1\2\3\4")
    return b"\x02\0\0\0" + pad + original + reply + more + (attribute(18, zone) if zone else b"")


class FlowTests(SynchronousTestCase):
    """
    What is made of it.
    """

    def test_read(self) -> None:
        """
        Where it goes and whether it was answered is read, over IPv4 and IPv6, whatever else is told.
        """
        for to in ("192.0.2.1", "2001:db8::1"):
            for status, answered in ((0x8, False), (0xA, True)):
                for pad in (b"", attribute(99, b"x" * 7)):
                    flow = flow_of(told(to, TCP, 443, status, pad=pad), TCP, {80, 443})
                    assert flow is not None
                    expected = (ip_address(to).packed, TCP, 443, answered)
                    self.assertEqual(expected, (flow.to, flow.protocol, flow.port, flow.answered))

    def test_others(self) -> None:
        """
        Flows of another protocol, or to other ports, are none that was asked for.
        """
        self.assertIsNone(flow_of(told(), TCP, {53}))
        self.assertIsNone(flow_of(told(), UDP, {54, 80}))
        self.assertIsNone(flow_of(told(port=0), UDP, set()))

    def test_deletion(self) -> None:
        """
        It is forgotten by all that the kernel knows it by, its number and its zone included.
        """
        flow = flow_of(told("2001:db8::1", zone=b"\0\7"), UDP, {53})
        assert flow is not None
        ((kind, content),) = messages(deletion(flow))
        self.assertEqual((0x102, socket.AF_INET6), (kind, content[0]))
        found = dict(attributes(content, 4))
        self.assertEqual([1, 12, 18], sorted(found))
        self.assertEqual((b"\1\2\3\4", b"\0\7"), (found[12], found[18]))
        self.assertEqual(dict(attributes(told("2001:db8::1"), 4))[1], found[1])

    def test_question(self) -> None:
        """
        The kernel is asked for one protocol, and one port if there is one, and the unanswered alone where that is
        wanted.
        """
        for port, unanswered in ((None, False), (443, True)):
            ((kind, content),) = messages(question(socket.AF_INET, TCP, port, unanswered=unanswered))
            self.assertEqual((0x101, socket.AF_INET), (kind, content[0]))
            found = dict(attributes(content, 4))
            there = dict(attributes(dict(attributes(found[1]))[2]))
            self.assertEqual(bytes([TCP]), there[1][:1])
            self.assertEqual(port is not None, 3 in there)
            flags = int.from_bytes(dict(attributes(found[25]))[1], "little" if struct.pack("=H", 1)[0] else "big")
            self.assertEqual(0x28 if port is not None else 0x8, flags)
            self.assertEqual([1, 3, 25, 26] if unanswered else [1, 25], sorted(found))

    @given(NOISE, st.integers(0, 255), st.sets(st.integers(0, 65535)))
    def test_noise(self, data: bytes, protocol: int, ports: set[int]) -> None:
        """
        What makes no sense makes no flow, and no error.
        """
        flow = flow_of(data, protocol, ports)
        self.assertTrue(flow is None or flow.port in ports)
        for _, content in messages(data):
            flow_of(content, protocol, ports)

    @given(st.data())
    def test_damaged(self, data: st.DataObject) -> None:
        """
        One that is cut off, or has wrong bytes in it, makes a flow that can be told, or none.
        """
        whole = bytearray(told("2001:db8::1", zone=b"\0\7"))
        for place in data.draw(st.lists(st.integers(0, len(whole) - 1), max_size=5)):
            whole[place] = data.draw(st.integers(0, 255))
        flow = flow_of(bytes(whole[: data.draw(st.integers(0, len(whole)))]), UDP, {53})
        if flow is not None:
            self.assertEqual(1, len(list(messages(deletion(flow)))))

    @given(st.lists(st.tuples(st.integers(0, 0x3FFF), NOISE)), NOISE)
    def test_attributes(self, given: list[tuple[int, bytes]], noise: bytes) -> None:
        """
        Attributes come as they were put, whatever follows them.
        """
        data = b"".join(attribute(kind, content) for kind, content in given)
        self.assertEqual(given, list(attributes(data)))
        self.assertEqual(given, list(attributes(data + noise))[: len(given)])
