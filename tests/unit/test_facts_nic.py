"""
What core0 tells of network interfaces: what it makes of psutil's figures.
"""

import json
import socket
from collections import namedtuple
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from core0.facts import nic
from core0.messages import encode

Figures = namedtuple("Figures", "speed mtu flags")
Found = namedtuple("Found", "family address netmask")

LINK = Found(socket.AF_PACKET, "00:01:02:03:04:05", None)
V4 = Found(socket.AF_INET, "10.0.0.2", "255.255.255.0")
V6 = Found(socket.AF_INET6, "fe80::1%eth0", "ffff:ffff:ffff:ffff::")


class DescriptionTests(SynchronousTestCase):
    """
    What ``info.nic`` makes of a link.
    """

    def test_answer(self) -> None:
        """
        Every fact has its field.
        """
        figures = Figures(10000, 9000, "up,broadcast,running,multicast")
        self.assertEqual(
            {
                "name": "eth0",
                "mtu": 9000,
                "hardwareaddr": "00:01:02:03:04:05",
                "flags": ["up", "broadcast", "multicast"],
                "addrs": [{"addr": "10.0.0.2/24"}, {"addr": "fe80::1/64"}],
                "speed": 10000,
                "operstate": "up",
            },
            json.loads(encode(nic.describe("eth0", figures, [V4, V6, LINK], "up\n"))),
        )

    def test_little_known(self) -> None:
        """
        No speed is -1, loopback's zeros are no hardware address, and a link without a state is unknown.
        """
        zeros = Found(socket.AF_PACKET, "00:00:00:00:00:00", None)
        found = nic.describe("lo", Figures(0, 65536, "up,loopback,running"), [zeros], "")
        self.assertEqual(
            (-1, "", "unknown", ("up", "loopback")), (found.speed, found.hardwareaddr, found.operstate, found.flags)
        )

    def test_odd_name(self) -> None:
        """
        A name that is no UTF-8 can be told.
        """
        found = nic.describe("e\udcff", Figures(0, 1500, "pointopoint"), [], "")
        self.assertEqual(("e\ufffd", ("pointtopoint",)), (found.name, found.flags))

    @given(st.ip_addresses(v=6), st.integers(0, 128))
    def test_prefix(self, address: Any, prefix: int) -> None:
        """
        The prefix of an IPv6 address is the length of its mask.
        """
        mask = socket.inet_ntop(socket.AF_INET6, ((1 << 128) - (1 << (128 - prefix))).to_bytes(16, "big"))
        found = nic.describe("e", Figures(0, 1, ""), [Found(socket.AF_INET6, str(address), mask)], "")
        self.assertEqual((f"{address}/{prefix}",), tuple(each.addr for each in found.addrs))
