"""
What has to be done so that the host's network is as its file says: a function from values to steps.

What core0 adds it marks as its own, in the kernel. Only that is ever removed; what others have added stays.
"""

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import TypeAlias

from core0.network.host_machine import Address, Lease, Link, Machine
from core0.network.host_resolver import render
from core0.network.host_settings import MAX_LINKS, MAX_SERVERS, HostSettings, Ip, IpInterface, LinkSettings

FIRST_METRIC = 50  # of the default route of the first link; below what others use, so that the file counts


@dataclass(frozen=True, slots=True)
class SetMtu:
    """
    Limit the size of packets, in bytes.
    """

    link: str
    mtu: int

    def __str__(self) -> str:
        return f"{self.link}: set its MTU to {self.mtu}"


@dataclass(frozen=True, slots=True)
class BringUp:
    """
    Set a link up.
    """

    link: str

    def __str__(self) -> str:
        return f"{self.link}: set it up"


@dataclass(frozen=True, slots=True)
class AddAddress:
    """
    Give a link an address, for ever.
    """

    link: str
    address: IpInterface

    def __str__(self) -> str:
        return f"{self.link}: add the address {self.address}"


@dataclass(frozen=True, slots=True)
class RemoveAddress:
    """
    Take an address from a link.
    """

    link: str
    address: IpInterface

    def __str__(self) -> str:
        return f"{self.link}: remove the address {self.address}, which core0 has added before"


@dataclass(frozen=True, slots=True)
class AddRoute:
    """
    Send what is not near to a gateway. ``onlink``: it is reached though it is in none of the link's networks.
    """

    link: str
    gateway: Ip
    metric: int
    onlink: bool = False

    def __str__(self) -> str:
        return f"{self.link}: add the default route to {self.gateway}, metric {self.metric}"


@dataclass(frozen=True, slots=True)
class RemoveRoute:
    """
    Do so no more.
    """

    link: str
    gateway: Ip
    metric: int

    def __str__(self) -> str:
        return f"{self.link}: remove the default route to {self.gateway}, which core0 has added before"


@dataclass(frozen=True, slots=True)
class AskDhcp:
    """
    Ask for an address, and go on asking for it to stay.
    """

    link: str

    def __str__(self) -> str:
        return f"{self.link}: ask for an address by DHCP, as long as core0 runs"


@dataclass(frozen=True, slots=True)
class WriteResolver:
    """
    Replace the resolver's file.
    """

    text: str
    link: str = ""

    def __str__(self) -> str:
        servers = ", ".join(line.split()[1] for line in self.text.splitlines() if line.startswith("nameserver"))
        return f"/etc/resolv.conf: write it, with {servers}"


@dataclass(frozen=True, slots=True)
class LeaveResolver:
    """
    Leave it to whoever makes the file that it is a link to, and say so.
    """

    target: str
    text: str
    link: str = ""

    def __str__(self) -> str:
        return f"/etc/resolv.conf: left alone, since it is a link to {self.target}"


Step: TypeAlias = (
    SetMtu | BringUp | AddAddress | RemoveAddress | AddRoute | RemoveRoute | AskDhcp | WriteResolver | LeaveResolver
)


@dataclass(frozen=True, slots=True)
class _Wanted:
    addresses: tuple[IpInterface, ...] = ()
    gateways: tuple[Ip, ...] = ()


def named_links(settings: HostSettings, machine: Machine) -> list[LinkSettings]:
    """
    The links of the file, whether they are there or not; then, with ``auto``, each other network card.
    """
    named = list(settings.links)
    if settings.auto:
        known = {link.name for link in named}
        cards = sorted((link for link in machine.links.values() if link.card), key=lambda link: link.index)
        named += [LinkSettings(link.name, "dhcp") for link in cards if link.name not in known]
    return named[:MAX_LINKS]


def plan(
    settings: HostSettings,
    machine: Machine,
    leases: Mapping[str, Lease] = {},
    raised: Collection[int] = (),
) -> list[Step]:
    """
    The steps from how it is to how it should be, in order; none for what is so already.

    :param leases: by the names of the links.
    :param raised: the numbers of links that were up once: whoever has set one of them down meant it.
    """
    steps: list[Step] = []
    named = named_links(settings, machine)
    for place, link in enumerate(named):
        found = machine.links.get(link.name)
        if found is not None and (found.up or found.index not in raised):
            steps += _steps(link, found, machine, leases.get(link.name), FIRST_METRIC + place)
    steps += _resolver(settings, named, machine, leases)
    return steps


def _steps(link: LinkSettings, found: Link, machine: Machine, lease: Lease | None, metric: int) -> Iterator[Step]:
    if link.mtu and link.mtu != found.mtu:
        yield SetMtu(link.name, link.mtu)
    if not found.up:
        yield BringUp(link.name)
    if link.protocol == "dhcp" and lease is None:
        yield AskDhcp(link.name)  # what it has stays until a server has answered
        return
    wanted = _wanted(link, lease)
    yield from _stale(link.name, found, machine, wanted, metric)
    yield from (AddAddress(link.name, ip) for ip in wanted.addresses if not _has(found.addresses, ip))
    for gateway in wanted.gateways:
        if not _leads(machine, link.name, gateway, metric):
            onlink = not gateway.is_link_local and not any(gateway in ip.network for ip in wanted.addresses)
            yield AddRoute(link.name, gateway, metric, onlink)


def withdrawal(name: str, machine: Machine) -> list[Step]:
    """
    The steps that take from a link what core0 has added to it: its address is somebody else's now.
    """
    found = machine.links.get(name)
    return list(_stale(name, found, machine, _Wanted(), -1)) if found is not None else []


def _wanted(link: LinkSettings, lease: Lease | None) -> _Wanted:
    if lease is None:
        return _Wanted(link.addresses, link.gateways)
    return _Wanted((lease.address,), (lease.gateway,) if lease.gateway is not None else ())


def _stale(name: str, found: Link, machine: Machine, wanted: _Wanted, metric: int) -> Iterator[Step]:
    """
    What core0 has added before and is not wanted any more. First of all: with an address the kernel may remove others
    of its network.
    """
    for route in machine.routes:
        if route.link == name and route.own and (route.gateway not in wanted.gateways or route.metric != metric):
            yield RemoveRoute(name, route.gateway, route.metric)
    for address in found.addresses:
        if address.own and address.ip not in wanted.addresses:
            yield RemoveAddress(name, address.ip)


def _leads(machine: Machine, name: str, gateway: Ip, metric: int) -> bool:
    """
    Whether there is such a route that stays.
    """
    return any(
        route.link == name and route.gateway == gateway and (not route.own or route.metric == metric)
        for route in machine.routes
    )


def _has(addresses: tuple[Address, ...], ip: IpInterface) -> bool:
    return any(address.ip == ip and address.lasting for address in addresses)


def _resolver(
    settings: HostSettings, named: list[LinkSettings], machine: Machine, leases: Mapping[str, Lease]
) -> Iterator[Step]:
    servers: dict[Ip, None] = {}
    domains: dict[str, None] = {}
    for link in named:
        lease = leases.get(link.name) if link.protocol == "dhcp" else None
        servers |= dict.fromkeys(link.dns if lease is None else lease.dns)
        if lease is not None and lease.dns and lease.domain:
            domains[lease.domain] = None
    if not servers:
        return
    text = render(settings.path, list(servers)[:MAX_SERVERS], list(domains))
    if machine.resolver.target:
        yield LeaveResolver(machine.resolver.target, text)
    elif machine.resolver.text != text:
        yield WriteResolver(text)
