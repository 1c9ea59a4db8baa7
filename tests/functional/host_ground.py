"""
What tests of the host's network stand on: network namespaces with links of their own, never those of this machine.
"""

import json
import os
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from tests.daemon import Daemon, eventually
from tests.functional.shared import answer_of, missing, need_root

ROUTER = "10.9.0.1"


class Ground:
    """
    A host and its neighbour, each in a network namespace of its own, with a cable between ``eth0`` and ``peer``. The
    host has a mount namespace, too, with an ``/etc`` that is a copy.
    """

    def __init__(self) -> None:
        need_root()
        for program in ("unshare", "nsenter", "ip"):
            if shutil.which(program) is None:
                raise missing(f"needs {program}")
        self.folder = Path(tempfile.mkdtemp(prefix="core0-net-"))
        self._keepers: list[subprocess.Popen[bytes]] = []
        self._servers: list[subprocess.Popen[bytes]] = []
        try:
            self.host, self.neighbour = self._namespace(), self._namespace()
            self._lay_out()
        except BaseException:
            self.close()
            raise

    def _namespace(self) -> int:
        """
        The process that keeps it.
        """
        unshare = ["unshare", "--net", "--mount", "--propagation", "private"]
        keeper = subprocess.Popen([*unshare, "sleep", "600"], stderr=subprocess.PIPE, stdout=subprocess.DEVNULL)
        self._keepers.append(keeper)

        def apart() -> bool:
            if keeper.poll() is not None:
                said = keeper.stderr.read().decode(errors="replace").strip() if keeper.stderr else ""
                raise missing(f"needs namespaces of its own: {said}")
            comm = Path(f"/proc/{keeper.pid}/comm").read_text()
            return comm.strip() == "sleep" and self._is_apart(keeper.pid)

        eventually(apart, "a namespace")
        return keeper.pid

    def _is_apart(self, pid: int) -> bool:
        """
        Whether a process has neither the network nor the mounts of this one.
        """
        return all(
            os.readlink(f"/proc/{pid}/ns/{kind}") != os.readlink(f"/proc/self/ns/{kind}") for kind in ("net", "mnt")
        )

    def _lay_out(self) -> None:
        shutil.copytree("/etc", self.folder / "etc", symlinks=True, ignore_dangling_symlinks=True)
        resolver = self.folder / "etc" / "resolv.conf"
        resolver.unlink(missing_ok=True)
        resolver.write_text("nameserver 192.0.2.1\n")
        self.run("mount", "--bind", str(self.folder / "etc"), "/etc")
        self.ip("link", "set", "lo", "up")
        self.ip("link", "set", "lo", "up", near=True)
        self.plug()

    def plug(self) -> None:
        """
        Make the cable. Nothing is up yet on the host's side.
        """
        self.ip("link", "add", "eth0", "type", "veth", "peer", "name", "peer", "netns", str(self.neighbour))
        self.ip("link", "set", "peer", "up", near=True)

    def inside(self, *, near: bool = False) -> list[str]:
        """
        The words before a command that runs in the namespaces of the host, or of its neighbour.
        """
        pid = self.neighbour if near else self.host
        if not self._is_apart(pid):
            raise AssertionError("this would change the machine's own network")
        return ["nsenter", "--target", str(pid), "--net", "--mount", "--"]

    def run(self, *words: str, near: bool = False) -> str:
        """
        What a command prints there.
        """
        done = subprocess.run([*self.inside(near=near), *words], capture_output=True, text=True, check=False)
        if done.returncode:
            raise AssertionError(f"{' '.join(words)}: {done.stderr}")
        return done.stdout

    def ip(self, *words: str, near: bool = False) -> None:
        """
        Call ``ip`` there.
        """
        self.run("ip", *words, near=near)

    def look(self, *words: str) -> Any:
        """
        What ``ip -j`` says on the host.
        """
        return json.loads(self.run("ip", "-j", *words) or "[]")

    def addresses(self, link: str = "eth0", family: str = "-4") -> list[str]:
        """
        The addresses of a link of the host, but not those that the kernel makes itself.
        """
        found = self.look(family, "addr", "show", "dev", link)
        infos = [info for each in found for info in each.get("addr_info", ())]
        return sorted(f"{info['local']}/{info['prefixlen']}" for info in infos if info["scope"] == "global")

    def gateways(self, family: str = "-4") -> list[tuple[str, str]]:
        """
        The default routes of the host: gateway and link.
        """
        return [(route["gateway"], route["dev"]) for route in self.look(family, "route", "show", "default")]

    def everything(self) -> list[Any]:
        """
        Links, addresses, routes and the resolver's file of the host, once the kernel is done with its own.
        """
        eventually(lambda: "tentative" not in self.run("ip", "-6", "addr"), "IPv6 is ready")
        looks = [["addr"], ["-4", "route", "show", "table", "all"], ["-6", "route", "show", "table", "all"]]
        return [*(self.look(*words) for words in looks), self.resolver.read_text(), os.lstat(self.resolver).st_ino]

    @property
    def resolver(self) -> Path:
        """
        The host's ``/etc/resolv.conf``.
        """
        return self.folder / "etc" / "resolv.conf"

    def serve(self, subnet: str = "10.9.0", *, first: int = 50, last: int = 90, more: tuple[str, ...] = ()) -> None:
        """
        Have the neighbour give out addresses of a network, of which it is the router.
        """
        if shutil.which("dnsmasq") is None:
            raise missing("needs dnsmasq")
        self.silence()
        self.ip("addr", "flush", "dev", "peer", near=True)
        self.ip("addr", "add", f"{subnet}.1/24", "dev", "peer", near=True)
        (self.folder / "leases").unlink(missing_ok=True)
        words = [
            *("dnsmasq", "--keep-in-foreground", "--conf-file=/dev/null", "--port=0", "--user=root", "--no-ping"),
            *("--interface=peer", "--bind-interfaces", "--dhcp-authoritative", "--pid-file"),
            f"--dhcp-leasefile={self.folder / 'leases'}",
            f"--dhcp-range={subnet}.{first},{subnet}.{last},120",
            *("--dhcp-option=option:T1,2", "--dhcp-option=option:T2,5"),
            *(f"--dhcp-option=option:dns-server,{subnet}.1", "--domain=example.org"),
            f"--log-facility={self.folder / 'dnsmasq.log'}",
            *more,
        ]
        self._servers.append(subprocess.Popen([*self.inside(near=True), *words], stderr=subprocess.DEVNULL))

    def silence(self) -> None:
        """
        Nobody gives out addresses any more.
        """
        while self._servers:
            server = self._servers.pop()
            server.terminate()
            server.wait()

    def asked(self, what: str) -> int:
        """
        How often the server has noted such a message.
        """
        log = self.folder / "dnsmasq.log"
        return log.read_text().count(what) if log.exists() else 0

    def close(self) -> None:
        """
        All of it is gone with the processes that keep it.
        """
        self.silence()
        for keeper in self._keepers:
            keeper.kill()
            keeper.wait()
            if keeper.stderr is not None:
                keeper.stderr.close()
        shutil.rmtree(self.folder, ignore_errors=True)


