"""
What ``zerotier-one`` is told and asked by the JSON API that it has at 127.0.0.1. Nothing of what it says is believed
before it is checked: it may be whatever listens there inside a container. All that talks to it blocks.
"""

import os
import random
import re
import select
import signal
import socket
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from ipaddress import ip_interface
from typing import Annotated, Any, TypeVar

import msgspec
from msgspec import Meta, Struct, field

from core0 import procfs
from core0.network.helper import STOP, NotServed, sees
from core0.network.kernel import NotTaken
from core0.network.namespaces import within

T = TypeVar("T")

PROGRAM, ORIGIN = "zerotier-one", "zerotier.com"
PID, PORT, TOKEN = "zerotier-one.pid", "zerotier-one.port", "authtoken.secret"  # files
LOCAL = "local.conf"  # what it is told besides its command line
PORTS = ("primaryPort", "secondaryPort", "tertiaryPort")
FIRST_PORT, LAST_PORT = 20_000, 32_767  # below those that the kernel gives to connections
RIGHTS = ("net_admin", "net_raw")  # all that it needs: it is told what to do by whoever manages its network
HERE = "127.0.0.1"
LISTENING = b"0A"
PATIENCE = 2.0  # seconds for all that is asked at once
LARGEST = 64 << 10  # bytes of an answer
SMALL = 256  # bytes of its files
TABLE = 1 << 20  # bytes of the table of sockets: those that listen come first
NOT_RUNNING = "NOT_RUNNING"


class Node(Struct, frozen=True):
    """
    Who it is.
    """

    address: Annotated[str, Meta(pattern=r"\A[0-9a-f]{10}\Z")]


class Membership(Struct, frozen=True):
    """
    How it is with a network.
    """

    id: Annotated[str, Meta(pattern=r"\A[0-9a-f]{16}\Z")]
    status: Annotated[str, Meta(pattern=r"\A[ -~]{1,64}\Z")]
    addresses: Annotated[tuple[Annotated[str, Meta(max_length=64)], ...], Meta(max_length=64)] = field(
        name="assignedAddresses", default=()
    )
    interface: Annotated[str, Meta(pattern=r"\A[A-Za-z0-9_.-]{0,15}\Z")] = field(name="portDeviceName", default="")


def arguments(program: str, home: str) -> list[str]:
    """
    The command line: any port, but for what :data:`LOCAL` says.

    It keeps its user: the one that its package makes for it could not reach a home below a folder of core0's.
    """
    return [program, "-U", "-p0", home]


def confined(setpriv: str) -> list[str]:
    """
    The words before the command line, with which it has no other rights, and gets none.
    """
    return [setpriv, "--no-new-privs", f"--bounding-set=-all,{','.join(f'+{right}' for right in RIGHTS)}", "--"]


