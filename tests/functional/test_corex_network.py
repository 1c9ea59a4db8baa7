"""
Containers that are connected: to bridges, to one another, to the world, and by ports of the host.
"""

from tests.daemon import eventually
from tests.functional.containers import image
from tests.functional.corex_network import ConnectedTestCase
from tests.functional.network_shared import Host
from tests.functional.shared import answer_of

INSIDE = "ip -o -4 addr show dev {name} | awk '{{print $4}}'"


class BridgedTests(ConnectedTestCase):
    """
    On one bridge.
    """

    def test_by_name(self) -> None:
        """
        Two containers on a bridge reach each other by name, and one serves a page through a port of the host.
        """
        self.bridge()
        one = self.create(hostname="one", network={"bridge": ["br9"]}, port={"8080": 80})
        two = self.create(hostname="two.example", network={"bridge": ["br9"]})
        for name in ("two", "two.example"):
            self.assertIn("1 packets received", self.inside_sh(one, f"ping -c 1 -w 5 {name}"))
        self.assertIn("1 packets received", self.inside_sh(two, "ping -c 1 -w 5 one"))
        self.serve(one, "hello")
        self.assertEqual("hello", self.fetched(self.host, "http://127.0.0.1:8080/"))
        self.assertEqual("hello", self.fetched(self.world, "http://192.0.2.1:8080/"))
        self.assertEqual("hello", self.inside_sh(two, "wget -q -O - http://one/").strip())
        # the port is there for neighbours, too
        self.assertEqual("hello", self.inside_sh(two, "wget -q -O - http://192.0.2.1:8080/").strip())

    def test_listed(self) -> None:
        """
        ``corex.list`` shows the links of a container with their addresses, as they are in it, and its ports.
        """
        self.bridge()
        self.bridge("br1", {"mode": "static", "settings": {"cidr": "10.1.0.1/16"}})
        bridges = ["br9", ["br1", "10.1.2.3/16"], ["br9", ""]]
        number = self.create(network={"bridge": bridges}, port={"127.0.0.1:8080": 80, "8081/udp": 81})
        found = self.listed()[str(number)]
        self.assertEqual({"127.0.0.1:8080": 80, "8081/udp": 81}, found["port"])
        shown = [(link["name"], link["bridge"], link["addresses"], link["gateway"]) for link in found["network"]]
        expected = [
            ("eth0", "br9", ["10.7.9.2/24"], "10.7.9.1"),
            ("eth1", "br1", ["10.1.2.3/16"], "10.1.0.1"),
            ("eth2", "br9", [], ""),
        ]
        self.assertEqual(expected, shown)
        for link in found["network"]:
            inside = self.inside_sh(number, INSIDE.format(name=link["name"])).split()
            self.assertEqual(link["addresses"], inside)
            self.assertIn(link["hwaddr"], self.inside_sh(number, f"cat /sys/class/net/{link['name']}/address"))
            self.assertIn(link["link"], self.host.links())

    def test_own_files(self) -> None:
        """
        A connected container finds its name, its address and who knows names in its own files.
        """
        self.bridge()
        number = self.create(hostname="one", network={"bridge": ["br9"]})
        self.assertIn("10.7.9.2\tone\n", self.inside_sh(number, "cat /etc/hosts"))
        self.assertEqual("nameserver 10.7.9.1\n", self.inside_sh(number, "cat /etc/resolv.conf"))
        alone = self.create(hostname="alone")
        self.assertIn("127.0.1.1\talone\n", self.inside_sh(alone, "cat /etc/hosts"))
        self.assertEqual("lo\n", self.inside_sh(alone, "ls /sys/class/net"))

    def test_site(self) -> None:
        """
        Behind a bridge of others a container has an address of the site, by DHCP, which leads to everybody; what comes
        by a port of the host is answered there all the same.
        """
        self.bridge()
        site = Host()
        self.addCleanup(site.close)
        self.host.ip("link", "add", "br5", "address", "02:00:00:00:00:05", "type", "bridge")
        self.host.ip("link", "set", "br5", "up")
        cable = self.host.cable(site, "", "10.20.0.1/24")
        self.host.ip("link", "set", cable, "master", "br5")
        site.serve_dhcp("10.20.0.10,10.20.0.99,255.255.255.0,12h")
        bridges = [["br5", "dhcp"], "br9"]
        number = self.create(hostname="one", network={"bridge": bridges}, port={"8080": 80})
        (given, own) = self.listed()[str(number)]["network"]
        self.assertEqual(("10.20.0.1", ["10.7.9.2/24"]), (given["gateway"], own["addresses"]))
        self.assertEqual(given["addresses"], self.inside_sh(number, INSIDE.format(name="eth0")).split())
        self.assertTrue(given["addresses"][0].startswith("10.20.0."), given)
        told = self.inside_sh(number, "cat /etc/resolv.conf")
        self.assertIn("nameserver 10.20.0.1\nnameserver 10.7.9.1\n", told)
        self.assertIn("default via 10.20.0.1 dev eth0", self.inside_sh(number, "ip route"))
        self.serve(number, "hello")
        self.assertEqual("hello", self.fetched(self.world, "http://192.0.2.1:8080/"))
        self.assertEqual("hello", self.fetched(site, f"http://{given['addresses'][0].partition('/')[0]}/"))

    def test_names_of_all(self) -> None:
        """
        A container on several bridges finds its neighbours on all of them by name.
        """
        self.bridge()
        self.bridge("br8", {"mode": "dnsmasq", "settings": {"cidr": "10.7.8.1/24"}})
        both = self.create(hostname="both", network={"bridge": ["br9", "br8"]})
        self.create(hostname="one", network={"bridge": ["br9"]})
        self.create(hostname="other", network={"bridge": ["br8"]})
        for name in ("one", "other"):
            self.assertIn("1 packets received", self.inside_sh(both, f"ping -c 1 -w 5 {name}"))

    def test_redirects(self) -> None:
        """
        No neighbour tells a container another way.
        """
        self.bridge()
        number = self.create(network={"bridge": ["br9"]})
        for name in ("all", "eth0"):
            told = self.inside_sh(number, f"cat /proc/sys/net/ipv4/conf/{name}/accept_redirects")
            self.assertEqual("0", told.strip())
        path = "/proc/sys/net/ipv4/conf/br9/accept_redirects"
        self.assertEqual("0", self.host.run("cat", path).strip())

    def test_world(self) -> None:
        """
        A container behind a bridge with ``nat`` reaches the world with the address of the host, over IPv4 and IPv6.
        """
        self.bridge()
        ipv6 = {"mode": "static", "nat": True, "settings": {"cidr": "fd07::1/64"}}
        self.bridge("br6", ipv6)
        number = self.create(network={"bridge": ["br9", ["br6", "fd07::2/64"]]})
        self.world.serve("192.0.2.2", "tcp", 99)
        self.world.serve("2001:db8::2", "tcp", 99)
        # as many bytes as are asked for, behind that whose they are
        ask = "(printf '\\0\\0\\0\\4abcd'; sleep 1) | nc -w 5 {} 99"
        self.assertIn("192.0.2.1", self.inside_sh(number, ask.format("192.0.2.2")))
        self.assertIn("2001:db8::1", self.inside_sh(number, ask.format("2001:db8::2")))

    def test_refused(self) -> None:
        """
        What cannot be connected is refused with the name of the argument, and nothing is left of it.
        """
        self.bridge()
        self.create(network={"bridge": [["br9", "10.7.9.50/24"]]}, port={"8080": 80})
        before = self.host.everything()
        self.refused_create(404, "arguments.network.bridge[0]", network={"bridge": ["br8"]})
        self.refused_create(404, "arguments.network.bridge[1]", network={"bridge": ["br9", "lo"]})
        self.refused_create(404, "arguments.network.bridge[0]", network={"bridge": ["../br9"]})
        self.refused_create(400, "arguments.network.bridge[0]", network={"bridge": [["br9", "10.7.9.5"]]})
        self.refused_create(400, "arguments.network.bridge[0]", network={"bridge": [["br9", "10.8.0.5/24"]]})
        self.refused_create(400, "arguments.network.bridge[0]", network={"bridge": [["br9", "dhcp", "more"]]})
        self.refused_create(400, "arguments.network.bridge", network={"bridge": "br9"})
        self.refused_create(400, "arguments.network.zerotier", network={"zerotier": "8056c2e21c00000"})
        self.refused_create(409, "arguments.network.bridge[0]", network={"bridge": [["br9", "10.7.9.50/24"]]})
        self.refused_create(409, "8080", network={"bridge": ["br9"]}, port={"8080": 80})
        self.refused_create(400, "arguments.port", network={"bridge": ["br9"]}, port={"$(reboot)": 80})
        self.refused_create(400, "arguments.port", network={"bridge": ["br9"]}, port={"8081": 65536})
        self.refused_create(400, "arguments.port", network={"bridge": [["br9", ""]]}, port={"8081": 80})
        self.refused_create(400, "arguments.port", host_network=True, port={"8081": 80})
        self.refused_create(400, "arguments.network.bridge", host_network=True, network={"bridge": ["br9"]})
        self.assertEqual(before, self.host.everything())
        self.assertEqual(1, len(self.listed()))

    def test_attached(self) -> None:
        """
        A bridge is not deleted while a container is attached to it.
        """
        self.bridge()
        number = self.create(network={"bridge": ["br9"]})
        refused = self.daemon.run_command("bridge.delete", {"name": "br9"})
        self.assert_refused(409, f"container {number} attached to br9", refused)
        self.terminate(number)
        self.command("bridge.delete", {"name": "br9"})

    def test_many(self) -> None:
        """
        Fifty containers on one bridge reach one another by name.
        """
        self.bridge()
        ids = [
            self.daemon.push(
                "corex.create", {"plist": image().plist, "hostname": f"host{count}", "network": {"bridge": ["br9"]}}
            )
            for count in range(50)
        ]
        numbers = [answer_of(self.daemon.result(id, 120)) for id in ids]
        pings = [
            self.dispatch(number, "core.system", {"name": "ping", "args": ["-c1", "-w9", f"host{(place + 1) % 50}"]})
            for place, number in enumerate(numbers)
        ]
        for ping in pings:
            self.assertEqual(0, self.daemon.result(ping)["code"])
        self.assertEqual(50, len([name for name in self.host.links() if name.endswith("v0")]))


