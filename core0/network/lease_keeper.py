"""
Gives the links of a container what DHCP servers say, and again whenever they say so. In one asyncio loop, in the
network of the container.
"""

import asyncio
import errno
import os
import socket
from collections.abc import Sequence
from ipaddress import IPv4Interface
from typing import Any

from pyroute2 import AsyncIPRoute
from pyroute2.netlink.exceptions import NetlinkError

from core0.network import host_dhcp, lease_worker
from core0.network.host_kernel import IFF_LOWER_UP, ONLINK, OWN
from core0.network.host_machine import Lease
from core0.network.kernel import index_of
from core0.network.lease_worker import Asked
from core0.network.links import METRIC
from core0.network.names import is_hostname

RETRY = 5.0  # seconds before what the kernel has not taken is tried again
FIRST_LOOK, LAST_LOOK = 0.02, 1.0  # seconds between looks whether a link can be used
NOWHERE = 255  # scope: of any route
# there is no such address, route or link any more
GONE = (errno.EADDRNOTAVAIL, errno.ESRCH, errno.ENODEV)


class LeaseKeeper(host_dhcp.Listener):
    """
    Nothing that is in the container's network is read but the links themselves: it may be full of anything.
    """

    def __init__(self, links: Sequence[Asked], listener: lease_worker.Listener) -> None:
        self._links = {link.name: link for link in links}
        self._listener = listener
        self._due: dict[str, Lease | None] = {}  # what links have to get
        self._changed = asyncio.Event()
        self._addresses = {link.name: link.last for link in links}  # what they have, as far as is known
        self._told: dict[str, Lease | None] = {}

    async def run(self) -> None:
        """
        Until it is cancelled. What links have got stays.
        """
        async with asyncio.TaskGroup() as group:
            for link in self._links.values():
                group.create_task(self._ask(link))
            await self._keep()

    async def _ask(self, link: Asked) -> None:
        """
        Ask for one link, once somebody hears it: what is sent before gets lost, and to ask again takes its time.
        """
        look = FIRST_LOOK
        while not await self._is_heard(link):
            await asyncio.sleep(look)
            look = min(look * 2, LAST_LOOK)
        hostname = link.hostname if is_hostname(link.hostname) else ""
        await host_dhcp.Client(link.name, self, link.last, hostname).run()

    async def _is_heard(self, link: Asked) -> bool:
        try:
            async with AsyncIPRoute() as netlink:
                (found,) = await netlink.link("get", index=index_of(link.name))
                return bool(found["flags"] & IFF_LOWER_UP)
        except (NetlinkError, OSError) as error:
            self._listener.troubled(link.index, f"cannot use {link.name}: {_reason(error)}")
            return False

    async def _keep(self) -> None:
        while True:
            try:
                await asyncio.wait_for(self._changed.wait(), RETRY if self._due else None)
            except TimeoutError:
                pass  # to try again
            self._changed.clear()
            for name in list(self._due):
                await self._settle(self._links[name], self._due.pop(name))

    async def _settle(self, link: Asked, lease: Lease | None) -> None:
        try:
            await self._give(link, lease)
        except (NetlinkError, OSError) as error:
            self._due.setdefault(link.name, lease)  # a server may have said something else meanwhile
            what = f"give {link.name} {lease.address}" if lease is not None else f"take its address from {link.name}"
            self._listener.troubled(link.index, f"cannot {what}: {_reason(error)}")
            return
        if link.name not in self._told or self._told[link.name] != lease:
            self._told[link.name] = lease
            self._listener.has(link.index, lease)

    async def _give(self, link: Asked, lease: Lease | None) -> None:
        """
        :raises NetlinkError, OSError: the kernel does not take it.
        """
        async with AsyncIPRoute() as netlink:
            index = index_of(link.name)
            address, old = lease.address if lease is not None else None, self._addresses[link.name]
            # the old one first: with it the kernel may remove others of its network
            if old is not None and old != address:
                await _gone(netlink.addr("del", **_where(index, old)))
            self._addresses[link.name] = address
            if address is not None:
                await netlink.addr("replace", proto=OWN, **_where(index, address))
            route = {"dst": "default", "family": socket.AF_INET, "oif": index, "proto": OWN}
            route["priority"] = METRIC + link.index
            if lease is not None and lease.gateway is not None:
                flags = 0 if lease.gateway in lease.address.network else ONLINK
                await netlink.route("replace", gateway=str(lease.gateway), flags=flags, **route)
            else:
                await _gone(netlink.route("del", scope=NOWHERE, **route))

    def _say(self, name: str, lease: Lease | None) -> None:
        self._due[name] = lease
        self._changed.set()

    def given(self, link: str, lease: Lease) -> None:
        """
        See :class:`host_dhcp.Listener`.
        """
        self._say(link, lease)

    def taken(self, link: str) -> None:
        """
        See :class:`host_dhcp.Listener`.
        """
        self._say(link, None)

    def lapsed(self, link: str) -> None:
        """
        See :class:`host_dhcp.Listener`.
        """
        self._say(link, None)

    def troubled(self, link: str, reason: str) -> None:
        """
        See :class:`host_dhcp.Listener`.
        """
        if self._told.get(link) is None:
            self._listener.troubled(self._links[link].index, reason)


def _where(index: int, address: IPv4Interface) -> dict[str, Any]:
    return {"index": index, "address": str(address.ip), "prefixlen": address.network.prefixlen}


async def _gone(removal: Any) -> None:
    """
    Remove something, if it is there.
    """
    try:
        await removal
    except NetlinkError as error:
        if error.code not in GONE:
            raise


def _reason(error: Exception) -> str:
    code = getattr(error, "code", None) or getattr(error, "errno", None)
    return os.strerror(code).lower() if isinstance(code, int) else str(error)
