"""
The links of a container: which addresses they get, and the pairs of ends that they are.
"""

import os
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from ipaddress import ip_address, ip_interface
from typing import Any

from core0.errors import Refusal
from core0.messages import shown
from core0.network.desired import Bridge, Desired, Interface, Ip, Link, Subnet
from core0.network.dnsmasq import hands_out
from core0.network.kernel import NO_IPV6, NODAD, Netlink, NotTaken, allow_ipv6, has_link, index_of, tried
from core0.network.mtu import link_mtu
from core0.network.names import LONGEST, hwaddr_of, is_hostname, new_hwaddr
from core0.network.namespaces import within
from core0.network.plan import Kernel, KernelLink
from core0.network.wishes import GIVEN, Wish, Wishes

FAMILIES = {4: 2, 6: 10}  # AF_INET, AF_INET6
METRIC = 100  # of a container's first default route; each further one is behind those before it
MOST = 64  # links of a container


def links_of(
    container: int,
    asked: Wishes,
    wishes: Sequence[Wish],
    desired: Desired,
    kernel: Kernel,
    leased: Collection[Ip],
) -> list[Link]:
    """
    What is made of wishes.

    :param asked: all that the container is to have.
    :param wishes: its links.
    :param leased: addresses that bridges have handed out to others.
    :raises Refusal: 404, there is no such bridge; 400, an address is wrong; 409, it is somebody's.
    """
    found: list[Link] = []
    if len(wishes) > MOST:
        raise Refusal(400, f"arguments.network.bridge: expected at most {MOST}, got {len(wishes)}")
    for index, wish in enumerate(wishes):
        field = f"arguments.network.bridge[{index}]"
        known = _known(field, wish, kernel)
        bridge = desired.bridge(wish.bridge) or Bridge(name=wish.bridge, hwaddr=known.hwaddr)
        interface = _address(field, wish, bridge, desired.with_links(found), known, leased)
        if interface is not None and interface.version == 6 and kernel.no_ipv6 == NO_IPV6:
            raise Refusal(503, f"{field}: {NO_IPV6}; choose an IPv4 address")
        ours = desired.bridge(wish.bridge) is not None
        leads_out = ours and bool(asked.ports or (bridge.subnet is not None and bridge.subnet.nat))
        link = Link(
            container=container,
            index=index,
            bridge=wish.bridge,
            hwaddr=hwaddr_of(f"{wish.bridge} {interface.ip}") if interface is not None else new_hwaddr(),
            address=str(interface) if interface is not None else "",
            gateway=_gateway(interface, bridge, known) if interface is not None else "",
            hostname=asked.hostname if is_hostname(asked.hostname) else "",
            dhcp=wish.address == GIVEN and not hands_out(bridge),
            mtu=link_mtu(asked.mtu, bridge, known, interface, kernel, leads_out=leads_out),
        )
        if len(link.host_name) > LONGEST or link.host_name in kernel.links:
            raise Refusal(409, f"{field}: there is a link {link.host_name} already; remove it")
        found.append(link)
    return found


def _known(field: str, wish: Wish, kernel: Kernel) -> KernelLink:
    """
    The bridge of a link, as the kernel has it.
    """
    known = kernel.links.get(wish.bridge)
    if known is None or known.kind != "bridge":
        raise Refusal(404, f"{field}: there is no bridge {shown(wish.bridge)}; see bridge.list")
    return known


def _gateway(interface: Interface, bridge: Bridge, known: KernelLink) -> str:
    """
    The address of the bridge that can be reached from another one.
    """
    own = [*([bridge.subnet.interface] if bridge.subnet is not None else []), *known.addresses]
    reached = (each.ip for each in own if each.version == interface.version and each.ip in interface.network)
    return str(next(reached, ""))


