"""
What has to be done in the kernel, so that there is what is desired: a function of what is desired and what there is.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Literal

from core0.network.desired import Bridge, Desired, Interface, Network

Version = Literal[4, 6]


@dataclass(frozen=True, slots=True)
class KernelLink:
    """
    A link as it is.

    :ivar kind: ``bridge``, ``veth`` and others; empty for a network card.
    :ivar master: the bridge that it is at; may be empty.
    :ivar localnet: packets of the host to itself may leave here, and those to 127.0.0.0/8 may come in.
    """

    name: str
    index: int
    kind: str = ""
    hwaddr: str = ""
    mtu: int = 1500
    up: bool = False
    master: str = ""
    localnet: bool = False
    addresses: tuple[Interface, ...] = ()


@dataclass(frozen=True, slots=True)
class Kernel:
    """
    All links, the networks that are routed to with the links that they are behind, and what is forwarded.

    :ivar uplinks: the longest packets, in bytes, that may leave by the default routes.
    :ivar no_ipv6: why there is no IPv6; empty if there is.
    """

    links: Mapping[str, KernelLink] = field(default_factory=dict)
    routes: tuple[tuple[Network, str], ...] = ()
    forwarding: frozenset[Version] = frozenset()
    uplinks: Mapping[Version, int] = field(default_factory=dict)
    no_ipv6: str = ""

    def ports(self, bridge: str) -> list[str]:
        """
        The links that are at a bridge, sorted.
        """
        return sorted(link.name for link in self.links.values() if link.master == bridge)


@dataclass(frozen=True, slots=True)
class MakeBridge:
    """
    A bridge without anything.

    :ivar mtu: 0 for the least of its ports.
    """

    link: str
    hwaddr: str
    mtu: int = 0

    def __str__(self) -> str:
        return f"make the bridge {self.link}"


@dataclass(frozen=True, slots=True)
class AddAddress:
    """
    The kernel keeps it for ever.
    """

    link: str
    address: Interface

    def __str__(self) -> str:
        return f"give {self.link} the address {self.address}"


@dataclass(frozen=True, slots=True)
class BringUp:
    """
    A link takes part.
    """

    link: str

    def __str__(self) -> str:
        return f"bring {self.link} up"


@dataclass(frozen=True, slots=True)
class Join:
    """
    A link is at a bridge from now on.

    :ivar back: packets may leave it where they came in: a container reaches itself by a port of the host.
    """

    link: str
    bridge: str
    back: bool = False

    def __str__(self) -> str:
        return f"connect {self.link} to {self.bridge}"


@dataclass(frozen=True, slots=True)
class Remove:
    """
    A link, with its addresses and its other end.
    """

    link: str

    def __str__(self) -> str:
        return f"remove {self.link}"


@dataclass(frozen=True, slots=True)
class Route:
    """
    Packets of others are passed on.
    """

    version: Version

    def __str__(self) -> str:
        return f"forward IPv{self.version}"


@dataclass(frozen=True, slots=True)
class AllowLocal:
    """
    What the host sends to itself may be led to a container at this link.
    """

    link: str

    def __str__(self) -> str:
        return f"lead packets from 127.0.0.1 to {self.link}"


@dataclass(frozen=True, slots=True)
class ForbidLocal:
    """
    Not any more: what the host says to itself is nobody else's again.
    """

    link: str

    def __str__(self) -> str:
        return f"lead no packets from 127.0.0.1 to {self.link}"


Step = MakeBridge | AddAddress | BringUp | Join | Remove | Route | AllowLocal | ForbidLocal


def difference(desired: Desired, kernel: Kernel) -> list[Step]:
    """
    The steps that make what is missing. A link of a container that is not there is not made: that takes the container.
    """
    steps: list[Step] = []
    for bridge in desired.bridges:
        steps += _bridge(bridge, kernel.links.get(bridge.name))
    bridges = {bridge.name for bridge in desired.bridges}
    led = {forward.container for forward in desired.forwards}
    for link in desired.links:
        found = kernel.links.get(link.host_name)
        if found is None or found.kind != "veth":
            continue
        if found.master != link.bridge and (link.bridge in kernel.links or link.bridge in bridges):
            steps.append(Join(found.name, link.bridge, link.container in led))
        if not found.up:
            steps.append(BringUp(found.name))
    steps += (Route(version) for version in sorted(_routed(desired) - kernel.forwarding))
    quiet = (bridges | {link.bridge for link in desired.links}) - _led(desired)
    steps += (ForbidLocal(name) for name in sorted(quiet) if _is_local(kernel, name))
    return steps


def late(desired: Desired, kernel: Kernel) -> list[Step]:
    """
    The steps that are only safe once the firewall has its rules: it keeps others from what they allow.
    """
    made = {bridge.name for bridge in desired.bridges} - kernel.links.keys()
    missing = made | {link.name for link in kernel.links.values() if not link.localnet}
    return [AllowLocal(name) for name in sorted(_led(desired) & missing)]


def _led(desired: Desired) -> set[str]:
    """
    The bridges to which the host leads what it says to its own 127.0.0.1.
    """
    return {forward.bridge for forward in desired.forwards if forward.ip.version == 4}


def _is_local(kernel: Kernel, name: str) -> bool:
    return name in kernel.links and kernel.links[name].localnet


def strangers(desired: Desired, kernel: Kernel) -> list[str]:
    """
    The names of bridges that somebody has given to other links meanwhile: their MAC addresses tell.
    """
    known = ((bridge, kernel.links.get(bridge.name)) for bridge in desired.bridges)
    return [
        bridge.name
        for bridge, found in known
        if found is not None and (found.kind != "bridge" or found.hwaddr != bridge.hwaddr)
    ]


def _bridge(bridge: Bridge, found: KernelLink | None) -> Iterator[Step]:
    if found is None:
        yield MakeBridge(bridge.name, bridge.hwaddr, bridge.mtu)
    elif found.kind != "bridge":
        return  # somebody has made something else of that name: it is not touched
    if bridge.subnet is not None and (found is None or bridge.subnet.interface not in found.addresses):
        yield AddAddress(bridge.name, bridge.subnet.interface)
    if found is None or not found.up:
        yield BringUp(bridge.name)


def _routed(desired: Desired) -> set[Version]:
    subnets = [bridge.subnet for bridge in desired.bridges if bridge.subnet is not None and bridge.subnet.nat]
    versions: set[Version] = {subnet.interface.version for subnet in subnets}
    return versions | {forward.ip.version for forward in desired.forwards}


def withdrawal(before: Desired, after: Desired, kernel: Kernel) -> list[Step]:
    """
    The steps that remove what was desired before, and is so no more.
    """
    kept = {link.host_name for link in after.links}
    links = [link.host_name for link in before.links if link.host_name not in kept]
    bridges = [bridge.name for bridge in before.bridges if after.bridge(bridge.name) is None]
    # first, and before the firewall loses the rules that go with it
    ended = _led(before) - _led(after) - {*bridges}
    steps: list[Step] = [*map(ForbidLocal, sorted(name for name in ended if _is_local(kernel, name)))]
    return steps + [
        Remove(name)
        for names, kind in ((links, "veth"), (bridges, "bridge"))
        for name in names
        if name in kernel.links and kernel.links[name].kind == kind
    ]
