"""
What of the network core0 has been asked for: bridges, the links of containers, and ports that lead to them.

All of it is one value. It is kept in a file, as JSON; addresses are text in their usual short form.
"""

from collections.abc import Iterable
from ipaddress import (
    IPv4Address,
    IPv4Interface,
    IPv4Network,
    IPv6Address,
    IPv6Interface,
    IPv6Network,
    ip_address,
    ip_interface,
)
from typing import Any, Literal

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from core0.network.host_machine import Lease

Ip = IPv4Address | IPv6Address
Interface = IPv4Interface | IPv6Interface
Network = IPv4Network | IPv6Network
Transport = Literal["tcp", "udp"]


class Subnet(Struct, frozen=True, kw_only=True):
    """
    The addresses of a bridge.

    :ivar address: its own, with the length of the prefix.
    :ivar nat: what leaves it for elsewhere gets the address of the host.
    :ivar start: the first address that is handed out by DHCP; empty: none is.
    :ivar end: the last one.
    """

    address: str
    nat: bool = False
    start: str = ""
    end: str = ""

    @property
    def interface(self) -> Interface:
        """
        Its own address, as a value.
        """
        return ip_interface(self.address)

    @property
    def network(self) -> Network:
        """
        All its addresses.
        """
        return self.interface.network


class Bridge(Struct, frozen=True, kw_only=True):
    """
    :ivar hwaddr: its MAC address.
    :ivar mtu: in bytes; 0: the least of its ports.
    """

    name: str
    hwaddr: str
    subnet: Subnet | None = None
    mtu: int = 0


class Link(Struct, frozen=True, kw_only=True):
    """
    A container's link to a bridge.

    :ivar index: which of the container's links, from 0 on.
    :ivar hwaddr: the MAC address that the container sees.
    :ivar address: with the length of the prefix; empty: none is given to it.
    :ivar gateway: through which the container reaches everybody else; may be empty.
    :ivar hostname: under which others on the bridge find it; may be empty.
    :ivar dhcp: a server of others, behind the bridge, gives it its address, and says what follows.
    :ivar dns: who answers DNS.
    :ivar domain: where names without a dot are looked for; may be empty.
    :ivar mtu: in bytes; 0: that of the bridge.
    """

    container: int
    index: int
    bridge: str
    hwaddr: str
    address: str = ""
    gateway: str = ""
    hostname: str = ""
    dhcp: bool = False
    dns: tuple[str, ...] = ()
    domain: str = ""
    mtu: int = 0

    @property
    def host_name(self) -> str:
        """
        The name of the end on the host.
        """
        return f"c{self.container}v{self.index}"

    @property
    def inside_name(self) -> str:
        """
        The name of the end in the container.
        """
        return f"eth{self.index}"

    @property
    def ip(self) -> Ip | None:
        """
        Its address, as a value.
        """
        return ip_interface(self.address).ip if self.address else None


class Forward(Struct, frozen=True, kw_only=True):
    """
    A port of the host that leads to one of a container.

    :ivar host_address: one of the host; empty: every one.
    :ivar address: of the container, without a prefix.
    :ivar bridge: through which it is reached.
    """

    container: int
    host_port: int
    port: int
    address: str
    bridge: str
    host_address: str = ""
    protocol: Transport = "tcp"

    @property
    def ip(self) -> Ip:
        """
        The address of the container, as a value.
        """
        return ip_address(self.address)

    @property
    def kind(self) -> tuple[str, int, int]:
        """
        Protocol, port of the host and version: of another kind there is never the same packet.
        """
        return self.protocol, self.host_port, self.ip.version

    def meets(self, other: "Forward") -> bool:
        """
        Whether both want the same packets.
        """
        same = self.host_address == other.host_address or "" in (self.host_address, other.host_address)
        return same and self.kind == other.kind


class Desired(Struct, frozen=True, kw_only=True):
    """
    All of it.
    """

    version: int = 1
    bridges: tuple[Bridge, ...] = ()
    links: tuple[Link, ...] = ()
    forwards: tuple[Forward, ...] = ()

    def bridge(self, name: str) -> Bridge | None:
        """
        The one of a name.
        """
        return next((bridge for bridge in self.bridges if bridge.name == name), None)

    def on(self, name: str) -> tuple[Link, ...]:
        """
        The links to a bridge.
        """
        return tuple(link for link in self.links if link.bridge == name)

    def with_bridge(self, bridge: Bridge) -> "Desired":
        """
        With one more; it replaces one of the same name.
        """
        others = self.without_bridge(bridge.name).bridges
        return replace(self, bridges=(*others, bridge))

    def without_bridge(self, name: str) -> "Desired":
        """
        Without it; its links are left as they are.
        """
        return replace(self, bridges=tuple(bridge for bridge in self.bridges if bridge.name != name))

    def with_links(self, links: Iterable[Link]) -> "Desired":
        """
        With some more.
        """
        return replace(self, links=(*self.links, *links))

    def with_lease(self, container: int, index: int, lease: Lease | None) -> "Desired":
        """
        With what a server of others has given one of the links; None: it has nothing.
        """
        given: dict[str, Any] = {"address": "", "gateway": "", "dns": (), "domain": ""}
        if lease is not None:
            given["address"] = str(lease.address)
            given["gateway"] = str(lease.gateway or "")
            given["dns"] = tuple(map(str, lease.dns))
            given["domain"] = lease.domain
        found = (link.container == container and link.index == index for link in self.links)
        links = (replace(link, **given) if here else link for here, link in zip(found, self.links, strict=True))
        return replace(self, links=tuple(links))

    def with_forwards(self, forwards: Iterable[Forward]) -> "Desired":
        """
        With some more.
        """
        return replace(self, forwards=(*self.forwards, *forwards))

    def without_container(self, number: int) -> "Desired":
        """
        Without its links and ports.
        """
        return replace(
            self,
            links=tuple(link for link in self.links if link.container != number),
            forwards=tuple(forward for forward in self.forwards if forward.container != number),
        )


def encode(desired: Desired) -> bytes:
    """
    As JSON.
    """
    return msgspec.json.format(msgspec.json.encode(desired), indent=1) + b"\n"


def decode(text: bytes) -> Desired:
    """
    From JSON.

    :raises ValueError: it is none, or of another form; whether it makes sense is for :mod:`core0.network.validity`.
    """
    return msgspec.json.decode(text, type=Desired)
