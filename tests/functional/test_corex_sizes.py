"""
Sizes that containers have or are given: of packets on their links, and of ``/dev/shm``; hosts without IPv6.
"""

import sys
import textwrap
from typing import Any

from tests.functional.corex_network import HANDING, ConnectedTestCase
from tests.functional.network_shared import NetworkTestCase

MIB = 1 << 20
STATIC = {"mode": "static", "settings": {"cidr": "10.7.1.1/24"}}
# makes a link to a bridge that goes just when the link is to be connected to it
GOES = """
    import os, subprocess, sys
    from core0.network.desired import Link
    from core0.network.kernel import Netlink, NotTaken, has_link
    from core0.network.links import Manner, plug_all

    class Late(Netlink):
        def join(self, port, bridge, *, back):
            subprocess.run(["ip", "link", "del", "br5"], check=True)
            super().join(port, bridge, back=back)

    link = Link(container=2, index=0, bridge="br5", hwaddr="02:00:00:00:00:02")
    for netlink in (Late(), Netlink()):
        try:
            plug_all(netlink, [link], sys.argv[1], Manner())
        except NotTaken as error:
            print(error)
        print(has_link(link.host_name))
"""


class PacketTests(ConnectedTestCase):
    """
    How long packets may be.
    """

    def setUp(self) -> None:
        """
        Default routes by a cable.
        """
        super().setUp()
        self.cable = next(name for name in self.host.links() if name.startswith("cable"))
        self.addCleanup(self.uplink, 1500)

    def uplink(self, mtu: int, *more: str) -> None:
        """
        Packets to the world may be so long.
        """
        self.host.ip("link", "set", self.cable, "mtu", str(mtu))
        self.host.ip("route", "replace", "default", "via", "192.0.2.2", *more)

    def mtu(self, number: int, link: str = "eth0") -> int:
        """
        Of a link of a container.
        """
        return int(self.inside_sh(number, f"cat /sys/class/net/{link}/mtu"))

    def test_uplink(self) -> None:
        """
        What leads out has the mtu of the default route, be it shorter or longer than usual; what does not, that of its
        bridge.
        """
        for mtu in (1400, 9000):
            self.uplink(mtu)
            self.bridge()
            self.bridge("br8", STATIC)
            out = self.create(port={"8080": 80}), self.create(network={"bridge": ["br9", ["br8", "10.7.1.2/24"]]})
            self.assertEqual([mtu, mtu, 1500], [*map(self.mtu, out), self.mtu(out[1], "eth1")])
            self.end()

    def test_route(self) -> None:
        """
        A route that says itself how long packets may be counts, and so does the first one of several.
        """
        self.uplink(1500, "mtu", "1420")
        self.host.ip("route", "add", "default", "dev", "lo", "metric", "900")
        self.addCleanup(self.host.ip, "route", "del", "default", "dev", "lo", "metric", "900")
        self.assertEqual(1420, self.mtu(self.create(port={"8080": 80})))

    def test_no_route(self) -> None:
        """
        Without a default route it is as usual.
        """
        self.uplink(1400)
        self.host.ip("route", "del", "default")
        self.assertEqual(1500, self.mtu(self.create(port={"8080": 80})))

    def test_asked(self) -> None:
        """
        A bridge has the mtu that it was asked for whatever is connected to it, and so have its containers unless they
        ask for less; more is refused.
        """
        self.uplink(9000)
        for mtu in (1300, 1500, 9000):
            self.command("bridge.create", {"name": "br9", "network": HANDING, "mtu": mtu})
            usual = self.create(network={"bridge": ["br9"]})
            less = self.create(network={"bridge": ["br9"], "mtu": 1280})
            again = self.create(network={"bridge": ["br9"]})
            self.assertEqual([mtu, 1280, mtu], [*map(self.mtu, (usual, less, again))])
            self.assertEqual(f"{mtu}\n", self.host.run("cat", "/sys/class/net/br9/mtu"))
            network = {"bridge": ["br9"], "mtu": mtu + 1}
            self.refused_create(400, f"arguments.network.mtu: expected at most {mtu}", network=network)
            self.end()

    def test_kept(self) -> None:
        """
        A bridge that core0 makes again has the mtu that it was asked for.
        """
        self.command("bridge.create", {"name": "br9", "network": HANDING, "mtu": 1350})
        self.daemon.stop()
        self.host.ip("link", "del", "br9")
        self.daemon.start()
        self.assertEqual(1350, self.mtu(self.create(network={"bridge": ["br9"]})))

    def test_refused(self) -> None:
        """
        What no link can have is refused with what it can.
        """
        for mtu in (0, 68, 65_536, -1, "auto", 1400.5):
            result = self.daemon.run_command("bridge.create", {"name": "br9", "mtu": mtu})
            self.assert_refused(400, "arguments.mtu: expected a whole number, 576 to 65535, got", result)
            about = "arguments.network.mtu: expected a whole number, 576 to 65535, got"
            self.refused_create(400, about, port={"8080": 80}, network={"mtu": mtu})
        six = {"mode": "static", "settings": {"cidr": "fd09::1/64"}}
        result = self.daemon.run_command("bridge.create", {"name": "br9", "mtu": 1000, "network": six})
        self.assert_refused(400, "arguments.mtu: expected a whole number, 1280 to 65535, got '1000'", result)
        self.refused_create(400, "arguments.network.mtu: expected a bridge", network={"mtu": 1400})


