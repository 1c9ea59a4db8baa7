"""
Bridges with addresses, as clients ask a running core0 for them; and those that hand out addresses, with ``dnsmasq``.
"""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from ipaddress import ip_address
from pathlib import Path
from typing import Any

from tests.daemon import eventually
from tests.functional.network_shared import Broken, Host, helpers
from tests.functional.shared import lives, missing
from tests.functional.test_bridges import BridgeTestCase
from tests.functional.test_bridges_links import LinksTestCase

CLIENT = """
import asyncio, os, warnings
warnings.simplefilter("ignore")
os.chdir("/run")  # where what it keeps goes with the host
from pyroute2.dhcp.client import AsyncDHCPClient, ClientConfig
from pyroute2.dhcp.fsm import State

async def main():
    async with AsyncDHCPClient(ClientConfig(interface="eth0")) as client:
        await client.bootstrap()
        await client.wait_for_state(State.BOUND, timeout=20)
        lease = client.lease
        print(lease.ip, lease.subnet_mask, lease.default_gateway, lease.lease_time, *lease.name_servers, flush=True)
        os._exit(0)  # it would give the address back

asyncio.run(main())
"""
ASK = """
import socket, sys
name = b"".join(bytes([len(part)]) + part.encode() for part in sys.argv[2].split("."))
asking = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
asking.settimeout(5)
asking.connect((sys.argv[1], 53))
asking.send(b"\\0\\1\\1\\0\\0\\1\\0\\0\\0\\0\\0\\0" + name + b"\\0\\0\\1\\0\\1")
answer = asking.recv(512)
print(".".join(map(str, answer[-4:])) if answer[7] else "nobody")
"""
END = {"end": "10.5.0.99"}
HANDING = {"address": "10.7.9.1/24", "nat": False, "start": "10.7.9.100", "end": "10.7.9.102"}


def need_dnsmasq() -> None:
    """
    Skip what takes it.
    """
    if shutil.which("dnsmasq") is None:
        raise missing("needs dnsmasq")


