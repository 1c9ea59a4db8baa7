"""
Ports of a host that lead to containers: from everywhere, and nowhere any more when the container is gone.
"""

import json
import subprocess
import sys
import textwrap
from typing import Any

from tests.daemon import eventually
from tests.functional.network_shared import Broken, Host, Refused
from tests.functional.test_bridges_links import BOTH, LinksTestCase

PORTS = {"8080": 80, "8080/udp": 80, "127.0.0.1:8081": 80, "192.0.2.1:8082": 80, "[2001:db8::1]:8083/udp": 80}

# sends until it is answered, 10 s at most
INSISTENT = """
    import socket, sys, time
    asking = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    asking.bind(("", 0))
    asking.settimeout(0.05)
    end, place = time.monotonic() + 10, (sys.argv[1], int(sys.argv[2]))
    asking.sendto(b"x", place)
    print("sending", flush=True)
    while time.monotonic() < end:
        asking.sendto(b"x", place)
        try:
            asking.recv(100)
            print("answered", flush=True)
            break
        except OSError:
            pass
"""


class PortsTestCase(LinksTestCase):
    """
    Tests with a container that serves.
    """

    def setUp(self) -> None:
        """
        Make it.
        """
        super().setUp()
        self.outside, self.inside, self.neighbour = self.world(), self.another(), self.another()
        self.attach(2, self.neighbour, [["br0", "10.7.0.3/24"], ["br6", "fd07::3/64"]], {})

    def attach(self, number: int, inside: Host, links: list[list[str]], ports: dict[str, int]) -> Any:
        """
        A container with ports.
        """
        return self.networks.call("attach", number, inside.pid, links, ports, "")

    def serve(self) -> None:
        """
        The container has ports and answers.
        """
        self.attach(1, self.inside, BOTH, PORTS)
        for address in ("10.7.0.2", "fd07::2"):
            for kind in ("tcp", "udp"):
                self.inside.serve(address, kind, 80)


