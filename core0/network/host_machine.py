"""
The network of the host as it is: links, their addresses, default routes, the resolver; and what a DHCP server gave.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv4Interface

from core0.network.host_settings import Ip, IpInterface


@dataclass(frozen=True, slots=True)
class Address:
    """
    An address that a link has.

    :ivar own: core0 has put it there.
    :ivar lasting: the kernel keeps it for ever.
    :ivar ready: it can be used; one of IPv6 is tried out on the wire for a second first.
    :ivar taken: that has shown that another machine has it.
    """

    ip: IpInterface
    own: bool = False
    lasting: bool = True
    ready: bool = True
    taken: bool = False


@dataclass(frozen=True, slots=True)
class Link:
    """
    :ivar up: it is set up.
    :ivar cable: there is a cable, or whatever it takes to reach others.
    :ivar card: it is a network card, not something made of software, and no port of a bridge or a bond.
    :ivar addresses: without those that the kernel gives every link itself.
    """

    name: str
    index: int
    up: bool = False
    cable: bool = False
    card: bool = False
    mtu: int = 1500
    addresses: tuple[Address, ...] = ()


@dataclass(frozen=True, slots=True)
class Route:
    """
    A default route.

    :ivar own: core0 has made it.
    """

    link: str
    gateway: Ip
    metric: int
    own: bool = False


@dataclass(frozen=True, slots=True)
class Resolver:
    """
    The file that says who knows names.

    :ivar text: None if there is none that can be read.
    :ivar target: where it leads if it is a link; else empty.
    """

    text: str | None = None
    target: str = ""


@dataclass(frozen=True, slots=True)
class Machine:
    """
    All of it.
    """

    links: Mapping[str, Link] = field(default_factory=dict)
    routes: tuple[Route, ...] = ()
    resolver: Resolver = Resolver()


@dataclass(frozen=True, slots=True)
class Lease:
    """
    What a DHCP server gave.

    :ivar domain: where names without a dot are looked for; may be empty.
    """

    address: IPv4Interface
    gateway: IPv4Address | None = None
    dns: tuple[Ip, ...] = ()
    domain: str = ""
