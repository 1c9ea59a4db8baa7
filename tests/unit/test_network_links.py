"""
The links that containers get, and what the program that serves a bridge is told of them.
"""

from ipaddress import ip_address, ip_interface
from typing import Any

from msgspec.structs import replace
from twisted.trial.unittest import SynchronousTestCase

from core0.errors import Refusal
from core0.network.desired import Bridge, Desired, Link
from core0.network.dnsmasq import arguments, files, leased
from core0.network.links import free_address, links_of
from core0.network.mtu import link_mtu
from core0.network.plan import Kernel, KernelLink
from core0.network.wishes import Wish, Wishes
from tests.unit.network import BARE, BR0, BR6, LINK, MAC, SERVED

KERNEL = Kernel({name: KernelLink(name, 1, kind="bridge") for name in ("br0", "br9", "bare", "other")})
DESIRED = Desired(bridges=(BR0, SERVED, BARE))


class LinkTests(SynchronousTestCase):
    """
    From wishes to links.
    """

    def made(self, *wishes: Wish, desired: Desired = DESIRED, leased: tuple[str, ...] = ()) -> list[Link]:
        """
        The links of container 5.
        """
        return links_of(5, Wishes(hostname="five"), wishes, desired, KERNEL, {ip_address(each) for each in leased})

    def test_forms(self) -> None:
        """
        A link has the address that is asked for, one that is handed out, or none.
        """
        found = self.made(Wish("br0", "10.7.0.9/24"), Wish("br0"), Wish("br9"), Wish("br9", "dhcp"), Wish("br9", ""))
        self.assertEqual(["10.7.0.9/24", "", "10.9.0.10/24", "10.9.0.11/24", ""], [link.address for link in found])
        self.assertEqual(["10.7.0.1", "", "10.9.0.1", "10.9.0.1", ""], [link.gateway for link in found])
        self.assertEqual([f"c5v{number}" for number in range(5)], [link.host_name for link in found])
        self.assertEqual([f"eth{number}" for number in range(5)], [link.inside_name for link in found])
        self.assertEqual(5, len({link.hwaddr for link in found}))

    def test_same_address(self) -> None:
        """
        Whoever has an address after somebody else is known to the neighbours by the same MAC address.
        """
        (one,), (other,) = self.made(Wish("br0", "10.7.0.9/24")), self.made(Wish("br0", "10.7.0.9/24"))
        self.assertEqual(one.hwaddr, other.hwaddr)

    def test_taken(self) -> None:
        """
        Addresses of other containers and those that are leased are not given out again.
        """
        other = Link(container=4, index=0, bridge="br9", hwaddr=MAC, address="10.9.0.10/24")
        desired = DESIRED.with_links([other])
        (link,) = self.made(Wish("br9"), desired=desired, leased=("10.9.0.11",))
        self.assertEqual("10.9.0.12/24", link.address)
        for wish in (Wish("br9", "10.9.0.10/24"), Wish("br9", "10.9.0.11/24"), Wish("br9", "10.9.0.1/24")):
            error = self.assertRaises(Refusal, self.made, wish, desired=desired, leased=("10.9.0.11",))
            self.assertEqual(409, error.code)
        error = self.assertRaises(Refusal, self.made, *[Wish("br9")] * 3, desired=desired)
        self.assertEqual((409, "arguments.network.bridge[2]"), (error.code, str(error).partition(": ")[0]))

    def test_whole_network(self) -> None:
        """
        Where none are handed out, the lowest address that nobody has is found.
        """
        assert BR0.subnet is not None
        self.assertEqual("10.7.0.1/24", str(free_address(BR0.subnet, [])))
        self.assertEqual("10.7.0.3/24", str(free_address(BR0.subnet, [ip_address(f"10.7.0.{n}") for n in (1, 2)])))

    def test_too_many(self) -> None:
        """
        The number of links is bounded.
        """
        self.assertEqual(400, self.assertRaises(Refusal, self.made, *[Wish("bare")] * 65).code)


