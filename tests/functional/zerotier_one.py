"""
A program that does what ``zerotier-one`` does, as far as core0 has to do with it, for tests where that is not
installed. It reaches nobody, and lets itself into every network.

Called as ``zerotier-one -U -p0 <home>``. In its environment: ``ZEROTIER_ONE``, its name; ``ZEROTIER_ONE_MOOD``, a file
that says how it answers (see :class:`Api`), as it should if that is empty; ``ZEROTIER_ONE_NOT_HERE``, the network
namespace of the tests.
"""

import ctypes
import fcntl
import http.server
import ipaddress
import json
import os
import re
import secrets
import shlex
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

NAME = "zerotier-one"
TUNSETIFF, IFF_TAP, IFF_NO_PI = 0x400454CA, 0x0002, 0x1000
CONFIGURED = 0.3  # seconds after which it is let into a network
NETWORK = ipaddress.ip_network("10.147.17.0/24")
HUGE = 1 << 28  # bytes


def install(folder: Path, mood: Path) -> str:
    """
    Make a program of it.

    :param folder: an empty one.
    :returns: what ``PATH`` is to have.
    """
    python, script, path = [sys.executable, "-IS"], str(Path(__file__).resolve()), str(folder)
    # all words together as long as the name: then they can be shown as if there was nothing else, as of a binary
    short = len("\0".join([*python, script])) - len(f"{path}/{NAME}")
    path, script = path + "/" * (max(short, 0) + 1), "/" * max(-short, 0) + script
    lines = [
        "#!/bin/sh",
        f'export ZEROTIER_ONE="$0" ZEROTIER_ONE_MOOD={shlex.quote(str(mood))}',
        f"export ZEROTIER_ONE_NOT_HERE={shlex.quote(os.readlink('/proc/self/ns/net'))}",
        f'exec {shlex.join([*python, script])} "$@"',
    ]
    program = folder / NAME
    program.write_text("\n".join([*lines, ""]))
    program.chmod(0o755)
    return path


class Member:
    """
    A network that it is in.
    """

    def __init__(self, id: str, node: str) -> None:
        self._id = id
        host = int(node, 16) % (NETWORK.num_addresses - 2) + 1
        self._address = f"{NETWORK[host]}/{NETWORK.prefixlen}"
        self.link = f"zt{id[:6]}{id[-2:]}"
        # it goes with this process
        self._tap = os.open("/dev/net/tun", os.O_RDWR | os.O_CLOEXEC)
        fcntl.ioctl(self._tap, TUNSETIFF, struct.pack("16sH22x", self.link.encode(), IFF_TAP | IFF_NO_PI))
        self._let = False
        threading.Timer(CONFIGURED, self._let_in).start()

    def _let_in(self) -> None:
        closed = Path(os.environ["ZEROTIER_ONE_MOOD"]).with_suffix(".closed")
        while closed.exists():
            time.sleep(0.01)
        for words in (["addr", "add", self._address], ["link", "set", "up"]):
            subprocess.run(["ip", *words, "dev", self.link], check=False)
        self._let = True

    def shown(self) -> dict[str, Any]:
        """
        As the API shows it.
        """
        return {
            "id": self._id,
            "nwid": self._id,
            "name": "stand-in" if self._let else "",
            "mac": "02:00:00:00:00:01",
            "mtu": 2800,
            "type": "PRIVATE",
            "status": "OK" if self._let else "REQUESTING_CONFIGURATION",
            "assignedAddresses": [self._address] if self._let else [],
            "portDeviceName": self.link,
            "routes": [{"target": str(NETWORK), "via": None}] if self._let else [],
        }

    def leave(self) -> None:
        """
        Its interface goes.
        """
        os.close(self._tap)


class Service:
    """
    :param home: its folder; what is in it is found again.
    """

    def __init__(self, home: Path) -> None:
        self._home = home
        self._folder = home / "networks.d"
        self._folder.mkdir(parents=True, exist_ok=True)
        (home / f"{NAME}.pid").write_text(str(os.getpid()))
        # after that, as it does itself
        self.sockets, self.port = self._bind()
        self.address = self._kept("identity.public", lambda: f"{secrets.token_hex(5)}:0:{'0' * 128}").partition(":")[0]
        self.token = self._kept("authtoken.secret", lambda: secrets.token_hex(12))
        self.members: dict[str, Member] = {}
        for path in sorted(self._folder.glob("*.conf")):
            self.join(path.stem)

    def _bind(self) -> tuple[list[socket.socket], int]:
        """
        Its ports, or those of its file; it ends if one is taken.
        """
        path = self._home / "local.conf"
        settings = json.loads(path.read_text())["settings"] if path.exists() else {}
        ports = [settings.get(name, 0) for name in ("primaryPort", "secondaryPort", "tertiaryPort")]
        sockets = []
        try:
            for port in ports:
                bound = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
                bound.bind(("0.0.0.0", port))
                sockets.append(bound)
            with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as tried:
                tried.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                tried.bind(("127.0.0.1", ports[0]))
        except OSError:
            sys.stderr.write(f"{NAME}: fatal error: cannot bind to local control interface port\n")
            raise SystemExit(255) from None
        return sockets, ports[0]

    def _kept(self, name: str, make: Any) -> str:
        path = self._home / name
        if not path.exists():
            path.touch(mode=0o600)
            path.write_text(make())
        return path.read_text()

    def join(self, id: str) -> Member:
        """
        A network more, or the same.
        """
        if id not in self.members:
            self.members[id] = Member(id, self.address)
            (self._folder / f"{id}.conf").touch()
        return self.members[id]

    def leave(self, id: str) -> None:
        """
        A network less.
        """
        self.members.pop(id).leave()
        (self._folder / f"{id}.conf").unlink()

    def serve(self) -> None:
        """
        Until it is told to end.
        """
        server = Server(("127.0.0.1", self.port), Api)
        server.service = self
        (self._home / f"{NAME}.port").write_text(str(server.server_address[1]))
        signal.signal(signal.SIGTERM, lambda number, frame: threading.Thread(target=server.shutdown).start())
        server.serve_forever(0.02)
        (self._home / f"{NAME}.pid").unlink()
        os._exit(0)


