"""
The host's network at start when it is left alone, when its file is wrong, and when somebody means harm.
"""

import os
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

from core0.network.host_resolver import PATH
from tests.daemon import ROOT, eventually
from tests.functional.host_ground import DHCP, ROUTER, STATIC, GroundTestCase

DNS = '[static.eth0]\nip = "10.9.0.5/24"\ndns = "10.9.0.1"\n[interface.eth0]\nprotocol = "static"\n'
# what no DHCP server says: cut off, without a kind, of no kind, with lengths that are none, or nothing but noise
PACKETS = """
    import os, random, socket, struct, sys, time
    mac = bytes.fromhex(sys.argv[1].replace(":", ""))
    raw = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
    raw.bind(("peer", 0))
    def frame(data):
        udp = struct.pack("!HHHH", 67, 68, 8 + len(data), 0) + data
        header = struct.pack("!BBHHHBBH4s4s", 0x45, 0, 20 + len(udp), 0, 0, 64, 17, 0, bytes(4), b"\\xff" * 4)
        return mac + b"\\2\\0\\0\\0\\0\\1" + b"\\x08\\0" + header + udp
    body = struct.pack("!BBBBIHH", 2, 1, 6, 0, 1, 0, 0) + bytes(16) + mac + bytes(10 + 64 + 128) + b"c\\x82Sc"
    tails = [b"", b"\\xff"]
    tails += [b"\\x35\\x01\\x63\\xff", b"\\x35\\xff", b"\\x35\\x01\\x05\\x01\\xfa", b"\\x0c\\xff" + b"\\xff" * 255]
    random.seed(1)
    for _ in range(200):
        for tail in tails:
            raw.send(frame(body + tail))
        raw.send(frame(body[: random.randrange(len(body))]))
        raw.send(frame(os.urandom(random.randrange(300))))
        time.sleep(0.005)
"""

# a server of few words: one address, for 6 s, to be asked for again after 2 s; it is told when to say no
SERVER = """
    import socket, struct, sys
    mode = sys.argv[1]
    server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    server.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
    server.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, b"peer")
    server.bind(("", 67))
    me, ip = socket.inet_aton("10.9.0.1"), socket.inet_aton(sys.argv[2])
    print("ready", flush=True)
    while True:
        data = server.recv(2000)
        asked = data[data.index(b"\\x35\\x01", 240) + 2]
        kind = 6 if mode == "no" and asked == 3 else {1: 2, 3: 5}.get(asked)
        if kind is None:
            continue
        head = b"\\2" + data[1:4] + data[4:8] + bytes(4) + bytes(4) + (bytes(4) if kind == 6 else ip) + me + bytes(4)
        options = b"\\x35\\1" + bytes([kind]) + b"\\x36\\4" + me
        if kind != 6:
            times = b"".join(bytes([code, 4]) + struct.pack("!I", n) for code, n in ((51, 6), (58, 2), (59, 4)))
            options += times + b"\\1\\4\\xff\\xff\\xff\\0\\3\\4" + me
        packet = head + data[28:44] + bytes(192) + b"c\\x82Sc" + options + b"\\xff"
        server.sendto(packet, ("255.255.255.255", 68))
"""


class AloneTests(GroundTestCase):
    """
    No file, no change.
    """

    def test_no_file(self) -> None:
        """
        Without a file core0 changes nothing of the network: not for a moment, and not in its end.
        """
        self.ground.ip("link", "set", "eth0", "up")
        self.ground.ip("addr", "add", "192.0.2.7/24", "dev", "eth0")
        self.ground.ip("route", "add", "default", "via", "192.0.2.1")
        before = self.ground.everything()
        words = [*self.ground.inside(), "ip", "monitor", "link", "address", "route", "rule", "netconf"]
        with (self.ground.folder / "changes").open("w") as changes, subprocess.Popen(words, stdout=changes) as monitor:
            try:
                daemon = self.daemon(None)
                state = daemon.run_command("core.state")
                daemon.stop()
            finally:
                monitor.terminate()
        self.assertNotIn("network", state["data"])
        self.assertEqual(before, self.ground.everything())
        self.assertEqual("", (self.ground.folder / "changes").read_text())

    def test_not_named(self) -> None:
        """
        A link that the file does not name stays as it is; with `auto` too, if it is no network card.
        """
        before = self.ground.everything()
        daemon = self.daemon("[network]\nauto = true\n")
        self.assertEqual({}, daemon.links())
        self.assertEqual(before, self.ground.everything())

    def test_none(self) -> None:
        """
        A link of protocol `none` is set up, and that is all.
        """
        daemon = self.daemon('[interface.eth0]\nprotocol = "none"\nmtu = 1280\n')
        self.assertEqual({"protocol": "none", "state": "up", "addresses": [], "reason": ""}, daemon.links()["eth0"])
        found = self.ground.look("link", "show", "eth0")[0]
        self.assertEqual(1280, found["mtu"])
        self.assertIn("UP", found["flags"])