class PortTests(PortsTestCase):
    """
    Who reaches them.
    """

    def test_from_outside(self) -> None:
        """
        Clients outside reach the container at the host's addresses, and it sees theirs.
        """
        self.serve()
        for kind in ("tcp", "udp"):
            self.assertEqual("192.0.2.2", self.outside.ask("192.0.2.1", kind, 8080))
            self.assertEqual("2001:db8::2", self.outside.ask("2001:db8::1", kind, 8080))
        self.assertEqual("192.0.2.2", self.outside.ask("192.0.2.1", "tcp", 8082))
        self.assertEqual("2001:db8::2", self.outside.ask("2001:db8::1", "udp", 8083))
        for kind, port in (("tcp", 8081), ("udp", 8082), ("tcp", 8083), ("tcp", 80)):
            self.assertRaises(AssertionError, self.outside.ask, "192.0.2.1", kind, port, 1000)

    def test_from_host(self) -> None:
        """
        The host itself reaches the container at all its own addresses.
        """
        self.serve()
        for kind in ("tcp", "udp"):
            for address in ("127.0.0.1", "192.0.2.1", "10.7.0.1"):
                self.assertEqual("10.7.0.1", self.host.ask(address, kind, 8080))
            for address in ("2001:db8::1", "fd07::1"):
                self.assertEqual("fd07::1", self.host.ask(address, kind, 8080))
        self.assertEqual("10.7.0.1", self.host.ask("127.0.0.1", "tcp", 8081))
        error = self.assertRaises(AssertionError, self.host.ask, "::1", "tcp", 8080, 1000)
        self.assertIn("ConnectionRefusedError", str(error))

    def test_from_neighbours(self) -> None:
        """
        Neighbours on the same bridge, and the container itself, reach it at the host's addresses, whether the kernel
        shows bridged packets to the firewall or not.
        """
        self.serve()
        for shown in ("0", "1"):
            for version in ("", "6"):
                setting = f"/proc/sys/net/bridge/bridge-nf-call-ip{version}tables"
                self.host.run("sh", "-c", f"! test -e {setting} || echo {shown} > {setting}")
            for client in (self.neighbour, self.inside):
                for kind in ("tcp", "udp"):
                    for address in ("192.0.2.1", "10.7.0.1"):
                        self.assertEqual("10.7.0.1", client.ask(address, kind, 8080))
                    self.assertEqual("fd07::1", client.ask("2001:db8::1", kind, 8080))

    def test_loopback_is_private(self) -> None:
        """
        What listens on the host at 127.0.0.1 alone is out of reach for containers whose bridge has ports.
        """
        self.serve()
        self.host.serve("127.0.0.1", "udp", 5000)
        self.assertEqual("1", self.host.run("cat", "/proc/sys/net/ipv4/conf/br0/route_localnet").strip())
        self.neighbour.ip("route", "add", "127.0.0.1/32", "via", "10.7.0.1", "table", "100")
        self.neighbour.ip("rule", "add", "pref", "0", "to", "127.0.0.1", "lookup", "100")
        self.neighbour.ip("rule", "add", "pref", "1", "lookup", "local")
        self.neighbour.ip("rule", "del", "pref", "0", "lookup", "local")
        self.neighbour.run("sh", "-c", "echo 1 > /proc/sys/net/ipv4/conf/all/route_localnet")
        self.assertRaises(AssertionError, self.neighbour.ask, "127.0.0.1", "udp", 5000, 1000)
        self.assertEqual("127.0.0.1", self.host.ask("127.0.0.1", "udp", 5000, 1000))

    def test_flow(self) -> None:
        """
        Who sends to a port already when it comes to lead to a container reaches that, without a pause.
        """
        # the kernel remembers flows while there is any rule that needs it
        self.attach(3, self.another(), [["br0", "10.7.0.4/24"]], {"9999": 9})
        script = textwrap.dedent(INSISTENT)
        words = [*self.outside.inside(), sys.executable, "-ISc", script, "192.0.2.1", "8080"]
        with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as sender:
            self.addCleanup(sender.kill)
            assert sender.stdout is not None
            self.assertEqual("sending\n", sender.stdout.readline())
            self.serve()
            self.assertEqual("answered\n", sender.stdout.readline())

    def test_gone(self) -> None:
        """
        When a container goes its ports lead nowhere, and another one can have them.
        """
        before = self.host.everything()
        self.serve()
        self.networks.call("detach", 1)
        self.assertEqual(before, self.host.everything())
        self.assertRaises(AssertionError, self.outside.ask, "192.0.2.1", "tcp", 8080, 1000)
        other = self.another()
        self.attach(3, other, [["br0", "10.7.0.9/24"]], {"8080": 81})
        other.serve("10.7.0.9", "tcp", 81)
        self.assertEqual("192.0.2.2", self.outside.ask("192.0.2.1", "tcp", 8080))

    def test_one_of_many(self) -> None:
        """
        Ports of one container come and go while those of the others stay as they are.
        """
        self.serve()
        before = self.host.rules()
        other = self.another()
        other.serve("0.0.0.0", "tcp", 81)
        for _ in range(3):
            self.attach(3, other, [["br0", "10.7.0.9/24"]], {"8090": 81, "192.0.2.1:8091": 81})
            for port in (8080, 8090, 8091):
                self.assertEqual("192.0.2.2", self.outside.ask("192.0.2.1", "tcp", port))
            self.networks.call("detach", 3)
            self.assertEqual(self.sorted(before), self.sorted(self.host.rules()))
        self.host.run("nft", "delete", "table", "inet", "core0")
        self.attach(3, other, [["br0", "10.7.0.9/24"]], {"8090": 81})
        self.assertEqual("192.0.2.2", self.outside.ask("192.0.2.1", "tcp", 8080))

    def sorted(self, rules: Any) -> Any:
        """
        Maps have no order.
        """
        for each in rules:
            if "map" in each:
                each["map"]["elem"].sort(key=str)
        return rules

    def test_default_bridge(self) -> None:
        """
        A container that has ports and no bridge gets a link to one that is made then, and has an address there.
        """
        links = self.attach(1, self.inside, [], {"8080": 80})["links"]
        self.assertEqual([("core0", "172.18.0.2/16")], [(link["bridge"], link["address"]) for link in links])
        self.assertEqual(["172.18.0.1/16"], self.host.addresses("core0"))
        other = self.another()
        links = self.attach(3, other, [], {"8081": 80})["links"]
        self.assertEqual("172.18.0.3/16", links[0]["address"])
        self.inside.serve("172.18.0.2", "tcp", 80)
        self.outside.serve("192.0.2.2", "tcp", 99)
        self.assertEqual("192.0.2.2", self.outside.ask("192.0.2.1", "tcp", 8080))
        self.assertEqual("192.0.2.1", self.inside.ask("192.0.2.2", "tcp", 99))

    def test_no_default_bridge(self) -> None:
        """
        Where that bridge cannot be, or what needs it fails, it is not made.
        """
        pid = self.inside.pid
        self.host.serve("0.0.0.0", "tcp", 8080)
        self.refused(409, "arguments.port: 8080/tcp is in use", "attach", 1, pid, [], {"8080": 80}, "")
        self.refused(503, "cannot enter", "attach", 1, 2**30, [], {"8081": 80}, "")
        self.host.ip("route", "add", "172.18.3.0/24", "via", "192.0.2.2")
        about = "arguments.port: needs the bridge core0, with the network of [containers] subnet: 172.18.0.0/16 has"
        self.refused(409, about, "attach", 1, pid, [], {"8081": 80}, "")


