"""
The network in the kernel, through netlink: how it is, and steps that change it. All of it blocks, in one thread.
"""

import os
import socket
from collections.abc import Iterable, Mapping, Sequence
from ipaddress import ip_interface, ip_network
from pathlib import Path
from typing import Any

from twisted.logger import Logger
from twisted.python.failure import Failure

from core0.errors import Core0Error
from core0.network.desired import Interface, Network
from core0.network.plan import (
    AddAddress,
    AllowLocal,
    BringUp,
    ForbidLocal,
    Join,
    Kernel,
    KernelLink,
    MakeBridge,
    Remove,
    Route,
    Step,
    Version,
)

SETTINGS = Path("/proc/sys/net")
IFF_UP = 0x1
NODAD = 0x02  # IFA_F_NODAD: an IPv6 address that can be used at once, even while nobody is there to ask
NO_FIGURES = 0x8  # RTEXT_FILTER_SKIP_STATS
UNICAST = 1  # of routes
_VERSIONS: dict[int, Version] = {socket.AF_INET: 4, socket.AF_INET6: 6}
FORWARDING: dict[Version, str] = {4: "ipv4/ip_forward", 6: "ipv6/conf/all/forwarding"}
# why there is no IPv6
NO_IPV6 = "the kernel of this host has no IPv6"
IPV6_OFF = "IPv6 is switched off on {where} (sysctl net.ipv6.conf.{link}.disable_ipv6 is {value})"
MAIN = 254  # the table of routes that counts
IGNORED, ADVERTISED, ADVERTISED_ALWAYS = "0", "1", "2"  # of routers' words: never; not by who forwards; even so


class NotTaken(Core0Error):
    """
    The kernel does not take a step; the text says which and why.
    """


class Netlink:
    """
    To be used in one thread, and closed in it.
    """

    _log = Logger()

    def __init__(self) -> None:
        self._socket: Any = None

    @property
    def socket(self) -> Any:
        """
        The connection to the kernel, opened when it is needed first.
        """
        if self._socket is None:
            # only now: a core0 without bridges does not load it
            from pyroute2 import IPRoute

            self._socket = IPRoute()
        return self._socket

    def close(self) -> None:
        """
        Use it no more.
        """
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def look(self) -> Kernel:
        """
        How it is.

        :raises NotTaken: it does not say.
        """
        found: Kernel = tried("look at the network", self._look)
        return found

    def _look(self) -> Kernel:
        addresses: dict[int, list[Interface]] = {}
        for message in self.socket.get_addr():
            text = message.get("IFA_LOCAL") or message.get("IFA_ADDRESS")
            addresses.setdefault(message["index"], []).append(ip_interface(f"{text}/{message['prefixlen']}"))
        messages = {message["index"]: message for message in self.socket.get_links(ext_mask=NO_FIGURES)}
        names = {index: str(message.get("IFLA_IFNAME")) for index, message in messages.items()}
        links = [_link(message, names, addresses.get(index, [])) for index, message in messages.items()]
        by_name = {link.name: link for link in links}
        told = list(self.socket.get_routes())
        routes = (_route(message, names) for message in told)
        forwarding = frozenset(version for version, path in FORWARDING.items() if _setting(path) not in ("", "0"))
        uplinks = _uplinks(told, {link.index: link.mtu for link in links if link.name != "lo"})
        return Kernel(by_name, tuple(route for route in routes if route), forwarding, uplinks, why_no_ipv6())

    def take(self, steps: Sequence[Step]) -> None:
        """
        Take all of them, or none.

        :raises NotTaken: one of them is not taken; those before it are undone.
        """
        for number, step in enumerate(steps):
            try:
                tried(str(step), self._take, step)
            except BaseException:
                # the one that failed may be half done: a bridge that is there and has not its address
                self.undo(steps[:number])
                raise

    def undo(self, steps: Sequence[Step]) -> None:
        """
        Undo what was done, as far as it is still there. What is removed stays removed.
        """
        for step in reversed(steps):
            try:
                self._undo(step)
            except Exception:
                self._log.failure("cannot undo: {step}", Failure(), step=step)

    def _take(self, step: Step) -> None:
        netlink = self.socket
        if isinstance(step, MakeBridge):
            netlink.link("add", ifname=step.link, kind="bridge", address=step.hwaddr)
            if step.mtu:
                # one that was not changed follows the ports
                for mtu in (step.mtu - 1, step.mtu):
                    netlink.link("set", index=index_of(step.link), mtu=mtu)
            # who is at it is no router of the host
            _set(f"ipv6/conf/{step.link}/accept_ra", IGNORED)
            _set(f"ipv4/conf/{step.link}/accept_redirects", IGNORED)
        elif isinstance(step, AddAddress):
            flags = NODAD if step.address.version == 6 else 0
            if step.address.version == 6:
                reason = why_no_ipv6()
                if reason:
                    raise NotTaken(f"cannot {step}: {reason}; switch it on, or use IPv4")
                allow_ipv6(step.link)
            where = {"address": str(step.address.ip), "prefixlen": step.address.network.prefixlen}
            netlink.addr("replace", index=index_of(step.link), flags=flags, **where)
        elif isinstance(step, BringUp):
            netlink.link("set", index=index_of(step.link), state="up")
        elif isinstance(step, Join):
            self.join(index_of(step.link), index_of(step.bridge), back=step.back)
        elif isinstance(step, Remove):
            # the end of a container's link goes by itself when its other end does
            if has_link(step.link):
                netlink.link("del", ifname=step.link)
        elif isinstance(step, Route):
            _forward(step.version)
        else:
            _set(f"ipv4/conf/{step.link}/route_localnet", "1" if isinstance(step, AllowLocal) else "0")

    def join(self, port: int, bridge: int, *, back: bool) -> None:
        """
        Connect a link to a bridge, by their numbers; see :class:`core0.network.plan.Join`.
        """
        self.socket.link("set", index=port, master=bridge)
        if back:
            self.socket.link("set", index=port, kind="bridge_slave", mode=1)

    def _undo(self, step: Step) -> None:
        netlink = self.socket
        if isinstance(step, MakeBridge):
            netlink.link("del", index=index_of(step.link))
        elif isinstance(step, AddAddress) and has_link(step.link):
            where = {"address": str(step.address.ip), "prefixlen": step.address.network.prefixlen}
            netlink.addr("del", index=index_of(step.link), **where)
        elif isinstance(step, Route):
            _set(FORWARDING[step.version], "0")
        elif isinstance(step, AllowLocal | ForbidLocal) and has_link(step.link):
            _set(f"ipv4/conf/{step.link}/route_localnet", "0" if isinstance(step, AllowLocal) else "1")


