"""
Names, addresses and ports as clients write them.
"""

from ipaddress import ip_address, ip_network

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from core0.commands.bridge import CreateArguments
from core0.errors import Refusal
from core0.network import subnets
from core0.network.names import (
    check_hostname,
    check_hwaddr,
    check_name,
    is_hostname,
    is_plain,
    new_hwaddr,
    short_name,
)
from core0.network.ports import parse
from core0.network.wishes import Port
from core0.reading import read_arguments
from tests.work import raw


class NameTests(SynchronousTestCase):
    """
    Names of links, and MAC addresses.
    """

    @given(st.text(max_size=20))
    def test_any(self, name: str) -> None:
        """
        A name that is taken is one word of at most 15 bytes, and no path.
        """
        try:
            check_name(name)
        except ValueError:
            return
        self.assertLessEqual(len(name.encode()), 15)
        self.assertEqual([name], name.split())
        self.assertNotIn("/", name)
        self.assertNotIn(name, ("", ".", ".."))

    @given(st.text("aZ0_.-*?,;#@!\"'\\ \n", max_size=5))
    def test_plain(self, name: str) -> None:
        """
        A plain name has nothing that another program reads as a pattern, a list or an option.
        """
        if not is_plain(name):
            return
        self.assertFalse(set(name) & set("*?,;#@!\"'\\ \n"))
        self.assertFalse(name.startswith(("-", ".")))

    def test_hostnames(self) -> None:
        """
        Only names that DNS knows are told to others.
        """
        for name in ("a", "a-b.example", "x" * 253):
            self.assertTrue(is_hostname(name), name)
        for name in ("", "a,b", "a b", "-a", "a..b", "a\n", "x" * 254):
            self.assertFalse(is_hostname(name), name)

    def test_own_hostname(self) -> None:
        """
        A container has a name that it is found by; what programs take for an address is none, and a limit is told as it
        is.
        """
        for name in ("a", "web-1", "1web", "a.b.c", "123.example", "x" * 63, "a." + "x" * 62):
            check_hostname(name)
        for name, text in (
            ("x" * 64, "a part of it to have at most 63 characters, got 64"),
            ("x" * 60 + ".abcd", "a name to have at most 64 characters, got 65"),
            ("123", "take for an address"),
            ("10.1.1.1", "take for an address"),
            ("0x7f", "take for an address"),
            ("web.1", "take for an address"),
            ("localhost", "of the loopback"),
            ("LocalHost.example", "of the loopback"),
            ("a_b", "letters, digits and -"),
            ("web.", "empty"),
            ("a..b", "empty"),
            ("-a", "at an edge"),
            ("ä", "letters"),
            ("٣", "letters"),
        ):
            error = self.assertRaises(ValueError, check_hostname, name)
            self.assertIn(text, str(error))
        for name, short in (("a.b.c", "a"), ("a", ""), ("10.example", "")):
            self.assertEqual(short, short_name(name))

    def test_hwaddr(self) -> None:
        """
        A MAC address is that of one link, in the form of the kernel.
        """
        self.assertEqual("02:00:00:00:ab:cd", check_hwaddr("02:00:00:00:AB:CD"))
        for text in ("", "02", "02:00:00:00:00:0g", "02-00-00-00-00-01", "ff:ff:ff:ff:ff:ff", "00:00:00:00:00:00\n"):
            self.assertRaises(ValueError, check_hwaddr, text)
        for _ in range(20):
            made = new_hwaddr()
            self.assertEqual(made, check_hwaddr(made))


