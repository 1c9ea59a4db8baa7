"""
Networks for tests: hosts that are network namespaces of their own, never the one of this machine.
"""

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import textwrap
from glob import glob
from pathlib import Path
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from tests.daemon import ROOT, Daemon, eventually
from tests.functional.shared import lives, missing, need_root

KINDS = ("net", "mnt")
PROGRAMS = ("unshare", "nsenter", "ip", "nft")
CGROUPS = "/sys/fs/cgroup"
# sends as many bytes as it is asked for, and counts those that it gets; says who has asked
SERVER = """
    import socket, sys
    family, kind, port = socket.AF_INET6 if ":" in sys.argv[1] else socket.AF_INET, sys.argv[2], int(sys.argv[3])
    heard = socket.socket(family, socket.SOCK_STREAM if kind == "tcp" else socket.SOCK_DGRAM)
    heard.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    heard.bind((sys.argv[1], port))
    if kind == "tcp":
        heard.listen(8)
    print("ready", flush=True)
    while kind == "tcp":
        peer, (address, *_) = heard.accept()
        size = int.from_bytes(peer.recv(4, socket.MSG_WAITALL), "big")
        data = peer.recv(size, socket.MSG_WAITALL)
        peer.sendall(data + address.encode().ljust(64))
        peer.close()
    while True:
        data, sender = heard.recvfrom(65535)
        heard.sendto(data + sender[0].encode().ljust(64), sender)
"""
CLIENT = """
    import os, socket, sys
    address, kind, port, size = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    asking = socket.socket(family, socket.SOCK_STREAM if kind == "tcp" else socket.SOCK_DGRAM)
    asking.settimeout(10)
    asking.connect((address, port))
    if kind == "tcp":
        data = os.urandom(size)
        asking.sendall(size.to_bytes(4, "big"))
        import threading
        threading.Thread(target=asking.sendall, args=(data,), daemon=True).start()
        got = b""
        while piece := asking.recv(65536):
            got += piece
        assert got[:-64] == data, (len(got), size)
        print(got[-64:].decode().strip())
    else:
        piece, who = os.urandom(1000), b""
        for _ in range(0, size, len(piece)):
            asking.send(piece)
            got = asking.recv(65535)
            assert got[:-64] == piece
            who = got[-64:]
        print(who.decode().strip())
"""