class WithoutTests(ConnectedTestCase):
    """
    A host on which IPv6 is switched off.
    """

    def off(self, value: int, which: str = "all") -> None:
        """
        Switch it off, or on again.
        """
        self.host.run("sh", "-c", f"echo {value} > /proc/sys/net/ipv6/conf/{which}/disable_ipv6")

    def test_off(self) -> None:
        """
        A network with IPv6 is refused in words that say why; one with IPv4 is as ever.
        """
        six: dict[str, Any] = {"mode": "dnsmasq", "nat": True, "settings": {"cidr": "fd09::1/64"}}
        self.off(1)
        self.addCleanup(self.off, 0)
        result = self.daemon.run_command("bridge.create", {"name": "br6", "network": six})
        self.assert_refused(503, "arguments.network.settings.cidr: IPv6 is switched off on this host", result)
        self.assertIn("net.ipv6.conf.all.disable_ipv6", result["data"])
        self.bridge()
        one, two = (
            self.create(hostname=name, network={"bridge": ["br9"]}, port={port: 80})
            for name, port in (("one", "8080"), ("two", "8081"))
        )
        self.assertIn("1 packets received", self.inside_sh(one, "ping -c 1 -w 5 two"))
        self.serve(two, "hello")
        self.assertEqual("hello", self.fetched(self.host, "http://127.0.0.1:8081/"))

    def test_new_links(self) -> None:
        """
        Where only new links have none, a bridge that is asked for with an IPv6 network has it.
        """
        self.off(1, "default")
        self.addCleanup(self.off, 0, "default")
        self.bridge("br6", {"mode": "dnsmasq", "settings": {"cidr": "fd09::1/64"}})
        number = self.create(network={"bridge": ["br6"]})
        self.assertEqual(["fd09::2/64"], self.listed()[str(number)]["network"][0]["addresses"])
        self.assertIn("fd09::2/64", self.inside_sh(number, "ip -6 addr show dev eth0"))
        self.assertIn("fd09::1/64", self.host.run("ip", "-6", "addr", "show", "dev", "br6"))


class MemoryTests(ConnectedTestCase):
    """
    ``/dev/shm``.
    """

    def size(self, number: int) -> int:
        """
        Of a container.
        """
        return int(self.inside_sh(number, "df -k /dev/shm | awk 'NR == 2 { print $2 }'")) << 10

    def test_size(self) -> None:
        """
        It is as large as asked for, in bytes or with a unit; otherwise 64 MiB, or less with a limit of memory.
        """
        for expected, arguments in (
            (64 * MIB, {}),
            (4 * MIB, {"limits": {"memory": "64M"}}),
            (256 * MIB, {"shm": "256M"}),
            (100 * MIB, {"shm": 100 * MIB, "limits": {"memory": "128M"}}),
        ):
            self.assertEqual(expected, self.size(self.create(**arguments)), arguments)

    def test_used(self) -> None:
        """
        More than the usual 64 MiB can be written there.
        """
        number = self.create(shm="128M")
        said = self.inside_sh(
            number, "dd if=/dev/zero of=/dev/shm/x bs=1M count=100 2>/dev/null; stat -c %s /dev/shm/x"
        )
        self.assertEqual(f"{100 * MIB}\n", said)

    def test_refused(self) -> None:
        """
        What is none, or more than the container may have, is refused.
        """
        for wrong in ("", "big", 0, -1, 1.5, "1K", 2**60):
            self.refused_create(400, "arguments.shm: expected bytes", shm=wrong)
        about = f"arguments.shm: expected at most limits.memory ({64 * MIB}), which it counts to"
        self.refused_create(400, about, shm="65M", limits={"memory": "64M"})


class BridgeTests(NetworkTestCase):
    """
    Bridges that others remove.
    """

    def test_goes(self) -> None:
        """
        A bridge that is removed while a container is connected to it is told as that, and nothing is left of the link.
        """
        container = self.another()
        self.host.ip("link", "add", "br5", "type", "bridge")
        script, namespace = textwrap.dedent(GOES), f"/proc/{container.pid}/ns/net"
        said = self.host.run(sys.executable, "-P", "-c", script, namespace).splitlines()
        text = "cannot connect container 2 to br5: the bridge was removed meanwhile"
        self.assertEqual(["False", "False"], said[1::2])
        for line in said[::2]:
            self.assertIn(text, line)
