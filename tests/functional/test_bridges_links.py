"""
Links of containers to bridges: what they carry, and what is left when they go. Hosts and containers are namespaces.
"""

import sys
import textwrap
from typing import Any

from tests.daemon import ROOT
from tests.functional.network_shared import Driver, Host, NetworkTestCase, Refused

INNER = {"address": "10.7.0.1/24", "nat": True}
INNER6 = {"address": "fd07::1/64", "nat": True}
BOTH = [["br0", "10.7.0.2/24"], ["br6", "fd07::2/64"]]
# a bridge goes when the links to it are about to be connected
GOES = """
    import os, sys
    from core0.network.desired import Link
    from core0.network.kernel import Netlink, NotTaken
    from core0.network.links import Manner, plug

    class Late(Netlink):
        def join(self, port, bridge, **more):
            self.socket.link("del", index=bridge)
            super().join(port, bridge, **more)

    link = Link(container=7, index=0, bridge="br5", hwaddr="02:00:00:00:00:07")
    for netlink in (Late(), Netlink()):
        try:
            plug(netlink, link, os.open(sys.argv[1], os.O_RDONLY), Manner())
        except NotTaken as error:
            print(error)
"""


class LinksTestCase(NetworkTestCase):
    """
    Tests with networks, some containers and a world.
    """

    networks: Driver

    def setUp(self) -> None:
        """
        Make bridges.
        """
        super().setUp()
        self.networks = self.driver()
        self.networks.call("create", "br0", INNER)
        self.networks.call("create", "br6", INNER6)

    def world(self) -> Host:
        """
        A host outside.
        """
        world = self.another()
        self.host.cable(world, "192.0.2.1/24 2001:db8::1/64", "192.0.2.2/24 2001:db8::2/64")
        return world

    def refused(self, code: int, about: str, *call: Any) -> None:
        """
        A call is refused for a reason that names this, and leaves all as it was.
        """
        before = self.host.everything()
        error = self.assertRaises(Refused, self.networks.call, *call)
        self.assertEqual(code, error.args[0], error)
        self.assertIn(about, error.args[1])
        self.assertEqual(before, self.host.everything())