class DnsmasqTests(SynchronousTestCase):
    """
    The command line, and the file of leases.
    """

    def test_told(self) -> None:
        """
        The program serves its bridge alone, with the addresses in its range, and knows of those that are taken.
        """
        link = Link(container=4, index=0, bridge="br9", hwaddr=MAC, address="10.9.0.10/24", hostname="four")
        words = arguments("/dnsmasq", SERVED, "/state/br9")
        for word in (
            "--interface=br9",
            "--except-interface=lo",
            "--conf-file=/dev/null",
            "--user=nobody",
            "--dhcp-range=10.9.0.11,10.9.0.12,255.255.255.0,12h",
            "--dhcp-lease-max=2",
            "--dhcp-leasefile=/state/br9/leases",
        ):
            self.assertIn(word, words)
        told = {"names": "10.9.0.10 four\n", "hosts": f"{MAC},10.9.0.10\n"}
        self.assertEqual(told, files(DESIRED.with_links([link, LINK]), "br9"))

    def test_short_names(self) -> None:
        """
        A container whose name has a domain is known without it, too, unless another one is called so.
        """
        links = [
            replace(LINK, container=number, bridge="br9", address=f"10.9.0.{number}/24", hostname=name)
            for number, name in ((4, "web.example"), (5, "db.example"), (6, "DB"))
        ]
        expected = "10.9.0.4 web.example web\n10.9.0.5 db.example\n10.9.0.6 DB\n"
        self.assertEqual(expected, files(DESIRED.with_links(links), "br9")["names"])

    def test_leases(self) -> None:
        """
        Who has which address is read from the file; lines that say something else do not count.
        """
        text = (
            "1795600000 02:00:00:00:00:AA 10.9.0.11 name 01:02\nduid 00:01:00\n"
            "1795600000 123 fd09::5 * 00:01\nrubbish\n\n1 2 3 4 5\n"
        )
        expected = {ip_address("10.9.0.11"): "02:00:00:00:00:aa", ip_address("fd09::5"): ""}
        self.assertEqual(expected, leased(text))


class MtuTests(SynchronousTestCase):
    """
    How long packets of a link may be.
    """

    def mtu(self, bridge: Bridge, asked: int = 0, *, known: int = 1500, ports: int = 0, **more: Any) -> int:
        """
        Of a link to a bridge that has as many others.
        """
        own = KernelLink(bridge.name, 2, kind="bridge", mtu=known)
        others = [KernelLink(f"c{number}v0", 10 + number, kind="veth", master=bridge.name) for number in range(ports)]
        kernel = Kernel({link.name: link for link in (own, *others)}, uplinks={4: 1400, 6: 1200})
        return link_mtu(asked, bridge, own, ip_interface("10.7.0.2/24"), kernel, **{"leads_out": True, **more})

    def test_usual(self) -> None:
        """
        That of the uplink for what leads out, unless the bridge has one of its own or neighbours with less.
        """
        self.assertEqual(1400, self.mtu(BR0))
        self.assertEqual(1400, self.mtu(BR0, known=1280))
        self.assertEqual(1280, self.mtu(BR0, known=1280, ports=1))
        self.assertEqual(0, self.mtu(BR0, leads_out=False))
        self.assertEqual(0, self.mtu(replace(BR0, mtu=1300), known=1300))

    def test_asked(self) -> None:
        """
        What is asked for counts, but not more than what the bridge can carry.
        """
        self.assertEqual(9000, self.mtu(BR0, 9000))
        self.assertEqual(1300, self.mtu(replace(BR0, mtu=1300), 1300, known=1300))
        for asked, bridge, ports in ((1501, BR0, 1), (1501, replace(BR0, mtu=1500), 0), (100, BR0, 0)):
            error = self.assertRaises(Refusal, self.mtu, bridge, asked, ports=ports)
            self.assertTrue(str(error).startswith("arguments.network.mtu: expected"), error)

    def test_ipv6(self) -> None:
        """
        With an IPv6 address it is never so short that the kernel would take the address away.
        """
        known = KernelLink("br6", 2, kind="bridge")
        kernel = Kernel({"br6": known}, uplinks={6: 1200})
        found = link_mtu(0, BR6, known, ip_interface("fd07::2/64"), kernel, leads_out=True)
        self.assertEqual(1280, found)
        self.assertRaises(Refusal, link_mtu, 1279, BR6, known, ip_interface("fd07::2/64"), kernel, leads_out=True)