class SubnetTests(SynchronousTestCase):
    """
    The addresses of bridges.
    """

    @given(st.integers(0, 2**32 - 1), st.integers(0, 32))
    def test_any(self, number: int, length: int) -> None:
        """
        A bridge gets an address that a host can have, in the network that was asked for.
        """
        cidr = f"{ip_address(number)}/{length}"
        try:
            found = subnets.static(cidr, nat=False)
        except ValueError as error:
            self.assertTrue(str(error).startswith("@cidr: "))
            return
        self.assertEqual(ip_network(cidr, strict=False), found.network)
        if length < 31:
            self.assertNotIn(found.interface.ip, (found.network[0], found.network[-1]))

    def test_range(self) -> None:
        """
        What is handed out is all after the bridge's own address, if nothing else is said.
        """
        found = subnets.dnsmasq("10.0.0.0/24", None, None, nat=True)
        self.assertEqual(("10.0.0.1/24", "10.0.0.2", "10.0.0.254"), (found.address, found.start, found.end))
        found = subnets.dnsmasq("fd00::/64", "fd00::10", None, nat=True)
        self.assertEqual(("fd00::10", "fd00::ffff:ffff:ffff:ffff"), (found.start, found.end))
        for cidr, start, end, field in (
            ("10.0.0.1/24", "10.0.0.9", "10.0.0.8", "end"),
            ("10.0.0.5/24", "10.0.0.2", "10.0.0.9", "start"),
            ("10.0.0.254/24", None, None, "start"),
            ("10.0.0.1/24", "fd00::1", None, "start"),
            ("10.0.0.1/24", "10.0.0.0", None, "start"),
            ("10.0.0.1/24", "$(id)", None, "start"),
            ("10.0.0.1/31", None, None, "cidr"),
            ("fd00::1%eth0/64", None, None, "cidr"),
        ):
            error = self.assertRaises(ValueError, subnets.dnsmasq, cidr, start, end, nat=False)
            self.assertTrue(str(error).startswith(f"@{field}: "), error)

    @given(
        st.recursive(
            st.none()
            | st.booleans()
            | st.integers()
            | st.text(max_size=8)
            | st.sampled_from(["static", "10.0.0.1/24"]),
            lambda inner: (
                st.lists(inner, max_size=3)
                | st.dictionaries(
                    st.sampled_from(["mode", "nat", "settings", "cidr", "start", "end"]), inner, max_size=4
                )
            ),
            max_leaves=8,
        )
    )
    def test_anything(self, network: object) -> None:
        """
        Whatever a client sends as the network is taken, or refused with the name of what is wrong.
        """
        try:
            given = read_arguments(raw({"name": "br0", "network": network}), CreateArguments)
        except Refusal as error:
            self.assertEqual(400, error.code)
            self.assertTrue(str(error).startswith("arguments.network"), error)
        else:
            given.subnet()


class PortTests(SynchronousTestCase):
    """
    Ports of the host.
    """

    def test_forms(self) -> None:
        """
        A port is a number, perhaps with an address of the host before it and a protocol behind it.
        """
        for text, expected in (
            ("8080", Port(8080, 80)),
            ("8080/udp", Port(8080, 80, protocol="udp")),
            ("127.0.0.1:8080", Port(8080, 80, "127.0.0.1")),
            ("0.0.0.0:8080/tcp", Port(8080, 80)),
            ("[2001:DB8::0:1]:1/udp", Port(1, 80, "2001:db8::1", "udp")),
        ):
            self.assertEqual([expected], parse(text, 80))

    def test_ranges(self) -> None:
        """
        A range of ports leads to a range of the same length, one to one; the container's side may be text.
        """
        found = parse("127.0.0.1:8000-8002/udp", "9000-9002/udp")
        expected = [Port(8000 + place, 9000 + place, "127.0.0.1", "udp") for place in range(3)]
        self.assertEqual(expected, found)
        self.assertEqual([Port(8080, 80)], parse("8080", "80"))
        self.assertEqual([Port(8080, 80)], parse("8080-8080", "80/tcp"))
        for host, container in (
            ("8000-8002", "9000-9001"),
            ("8000-8002", 9000),
            ("8002-8000", "9000-9002"),
            ("65535-65536", "1-2"),
            ("0-1", "1-2"),
            ("1-2000", "1-2000"),
            ("8000-8002-8003", "1-3"),
            ("8000-", "1-3"),
        ):
            self.assertRaises(ValueError, parse, host, container)

    def test_habits(self) -> None:
        """
        What other programs take is refused with the way it is written here.
        """
        for host, container, advice in (
            ("8080:80", 80, 'write "8080": 80'),
            ("8080:80/udp", 80, 'write "8080/udp": 80'),
            ("8000-8010:9000-9010", 80, 'write "8000-8010": 9000-9010'),
            ("8080/sctp", 80, "only tcp and udp"),
            ("8080/UDP", 80, "small letters"),
            ("localhost:8080", 80, "an address of the host"),
            ("*:8080", 80, "an address of the host"),
            ("8080", "80/udp", 'write "8080/udp": 80'),
            ("8080/udp", "80/tcp", 'write "8080/tcp": 80'),
            ("8080", "http", "a port of the container"),
        ):
            error = self.assertRaises(ValueError, parse, host, container)
            self.assertIn(advice, str(error))

    def test_refused(self) -> None:
        """
        Everything else is refused, and so is a port that there is not.
        """
        for text in (
            "",
            "0",
            "65536",
            "-1",
            "8080/sctp",
            "1.2.3.4.5:80",
            "::1:80",
            "[::1]:80",
            "localhost:80",
            "8 0",
            "1\n",
        ):
            self.assertRaises(ValueError, parse, text, 80)
        for port in (0, -1, 65536, 2**70):
            self.assertRaises(ValueError, parse, "80", port)

    @given(st.text(max_size=30), st.integers())
    def test_any(self, text: str, port: int) -> None:
        """
        Whatever a client sends is a port or refused.
        """
        try:
            found = parse(text, port)
        except ValueError:
            return
        for each in found:
            self.assertTrue(1 <= each.host_port <= 65535 and 1 <= each.port <= 65535)