def tried(what: str, work: Any, *arguments: Any, **keywords: Any) -> Any:
    """
    The result of something that the kernel is asked.

    :param what: for the text if it does not do it.
    :raises NotTaken: it does not.
    """
    from pyroute2.netlink.exceptions import NetlinkError

    try:
        return work(*arguments, **keywords)
    except NetlinkError as error:
        raise NotTaken(f"cannot {what}: {os.strerror(error.code).lower()}") from error
    except OSError as error:
        raise NotTaken(f"cannot {what}: {(error.strerror or str(error)).lower()}") from error


def index_of(name: str) -> int:
    """
    :raises OSError: there is no such link.
    """
    return socket.if_nametoindex(name)


def has_link(name: str) -> bool:
    """
    Whether there is a link of that name.
    """
    try:
        index_of(name)
    except OSError:
        return False
    return True


def _link(message: Any, names: dict[int, str], addresses: Iterable[Interface]) -> KernelLink:
    family = message.get("IFLA_AF_SPEC")
    ipv4 = family.get("AF_INET") if family is not None else None
    return KernelLink(
        name=str(message.get("IFLA_IFNAME")),
        index=message["index"],
        kind=message.get(("linkinfo", "kind")) or "",
        hwaddr=message.get("IFLA_ADDRESS") or "",
        mtu=message.get("IFLA_MTU") or 0,
        up=bool(message["flags"] & IFF_UP),
        master=names.get(message.get("IFLA_MASTER") or 0, ""),
        localnet=bool(ipv4 and ipv4.get("route_localnet")),
        addresses=tuple(addresses),
    )


def _route(message: Any, names: dict[int, str]) -> tuple[Network, str] | None:
    """
    None for what is no route to a network: a default route, an address of this machine, a group.
    """
    target = message.get("RTA_DST")
    if not target or message["type"] != UNICAST or not message["dst_len"]:
        return None
    network = ip_network(f"{target}/{message['dst_len']}", strict=False)
    return None if network.is_link_local or network.is_multicast else (network, names.get(message.get("RTA_OIF"), ""))


def _uplinks(messages: Iterable[Any], mtus: Mapping[int, int]) -> dict[Version, int]:
    """
    Of the default routes those that count, by the version of IP: how long packets may be.

    :param mtus: of links, by their numbers.
    """
    found: dict[Version, tuple[int, int]] = {}
    for message in messages:
        table = message.get("RTA_TABLE") or message["table"]
        version = _VERSIONS.get(message["family"])
        if message["type"] != UNICAST or message["dst_len"] or table != MAIN or version is None:
            continue
        hops = [message.get("RTA_OIF"), *(hop.get("oif") for hop in message.get("RTA_MULTIPATH") or ())]
        metrics = message.get("RTA_METRICS")
        own = metrics.get("RTAX_MTU") if metrics is not None else None
        sizes = [mtus[hop] for hop in hops if hop in mtus]
        if sizes:
            route = message.get("RTA_PRIORITY") or 0, min([*sizes, *([own] if own else [])])
            found[version] = min(route, found.get(version, route))
    return {version: mtu for version, (_, mtu) in found.items()}


def why_no_ipv6(link: str = "all") -> str:
    """
    Empty if there is IPv6.

    :param link: of which; ``all`` for the whole host.
    """
    value = _setting(f"ipv6/conf/{link}/disable_ipv6")
    if not value:
        return NO_IPV6
    where = "this host" if link == "all" else link
    return IPV6_OFF.format(where=where, link=link, value=value) if value != "0" else ""


def allow_ipv6(link: str) -> None:
    """
    Let a link have IPv6 addresses, even where new links have none by default.
    """
    _set(f"ipv6/conf/{link}/disable_ipv6", "0")


def _forward(version: Version) -> None:
    """
    Who forwards IPv6 hears no routers any more, unless told to: then the host would lose its own addresses.
    """
    if version == 6:
        for place in (SETTINGS / "ipv6/conf").iterdir():
            path = f"ipv6/conf/{place.name}/accept_ra"
            if place.name != "all" and _setting(path) == ADVERTISED:
                _set(path, ADVERTISED_ALWAYS)
    _set(FORWARDING[version], "1")


def _setting(path: str) -> str:
    try:
        return (SETTINGS / path).read_text(encoding="ascii").strip()
    except OSError:
        return ""  # no such protocol


def _set(path: str, value: str) -> None:
    try:
        (SETTINGS / path).write_text(value, encoding="ascii")
    except FileNotFoundError:
        pass  # no such protocol