def choose_ports(home: str, *, anew: bool) -> None:
    """
    Have it use the same ports at each start, or else its neighbours do not find it for minutes. It ends where one of
    them is taken: then it is to get others.

    :raises OSError: they cannot be written down.
    """
    path = os.path.join(home, LOCAL)
    told = _local(path)
    settings = told.get("settings")
    settings = settings if isinstance(settings, dict) else {}
    had = {port for name in PORTS if type(port := settings.get(name)) is int and 0 < port <= 65535}
    if not anew and len(had) == len(PORTS):
        return
    free = [port for port in range(FIRST_PORT, LAST_PORT + 1) if port not in had]
    chosen = dict(zip(PORTS, random.SystemRandom().sample(free, len(PORTS)), strict=True))
    fd = os.open(f"{path}.new", os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    with open(fd, "wb") as file:
        file.write(msgspec.json.encode({**told, "settings": {**settings, **chosen}}))
    os.rename(f"{path}.new", path)


def _local(path: str) -> dict[str, Any]:
    try:
        found = msgspec.json.decode(_read(path, LARGEST))
    except (OSError, msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def described(network: str, node: Node, membership: Membership) -> dict[str, Any]:
    """
    How a container is in a network.
    """
    return {
        "network": network,
        "address": node.address,
        "status": membership.status,
        "addresses": list(membership.addresses),
        "interface": membership.interface,
    }


def absent(network: str) -> dict[str, Any]:
    """
    The same where nobody says how it is.
    """
    return {"network": network, "address": "", "status": NOT_RUNNING, "addresses": [], "interface": ""}


def node_of(body: bytes) -> Node:
    """
    :raises NotServed: it says something else.
    """
    return _decoded(body, Node)


def membership_of(body: bytes, network: str) -> Membership:
    """
    :raises NotServed: it says something else, or speaks of another network.
    """
    found = _decoded(body, Membership)
    if found.id != network:
        raise NotServed(f"{PROGRAM} speaks of another network than {network}")
    try:
        if any("%" in each for each in found.addresses):
            raise ValueError("an address of one link alone")
        return msgspec.structs.replace(found, addresses=tuple(str(ip_interface(each)) for each in found.addresses))
    except ValueError as error:
        raise NotServed(f"{PROGRAM} has addresses that are none") from error


def _decoded(body: bytes, type: type[T]) -> T:
    try:
        return msgspec.json.decode(body, type=type)
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        raise NotServed(f"{PROGRAM} says what cannot be understood: {error}") from error


def request(method: str, path: str, port: int, token: str) -> bytes:
    """
    In the version of HTTP in which an answer ends with the connection.
    """
    body = "{}" if method == "POST" else ""
    lines = [f"{method} {path} HTTP/1.0", f"Host: {HERE}:{port}", f"X-ZT1-Auth: {token}", "Connection: close"]
    lines += ["Content-Type: application/json", f"Content-Length: {len(body)}"] if body else []
    return "\r\n".join([*lines, "", body]).encode()


def body_of(answer: bytes) -> bytes:
    """
    :raises NotServed: it is another answer than 200, or none.
    """
    head, found, body = answer.partition(b"\r\n\r\n")
    code = re.match(rb"HTTP/1\.[01] ([0-9]{3})(?![0-9])", head)
    if not found or code is None:
        raise NotServed(f"{PROGRAM} does not answer in HTTP")
    if code[1] != b"200":
        raise NotServed(f"{PROGRAM} answers {code[1].decode()}")
    return body


def listeners(table: bytes, port: int) -> set[str]:
    """
    What listens where a connection to 127.0.0.1 ends, as descriptors of processes show it.

    :param table: ``/proc/<pid>/net/tcp``.
    """
    here = {_in_table(address, port) for address in (HERE, "0.0.0.0")}
    rows = (line.split() for line in table.splitlines())
    return {f"socket:[{row[9].decode()}]" for row in rows if len(row) > 9 and row[1] in here and row[3] == LISTENING}


def _in_table(address: str, port: int) -> bytes:
    return b"%08X:%04X" % (int.from_bytes(socket.inet_aton(address), sys.byteorder), port)


def end_left(home: str) -> None:
    """
    End the one in a home that nobody looks after.
    """
    pid = _figure(home, PID)
    try:
        fd = os.pidfd_open(pid or 0)
    except (OSError, ValueError):
        return
    try:
        told = procfs.read(f"/proc/{pid}/cmdline").split(b"\0")
        if os.fsencode(home) in told and sees(pid or 0, home):
            signal.pidfd_send_signal(fd, signal.SIGKILL)
            gone = select.poll()
            gone.register(fd, select.POLLIN)
            gone.poll(STOP * 1000)
    except ProcessLookupError:
        pass
    finally:
        os.close(fd)


def _read(path: str, size: int) -> bytes:
    with open(path, "rb") as file:
        return file.read(size)


def _figure(home: str, name: str) -> int | None:
    """
    The number in one of its files.
    """
    try:
        text = _read(os.path.join(home, name), SMALL).strip()
    except OSError:
        return None
    return int(text) if text.isdigit() and len(text) < 10 else None


class Api:
    """
    :param home: the folder of the one that is asked.
    """

    def __init__(self, home: str) -> None:
        self._home = home

    def join(self, pid: int, network: str) -> None:
        """
        Have it join a network. That it is in it already is no mistake.

        :raises NotServed: it does not.
        """
        membership_of(self._ask(pid, "POST", f"/network/{network}", time.monotonic() + PATIENCE), network)

    def look(self, pid: int, network: str) -> dict[str, Any]:
        """
        How it is in a network.

        :raises NotServed: it does not say.
        """
        end = time.monotonic() + PATIENCE
        node = node_of(self._ask(pid, "GET", "/status", end))
        return described(network, node, membership_of(self._ask(pid, "GET", f"/network/{network}", end), network))

    def _ask(self, pid: int, method: str, path: str, end: float) -> bytes:
        port = _figure(self._home, PORT)
        if not port or port > 65535:
            raise NotServed(f"{PROGRAM} has not said yet where it listens")
        try:
            # a file that anybody else than it has written cannot be there, but half a file can
            token = _read(os.path.join(self._home, TOKEN), SMALL).decode("ascii", "replace").strip()
            if re.fullmatch(r"[!-~]+", token) is None:
                raise NotServed(f"{PROGRAM} has not said yet who may ask")
            with _inside(pid) as connection:
                connection.settimeout(_left(end))
                connection.connect((HERE, port))
                # its port may be one that it had before it ended: whoever has that now is not to see the token
                if not _is_at(pid, port):
                    raise NotServed(f"{PROGRAM} does not listen where it has said")
                connection.sendall(request(method, path, port, token))
                return body_of(_answer(connection, end))
        except (OSError, NotTaken) as error:
            raise NotServed(f"{PROGRAM} cannot be asked: {error}") from error


@contextmanager
def _inside(pid: int) -> Iterator[socket.socket]:
    """
    A socket in the network that a process is in.
    """
    made: list[socket.socket] = []

    def make() -> None:
        made.append(socket.socket(socket.AF_INET, socket.SOCK_STREAM))

    namespace = os.open(f"/proc/{pid}/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    try:
        within(namespace, make)
    finally:
        os.close(namespace)
    with made[0] as connection:
        yield connection


def _is_at(pid: int, port: int) -> bool:
    found = listeners(_read(f"/proc/{pid}/net/tcp", TABLE), port)
    folder = f"/proc/{pid}/fd"
    return bool(found) and found <= {_link(os.path.join(folder, name)) for name in os.listdir(folder)}


def _link(path: str) -> str:
    try:
        return os.readlink(path)
    except OSError:
        return ""  # it is closed by now


def _answer(connection: socket.socket, end: float) -> bytes:
    """
    All that is said until the connection ends.
    """
    said = bytearray()
    while len(said) <= LARGEST:
        connection.settimeout(_left(end))
        piece = connection.recv(LARGEST)
        if not piece:
            return bytes(said)
        said += piece
    raise NotServed(f"{PROGRAM} says more than {LARGEST} bytes")


def _left(end: float) -> float:
    left = end - time.monotonic()
    if left <= 0:
        raise TimeoutError(f"no answer within {PATIENCE:.0f} s")
    return left