def _address(
    field: str, wish: Wish, bridge: Bridge, desired: Desired, known: KernelLink, leased: Collection[Ip]
) -> Interface | None:
    subnet = bridge.subnet
    if subnet is not None and (wish.free or (wish.address in (GIVEN, None) and hands_out(bridge))):
        chosen = free_address(subnet, {*_taken(desired, bridge.name), *leased})
        if chosen is None:
            raise Refusal(409, f"{field}: {bridge.name} has no address left to hand out")
        return chosen
    if not wish.address or wish.address == GIVEN:
        return None
    own = {address.ip for address in known.addresses}
    return _static(field, wish.address, bridge, {*_taken(desired, bridge.name), *own, *leased})


def _static(field: str, text: str, bridge: Bridge, taken: Collection[Ip]) -> Interface:
    """
    An address that a client has chosen.
    """
    expected = f"expected an address with a length such as 10.0.0.2/24, {GIVEN} or an empty string"
    try:
        given = ip_interface(text if "/" in text and "%" not in text else "")
    except ValueError as error:
        raise Refusal(400, f"{field}: {expected}, got {shown(text)}") from error
    ip, network, subnet = given.ip, given.network, bridge.subnet
    edges = network[0], network[-1 if ip.version == 4 else 0]
    if (
        (network.max_prefixlen - network.prefixlen >= 2 and ip in edges)
        or ip.is_multicast
        or ip.is_loopback
        or ip.is_unspecified
        or not network.prefixlen
    ):
        raise Refusal(400, f"{field}: expected an address of a host, got {shown(text)}")
    if getattr(ip, "ipv4_mapped", None):
        raise Refusal(400, f"{field}: expected an address of its own version, got {shown(text)}")
    if subnet is not None and subnet.network.version == ip.version and network != subnet.network:
        text = f"expected an address in {subnet.network}, the network of {bridge.name}, with that length"
        raise Refusal(400, f"{field}: {text}, got {given}")
    if ip in taken:
        raise Refusal(409, f"{field}: {ip} is somebody's already")
    return given


def _taken(desired: Desired, name: str) -> Iterator[Ip]:
    bridge = desired.bridge(name)
    if bridge is not None and bridge.subnet is not None:
        yield bridge.subnet.interface.ip
    for link in desired.on(name):
        if link.ip is not None:
            yield link.ip


def free_address(subnet: Subnet, taken: Collection[Ip]) -> Interface | None:
    """
    The lowest that is handed out, and nobody has; of a network that hands out none, the lowest of a host.
    """
    network = subnet.network
    first = int(ip_address(subnet.start)) if subnet.start else int(network[1])
    last = int(ip_address(subnet.end)) if subnet.end else int(network[-2 if network.version == 4 else -1])
    used = {int(ip) for ip in taken if ip.version == network.version}
    free = next((number for number in range(first, last + 1) if number not in used), None)
    if free is None:
        return None
    ip = network[0] + (free - int(network[0]))
    return ip_interface(f"{ip}/{network.prefixlen}")


@dataclass(frozen=True, slots=True)
class Manner:
    """
    How links are made.

    :ivar back: see :class:`core0.network.plan.Join`.
    :ivar several: the container has others, too.
    :ivar anew: their other ends may be in a network that is gone, or nobody's any more.
    """

    back: bool = False
    several: bool = False
    anew: bool = False


def plug_all(netlink: Netlink, links: Sequence[Link], path: str, manner: Manner) -> None:
    """
    Make links.

    :param path: of the container's network namespace.
    :raises NotTaken: the kernel does not take one of them; those before it are left.
    """
    if not links:
        return
    try:
        namespace = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError as error:
        raise NotTaken(f"cannot enter the network of the container: {(error.strerror or '').lower()}") from error
    try:
        for link in links:
            if manner.anew:
                within(namespace, partial(_remove, link))
            plug(netlink, link, namespace, manner)
    finally:
        os.close(namespace)