class PortTests(ConnectedTestCase):
    """
    Ports without a bridge that is named.
    """

    def test_default_bridge(self) -> None:
        """
        A container with a port and no bridge gets a link to the bridge ``core0``, which is made for it.
        """
        number = self.create(port={"8080": 80})
        self.assertEqual(["core0"], self.command("bridge.list"))
        (link,) = self.listed()[str(number)]["network"]
        self.assertEqual(("core0", ["172.18.0.2/16"]), (link["bridge"], link["addresses"]))
        self.serve(number, "hello")
        self.assertEqual("hello", self.fetched(self.world, "http://192.0.2.1:8080/"))
        self.terminate(number)
        self.assertEqual("", self.fetch(self.world, "http://192.0.2.1:8080/"))
        # it stays for the next one
        self.assertEqual(["core0"], self.command("bridge.list"))
        again = self.create(port={"8080": 80})
        (link,) = self.listed()[str(again)]["network"]
        self.assertEqual(["172.18.0.2/16"], link["addresses"])

    def test_dies(self) -> None:
        """
        Links and ports of a container go when it dies.
        """
        number = self.create(port={"8080": 80})
        self.host.run("kill", "-9", str(self.listed()[str(number)]["pid"]))
        eventually(lambda: not self.listed(), "it is removed")
        eventually(lambda: "c1v0" not in self.host.links() and not self.traces.left(), "nothing is left")
        self.assertNotIn("8080", self.host.run("nft", "list", "ruleset"))