class Server(http.server.ThreadingHTTPServer):
    """
    Knows what it serves.
    """

    daemon_threads = True
    service: Service


class Api(http.server.BaseHTTPRequestHandler):
    """
    Answers; by mood with too much, or slowly, or never, or with what is something else.
    """

    server: Server
    timeout = 10.0

    def log_message(self, format: str, *arguments: Any) -> None:
        """
        It is nobody's business.
        """

    def answer(self) -> None:
        """
        The hook for all methods.
        """
        mood = Path(os.environ["ZEROTIER_ONE_MOOD"])
        text = mood.read_text().strip() if mood.exists() else ""
        if text:
            self.close_connection = True
            getattr(self, f"be_{text.partition(' ')[0]}")(text.partition(" ")[2])
            return
        code, body = self.found()
        self.say(code, json.dumps(body).encode())

    do_GET = do_POST = do_DELETE = answer

    def say(self, code: int, body: bytes, **headers: str) -> None:
        """
        An answer.
        """
        self.send_response(code)
        for name, value in {"Content-Length": str(len(body)), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def found(self) -> tuple[int, Any]:
        """
        The right one.
        """
        service = self.server.service
        if self.headers.get("X-ZT1-Auth") != service.token:
            return 401, {}
        if (self.command, self.path) == ("GET", "/status"):
            return 200, {"address": service.address, "online": True, "version": "1.14.2", "clock": 1}
        id = re.fullmatch(r"/network/([0-9a-f]{16})", self.path)
        if id is None:
            return 404, {}
        if self.command == "POST":
            return (200, service.join(id[1]).shown()) if self.body() == b"{}" else (400, {})
        if id[1] not in service.members:
            return 404, {}
        if self.command == "DELETE":
            service.leave(id[1])
            return 200, {"result": True}
        return 200, service.members[id[1]].shown()

    def body(self) -> bytes:
        """
        Of what it is asked.
        """
        return self.rfile.read(int(self.headers.get("Content-Length", "0")))

    def be_saying(self, text: str) -> None:
        """
        This, whatever it is asked.
        """
        self.say(200, text.encode())

    def be_without(self, text: str) -> None:
        """
        As where there is no ``/dev/net/tun``: it says so on its stderr alone.
        """
        sys.stderr.write("ERROR: unable to configure virtual network port: could not open TUN/TAP device\n")
        sys.stderr.flush()
        self.say(200, b"{}")

    def be_failing(self, code: str) -> None:
        """
        With a code, and leading elsewhere.
        """
        self.say(int(code), b"{}", Location=f"http://127.0.0.1:{self.server.server_address[1]}/status")

    def be_huge(self, text: str) -> None:
        """
        As long as somebody listens.
        """
        self.say(200, b"")
        try:
            for _ in range(HUGE >> 16):
                self.wfile.write(b" " * (1 << 16))
        except OSError:
            Path(os.environ["ZEROTIER_ONE_MOOD"]).with_suffix(".stopped").touch()

    def be_hanging(self, text: str) -> None:
        """
        Silent.
        """
        time.sleep(600)

    def be_slow(self, text: str) -> None:
        """
        A letter at a time.
        """
        self.say(200, b"")
        for _ in range(100):
            self.wfile.write(b" ")
            time.sleep(0.1)


def show(words: list[str]) -> None:
    """
    Look as if called by just these words.
    """
    fields = Path("/proc/self/stat").read_text().rpartition(")")[2].split()
    start, end = int(fields[45]), int(fields[46])  # of the words in memory
    text = "".join(f"{word}\0" for word in words).encode()
    assert len(text) == end - start, (text, end - start)
    ctypes.memmove(start, text, len(text))


def main() -> None:
    """
    Until it is told to end.
    """
    if os.readlink("/proc/self/ns/net") == os.environ["ZEROTIER_ONE_NOT_HERE"]:
        raise SystemExit(f"{NAME}: this would change the machine's own network")
    if len(sys.argv) != 4 or sys.argv[1:3] != ["-U", "-p0"]:
        raise SystemExit(f"Usage: {NAME} -U -p0 <home>")
    show([os.environ["ZEROTIER_ONE"], *sys.argv[1:]])
    Service(Path(sys.argv[3])).serve()


if __name__ == "__main__":
    main()