class PlanTests(GroundTestCase):
    """
    ``corectl network plan``.
    """

    def plan(self, content: str) -> tuple[int, str, str]:
        """
        What it exits with and prints.
        """
        file = self.ground.folder / "plan.toml"
        file.write_text(content)
        words = [*self.ground.inside(), sys.executable, "-P", "-m", "core0.client", "network", "plan", str(file)]
        env = {**os.environ, "PYTHONPATH": str(ROOT)}
        done = subprocess.run(words, capture_output=True, text=True, check=False, env=env)
        return done.returncode, done.stdout, done.stderr

    def test_dry(self) -> None:
        """
        It prints what core0 would do, and changes nothing; once core0 has done it, there is nothing to do.
        """
        before = self.ground.everything()
        code, out, _ = self.plan(f'{STATIC}\n[interface.eth7]\nprotocol = "dhcp"')
        self.assertEqual(0, code)
        expected = """
            eth0: set its MTU to 1400
            eth0: set it up
            eth0: add the address 10.9.0.5/24
            eth0: add the address fd00:9::5/64
            eth0: add the default route to 10.9.0.1, metric 50
            eth0: add the default route to fd00:9::1, metric 50
            /etc/resolv.conf: write it, with 10.9.0.1, fd00:9::1
            eth7: wait until there is such a link
        """
        self.assertEqual(textwrap.dedent(expected).strip(), out.strip())
        self.assertEqual(before, self.ground.everything())
        daemon = self.daemon(STATIC)
        daemon.stop()
        self.ground.resolver.write_text(self.ground.resolver.read_text().replace("network.toml", "plan.toml"))
        self.assertEqual((0, "nothing to do: all is as the file says\n", ""), self.plan(STATIC))

    def test_error(self) -> None:
        """
        An error in the file is told with its place, and the exit status is 1.
        """
        code, out, said = self.plan('[interface.eth0]\nprotocol = "dhpc"\n')
        self.assertEqual((1, ""), (code, out))
        self.assertIn('plan.toml: [interface.eth0] protocol: expected "static", "dhcp" or "none", got "dhpc"', said)


class WrongFileTests(GroundTestCase):
    """
    A file that cannot be used.
    """

    def failed(self, content: str) -> str:
        """
        The reason that ``core.state`` gives, with nothing changed.
        """
        before = self.ground.everything()
        daemon = self.daemon(content)
        found: dict[str, Any] = daemon.links()
        self.assertEqual([str(daemon.file)], list(found))
        self.assertEqual("failed", found[str(daemon.file)]["state"])
        self.assertEqual(before, self.ground.everything())
        self.assertIn("#critical] network: ", daemon.output().replace("core0.network.host_network.HostNetwork", ""))
        return str(found[str(daemon.file)]["reason"])

    def test_error(self) -> None:
        """
        With an error in the file core0 starts all the same, changes nothing, and says what is wrong.
        """
        self.assertIn("[static.eth0] ip: expected an address", self.failed(STATIC.replace("/24", "/240")))

    def test_no_such_file(self) -> None:
        """
        A file that is a pipe or not there is an error like any other.
        """
        before = self.ground.everything()
        daemon = self.daemon("")
        daemon.stop()
        daemon.file.unlink()
        daemon.start()
        self.assertEqual("cannot be read: No such file or directory", daemon.links()[str(daemon.file)]["reason"])
        daemon.stop()
        os.mkfifo(daemon.file)
        daemon.start()
        self.assertEqual("cannot be read: it is no file", daemon.links()[str(daemon.file)]["reason"])
        self.assertEqual(before, self.ground.everything())


class ResolverTests(GroundTestCase):
    """
    ``/etc/resolv.conf``.
    """

    def test_link(self) -> None:
        """
        One that is a link to elsewhere is left alone, and core0 says so.
        """
        elsewhere = Path(self.ground.folder / "etc" / "elsewhere.conf")
        elsewhere.write_text("nameserver 192.0.2.9\n")
        self.ground.resolver.unlink()
        self.ground.resolver.symlink_to("elsewhere.conf")
        daemon = self.daemon(DNS)
        self.assertEqual("left alone, since it is a link to elsewhere.conf", daemon.links()[PATH]["reason"])
        self.assertEqual("nameserver 192.0.2.9\n", elsewhere.read_text())
        self.assertTrue(self.ground.resolver.is_symlink())
        self.assertEqual("up", daemon.links()["eth0"]["state"])

    def test_mounted(self) -> None:
        """
        One that is mounted there, as in a container, is written to where it is.
        """
        other = self.ground.folder / "mounted.conf"
        other.write_text("nameserver 192.0.2.9\n" * 20)
        self.ground.run("mount", "--bind", str(other), PATH)
        daemon = self.daemon(DNS)
        self.assertEqual(["eth0"], list(daemon.links()))
        self.assertEqual(["nameserver 10.9.0.1"], other.read_text().splitlines()[1:])
        self.assertEqual([], list((self.ground.folder / "etc").glob("resolv.conf.core0-*")))

    def test_read_only(self) -> None:
        """
        Where it cannot be written, the addresses are there nevertheless, and core0 says what is missing.
        """
        self.ground.run("mount", "-o", "remount,bind,ro", "/etc")
        daemon = self.daemon(DNS)
        self.assertIn("cannot write it: Read-only file system", daemon.links()[PATH]["reason"])
        self.assertEqual(["10.9.0.5/24"], self.ground.addresses())
        self.ground.run("mount", "-o", "remount,bind,rw", "/etc")
        eventually(lambda: PATH not in daemon.links(), "written later")


