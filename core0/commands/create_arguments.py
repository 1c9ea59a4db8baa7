"""
What a client may ask of a new container.
"""

import re
from collections.abc import Callable
from typing import Any, TypeVar

from msgspec.json import encode

from core0.commands.mounts import MountArguments, read_mount
from core0.commands.quantities import read_bytes, read_cores, read_count
from core0.containers.request import Mount, Request
from core0.corex_settings import Limits
from core0.messages import shown
from core0.network.links import MOST as MOST_LINKS
from core0.network.mtu import LEAST as LEAST_MTU
from core0.network.mtu import MOST as MOST_MTU
from core0.network.names import check_hostname
from core0.network.ports import MOST as MOST_PORTS
from core0.network.ports import parse
from core0.network.wishes import Port, Wish
from core0.values import Arguments

MIB = 1 << 20
LEAST_SHM = 64 << 10  # bytes
MAX_MOUNTS, MAX_ENV = 100, 1000
MAX_ENV_BYTES = 128 << 10
MAX_VARIABLE = (128 << 10) - 2  # bytes of a name and its value: execve(2) counts the = between them and a NUL behind
MAX_ENCODED = 192 << 10  # bytes of all mounts, or of all variables, as core0 tells its processes about them
T = TypeVar("T")
_ZEROTIER = re.compile(r"[0-9A-Fa-f]{16}")
_SCHEMES = ("http://", "https://", "file://", "/")


class LimitArguments(Arguments, frozen=True):
    """
    What a container may use: ``memory`` in bytes, or text with a unit (``"512M"``; K, M, G, T, powers of 1024), swap
    included; ``cpu`` in cores, also ``"50%"`` of one or ``"500m"``; ``pids``, processes and threads.
    """

    memory: int | float | str | None = None
    cpu: float | str | None = None
    pids: int | float | str | None = None

    def __post_init__(self) -> None:
        self.limits()

    def limits(self) -> Limits:
        """
        What is asked for.

        :raises ValueError: it cannot be had; begins with ``@`` and the field.
        """
        memory, cpu, pids = self.memory, self.cpu, self.pids
        return Limits(
            memory=None if memory is None else _named("memory", read_bytes, memory, 8 * MIB, 2**50),
            cpu=None if cpu is None else _named("cpu", read_cores, cpu, 0.01, 4096),
            pids=None if pids is None else _named("pids", read_count, pids, 8, 4_000_000),
        )


def _named(field: str, read: Callable[..., T], *given: Any) -> T:
    """
    :raises ValueError: what ``read`` says, with the field before it.
    """
    try:
        return read(*given)
    except ValueError as error:
        raise ValueError(f"@{field}: {error}") from error


def _check_url(field: str, value: str) -> None:
    # all else about it is judged where it is used; a URL may hold a password, which is not repeated
    if not value.lower().startswith(_SCHEMES):
        found = shown(value.partition("://")[0])
        raise ValueError(f"@{field}: expected a URL (http, https, file) or an absolute path, got {found}")
    if "\0" in value:
        raise ValueError(f"@{field}: expected no NUL character")


def _check_encoded(field: str, value: Any) -> None:
    size = len(encode(value))
    if size > MAX_ENCODED:
        raise ValueError(f"@{field}: expected at most {MAX_ENCODED} bytes as JSON, got {size}; have fewer, or shorter")


class LinkArguments(Arguments, frozen=True):
    """
    ``bridge``: a link for each, in this order ``eth0``, ``eth1`` and so on in the container: the name of a bridge, or
    that and an address, ``["br0", "10.0.0.2/24"]``; with ``"dhcp"`` one that the bridge, or a server behind it, hands
    out; with ``""`` none. The name alone means ``"dhcp"`` if the bridge hands out addresses, otherwise none.
    ``zerotier``: the id of a ZeroTier network to join, 16 hex digits; without a bridge it is reached over a link to the
    bridge ``core0``, as with ``port``. ``mtu``: of its links, in bytes; without it that of the bridge, or of the host's
    default route for a bridge of core0's that leads out (with ``nat`` or ``port``).
    """

    bridge: list[str | list[str]] | None = None
    zerotier: str | None = None
    mtu: int | float | str | None = None

    def __post_init__(self) -> None:
        if self.mtu is not None:
            _named("mtu", read_count, self.mtu, LEAST_MTU, MOST_MTU)

    def links(self) -> list[Wish]:
        """
        The links that are asked for.

        :raises ValueError: one cannot be; begins with ``@`` and the field.
        """
        found = []
        for index, given in enumerate(self.bridge or ()):
            match [given] if isinstance(given, str) else given:
                case [str() as name] if name:
                    found.append(Wish(name))
                case [str() as name, str() as address] if name:
                    found.append(Wish(name, address))
                case _:
                    text = 'expected the name of a bridge, or ["name", "address"]'
                    raise ValueError(f"@network.bridge[{index}]: {text}, got {shown(str(given))}")
        return found


