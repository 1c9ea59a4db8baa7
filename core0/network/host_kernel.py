"""
The network of the host in the kernel: read it, take a step, hear of changes. Through netlink, in one asyncio loop.
"""

import os
import socket
from collections.abc import AsyncIterator, Callable
from ipaddress import ip_address, ip_interface
from typing import Any

from pyroute2 import AsyncIPRoute
from pyroute2.netlink import NLM_F_DUMP, NLM_F_REQUEST
from pyroute2.netlink.exceptions import NetlinkError
from pyroute2.netlink.rtnl import RTM_GETROUTE, RTMGRP_IPV4_IFADDR, RTMGRP_IPV6_IFADDR, RTMGRP_LINK
from pyroute2.netlink.rtnl.rtmsg import rtmsg

from core0.network.host_machine import Address, Link, Machine, Route
from core0.network.host_plan import AddAddress, AddRoute, BringUp, RemoveAddress, RemoveRoute, SetMtu, Step
from core0.network.host_resolver import look
from core0.network.kernel import why_no_ipv6

OWN = 190  # marks addresses and routes as added by core0 (IFA_PROTO, rtm_protocol); nobody else has claimed it
ETHERNET = 1
IFF_UP, IFF_LOWER_UP = 0x1, 0x10000
OPTIMISTIC, DAD_FAILED, TENTATIVE, PERMANENT = 0x04, 0x08, 0x40, 0x80  # IFA_F_*
GLOBAL = 0  # scope
MAIN, UNICAST, ONLINK = 254, 1, 4  # of routes
# whose default routes are looked at: by hand, of scripts, of a router's word, of DHCP; not those of routing daemons,
# which may have a million
WHOSE = (3, 4, 9, 16, OWN)
FAMILIES = (socket.AF_INET, socket.AF_INET6)
MAX_ROUTES = 256  # default routes that are looked at
CHANGES = RTMGRP_LINK | RTMGRP_IPV4_IFADDR | RTMGRP_IPV6_IFADDR
Heard = Callable[[int, Link | None], object]


class Failed(Exception):
    """
    The kernel does not take a step; the text says why.
    """


class Kernel:
    """
    To be used in one loop, within ``async with``.
    """

    def __init__(self) -> None:
        self._netlink = AsyncIPRoute(strict_check=True)  # so that the kernel sorts out the routes

    async def __aenter__(self) -> "Kernel":
        await self._netlink.__aenter__()
        return self

    async def __aexit__(self, *exception: object) -> None:
        await self._netlink.__aexit__(*exception)

    async def read(self) -> Machine:
        """
        How it is.
        """
        addresses: dict[int, list[Address]] = {}
        async for message in await self._netlink.addr("dump"):
            if message["scope"] == GLOBAL:
                addresses.setdefault(message["index"], []).append(_address(message))
        links: dict[int, Link] = {}
        async for message in await self._netlink.link("dump"):
            link = _link(message, tuple(addresses.get(message["index"], ())))
            links[link.index] = link
        routes: list[Route] = []
        async for message in self._main_routes():
            if _is_default(message) and len(routes) < MAX_ROUTES and message.get("RTA_OIF") in links:
                routes.append(_route(message, links[message.get("RTA_OIF")].name))
        return Machine({link.name: link for link in links.values()}, tuple(routes), look())

    async def _main_routes(self) -> AsyncIterator[Any]:
        for family in FAMILIES:
            for whose in WHOSE:
                request = rtmsg()
                request["family"], request["table"], request["type"], request["proto"] = family, MAIN, UNICAST, whose
                flags = NLM_F_REQUEST | NLM_F_DUMP
                async for message in await self._netlink.nlm_request(request, RTM_GETROUTE, flags):
                    yield message

    async def take(self, step: Step, link: Link) -> None:
        """
        Take a step that concerns a link.

        :raises Failed: the kernel does not.
        """
        try:
            await self._take(step, link.index)
        except NetlinkError as error:
            # for want of IPv6 it says that something is not permitted, or not supported
            reason = why_no_ipv6(link.name) if _is_ipv6(step) else ""
            raise Failed(f"cannot {_without_name(step)}: {reason or os.strerror(error.code).lower()}") from error

    async def _take(self, step: Step, index: int) -> None:
        netlink = self._netlink
        if isinstance(step, SetMtu):
            await netlink.link("set", index=index, mtu=step.mtu)
        elif isinstance(step, BringUp):
            await netlink.link("set", index=index, state="up")
        elif isinstance(step, AddAddress | RemoveAddress):
            ip = step.address
            where: dict[str, Any] = {"index": index, "address": str(ip.ip), "prefixlen": ip.network.prefixlen}
            if isinstance(step, RemoveAddress):
                await netlink.addr("del", **where)
            else:
                # one that would vanish some time is made to last
                await netlink.addr("replace", proto=OWN, **where)
        elif isinstance(step, AddRoute | RemoveRoute):
            await self._route(step, index)

    async def _route(self, step: AddRoute | RemoveRoute, index: int) -> None:
        where = {
            "dst": "default",
            "family": FAMILIES[step.gateway.version == 6],
            "gateway": str(step.gateway),
            "oif": index,
            "priority": step.metric,
            "proto": OWN,
        }
        if isinstance(step, RemoveRoute):
            await self._netlink.route("del", **where)
        else:
            await self._netlink.route("add", flags=ONLINK if step.onlink else 0, **where)


