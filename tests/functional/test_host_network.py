"""
The host's network at start, for real: in network namespaces with links of their own, never those of this machine.
"""

from tests.daemon import eventually
from tests.functional.host_ground import DHCP, ROUTER, STATIC, GroundTestCase


class StaticTests(GroundTestCase):
    """
    Addresses that the file says.
    """

    def test_all(self) -> None:
        """
        Addresses, MTU, routes and the resolver are there before commands are taken, for ever, and survive core0.
        """
        mac = self.ground.look("link", "show", "eth0")[0]["address"]
        daemon = self.daemon(STATIC)
        self.assertEqual(["10.9.0.5/24"], self.ground.addresses())
        self.assertEqual(["fd00:9::5/64"], self.ground.addresses(family="-6"))
        self.assertEqual([("10.9.0.1", "eth0")], self.ground.gateways())
        self.assertEqual([("fd00:9::1", "eth0")], self.ground.gateways("-6"))
        found = self.ground.look("link", "show", "eth0")[0]
        self.assertEqual((1400, mac), (found["mtu"], found["address"]))
        lines = self.ground.resolver.read_text().splitlines()[1:]
        self.assertEqual(["nameserver 10.9.0.1", "nameserver fd00:9::1"], lines)
        expected = {
            "protocol": "static",
            "state": "up",
            "addresses": ["10.9.0.5/24", "fd00:9::5/64"],
            "reason": "",
        }
        self.assertEqual({"eth0": expected}, daemon.links())
        before = self.ground.everything()
        daemon.stop()
        self.assertEqual(before, self.ground.everything())
        daemon.start()
        self.assertEqual(before, self.ground.everything())

    def test_as_before(self) -> None:
        """
        Addresses of others stay; those that core0 has added go when the file does not say them any more.
        """
        self.ground.ip("link", "set", "eth0", "up")
        self.ground.ip("addr", "add", "192.0.2.7/24", "dev", "eth0")
        self.ground.ip("addr", "add", "10.9.0.6/24", "valid_lft", "600", "preferred_lft", "600", "dev", "eth0")
        daemon = self.daemon(STATIC)
        self.assertEqual(["10.9.0.5/24", "10.9.0.6/24", "192.0.2.7/24"], self.ground.addresses())
        daemon.stop()
        daemon.file.write_text(STATIC.replace("10.9.0.5", "10.9.0.6").replace("10.9.0.1", "10.9.0.2"))
        daemon.start()
        self.assertEqual(["10.9.0.6/24", "192.0.2.7/24"], self.ground.addresses())
        self.assertEqual([("10.9.0.2", "eth0")], self.ground.gateways())
        lives = {
            info["local"]: info["valid_life_time"]
            for info in self.ground.look("-4", "addr", "show", "eth0")[0]["addr_info"]
        }
        self.assertEqual(2**32 - 1, lives["10.9.0.6"])

    def test_flaps(self) -> None:
        """
        A link that somebody sets down stays down; once it is up again it has all that it had.
        """
        daemon = self.daemon(STATIC)
        for _ in range(3):
            self.ground.ip("link", "set", "eth0", "down")
            self.assertEqual("it is set down", daemon.until("eth0", "waiting")["reason"])
            self.assertEqual([], self.ground.gateways())
            self.ground.ip("link", "set", "eth0", "up")
            daemon.until("eth0", "up")
            self.assertEqual(["fd00:9::5/64"], self.ground.addresses(family="-6"))
            self.assertEqual([("10.9.0.1", "eth0")], self.ground.gateways())
            self.assertEqual([("fd00:9::1", "eth0")], self.ground.gateways("-6"))
        for _ in range(50):
            self.ground.ip("link", "set", "eth0", "down")
            self.ground.ip("link", "set", "eth0", "up")
        daemon.until("eth0", "up")
        self.assertEqual([("10.9.0.1", "eth0")], self.ground.gateways())

    def test_removed_by_hand(self) -> None:
        """
        An address that somebody removes comes back, and its route with it.
        """
        daemon = self.daemon(STATIC)
        self.ground.ip("addr", "flush", "dev", "eth0", "scope", "global")
        eventually(lambda: self.ground.gateways() and self.ground.gateways("-6"), "back again")
        daemon.until("eth0", "up")
        self.assertEqual(["10.9.0.5/24"], self.ground.addresses())

    def test_others(self) -> None:
        """
        A hundred other links that come and go change nothing of those in the file, and are not told.
        """
        daemon = self.daemon(STATIC)
        before, said = daemon.links(), daemon.output()
        script = (
            "for n in $(seq 100); do ip link add v$n type veth peer name w$n; ip link set v$n up; ip link del v$n; done"
        )
        self.ground.run("sh", "-c", script)
        self.assertEqual(before, daemon.links())
        self.assertNotIn("network:", daemon.output().removeprefix(said))

    def test_cable(self) -> None:
        """
        Without a cable core0 starts after `wait` all the same; the link counts as up once there is one.
        """
        self.ground.ip("link", "set", "peer", "down", near=True)
        daemon = self.daemon(STATIC, wait=1.0)
        self.assertIn("no cable", daemon.links()["eth0"]["reason"])
        self.assertIn("not waiting for the network any longer than 1.0 s", daemon.output())
        self.ground.ip("link", "set", "peer", "up", near=True)
        daemon.until("eth0", "up")

    def test_card_comes_later(self) -> None:
        """
        A link that is not there is waited for, and made what the file says when it comes, each time.
        """
        self.ground.ip("link", "del", "eth0")
        daemon = self.daemon(STATIC, wait=0.5)
        self.assertEqual("there is no such link", daemon.links()["eth0"]["reason"])
        for _ in range(2):
            self.ground.plug()
            daemon.until("eth0", "up")
            self.assertEqual(["10.9.0.5/24"], self.ground.addresses())
            self.ground.ip("link", "del", "eth0")
            daemon.until("eth0", "waiting")

    def test_refused_by_the_kernel(self) -> None:
        """
        What the kernel does not do is told with its reason; core0 starts, and other links come up.
        """
        self.ground.ip("link", "add", "eth2", "type", "veth", "peer", "name", "eth3")
        self.ground.ip("link", "set", "eth3", "up")
        other = '[interface.eth2]\nprotocol = "static"\n[static.eth2]\nip = "10.10.0.1/24"\n'
        self.ground.run("sh", "-c", "echo 1 > /proc/sys/net/ipv6/conf/eth0/disable_ipv6")
        daemon = self.daemon(f"{STATIC}{other}")
        found = daemon.links()
        self.assertEqual("failed", found["eth0"]["state"])
        reason = "IPv6 is switched off on eth0 (sysctl net.ipv6.conf.eth0.disable_ipv6 is 1)"
        self.assertIn(f"cannot add the address fd00:9::5/64: {reason}", found["eth0"]["reason"])
        self.assertEqual(("up", ["10.10.0.1/24"]), (found["eth2"]["state"], found["eth2"]["addresses"]))
        self.ground.run("sh", "-c", "echo 0 > /proc/sys/net/ipv6/conf/eth0/disable_ipv6")
        daemon.until("eth0", "up")

    def test_taken_address(self) -> None:
        """
        An IPv6 address that another machine has is told as failed.
        """
        self.ground.ip("addr", "add", "fd00:9::5/64", "dev", "peer", "nodad", near=True)
        daemon = self.daemon(STATIC)
        self.assertEqual("another machine has fd00:9::5", daemon.links()["eth0"]["reason"])