class CreateArguments(Arguments, frozen=True):
    """
    ``plist`` (or ``root``): where the root file system is described, an http, https or file URL or an absolute path;
    instead of a plist there may be a tar archive of it, compressed or not. ``storage``: where the
    contents of its files are; without it ``[containers] storage``, or else ``store/`` beside the plist. ``mount``:
    directories (or files) of the host, each with its absolute path in the container, read-only with ``:ro`` behind it;
    a path with a colon is written ``{"path": "/a:b", "read_only": true}``. ``hostname``: without it ``corex-<n>``; with
    a domain, ``web.example``, it is known as ``web``, too. ``env``: variables of all its processes. ``limits``: what it
    may use. ``shm``: bytes of ``/dev/shm``, also ``"256M"``, part of its memory; without it 64 MiB, or less with a
    limit. ``network``: its links; without it, and without ``port``, it has its loopback alone. ``port``: ports of the
    host that lead to it, ``{"8080": 80}``; the host's side is a port, an address and a port (``"127.0.0.1:8080"``),
    each with ``/udp`` behind it if it is not TCP; both sides may be ranges of one length,
    ``{"8000-8010": "9000-9010"}``; without a link that is named it gets one to the bridge ``core0``, which is made when
    it is needed. ``host_network``: with the host's network instead of its own. ``privileged``: not confined at all,
    only for what you trust like yourself.
    """

    plist: str | None = None
    root: str | None = None
    storage: str | None = None
    mount: dict[str, str | MountArguments] | None = None
    hostname: str | None = None
    env: dict[str, str] | None = None
    limits: LimitArguments | None = None
    shm: int | float | str | None = None
    host_network: bool | None = None
    privileged: bool | None = None
    network: LinkArguments | None = None
    port: dict[str, int | str] | None = None

    def __post_init__(self) -> None:
        if self.plist and self.root and self.plist != self.root:
            raise ValueError("@root: expected only one of plist and root, or both the same")
        if not (self.plist or self.root):
            raise ValueError("@plist: required, but missing")
        _check_url("plist" if self.plist else "root", self.plist or self.root or "")
        if self.storage:
            _check_url("storage", self.storage)
        if self.hostname:
            _named("hostname", check_hostname, self.hostname)
        shm, memory = self._shm(), (self.limits or LimitArguments()).limits().memory
        if memory is not None and shm > memory:
            text = f"expected at most limits.memory ({memory}), which it counts to"
            raise ValueError(f"@shm: {text}, got {shown(str(self.shm))}")
        self._check_env()
        self._check_mounts()
        self._check_network()

    def _shm(self) -> int:
        return 0 if self.shm is None else _named("shm", read_bytes, self.shm, LEAST_SHM, 2**50)

    def _mtu(self) -> int:
        mtu = self.network.mtu if self.network is not None else None
        return 0 if mtu is None else read_count(mtu, LEAST_MTU, MOST_MTU)

    def _check_network(self) -> None:
        links, ports = self.links(), self.ports()
        zerotier = self.network.zerotier if self.network is not None else None
        given = {"network.bridge": links, "network.zerotier": zerotier, "port": ports}
        for name in [name for name, value in given.items() if value and self.host_network]:
            raise ValueError(f"@{name}: expected nothing with host_network, which has the host's own links and ports")
        if self._mtu() and not (links or ports or zerotier):
            raise ValueError("@network.mtu: expected a bridge, a port or zerotier, too: without them there is no link")
        if zerotier and not _ZEROTIER.fullmatch(zerotier):
            raise ValueError(f"@network.zerotier: expected 16 hex digits, got {shown(zerotier)}")
        if len(links) > MOST_LINKS:
            raise ValueError(f"@network.bridge: expected at most {MOST_LINKS}, got {len(links)}")
        if len(ports) > MOST_PORTS:
            raise ValueError(f"@port: expected at most {MOST_PORTS}, got {len(ports)}")

    def links(self) -> list[Wish]:
        """
        The links that it is to have.

        :raises ValueError: see :meth:`LinkArguments.links`.
        """
        return self.network.links() if self.network is not None else []

    def ports(self) -> list[Port]:
        """
        The ports that lead to it.

        :raises ValueError: one is none; begins with ``@`` and the field.
        """
        found = []
        for host, container in (self.port or {}).items():
            try:
                found += parse(host, container)
            except ValueError as error:
                raise ValueError(f"@port[{host!r:.80}]: {error}") from error
        return found

    def _check_env(self) -> None:
        env = self.env or {}
        sizes = {name: len(f"{name}{value}".encode()) for name, value in env.items()}
        if len(env) > MAX_ENV or sum(sizes.values()) > MAX_ENV_BYTES:
            raise ValueError(f"@env: expected at most {MAX_ENV} variables, and {MAX_ENV_BYTES} bytes in all")
        for name, value in env.items():
            if not name or "=" in name or "\0" in name + value:
                raise ValueError(f"@env: expected names without '=' and values without NUL, got {shown(name)}")
            if sizes[name] > MAX_VARIABLE:
                raise ValueError(f"@env[{name!r:.80}]: expected at most {MAX_VARIABLE} bytes, got {sizes[name]}")
        _check_encoded("env", env)

    def _check_mounts(self) -> None:
        mounts = list(self.mounts())
        if len(mounts) > MAX_MOUNTS:
            raise ValueError(f"@mount: expected at most {MAX_MOUNTS}, got {len(mounts)}")
        targets = [mount.target for mount in mounts]
        twice = next((target for target in targets if targets.count(target) > 1), None)
        if twice is not None:
            raise ValueError(f"@mount: expected each path of the container once, got {shown(twice)} twice")
        _check_encoded("mount", mounts)

    def mounts(self) -> list[Mount]:
        """
        What is to be mounted.

        :raises ValueError: something cannot be; begins with ``@`` and the field.
        """
        return [read_mount(source, target) for source, target in (self.mount or {}).items()]

    def request(self) -> Request:
        """
        What is asked for, defaults filled in.
        """
        limits = self.limits or LimitArguments()
        return Request(
            plist=self.plist or self.root or "",
            storage=self.storage or "",
            hostname=self.hostname or "",
            env=self.env or {},
            mounts=self.mounts(),
            limits=limits.limits(),
            shm=self._shm(),
            mtu=self._mtu(),
            privileged=bool(self.privileged),
            host_network=bool(self.host_network),
            links=tuple(self.links()),
            ports=tuple(self.ports()),
            zerotier=(self.network.zerotier or "").lower() if self.network is not None else "",
        )