def plug(netlink: Netlink, link: Link, namespace: int, manner: Manner) -> None:
    """
    Make a link, wholly or not at all.

    :param namespace: a descriptor of the container's network namespace.
    :raises NotTaken: the kernel does not take it.
    """
    try:
        _plug(netlink, link, namespace, manner)
    except NotTaken as error:
        if has_link(link.bridge):
            raise
        # what the kernel says of the number of a link that is gone depends on the step
        text = f"cannot connect container {link.container} to {link.bridge}: the bridge was removed meanwhile"
        raise NotTaken(f"{text}; see bridge.list") from error


def _plug(netlink: Netlink, link: Link, namespace: int, manner: Manner) -> None:
    where = f"connect container {link.container} to {link.bridge}"
    bridge = tried(where, index_of, link.bridge)
    (known,) = tried(where, netlink.socket.link, "get", index=bridge)
    mtu = link.mtu or known.get("IFLA_MTU")
    inner = {"ifname": link.inside_name, "net_ns_fd": namespace, "address": link.hwaddr, "mtu": mtu}
    tried(where, netlink.socket.link, "add", ifname=link.host_name, kind="veth", mtu=mtu, peer=inner)
    try:
        outer = index_of(link.host_name)
        tried(where, netlink.join, outer, bridge, back=manner.back)
        tried(where, netlink.socket.link, "set", index=outer, state="up")
        within(namespace, partial(_set_up, link, several=manner.several))
    except BaseException:
        # its other end goes with it
        tried(where, netlink.socket.link, "del", ifname=link.host_name)
        raise


def _remove(link: Link) -> None:
    """
    In the namespace of the container: its end goes, if it is there.
    """
    from pyroute2 import IPRoute

    if has_link(link.inside_name):
        with IPRoute() as netlink:
            tried(f"remove {link.inside_name}", netlink.link, "del", index=index_of(link.inside_name))


def _set_up(link: Link, *, several: bool) -> None:
    """
    In the namespace of the container: its end is up, with its address, and leads to everybody.
    """
    from pyroute2 import IPRoute

    with IPRoute() as netlink:
        for name in ("lo", link.inside_name):
            tried(f"bring {name} up", netlink.link, "set", index=index_of(name), state="up")
        if not link.address:
            return
        address, index = ip_interface(link.address), index_of(link.inside_name)
        where = {"address": str(address.ip), "prefixlen": address.network.prefixlen}
        flags = NODAD if address.version == 6 else 0
        if address.version == 6:
            allow_ipv6(link.inside_name)
        tried(f"give {link.inside_name} the address {address}", netlink.addr, "add", index=index, flags=flags, **where)
        if not link.gateway:
            return
        route = {"dst": "default", "family": FAMILIES[address.version], "gateway": link.gateway, "oif": index}
        tried(f"lead to {link.gateway}", netlink.route, "add", priority=METRIC + link.index, **route)
        if several:
            _set_apart(netlink, address, METRIC + link.index, route)


def _set_apart(netlink: Any, address: Interface, table: int, route: dict[str, Any]) -> None:
    """
    What is answered from an address goes out by its own link, also if another one leads to everybody: those who have
    come by a port of the host wait for it there.
    """
    own: dict[str, Any] = {"family": route["family"], "table": table}
    what = f"let answers from {address.ip} go by its own link"
    tried(what, netlink.route, "replace", dst=str(address.network), oif=route["oif"], **own)
    tried(what, netlink.route, "replace", **{**route, **own})
    source = {"src": str(address.ip), "src_len": address.max_prefixlen}
    # one that a link before this one has left is the same
    tried(what, netlink.flush_rules, priority=table, **own)
    tried(what, netlink.rule, "add", priority=table, **source, **own)


def resolvers(links: Sequence[Link], desired: Desired) -> list[str]:
    """
    Who answers DNS to a container: the bridges that hand out addresses, or whom a server of others has named.
    """
    found: list[str] = []
    for link in links:
        bridge = desired.bridge(link.bridge)
        if bridge is not None and bridge.subnet is not None and link.gateway and hands_out(bridge):
            found.append(str(bridge.subnet.interface.ip))
        found += link.dns
    return list(dict.fromkeys(found))
