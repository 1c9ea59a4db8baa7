"""
Addresses that containers get from a DHCP server behind a bridge. Host, containers and the server are namespaces.
"""

import os
import shutil
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

from tests.daemon import ROOT, eventually
from tests.functional.network_shared import Driver, Host, NetworkTestCase, Refused
from tests.functional.shared import missing

FOR_EVER = 2**32 - 1
# what a client of DHCP hears and cannot make sense of; every other one begins like an answer
JUNK = """
    import os, socket, sys
    sending = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sending.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
    sending.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, b"peer")
    head = b"\\x02\\x01\\x06\\x00" + bytes(232) + b"\\x63\\x82\\x53\\x63"
    for number in range(300):
        sending.sendto((head if number % 2 else b"") + os.urandom(number * 2), ("255.255.255.255", 68))
"""


class Server:
    """
    Gives out addresses on the host's bridge.

    :param folder: for its log.
    """

    def __init__(self, host: Host, inside: Host, folder: Path) -> None:
        if shutil.which("dnsmasq") is None:
            raise missing("needs dnsmasq")
        self._inside, self._folder = inside, folder
        self._program: subprocess.Popen[bytes] | None = None
        host.ip("link", "add", "card", "type", "veth", "peer", "name", "peer", "netns", str(inside.pid))
        host.ip("link", "set", "card", "master", "br0", "up")
        inside.ip("link", "set", "peer", "up")

    def serve(self, subnet: str, *more: str) -> None:
        """
        From now on addresses of this network, of which it is the router.
        """
        self.silence()
        self._inside.ip("addr", "flush", "dev", "peer")
        self._inside.ip("addr", "add", f"{subnet}.1/24", "dev", "peer")
        (self._folder / "leases").unlink(missing_ok=True)
        words = [
            *("dnsmasq", "--keep-in-foreground", "--conf-file=/dev/null", "--port=0", "--user=root", "--no-ping"),
            *("--interface=peer", "--bind-interfaces", "--dhcp-authoritative", "--pid-file"),
            f"--dhcp-leasefile={self._folder / 'leases'}",
            f"--dhcp-range={subnet}.50,{subnet}.90,120",
            *("--dhcp-option=option:T1,4", "--dhcp-option=option:T2,5"),  # the shortest that it takes
            *(f"--dhcp-option=option:dns-server,{subnet}.1", "--domain=example.org"),
            f"--log-facility={self._folder / 'dnsmasq.log'}",
            *more,
        ]
        self._program = subprocess.Popen([*self._inside.inside(), *words], stderr=subprocess.DEVNULL)

    def silence(self) -> None:
        """
        Nobody gives out addresses any more.
        """
        if self._program is not None:
            self._program.terminate()
            self._program.wait()
            self._program = None

    def noted(self, what: str) -> int:
        """
        How often it has noted such a message.
        """
        log = self._folder / "dnsmasq.log"
        return log.read_text().count(what) if log.exists() else 0

    def names(self) -> list[str]:
        """
        The hostnames of those who have leases.
        """
        return [line.split()[3] for line in (self._folder / "leases").read_text().splitlines()]


class LeasesDriver(Driver):
    """
    What asks for addresses, without all else of core0.
    """

    def __init__(self, host: Host, folder: Path) -> None:
        self._host, self._folder = host, folder
        words = [*host.inside(), sys.executable, "-P", "-m", "tests.functional.leases_driver"]
        env = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONDONTWRITEBYTECODE": "1"}
        pipe = subprocess.PIPE
        with open(folder / "log", "ab") as log:
            self._program = subprocess.Popen(words, stdin=pipe, stdout=pipe, stderr=log, text=True, env=env, cwd=ROOT)


class LeasesTestCase(NetworkTestCase):
    """
    Tests with a bridge, a server behind it, and what asks.
    """

    def setUp(self) -> None:
        """
        Make them.
        """
        super().setUp()
        self.host.ip("link", "add", "br0", "type", "bridge")
        self.host.ip("link", "set", "br0", "up")
        self.neighbour = self.another()
        self.server = Server(self.host, self.neighbour, self.folder)
        self.addCleanup(self.server.silence)
        self.leases = self.asking()

    def asking(self) -> LeasesDriver:
        """
        What asks.
        """
        driver = LeasesDriver(self.host, self.folder)
        self.addCleanup(driver.close)
        return driver

    def container(self, number: int, links: int = 1) -> Host:
        """
        One with links to the bridge that are up.
        """
        inside = self.another()
        for index in range(links):
            outer, inner = f"c{number}v{index}", f"eth{index}"
            self.host.ip("link", "add", outer, "type", "veth", "peer", "name", inner, "netns", str(inside.pid))
            self.host.ip("link", "set", outer, "master", "br0", "up")
            inside.ip("link", "set", inner, "up")
        return inside

    def begin(self, number: int, inside: Host, links: int = 1, wait: float = 10.0, **more: Any) -> dict[str, Any]:
        """
        First leases of a container.
        """
        found: dict[str, Any] = self.leases.call("begin", number, place(inside), asked(links, **more), wait)
        return found

    def told(self) -> list[Any]:
        """
        All changes so far.
        """
        found: list[Any] = self.leases.call("told")
        return found