class AddressTests(BridgeTestCase):
    """
    ``network`` of ``bridge.create``.
    """

    def create(self, name: str, mode: str | None, nat: bool = False, **settings: str) -> dict[str, Any]:
        """
        The arguments.
        """
        return {"name": name, "network": {"mode": mode, "nat": nat, "settings": settings}}

    def test_static(self) -> None:
        """
        A bridge has the address that is asked for, of IPv4 or IPv6; packets are forwarded and translated with ``nat``.
        """
        before = self.host.everything()
        self.do("bridge.create", **self.create("br0", "static", cidr="10.7.0.0/24"))
        self.do("bridge.create", **self.create("br1", "static", cidr="10.8.0.9/24"))
        self.do("bridge.create", **self.create("br2", None))
        self.assertEqual(["10.7.0.1/24"], self.host.addresses("br0"))
        self.assertEqual(["10.8.0.9/24"], self.host.addresses("br1"))
        self.assertEqual([], self.host.addresses("br2"))
        self.assertEqual([], self.host.tables())
        self.assertEqual("0", self.host.run("cat", "/proc/sys/net/ipv4/ip_forward").strip())
        self.do("bridge.create", **self.create("br3", "static", True, cidr="fd07::5/64"))
        self.assertEqual(["fd07::5/64"], self.host.addresses("br3"))
        self.assertEqual(["core0"], self.host.tables())
        self.assertEqual("1", self.host.run("cat", "/proc/sys/net/ipv6/conf/all/forwarding").strip())
        for number in range(4):
            self.do("bridge.delete", name=f"br{number}")
        self.assertEqual(before, self.host.everything())

    def test_refused(self) -> None:
        """
        Addresses that cannot be had are refused with the argument's name, and nothing is left.
        """
        self.host.ip("link", "add", "nic", "type", "bridge")
        self.host.ip("link", "set", "nic", "up")
        self.host.ip("addr", "add", "10.9.0.5/24", "dev", "nic")
        self.host.ip("route", "add", "10.10.0.0/16", "via", "10.9.0.1")
        self.do("bridge.create", **self.create("br0", "static", cidr="10.7.0.1/24"))
        cidr = "arguments.network.settings.cidr: "
        for about, arguments in (
            ("arguments.network.mode: ", self.create("x", "dhcp")),
            ("arguments.network.nat: ", self.create("x", None, True)),
            ("arguments.network.settings.cidr: ", self.create("x", None, cidr="10.1.0.1/24")),
            ("arguments.network.settings.cidr: required", self.create("x", "static")),
            ("arguments.network.settings.start: ", self.create("x", "static", cidr="10.1.0.1/24", start="10.1.0.2")),
            ("arguments.network.settings.start: ", self.create("x", "dnsmasq", cidr="10.1.0.1/24", start="10.2.0.2")),
            ("arguments.network.settings.end: ", self.create("x", "dnsmasq", cidr="10.1.0.1/24", end="10.1.0.255")),
            ("arguments.network.settings.cidr: ", self.create("x", "dnsmasq", cidr="10.1.0.1/32")),
            ("arguments.name: ", self.create("a*", "static", cidr="10.1.0.1/24")),
            *(
                (cidr, self.create("x", "static", cidr=each))
                for each in ("", "10.1", "10.1.0.1", "127.0.0.1/8", "::/0")
            ),
            *(
                (cidr, self.create("x", "static", cidr=each))
                for each in ("224.0.0.1/4", "fe80::1/64", "x" * 300, "a\n")
            ),
        ):
            self.refused(400, about, "bridge.create", **arguments)
        for each in ("10.7.0.1/24", "10.7.0.128/25", "10.0.0.1/8", "10.9.0.0/24", "10.10.3.1/24"):
            self.refused(409, cidr, "bridge.create", **self.create("x", "static", cidr=each))

    def test_failures(self) -> None:
        """
        Whatever step of making or deleting a bridge fails, everything is as it was before it.
        """
        need_dnsmasq()
        wanted = self.create("br1", "dnsmasq", True, cidr="10.7.1.0/24")
        self.do("bridge.create", **self.create("br0", "dnsmasq", True, cidr="10.7.0.0/24"))
        rules = self.host.rules()
        for program in ("nft", "dnsmasq"):
            with Broken(self.host, program, self.folder):
                self.assert_as_before(503, program, "bridge.create", **wanted)
        with Broken(self.host, "nft", self.folder):
            self.assert_as_before(503, "nft", "bridge.delete", name="br0")
        for name in ("network.json.new", "network/br1"):
            path = self.daemon.state / name
            path.mkdir() if name.endswith("new") else path.write_text("in the way")
            self.assert_as_before(503, "cannot", "bridge.create", **wanted)
            path.rmdir() if path.is_dir() else path.unlink(missing_ok=True)
        self.assertEqual(rules, self.host.rules())
        self.do("bridge.create", **wanted)

    def assert_as_before(self, code: int, about: str, command: str, **arguments: Any) -> None:
        """
        A command fails, and leaves all as it was.
        """
        before, saved = self.host.ground(), (self.daemon.state / "network.json").read_text()
        served = helpers(self.daemon.state)
        result = self.daemon.run_command(command, arguments)
        self.assertEqual(("ERROR", code), (result["state"], result["code"]), result)
        self.assertIn(about, json.loads(result["data"]))
        self.assertEqual(before, self.host.ground())
        self.assertEqual(saved, (self.daemon.state / "network.json").read_text())
        self.assertEqual(served.keys(), helpers(self.daemon.state).keys())

    def test_missing(self) -> None:
        """
        A program that is not installed is named, with the package that it is in.
        """
        need_dnsmasq()
        for program, package in (("nft", "nftables"), ("dnsmasq", "dnsmasq-base")):
            with Broken(self.host, program, self.folder, mode=0o644):
                about = f"there is no {program}; install the package {package}"
                wanted = self.create("br1", "dnsmasq", True, cidr="10.7.1.0/24")
                result = self.daemon.run_command("bridge.create", wanted)
                self.assertEqual(("ERROR", 503), (result["state"], result["code"]))
                self.assertEqual(about, json.loads(result["data"]))
                self.assertEqual(["lo"], self.host.links())

    def test_served_ipv6(self) -> None:
        """
        A bridge hands out addresses of IPv6, too, and tells that it is the way out.
        """
        need_dnsmasq()
        self.do("bridge.create", **self.create("br6", "dnsmasq", True, cidr="fd07::/64", start="fd07::100"))
        self.assertEqual(["br6"], list(helpers(self.daemon.state)))
        inside = self.another()
        self.host.ip("link", "add", "v0", "type", "veth", "peer", "name", "eth0", "netns", str(inside.pid))
        self.host.ip("link", "set", "v0", "master", "br6", "up")
        inside.ip("link", "set", "eth0", "up")
        eventually(lambda: inside.look("-6", "route", "show", "default"), "a way out")

    def test_killall(self) -> None:
        """
        What serves a bridge is no job: it is not listed, and ``core.killall`` does not end it.
        """
        need_dnsmasq()
        self.do("bridge.create", **self.create("br0", "dnsmasq", cidr="10.7.0.0/24"))
        served = helpers(self.daemon.state)
        self.assertEqual(["br0"], list(served))
        self.do("core.killall")
        self.assertEqual(served, helpers(self.daemon.state))
        self.assertNotIn("dnsmasq", json.dumps(self.do("process.list")))
        self.do("bridge.delete", name="br0")
        self.assertEqual({}, helpers(self.daemon.state))
        self.assertFalse((self.daemon.state / "network" / "br0").exists())