class Host:
    """
    A namespace with links of its own, kept by a process.
    """

    def __init__(self) -> None:
        need_root()
        for program in PROGRAMS:
            if shutil.which(program) is None:
                raise missing(f"needs {program}")
        words = ["unshare", "--net", "--mount", "--propagation", "private", "sleep", "600"]
        self._keeper = subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
        self._programs: list[subprocess.Popen[str]] = []
        try:
            eventually(self._is_there, "a namespace")
            # it shows the links of the namespace in which it was mounted; cgroups stay those of this machine
            script = f"mount --rbind {CGROUPS} /mnt && mount -t sysfs sysfs /sys && mount --rbind /mnt {CGROUPS}"
            self.run("sh", "-c", f"{script} && umount -R /mnt && mount -t tmpfs tmpfs /run")
            self.ip("link", "set", "lo", "up")
        except BaseException:
            self.close()
            raise

    def _is_there(self) -> bool:
        if self._keeper.poll() is not None:
            said = self._keeper.stderr.read().decode(errors="replace").strip() if self._keeper.stderr else ""
            raise missing(f"needs namespaces of its own: {said}")
        return Path(f"/proc/{self.pid}/comm").read_text().strip() == "sleep" and self._is_apart()

    def _is_apart(self) -> bool:
        return all(os.readlink(f"/proc/{self.pid}/ns/{kind}") != os.readlink(f"/proc/self/ns/{kind}") for kind in KINDS)

    @property
    def pid(self) -> int:
        """
        The process that keeps it.
        """
        return self._keeper.pid

    def inside(self) -> list[str]:
        """
        The words before a command that runs there.
        """
        if self._keeper.poll() is not None or not self._is_apart():
            raise AssertionError("this would change the machine's own network")
        return ["nsenter", "--target", str(self.pid), "--net", "--mount", "--"]

    def run(self, *words: str, stdin: str = "") -> str:
        """
        What a command prints there.
        """
        done = subprocess.run([*self.inside(), *words], capture_output=True, text=True, check=False, input=stdin)
        if done.returncode:
            raise AssertionError(f"{' '.join(words)[:200]}: {done.stderr}")
        return done.stdout

    def ip(self, *words: str) -> None:
        """
        Call ``ip``.
        """
        self.run("ip", *words)

    def look(self, *words: str) -> Any:
        """
        What ``ip -j`` says.
        """
        return json.loads(self.run("ip", "-j", *words) or "[]")

    def links(self) -> list[str]:
        """
        The names of all links, sorted.
        """
        return sorted(link["ifname"] for link in self.look("link"))

    def addresses(self, link: str) -> list[str]:
        """
        Those of a link, but not those that the kernel makes itself; sorted.
        """
        infos = [info for each in self.look("addr", "show", "dev", link) for info in each.get("addr_info", ())]
        return sorted(f"{info['local']}/{info['prefixlen']}" for info in infos if info["scope"] == "global")

    def rules(self) -> Any:
        """
        All of the firewall, without numbers that are others each time.
        """
        found = json.loads(self.run("nft", "-j", "list", "ruleset"))["nftables"]
        for each in found[1:]:
            for what in each.values():
                what.pop("handle", None)
        return found[1:]

    def tables(self) -> list[str]:
        """
        The names of the firewall's tables.
        """
        return [each["table"]["name"] for each in self.rules() if "table" in each]

    def everything(self) -> Any:
        """
        Links, addresses, routes and the firewall.
        """
        return [*self.ground(), self.rules()]

    def ground(self) -> list[Any]:
        """
        Links, addresses, routes, and which links carry what is said to 127.0.0.1; but not what the kernel makes of it
        when somebody is at a bridge.
        """
        links = self.look("addr")
        for link in links:
            link.pop("operstate")
            link["flags"] = sorted({*link["flags"]} - {"NO-CARRIER", "LOWER_UP"})
            link["addr_info"] = [info for info in link["addr_info"] if info["scope"] != "link"]
        routes = [*self.look("-4", "route", "show", "table", "all"), *self.look("-6", "route", "show", "table", "all")]
        for route in routes:
            route.pop("flags")
        own = [route for route in routes if not route["dst"].startswith(("fe80:", "ff00:"))]
        local = self.run("sh", "-c", "grep -l 1 /proc/sys/net/ipv4/conf/*/route_localnet || true")
        return [links, own, local]

    def cable(self, other: "Host", near: str, far: str) -> str:
        """
        Lay one to another host, with addresses (and the lengths of their prefixes) for each end; gives its name.
        """
        name = f"cable{len(self.links())}"
        self.ip("link", "add", name, "type", "veth", "peer", "name", name, "netns", str(other.pid))
        for host, addresses in ((self, near), (other, far)):
            host.ip("link", "set", name, "up")
            for address in addresses.split():
                host.ip("addr", "add", address, "dev", name, *(["nodad"] if ":" in address else []))
        return name

    def serve(self, address: str, kind: str, port: int) -> None:
        """
        Have a program that sends back what it gets, over ``tcp`` or ``udp``.
        """
        words = [*self.inside(), sys.executable, "-ISc", textwrap.dedent(SERVER), address, kind, str(port)]
        program = subprocess.Popen(words, stdout=subprocess.PIPE, text=True)
        self._programs.append(program)
        assert program.stdout is not None
        if program.stdout.readline() != "ready\n":
            raise AssertionError(f"cannot listen at {address}, {kind} {port}")

    def serve_dhcp(self, addresses: str) -> None:
        """
        Have a DHCP server.

        :param addresses: what it hands out, as ``dnsmasq --dhcp-range`` takes it.
        """
        options = ("--keep-in-foreground", "--conf-file=/dev/null", "--no-ping", "--dhcp-leasefile=/run/leases")
        words = [*self.inside(), "dnsmasq", *options, "--pid-file=/run/pid", f"--dhcp-range={addresses}"]
        self._programs.append(subprocess.Popen(words, stdout=subprocess.PIPE, text=True))
        eventually(lambda: self.run("sh", "-c", "cat /run/pid 2>/dev/null || true"), "a DHCP server")

    def end_served(self) -> None:
        """
        End those programs.
        """
        while self._programs:
            program = self._programs.pop()
            program.kill()
            program.wait()
            if program.stdout is not None:
                program.stdout.close()

    def ask(self, address: str, kind: str, port: int, size: int = 1 << 20) -> str:
        """
        Send so many bytes and have them back; gives the address that the other side has seen.
        """
        script = textwrap.dedent(CLIENT)
        return self.run(sys.executable, "-ISc", script, address, kind, str(port), str(size)).strip()

    def close(self) -> None:
        """
        All of it is gone with the processes that are in it.
        """
        self.end_served()
        self._keeper.kill()
        self._keeper.wait()
        if self._keeper.stderr is not None:
            self._keeper.stderr.close()