def place(inside: Host) -> str:
    """
    The path of a namespace.
    """
    return f"/proc/{inside.pid}/ns/net"


def asked(links: int = 1, **more: Any) -> list[dict[str, Any]]:
    """
    Links of a container.
    """
    return [{"index": index, "name": f"eth{index}", "bridge": "br0", **more} for index in range(links)]


def ways(inside: Host) -> list[tuple[str, str, int]]:
    """
    Default routes: gateway, link and metric.
    """
    return [(each["gateway"], each["dev"], each["metric"]) for each in inside.look("-4", "route", "show", "default")]


class LeaseTests(LeasesTestCase):
    """
    What containers get, and for how long.
    """

    def test_lease(self) -> None:
        """
        A container gets the address, the network and the way out that the server gives; they last, and are asked for
        again in time. The server learns its name.
        """
        self.server.serve("10.9.0")
        inside = self.container(1)
        found = self.begin(1, inside, hostname="web1")["0"]
        self.assertEqual(("10.9.0.1", ["10.9.0.1"], "example.org"), (found["gateway"], found["dns"], found["domain"]))
        self.assertRegex(found["address"], r"^10\.9\.0\.[5-9][0-9]/24$")
        self.assertEqual([found["address"]], inside.addresses("eth0"))
        self.assertEqual([("10.9.0.1", "eth0", 100)], ways(inside))
        self.assertEqual(
            FOR_EVER, inside.look("-4", "addr", "show", "dev", "eth0")[0]["addr_info"][0]["valid_life_time"]
        )
        self.assertEqual(["web1"], self.server.names())
        self.assertEqual(["lo", "br0", "card", "c1v0"], [link["ifname"] for link in self.host.look("link")])
        self.assertEqual([], self.host.addresses("br0"))
        # what somebody in the container has removed comes back with the next answer
        inside.ip("route", "del", "default")
        eventually(lambda: self.server.noted("DHCPACK") >= 2, "renewed")
        eventually(lambda: ways(inside) == [("10.9.0.1", "eth0", 100)], "the way out")
        self.assertEqual(1, self.server.noted("DHCPDISCOVER"))
        self.assertEqual([], self.told())

    def test_two_links(self) -> None:
        """
        Each link of a container gets an address of its own, and a way out behind those of the links before it.
        """
        self.server.serve("10.9.0")
        inside = self.container(1, 2)
        found = self.begin(1, inside, 2)
        self.assertEqual(2, len({lease["address"] for lease in found.values()}))
        for index in range(2):
            self.assertEqual([found[str(index)]["address"]], inside.addresses(f"eth{index}"))
        self.assertEqual([("10.9.0.1", "eth0", 100), ("10.9.0.1", "eth1", 101)], ways(inside))

    def test_no_server(self) -> None:
        """
        Without a server it fails in time and names the link; nobody asks any more, and nothing is left open.
        """
        self.server.serve("10.9.0")
        first = self.container(7)
        self.begin(7, first)
        self.leases.call("end", 7)
        # its thread ends a moment after that is told
        eventually(lambda: self.leases.call("used")[0] == ["MainThread"], "no thread")
        before = self.leases.call("used")
        self.server.silence()
        inside = self.container(1)
        error = self.assertRaises(Refused, self.begin, 1, inside, wait=1.0)
        text = "no DHCP server gives eth0 an address within 1 s; is there one behind bridge br0?"
        self.assertEqual((503, text), error.args)
        self.assertEqual("cancelled", self.leases.call("give_up", 1, place(inside), asked(), 0.3))
        eventually(lambda: self.leases.call("used") == before, f"nothing but {before}")
        self.assertEqual([], inside.addresses("eth0"))

    def test_refused(self) -> None:
        """
        A namespace or a link that is not there is said.
        """
        inside = self.container(1)
        before = self.leases.call("used")
        for path in ("/proc/self/ns/mnt", "/nowhere", "/etc/passwd"):
            error = self.assertRaises(Refused, self.leases.call, "begin", 1, path, asked(), 5)
            self.assertIn("cannot enter the network of the container", error.args[1])
        self.server.serve("10.9.0")
        error = self.assertRaises(Refused, self.begin, 1, inside, 2, wait=8.0)
        self.assertIn("no DHCP server gives eth1 an address within 8 s", error.args[1])
        self.assertIn("cannot use eth1: no interface with this name", error.args[1])
        eventually(lambda: self.leases.call("used") == before, f"nothing but {before}")

    def test_server_comes_later(self) -> None:
        """
        A server that can be reached a moment later only is enough.
        """
        self.server.serve("10.9.0")
        inside = self.container(1)
        self.host.ip("link", "set", "c1v0", "down")
        self.leases.send("begin", 1, place(inside), asked(), 10)
        self.host.run("sleep", "0.5")
        self.host.ip("link", "set", "c1v0", "up")
        eventually(lambda: ways(inside) == [("10.9.0.1", "eth0", 100)], "a lease")