class Connected(Daemon):
    """
    A core0 on the host of a :class:`Ground`.

    :param network: the file of its network; None for none.
    """

    def __init__(self, ground: Ground, network: str | None, *, wait: float = 10.0) -> None:
        self._ground = ground
        self.file = ground.folder / "network.toml"
        if network is not None:
            self.file.write_text(network)
        config = f'[network]\nfile = "{self.file}"\nwait = {wait}\n' if network is not None else ""
        super().__init__(config)

    def command(self) -> list[str]:
        """
        Its command line, in the namespaces.
        """
        return [*self._ground.inside(), *super().command()]

    def links(self) -> dict[str, Any]:
        """
        What ``core.state`` says of them.
        """
        found: dict[str, Any] = answer_of(self.run_command("core.state"))["network"]
        return found

    def until(self, link: str, state: str, seconds: float = 30.0) -> dict[str, Any]:
        """
        Wait until a link has turned out so.
        """

        def look() -> dict[str, Any] | None:
            found: dict[str, Any] = self.links().get(link, {})
            return found if found.get("state") == state else None

        found: dict[str, Any] = eventually(look, f"{link} {state}: {self.links()}", seconds)
        return found


class GroundTestCase(SynchronousTestCase):
    """
    Tests with a ground of their own.
    """

    def setUp(self) -> None:
        """
        Make it.
        """
        self.ground = Ground()
        self.addCleanup(self.ground.close)

    def daemon(self, network: str | None, *, wait: float = 10.0) -> Connected:
        """
        A core0 that runs on it.
        """
        daemon = Connected(self.ground, network, wait=wait)
        self.addCleanup(daemon.close)
        daemon.start()
        return daemon


STATIC = """
[interface.eth0]
protocol = "static"
mtu = 1400

[static.eth0]
ip = ["10.9.0.5/24", "fd00:9::5/64"]
gateway = ["10.9.0.1", "fd00:9::1"]
dns = ["10.9.0.1", "fd00:9::1"]
"""
DHCP = '[interface.eth0]\nprotocol = "dhcp"\n'