class DhcpTests(GroundTestCase):
    """
    Addresses that a server gives out.
    """

    def test_lease(self) -> None:
        """
        Address, route and resolver are there before commands are taken; they are kept for ever, and asked for in time.
        """
        self.ground.serve()
        daemon = self.daemon(DHCP)
        found = daemon.links()["eth0"]
        self.assertEqual(("dhcp", "up", ""), (found["protocol"], found["state"], found["reason"]))
        self.assertEqual(self.ground.addresses(), found["addresses"])
        self.assertRegex(found["addresses"][0], r"^10\.9\.0\.[5-9][0-9]/24$")
        self.assertEqual([(ROUTER, "eth0")], self.ground.gateways())
        self.assertEqual(
            ["search example.org", f"nameserver {ROUTER}"], self.ground.resolver.read_text().splitlines()[1:]
        )
        info = self.ground.look("-4", "addr", "show", "dev", "eth0")[0]["addr_info"][0]
        self.assertEqual(2**32 - 1, info["valid_life_time"])
        eventually(lambda: self.ground.asked("DHCPACK") >= 3, "renewed twice")
        self.assertEqual(1, self.ground.asked("DHCPDISCOVER"))
        self.assertEqual(found, daemon.links()["eth0"])

    def test_stopped(self) -> None:
        """
        A core0 that is stopped, or killed, costs no address; the next one asks for the same.
        """
        self.ground.serve()
        daemon = self.daemon(DHCP)
        before = self.ground.addresses(), self.ground.gateways(), self.ground.resolver.read_text()
        begun = self.ground.asked("DHCPDISCOVER")
        daemon.stop()
        self.assertEqual(before, (self.ground.addresses(), self.ground.gateways(), self.ground.resolver.read_text()))
        daemon.start()
        self.assertEqual("up", daemon.links()["eth0"]["state"])
        daemon.crash()
        daemon.start()
        self.assertEqual(before, (self.ground.addresses(), self.ground.gateways(), self.ground.resolver.read_text()))
        self.assertEqual((begun, 0), (self.ground.asked("DHCPDISCOVER"), self.ground.asked("DHCPRELEASE")))

    def test_no_server(self) -> None:
        """
        Without a server core0 starts after `wait` all the same; a server that comes later is found.
        """
        daemon = self.daemon(DHCP, wait=1.0)
        self.assertEqual("no DHCP server has answered", daemon.links()["eth0"]["reason"])
        self.assertEqual("nameserver 192.0.2.1\n", self.ground.resolver.read_text())
        self.ground.serve()
        daemon.until("eth0", "up")
        self.assertEqual([(ROUTER, "eth0")], self.ground.gateways())

    def test_cable_comes_later(self) -> None:
        """
        A cable that is plugged in later, or in again, is enough.
        """
        self.ground.serve()
        self.ground.ip("link", "set", "peer", "down", near=True)
        daemon = self.daemon(DHCP, wait=0.5)
        self.assertIn("no cable", daemon.links()["eth0"]["reason"])
        for _ in range(3):
            self.ground.ip("link", "set", "peer", "up", near=True)
            daemon.until("eth0", "up")
            self.assertEqual([(ROUTER, "eth0")], self.ground.gateways())
            self.ground.ip("link", "set", "peer", "down", near=True)
            daemon.until("eth0", "waiting")

    def test_flaps(self) -> None:
        """
        A link that is set down and up again gets its address and its route back.
        """
        self.ground.serve()
        daemon = self.daemon(DHCP)
        before = daemon.links()["eth0"]["addresses"]
        for _ in range(20):
            self.ground.ip("link", "set", "eth0", "down")
            self.ground.ip("link", "set", "eth0", "up")
        self.assertEqual(before, daemon.until("eth0", "up")["addresses"])
        eventually(lambda: self.ground.gateways() == [(ROUTER, "eth0")], "the route")

    def test_other_subnet(self) -> None:
        """
        When a server says that the address is not right any more, another one takes its place, with its route.
        """
        self.ground.serve()
        daemon = self.daemon(DHCP)
        self.ground.serve("10.11.0")
        eventually(
            lambda: (
                [address[:8] for address in daemon.links()["eth0"]["addresses"]] == ["10.11.0."]
                and self.ground.gateways() == [("10.11.0.1", "eth0")]
            ),
            "moved",
        )
        daemon.until("eth0", "up")
        self.assertIn("nameserver 10.11.0.1", self.ground.resolver.read_text())
        self.assertGreater(self.ground.asked("DHCPNAK"), 0)
        daemon.stop()
        self.ground.serve("10.12.0")
        daemon.start()
        self.assertRegex(" ".join(daemon.links()["eth0"]["addresses"]), r"^10\.12\.0\.[0-9]+/24$")
        self.assertEqual([("10.12.0.1", "eth0")], self.ground.gateways())