class RefusedTests(PortsTestCase):
    """
    Ports that cannot be had, and a firewall that others change.
    """

    def test_in_use(self) -> None:
        """
        A port that leads to another container, or that somebody listens at, is refused with a reason.
        """
        self.attach(1, self.inside, BOTH, {"8080": 80, "127.0.0.1:8081": 80})
        self.host.serve("127.0.0.1", "udp", 5000)
        self.host.serve("::1", "tcp", 5001)
        pid, links = self.another().pid, [["br0", "10.7.0.4/24"], ["br6", "fd07::4/64"]]
        for code, about, host in (
            (409, "arguments.port: 8080/tcp leads to container 1 already", "8080"),
            (409, "arguments.port: 8080/tcp leads to container 1 already", "192.0.2.1:8080"),
            (409, "arguments.port: 8081/tcp leads to container 1 already", "8081"),
            (409, "arguments.port: 5000/udp is in use on the host", "5000/udp"),
            (409, "arguments.port: 5001/tcp is in use on the host", "5001"),
            (400, "arguments.port: 8084/tcp: the host has no address 192.0.2.77", "192.0.2.77:8084"),
        ):
            self.refused(code, about, "attach", 3, pid, links, {host: 80}, "")
        self.refused(400, "arguments.port: 9: needs a link", "attach", 3, pid, [["br0"]], {"9": 80}, "")
        self.refused(400, "leads to 1 already", "attach", 3, pid, links, {"9": 1, "9/tcp": 2}, "")
        self.attach(3, self.another(), links, {"192.0.2.1:8081": 80, "5000": 80, "8080/udp": 80})

    def test_flushed(self) -> None:
        """
        Rules that somebody else has flushed or changed are there again; those of others are left.
        """
        self.serve()
        before = self.host.rules()
        for words in ("flush ruleset", "delete table inet core0", "flush chain inet core0 leaving"):
            self.host.run("nft", *words.split())
            eventually(lambda: self.host.rules() == before, f"after {words}")
        self.host.run("nft", "add", "table", "inet", "others")
        self.host.run("nft", "delete", "table", "inet", "core0")
        eventually(lambda: {"core0", "others"} == set(self.host.tables()), "there again")
        self.networks.call("detach", 1)
        self.networks.call("detach", 2)
        self.assertEqual({"core0", "others"}, set(self.host.tables()))

    def test_broken_firewall(self) -> None:
        """
        If the firewall cannot be told, nothing of the container's network is made.
        """
        before = self.host.everything()
        with Broken(self.host, "nft", self.folder):
            call = ["attach", 1, self.inside.pid, BOTH, PORTS, ""]
            error = self.assertRaises(Refused, self.networks.call, *call)
            self.assertEqual((503, "nft: nft is broken"), error.args)
            saved = json.loads((self.folder / "network.json").read_text())
        self.assertEqual(before, self.host.everything())
        self.assertEqual(["lo"], self.inside.links())
        self.assertEqual([2, 2], [link["container"] for link in saved["links"]])
        self.assertEqual([], saved["forwards"])
        self.serve()

    def test_late(self) -> None:
        """
        Ports that cannot be taken back at once, because the firewall cannot be told, go as soon as it can.
        """
        self.serve()
        with Broken(self.host, "nft", self.folder):
            error = self.assertRaises(Refused, self.networks.call, "detach", 1)
            self.assertEqual((503, "nft: nft is broken"), error.args)
            self.assertNotIn("c1v0", self.host.links())
        eventually(lambda: "8080" not in self.host.run("nft", "list", "ruleset"), "no port")
        self.inside.end_served()
        self.serve()