class LinkTests(LinksTestCase):
    """
    Links.
    """

    def test_traffic(self) -> None:
        """
        Containers on a bridge reach one another, and the world with the address of the host, over TCP and UDP.
        """
        one, other, world = self.another(), self.another(), self.world()
        self.networks.attach(1, one, *BOTH)
        self.networks.attach(2, other, ["br0", "10.7.0.3/24"], ["br6", "fd07::3/64"])
        for kind in ("tcp", "udp"):
            for address, source in (("10.7.0.3", "10.7.0.2"), ("fd07::3", "fd07::2")):
                other.serve(address, kind, 99)
                self.assertEqual(source, one.ask(address, kind, 99))
            for address, source in (("192.0.2.2", "192.0.2.1"), ("2001:db8::2", "2001:db8::1")):
                world.serve(address, kind, 99)
                self.assertEqual(source, one.ask(address, kind, 99))

    def test_inside(self) -> None:
        """
        A container has its links in their order, up, each with its MAC address, address, MTU and way out.
        """
        self.host.ip("link", "set", "br6", "mtu", "1400")
        inside = self.another()
        links = self.networks.attach(7, inside, *BOTH)
        self.assertEqual(["eth0", "eth1", "lo"], inside.links())
        self.assertEqual(["10.7.0.2/24"], inside.addresses("eth0"))
        self.assertEqual(["fd07::2/64"], inside.addresses("eth1"))
        for link, mtu in zip(links, (1500, 1400), strict=True):
            found = inside.look("link", "show", f"eth{link['index']}")[0]
            self.assertEqual((link["hwaddr"], mtu), (found["address"], found["mtu"]))
            self.assertIn("UP", found["flags"])
        self.assertEqual("10.7.0.1", inside.look("route", "show", "default")[0]["gateway"])
        self.assertEqual("fd07::1", inside.look("-6", "route", "show", "default")[0]["gateway"])
        self.assertEqual("br0", self.host.look("link", "show", "c7v0")[0]["master"])
        self.assertEqual("br6", self.host.look("link", "show", "c7v1")[0]["master"])

    def test_detached(self) -> None:
        """
        All that a container has goes when it is detached, whether its namespace is still there or not.
        """
        before = self.host.everything()
        inside, gone = self.another(), self.another()
        self.networks.attach(1, inside, *BOTH, port_8080=80)
        self.networks.attach(2, gone, ["br0", "10.7.0.3/24"])
        self.refused(409, "arguments.name: containers 1, 2 attached to br0", "delete", "br0")
        gone.close()
        for number in (1, 2, 3):
            self.networks.call("detach", number)
        self.assertEqual(["lo"], inside.links())
        self.assertEqual(before, self.host.everything())
        self.networks.call("delete", "br0")

    def test_refused(self) -> None:
        """
        Links that cannot be are refused with a reason, and none of the others is made.
        """
        self.host.ip("link", "add", "bare", "type", "bridge")
        one, other = self.another(), self.another()
        self.networks.attach(1, one, *BOTH)
        pid = other.pid
        for code, about, link in (
            (404, "bridge[1]: there is no bridge 'nope'", ["nope"]),
            (404, "bridge[1]: there is no bridge", ["lo"]),
            (404, "bridge[1]: there is no bridge", ["$(reboot)"]),
            (409, "bridge[1]: 10.7.0.2 is somebody's", ["br0", "10.7.0.2/24"]),
            (409, "bridge[1]: 10.7.0.1 is somebody's", ["br0", "10.7.0.1/24"]),
            (409, "bridge[1]: 10.7.0.9 is somebody's", ["br0", "10.7.0.9/24"]),
            (400, "bridge[1]: expected an address in 10.7.0.0/24", ["br0", "10.8.0.2/24"]),
            (400, "bridge[1]: expected an address of a host", ["br0", "10.7.0.255/24"]),
            (400, "bridge[1]: expected an address with a length", ["br0", "10.7.0.9"]),
            (400, "bridge[1]: expected an address with a length", ["br0", "x" * 300]),
        ):
            self.refused(code, about, "attach", 2, pid, [["br0", "10.7.0.9/24"], link], {}, "")
        self.refused(503, "cannot enter the network of the container", "attach", 2, 2**30, [["br0"]], {}, "")
        self.assertEqual(["lo"], other.links())
        # an end inside whose name is taken
        other.ip("link", "add", "eth1", "type", "bridge")
        self.refused(503, "connect container 2 to br6", "attach", 2, pid, [["br0"], ["br6"]], {}, "")
        self.assertEqual(["eth1", "lo"], other.links())
        # the second half of a link
        other.ip("link", "del", "eth1")
        other.ip("link", "add", "blackhole", "type", "bridge")
        other.ip("addr", "add", "10.7.0.20/24", "dev", "blackhole")
        self.networks.attach(2, other, ["br0", "10.7.0.21/24"])

    def test_bridge_goes(self) -> None:
        """
        A bridge that is removed while a container is connected to it, or just before, is named as the reason.
        """
        self.host.ip("link", "add", "br5", "type", "bridge")
        inside, before = self.another(), self.host.links()
        script = [sys.executable, "-c", textwrap.dedent(GOES), f"/proc/{inside.pid}/ns/net"]
        said = self.host.run("env", f"PYTHONPATH={ROOT}", *script)
        expected = "cannot connect container 7 to br5: the bridge was removed meanwhile; see bridge.list\n"
        self.assertEqual(expected * 2, said)
        self.assertEqual((["lo"], {*before} - {"br5"}), (inside.links(), {*self.host.links()}))

    def test_many(self) -> None:
        """
        Each of fifty containers on a bridge reaches the others.
        """
        inside = [self.another() for _ in range(50)]
        for number, each in enumerate(inside):
            self.networks.attach(number + 1, each, ["br0", f"10.7.0.{number + 10}/24"])
        inside[0].serve("10.7.0.10", "tcp", 99)
        inside[-1].serve("10.7.0.59", "udp", 99)
        for number, each in enumerate(inside[1:-1], 1):
            self.assertEqual(f"10.7.0.{number + 10}", each.ask("10.7.0.10", "tcp", 99, 1000))
            self.assertEqual(f"10.7.0.{number + 10}", each.ask("10.7.0.59", "udp", 99, 1000))

    def test_again(self) -> None:
        """
        Links and ports go on after a core0 that was killed; those of containers that are gone do not come back.
        """
        inside, gone, world = self.another(), self.another(), self.world()
        self.networks.attach(1, inside, *BOTH, port_8080=80)
        before = self.host.everything()
        self.networks.attach(2, gone, ["br0", "10.7.0.3/24"], port_8081=80)
        inside.serve("10.7.0.2", "tcp", 80)
        self.networks.stop(kill=True)
        self.host.ip("link", "set", "c1v0", "nomaster")
        self.host.run("nft", "delete", "table", "inet", "core0")
        self.networks = self.driver([1])
        self.assertEqual(before, self.host.everything())
        self.assertEqual("192.0.2.2", world.ask("192.0.2.1", "tcp", 8080))
        self.networks.call("detach", 1)
        self.assertNotIn("c1v0", self.host.links())