class ServedTests(LinksTestCase):
    """
    Addresses and names that a bridge hands out.
    """

    def setUp(self) -> None:
        """
        Make one.
        """
        need_dnsmasq()
        super().setUp()
        self.networks.call("create", "br9", HANDING)

    def dhcp(self, host: Host) -> list[str]:
        """
        What a client there is given: address, mask, gateway, seconds, who answers DNS.
        """
        return host.run(sys.executable, "-c", CLIENT).split()

    def name(self, host: Host, name: str) -> str:
        """
        The address of a name, as a container is told.
        """
        return host.run(sys.executable, "-ISc", ASK, "10.7.9.1", name).strip()

    def test_lease(self) -> None:
        """
        A client that asks for an address by DHCP gets one that nobody else has, for 12 hours, with gateway and DNS.
        """
        one, other = self.another(), self.another()
        taken = self.networks.attach(1, one, ["br9"], hostname="one")[0]["address"]
        self.assertEqual("10.7.9.100/24", taken)
        self.networks.attach(2, other, ["br9", ""])
        # from then on it knows who has which address
        eventually(lambda: self.answers(one, "one") == "10.7.9.100", "a name")
        address, mask, gateway, seconds, dns = self.dhcp(other)
        self.assertIn(address, ("10.7.9.101", "10.7.9.102"))
        self.assertEqual(("255.255.255.0", "10.7.9.1", "43200", "10.7.9.1"), (mask, gateway, seconds, dns))
        third, fourth = self.another(), self.another()
        found = self.networks.attach(3, third, ["br9", "dhcp"])[0]["address"].partition("/")[0]
        self.assertNotIn(found, (address, "10.7.9.100"))
        self.assertIn(ip_address(found), [ip_address(f"10.7.9.{number}") for number in (101, 102)])
        self.refused(409, "bridge[0]: br9 has no address left", "attach", 4, fourth.pid, [["br9"]], {}, "")

    def test_names(self) -> None:
        """
        Containers find one another by name, and those that are gone no more.
        """
        one, other = self.another(), self.another()
        self.networks.attach(1, one, ["br9"], hostname="one")
        self.networks.attach(2, other, ["br9", "10.7.9.77/24"], hostname="other.example")
        eventually(lambda: self.answers(one, "other.example") == "10.7.9.77", "a name")
        self.assertEqual("10.7.9.100", self.answers(other, "one"))
        self.networks.call("detach", 2)
        eventually(lambda: self.answers(one, "other.example") not in ("10.7.9.77", ""), "no such name")

    def test_names_stay(self) -> None:
        """
        While containers come and go, whoever asks for the name of another one gets an answer each time.
        """
        one, other = self.another(), self.another()
        self.networks.attach(1, one, ["br9"], hostname="one")
        eventually(lambda: self.answers(one, "one") == "10.7.9.100", "a name")
        served = helpers(self.folder)["br9"]
        for _ in range(10):
            self.networks.attach(2, other, ["br9"], hostname="two")
            self.assertEqual("10.7.9.100", self.name(one, "one"))
            self.networks.call("detach", 2)
            self.assertEqual("10.7.9.100", self.name(one, "one"))
        self.assertEqual(served, helpers(self.folder)["br9"])

    def test_spoofed(self) -> None:
        """
        Nobody gets a name by asking for an address under it.
        """
        one, other = self.another(), self.another()
        self.networks.attach(1, one, ["br9"], hostname="one")
        self.networks.attach(2, other, ["br9", ""])
        address = self.dhcp(other)[0]
        self.assertTrue(address.startswith("10.7.9."))
        eventually(lambda: self.answers(one, "one") == "10.7.9.100", "a name")
        self.assertNotIn(address, self.answers(one, socket.gethostname()))

    def answers(self, host: Host, name: str) -> str:
        """
        The address of a name; empty while nobody answers.
        """
        try:
            return self.name(host, name)
        except AssertionError:
            return ""

    def test_survives(self) -> None:
        """
        The program is started again when it ends, is left running by a core0 that ends, and found by the next one.
        """
        self.networks.attach(1, self.another(), ["br9", "10.7.9.77/24"])
        first = helpers(self.folder)["br9"]
        os.kill(first, signal.SIGKILL)
        again = eventually(lambda: helpers(self.folder).get("br9", first) != first, "started again")
        self.assertTrue(again)
        second = helpers(self.folder)["br9"]
        for kill in (True, False):
            self.networks.stop(kill=kill)
            self.assertEqual({"br9": second}, helpers(self.folder))
            self.networks = self.driver([1])
            self.assertEqual({"br9": second}, helpers(self.folder))
        self.networks.call("detach", 1)
        self.networks.stop()
        self.assertEqual({}, helpers(self.folder))
        self.networks = self.driver()
        self.assertEqual(["br9"], list(helpers(self.folder)))

    def test_pid_file_removed(self) -> None:
        """
        It is found also when the file with its pid was removed; a program that only looks at its files is left alone,
        and so is one of the same words in another root.
        """
        self.networks.attach(1, self.another(), ["br9", "10.7.9.77/24"])
        place = self.folder / "network" / "br9"
        served = helpers(self.folder)["br9"]
        reader = subprocess.Popen(["tail", "-f", str(place / "names")], stdout=subprocess.DEVNULL)
        self.addCleanup(reader.wait)
        self.addCleanup(reader.kill)
        words = Path(f"/proc/{served}/cmdline").read_text().split("\0")[1:-1]
        other = subprocess.Popen(
            [
                *("unshare", "--mount", "bash", "-c", 'mount -t tmpfs core0-test "$1"; shift; exec "$@"', "bash"),
                *(str(self.folder), sys.executable, "-c", "import time; time.sleep(600)", *words),
            ]
        )
        self.addCleanup(other.wait)
        self.addCleanup(other.kill)
        command = Path(f"/proc/{other.pid}/cmdline")
        eventually(lambda: b"import time" in b"".join(command.read_bytes().split(b"\0")[2:3]), "it runs")
        self.networks.stop(kill=True)
        (place / "pid").unlink()
        self.networks = self.driver([1])
        (place / "pid").write_text(f"{served}\n")  # for those who look at what there is
        self.assertTrue(lives(served))
        self.assertEqual(b"dnsmasq", os.path.basename(Path(f"/proc/{served}/cmdline").read_bytes().split(b"\0")[0]))
        self.assertIsNone(reader.poll())
        self.assertIsNone(other.poll())

    def test_folder_removed(self) -> None:
        """
        A folder that was removed is made anew with the program that uses it, at the next change.
        """
        one = self.another()
        served = helpers(self.folder)["br9"]
        shutil.rmtree(self.folder / "network" / "br9")
        self.networks.attach(1, one, ["br9", "10.7.9.77/24"], hostname="one")
        eventually(lambda: helpers(self.folder).get("br9", served) != served, "another one")
        self.assertFalse(lives(served))
        eventually(lambda: self.answers(one, "one") == "10.7.9.77", "a name")

    def test_killed_often(self) -> None:
        """
        Whenever core0 is killed, what there is afterwards is what is kept of it, and all of it.
        """
        inside = self.another()
        for delay in range(0, 200, 20):
            for _ in range(3):
                self.networks.send("create", "br5", {"address": "10.5.0.1/24", "nat": True, "start": "10.5.0.9"} | END)
                self.networks.send("attach", 5, inside.pid, [["br5"]], {"8080": 80}, "five")
                self.networks.send("detach", 5)
                self.networks.send("delete", "br5")
            time.sleep(delay / 1000)
            self.networks.stop(kill=True)
            self.networks = self.driver()
            kept = json.loads((self.folder / "network.json").read_text())
            names = sorted(bridge["name"] for bridge in kept["bridges"])
            self.assertEqual(["lo", *names], sorted(self.host.links(), key=lambda name: (name != "lo", name)))
            self.assertEqual(["core0"], self.host.tables())
            served = sorted(each["name"] for each in kept["bridges"] if each["subnet"]["start"])
            self.assertEqual(served, sorted(helpers(self.folder)))
            self.assertEqual([], kept["links"])

    def test_unprivileged(self) -> None:
        """
        The program is not root, and listens at its bridge only.
        """
        pid = helpers(self.folder)["br9"]
        eventually(lambda: os.stat(f"/proc/{pid}").st_uid != 0, "it is not root")  # it is for a moment of its start
        heard = self.host.run("sh", "-c", "cat /proc/net/tcp /proc/net/udp")
        local = {line.split()[1] for line in heard.splitlines() if ":" in line and "address" not in line}
        # 10.7.9.1:53, and port 67 of all, which is bound to the bridge
        self.assertEqual({"0109070A:0035", "00000000:0043"}, local)
