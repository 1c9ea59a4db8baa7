"""
corectl with bridges and ports, as somebody uses it in a shell, against a real core0.
"""

import json
import os
import subprocess
import sys

from tests.daemon import PATIENCE, ROOT
from tests.functional.containers import image
from tests.functional.corex_network import ConnectedTestCase

CORECTL = (sys.executable, "-m", "core0.client")
CREATE = ("container", "create")


class CorectlNetworkTests(ConnectedTestCase):
    """
    ``corectl bridge``, and what ``corectl container create`` has for networks.
    """

    def corectl(self, *words: str) -> "subprocess.CompletedProcess[str]":
        """
        Run it to its end.
        """
        env = {**os.environ, "PYTHONPATH": str(ROOT), "CORE0_URL": self.daemon.socket}
        return subprocess.run([*CORECTL, *words], env=env, capture_output=True, text=True, timeout=PATIENCE)

    def printed(self, *words: str) -> str:
        """
        What it prints; it has to succeed.
        """
        done = self.corectl(*words)
        self.assertEqual((0, ""), (done.returncode, done.stderr))
        return done.stdout

    def made(self, *options: str) -> int:
        """
        The number of a container that it has made.
        """
        done = self.corectl(*CREATE, image().plist, *options)
        self.assertEqual(0, done.returncode, done.stderr)
        return int(done.stdout)

    def assert_refused_here(self, code: int, about: str, *words: str) -> None:
        """
        It ends so, prints nothing on stdout, and speaks of this on stderr.
        """
        done = self.corectl(*words)
        self.assertEqual((code, ""), (done.returncode, done.stdout), done.stderr)
        self.assertIn(about, done.stderr)

    def test_bridges(self) -> None:
        """
        Bridges are made as the options say, listed and removed.
        """
        self.assertEqual("", self.printed("bridge", "create", "br2", "--hwaddr", "02:00:00:00:00:02"))
        self.assertEqual("", self.printed("bridge", "create", "br1", "--mode", "static", "--cidr", "10.1.0.1/24"))
        dhcp = ("--mode", "dnsmasq", "--cidr", "10.2.0.0/24", "--start", "10.2.0.50", "--end", "10.2.0.60", "--nat")
        self.assertEqual("", self.printed("bridge", "create", "br3", *dhcp))
        self.assertEqual("br1\nbr2\nbr3\n", self.printed("bridge", "list"))
        self.assertEqual(["br1", "br2", "br3"], json.loads(self.printed("bridge", "list", "--json")))
        self.assertEqual("02:00:00:00:00:02", self.host.look("link", "show", "br2")[0]["address"])
        self.assertEqual([["10.1.0.1/24"], [], ["10.2.0.1/24"]], list(map(self.host.addresses, ("br1", "br2", "br3"))))
        self.assertIn("10.2.0.0/24", self.host.run("nft", "list", "table", "inet", "core0"))
        number = self.made("--bridge", "br3")
        (link,) = self.listed()[str(number)]["network"]
        self.assertEqual(["10.2.0.50/24"], link["addresses"])
        self.assert_refused_here(1, "attached to br3", "bridge", "delete", "br3")
        self.assertEqual("", self.printed("bridge", "delete", "br2"))
        self.assertEqual("br1\nbr3\n", self.printed("bridge", "list"))

    def test_refused_bridges(self) -> None:
        """
        A bridge that cannot be is refused, with the reason.
        """
        self.assert_refused_here(1, "corectl: --cidr: required", "bridge", "create", "br1", "--mode", "static")
        self.assert_refused_here(1, "without a mode", "bridge", "create", "br1", "--cidr", "10.1.0.1/24")
        self.assert_refused_here(1, "without a mode", "bridge", "create", "br1", "--nat")
        self.assert_refused_here(2, "--mode", "bridge", "create", "br1", "--mode", "dhcp")
        self.assert_refused_here(1, "no bridge 'br1'", "bridge", "delete", "br1")

    def test_links_and_ports(self) -> None:
        """
        A container has the links and ports that the options say.
        """
        self.bridge()
        self.bridge("br1", {"mode": "static", "settings": {"cidr": "10.1.0.1/24"}})
        links = ("--bridge", "br9", "--bridge", "br1=10.1.0.7/24", "--bridge", "br9=dhcp", "--bridge", "br1=")
        ports = ("--port", "8080:80", "--port", "127.0.0.1:8081:81", "--port", "5353:53/udp", "--port", "8082:82/tcp")
        number = self.made(*links, *ports)
        found = self.listed()[str(number)]
        shown = [(link["bridge"], link["addresses"]) for link in found["network"]]
        expected = [("br9", ["10.7.9.2/24"]), ("br1", ["10.1.0.7/24"]), ("br9", ["10.7.9.3/24"]), ("br1", [])]
        self.assertEqual(expected, shown)
        self.assertEqual({"8080": 80, "127.0.0.1:8081": 81, "5353/udp": 53, "8082": 82}, found["port"])
        listed = self.printed("container", "list")
        self.assertEqual(["addresses", "ports"], listed.split("\n", 1)[0].split()[-2:])
        self.assertIn("10.7.9.2, 10.1.0.7, 10.7.9.3", listed)
        self.assertIn("8080:80, 127.0.0.1:8081:81, 5353:53/udp, 8082:82", listed)

    def test_sizes(self) -> None:
        """
        Sizes are taken with units, and ranges of ports as they are.
        """
        self.assertEqual("", self.printed("bridge", "create", "br1", "--mtu", "1400"))
        sizes = ("--memory", "64M", "--shm", "16M", "--cpu", "50%", "--mtu", "1300")
        number = self.made("--bridge", "br1=10.1.0.7/24", *sizes)
        script = "cat /sys/class/net/eth0/mtu; df -k /dev/shm | awk 'NR == 2 { print $2 }'"
        self.assertEqual("1300\n16384\n", self.inside_sh(number, script))
        memory = json.loads(self.printed("info", "--container", str(number), "--json", "mem"))
        self.assertEqual(64 << 20, memory["total"])
        number = self.made("--port", "8000-8020:9000-9020/udp")
        expected = {f"{8000 + place}/udp": 9000 + place for place in range(21)}
        self.assertEqual(expected, self.listed()[str(number)]["port"])
        self.assertIn("8011:9011/udp, …", self.printed("container", "list"))
        for options, about in (
            (("--memory", "lots"), "corectl: --memory: expected bytes"),
            (("--shm", "1G", "--memory", "64M"), "--shm: expected at most --memory"),
            (("--mount", "/tmp:/x:ro,z"), "the option 'z' is not known: files are not relabelled for SELinux"),
            (("--port", "8000-8020:9000-9001"), "expected as many ports of the container as of the host (21), got 2"),
            (("--port", "localhost:8080:80"), "write an address of the host"),
        ):
            self.assert_refused_here(1, about, *CREATE, image().plist, *options)
        self.assert_refused_here(2, "expected [ADDRESS:]HOST:CONTAINER[/udp]", *CREATE, image().plist, "--port", "80")

    def test_page(self) -> None:
        """
        A port alone is enough for a page that the host fetches.
        """
        number = self.made("--port", "8080:80")
        self.serve(number, "hello")
        self.assertEqual("hello", self.fetched(self.host, "http://127.0.0.1:8080/"))

    def test_refused(self) -> None:
        """
        What is wrong on the command line is told there; all else by core0, with the argument.
        """
        create = (*CREATE, image().plist)
        for port in ("8080", ":80", "8080:", "8080:http", "8080:80:", "8080:-1"):
            self.assert_refused_here(2, "expected [ADDRESS:]HOST:CONTAINER[/udp]", *create, "--port", port)
        self.assert_refused_here(2, "8080 twice", *create, "--port", "8080:80", "--port", "8080:81")
        self.assert_refused_here(2, "expected NAME or NAME=ADDRESS", *create, "--bridge", "=dhcp")
        self.assert_refused_here(1, "--port 8080/sctp", *create, "--port", "8080:80/sctp")
        self.assert_refused_here(1, "--port 0", *create, "--port", "0:80")
        self.assert_refused_here(1, "there is no bridge", *create, "--bridge", "br9")
        self.assert_refused_here(1, "--zerotier", *create, "--zerotier", "net")
        self.assertEqual({}, self.listed())