async def machine_now() -> Machine:
    """
    How it is, for one look.

    :raises OSError: the kernel cannot be asked.
    """
    async with Kernel() as kernel:
        return await kernel.read()


async def listen(heard: Heard, ready: Callable[[], object]) -> None:
    """
    Hear of changes for ever.

    :param heard: called with the number of each link that has changed; and with the link, if not only its addresses
        have.
    :param ready: called when none is missed any more.
    :raises OSError, NetlinkError: it cannot be heard any more.
    """
    async with AsyncIPRoute() as netlink:
        await netlink.bind(CHANGES)
        ready()
        while True:
            async for message in netlink.get():
                of_link = str(message.get("event")) in ("RTM_NEWLINK", "RTM_DELLINK")
                heard(message["index"], _link(message, ()) if of_link else None)


def _link(message: Any, addresses: tuple[Address, ...]) -> Link:
    flags = message["flags"]
    made = message.get(("linkinfo", "kind")) is not None or message.get("IFLA_MASTER") is not None
    return Link(
        name=str(message.get("IFLA_IFNAME")),
        index=message["index"],
        up=bool(flags & IFF_UP),
        cable=bool(flags & IFF_LOWER_UP),
        card=message["ifi_type"] == ETHERNET and not made,
        mtu=message.get("IFLA_MTU") or 0,
        addresses=addresses,
    )


def _address(message: Any) -> Address:
    flags = message.get("IFA_FLAGS") or message["flags"]
    text = message.get("IFA_LOCAL") or message.get("IFA_ADDRESS")
    return Address(
        ip_interface(f"{text}/{message['prefixlen']}"),
        own=message.get("IFA_PROTO") == OWN,
        lasting=bool(flags & PERMANENT),
        ready=not flags & TENTATIVE or bool(flags & OPTIMISTIC),
        taken=bool(flags & DAD_FAILED),
    )


def _is_default(message: Any) -> bool:
    return (
        message["dst_len"] == 0
        and message["type"] == UNICAST
        and message.get("RTA_TABLE") == MAIN
        and bool(message.get("RTA_GATEWAY"))
    )


def _route(message: Any, link: str) -> Route:
    metric = message.get("RTA_PRIORITY") or 0
    return Route(link, ip_address(message.get("RTA_GATEWAY")), metric, own=message["proto"] == OWN)


def _is_ipv6(step: Step) -> bool:
    if isinstance(step, AddAddress):
        return step.address.version == 6
    return isinstance(step, AddRoute) and step.gateway.version == 6


def _without_name(step: Step) -> str:
    return str(step).partition(": ")[2].removesuffix(", which core0 has added before")