class Broken:
    """
    A program of a host that fails, for a while.
    """

    def __init__(self, host: Host, program: str, folder: Path, *, mode: int = 0o755) -> None:
        self._host = host
        self._path = host.run("sh", "-c", f"command -v {program}").strip()
        self._broken = folder / program
        self._broken.write_text(f"#!/bin/sh\necho {program} is broken >&2\nexit 1\n")
        self._broken.chmod(mode)

    def __enter__(self) -> None:
        self._host.run("mount", "--bind", str(self._broken), self._path)

    def __exit__(self, *exception: object) -> None:
        self._host.run("umount", self._path)


class Connected(Daemon):
    """
    A core0 on such a host.
    """

    def __init__(self, host: Host, config: str = "") -> None:
        self.host = host
        super().__init__(config)

    def command(self) -> list[str]:
        """
        Its command line, in the namespaces.
        """
        return [*self.host.inside(), *super().command()]

    def close(self) -> None:
        """
        End everything and remove it.
        """
        self.stop()
        end_helpers(self.state)
        super().close()


class Refused(Exception):
    """
    What a driver refuses: the code, and the text.
    """


class Driver:
    """
    The networks of a host, without all else of core0.

    :param folder: where it keeps what survives it.
    """

    def __init__(self, host: Host, folder: Path, containers: list[int] | None = None) -> None:
        self._host = host
        self._folder = folder
        words = [*host.inside(), sys.executable, "-P", "-m", "tests.functional.network_driver", str(folder)]
        env = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONDONTWRITEBYTECODE": "1"}
        pipe = subprocess.PIPE
        self._program = subprocess.Popen(words, stdin=pipe, stdout=pipe, text=True, env=env, cwd=ROOT)
        self.call("recover", containers or [])

    def call(self, name: str, *arguments: Any) -> Any:
        """
        Have it do something; gives what it answers.

        :raises Refused: it does not.
        """
        assert self._program.stdout is not None
        self.send(name, *arguments)
        said = json.loads(self._program.stdout.readline() or '{"code": 0, "text": "it has ended"}')
        if "found" not in said:
            raise Refused(said["code"], said["text"])
        return said["found"]

    def send(self, name: str, *arguments: Any) -> None:
        """
        Have it begin something.
        """
        assert self._program.stdin is not None
        self._program.stdin.write(json.dumps([name, *arguments]) + "\n")
        self._program.stdin.flush()

    def attach(
        self, container: int, inside: Host, *links: list[str], hostname: str = "", **ports: int
    ) -> list[dict[str, Any]]:
        """
        Give a container links, each as a list of the bridge and perhaps the address; gives them as they are.
        """
        named = {name.removeprefix("port_"): port for name, port in ports.items()}
        found: list[dict[str, Any]] = self.call("attach", container, inside.pid, links, named, hostname)["links"]
        return found

    def stop(self, *, kill: bool = False) -> None:
        """
        End it; in order, or not.
        """
        if kill:
            self._program.kill()
        assert self._program.stdin is not None and self._program.stdout is not None
        self._program.stdin.close()
        self._program.wait(30)
        self._program.stdout.close()

    def close(self) -> None:
        """
        End it, and the programs that serve its bridges.
        """
        if not self._program.stdin or not self._program.stdin.closed:
            self.stop()
        end_helpers(self._folder)


def helpers(folder: Path) -> dict[str, int]:
    """
    The pids of the programs that serve bridges, by the names of those.
    """
    found: dict[str, int] = {}
    for path in map(Path, glob(f"{folder}/network/*/pid")):
        try:
            found[path.parent.name] = int(path.read_text() or 0)
        except FileNotFoundError:
            continue  # it went away just now
    return {name: pid for name, pid in found.items() if lives(pid)}


def end_helpers(folder: Path) -> None:
    """
    Kill them: a core0 that ends leaves them to its containers.
    """
    for pid in helpers(folder).values():
        os.kill(pid, signal.SIGKILL)


class NetworkTestCase(SynchronousTestCase):
    """
    Tests with a host of their own.
    """

    def setUp(self) -> None:
        """
        Make it.
        """
        self.folder = Path(tempfile.mkdtemp(prefix="core0-net-"))
        self.addCleanup(shutil.rmtree, self.folder, ignore_errors=True)
        self.host = self.another()

    def driver(self, containers: list[int] | None = None) -> Driver:
        """
        The networks of the host.

        :param containers: those that there may be.
        """
        driver = Driver(self.host, self.folder, containers)
        self.addCleanup(driver.close)
        return driver

    def another(self) -> Host:
        """
        One more host.
        """
        host = Host()
        self.addCleanup(host.close)
        return host