class SilentServerTests(GroundTestCase):
    """
    A server that goes, and comes back with something else to say.
    """

    def setUp(self) -> None:
        """
        The neighbour has an address that answers can come from.
        """
        super().setUp()
        self.ground.ip("addr", "add", "10.9.0.1/24", "dev", "peer", near=True)
        self.ground.ip("route", "add", "default", "dev", "peer", near=True)

    def serve(self, mode: str = "", address: str = "10.9.0.50") -> subprocess.Popen[bytes]:
        """
        Start the server.
        """
        words = [sys.executable, "-c", textwrap.dedent(SERVER), mode, address]
        server = subprocess.Popen([*self.ground.inside(near=True), *words], stdout=subprocess.PIPE)
        self.addCleanup(self.end, server)
        assert server.stdout is not None
        self.assertEqual(b"ready\n", server.stdout.readline())
        return server

    def end(self, server: subprocess.Popen[bytes]) -> None:
        """
        End it.
        """
        server.kill()
        server.wait()
        assert server.stdout is not None
        server.stdout.close()

    def test_lease_runs_out(self) -> None:
        """
        When nobody answers until the lease has run out the address is kept, and that is said; whoever answers later
        confirms it.
        """
        server = self.serve()
        daemon = self.daemon(DHCP)
        self.assertEqual(["10.9.0.50/24"], daemon.links()["eth0"]["addresses"])
        self.end(server)
        found = daemon.until("eth0", "waiting")
        self.assertEqual("no DHCP server has answered; it keeps its last address", found["reason"])
        self.assertEqual((["10.9.0.50/24"], [(ROUTER, "eth0")]), (self.ground.addresses(), self.ground.gateways()))
        self.serve()
        daemon.until("eth0", "up")
        self.assertEqual((["10.9.0.50/24"], [(ROUTER, "eth0")]), (self.ground.addresses(), self.ground.gateways()))

    def test_no(self) -> None:
        """
        When a server says no the address goes at once, with its route; another one is taken when there is one.
        """
        server = self.serve()
        daemon = self.daemon(DHCP)
        self.end(server)
        server = self.serve("no")
        eventually(lambda: self.ground.addresses() == [] and self.ground.gateways() == [], "gone")
        self.assertEqual("no DHCP server has answered", daemon.until("eth0", "waiting")["reason"])
        self.end(server)
        self.serve(address="10.9.0.60")
        daemon.until("eth0", "up")
        self.assertEqual((["10.9.0.60/24"], [(ROUTER, "eth0")]), (self.ground.addresses(), self.ground.gateways()))

    def test_useless(self) -> None:
        """
        An address that no machine can have is not taken, and the link says so.
        """
        self.serve(address="127.0.0.1")
        daemon = self.daemon(DHCP, wait=3.0)
        found = daemon.until("eth0", "failed")
        self.assertIn("a server gave what cannot be used: 127.0.0.1/24 is no address of one machine", found["reason"])
        self.assertEqual([], self.ground.addresses())


class HostileTests(GroundTestCase):
    """
    Whoever can send packets.
    """

    def test_packets(self) -> None:
        """
        Packets that make no sense cost no address, no renewal, no log, and leave no open files.
        """
        self.ground.serve()
        daemon = self.daemon(DHCP)
        before = daemon.links()
        files = len(os.listdir(f"/proc/{daemon.pid}/fd"))
        said = len(daemon.output())
        mac = self.ground.look("link", "show", "eth0")[0]["address"]
        self.ground.run(sys.executable, "-c", textwrap.dedent(PACKETS), mac, near=True)
        acks = self.ground.asked("DHCPACK")
        eventually(lambda: self.ground.asked("DHCPACK") > acks + 1, "renewed twice")
        self.assertEqual(before["eth0"]["addresses"], daemon.until("eth0", "up")["addresses"])
        self.assertEqual([(ROUTER, "eth0")], self.ground.gateways())
        self.assertLess(len(daemon.output()) - said, 4000)
        eventually(lambda: len(os.listdir(f"/proc/{daemon.pid}/fd")) <= files + 3, "no files left open")