class ChangeTests(LeasesTestCase):
    """
    What becomes of leases.
    """

    def test_adopted(self) -> None:
        """
        A core0 that ends, or is killed, costs a container no address; the next one asks for the same.
        """
        self.server.serve("10.9.0")
        inside = self.container(1)
        lease = self.begin(1, inside)["0"]
        before = inside.ground()
        for kill in (False, True):
            self.leases.stop(kill=kill)
            self.assertEqual(before, inside.ground())
            self.leases = self.asking()
            self.leases.call("adopt", 1, place(inside), asked(last=lease["address"]))
            eventually(lambda: self.told() == [[1, 0, lease]], "told of the lease")
            self.assertEqual(before, inside.ground())
        self.assertEqual((1, 0), (self.server.noted("DHCPDISCOVER"), self.server.noted("DHCPRELEASE")))

    def test_other_subnet(self) -> None:
        """
        An address that a server takes back is replaced, with its way out; also if core0 was not there meanwhile.
        """
        self.server.serve("10.9.0")
        inside = self.container(1)
        self.begin(1, inside)
        self.server.serve("10.11.0")
        eventually(lambda: self.told()[-1:] and self.told()[-1][2], "another lease")
        lease = self.told()[-1][2]
        self.assertRegex(lease["address"], r"^10\.11\.0\.[5-9][0-9]/24$")
        self.assertEqual([lease["address"]], inside.addresses("eth0"))
        self.assertEqual([("10.11.0.1", "eth0", 100)], ways(inside))
        self.assertGreater(self.server.noted("DHCPNAK"), 0)
        self.leases.stop()
        # with an address of another's the kernel leaves ways out that lead nowhere
        inside.ip("addr", "add", "198.51.100.1/24", "dev", "eth0")
        self.server.serve("10.12.0", "--dhcp-option=option:router")
        self.leases = self.asking()
        self.leases.call("adopt", 1, place(inside), asked(last=lease["address"]))
        eventually(lambda: self.told()[-1:] and self.told()[-1][2], "another lease")
        self.assertEqual("None", self.told()[-1][2]["gateway"])
        self.assertEqual([self.told()[-1][2]["address"], "198.51.100.1/24"], inside.addresses("eth0"))
        self.assertEqual([], ways(inside))

    def test_lapsed(self) -> None:
        """
        An address that no server has confirmed until its time was up is taken away, and told.
        """
        self.server.serve("10.9.0", "--dhcp-option-force=51,3")
        inside = self.container(1)
        self.begin(1, inside)
        self.server.silence()
        eventually(lambda: self.told() == [[1, 0, None]], "told")
        self.assertEqual(([], []), (inside.addresses("eth0"), ways(inside)))

    def test_ended(self) -> None:
        """
        For a container that has ended nobody asks any more; for others it goes on, and a second end does nothing.
        """
        self.server.serve("10.9.0")
        one, other = self.container(1), self.container(2)
        before = self.leases.call("used")
        self.begin(1, one)
        self.assertIn("core0-dhcp-1", self.leases.call("used")[0])
        self.begin(2, other)
        for _ in range(2):
            self.leases.call("end", 1)
        (mine,), (its,) = one.addresses("eth0"), other.addresses("eth0")
        asked, others = (f"DHCPREQUEST(peer) {ip.partition('/')[0]} " for ip in (mine, its))
        noted, theirs = self.server.noted(asked), self.server.noted(others)
        eventually(lambda: self.server.noted(others) > theirs, "renewed")
        self.assertEqual(noted, self.server.noted(asked))
        self.leases.call("end", 2)
        eventually(lambda: self.leases.call("used")[0] == before[0], f"nothing but {before[0]}")

    def test_junk(self) -> None:
        """
        Three hundred packets that make no sense cost no address, and it is asked for again as before.
        """
        self.server.serve("10.9.0")
        inside = self.container(1)
        lease = self.begin(1, inside)["0"]
        self.neighbour.run(sys.executable, "-ISc", textwrap.dedent(JUNK))
        noted = self.server.noted("DHCPACK")
        eventually(lambda: self.server.noted("DHCPACK") > noted, "renewed")
        self.assertEqual([lease["address"]], inside.addresses("eth0"))
        self.assertEqual([], self.told())
        self.assertLess(len((self.folder / "log").read_text()), 5000)
