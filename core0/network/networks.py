"""
The networks of a host: bridges, and what containers have of them. Changes are made one after another; each is made
wholly, or leaves everything as it was.
"""

from collections.abc import Collection

from twisted.internet.defer import CancelledError, Deferred, DeferredLock
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from core0.errors import Refusal
from core0.host_interfaces import INetworks
from core0.interfaces import ThreadRunner
from core0.network.attached import Attached, attached
from core0.network.checks import check_bridge, check_removal
from core0.network.default_bridge import NAME as DEFAULT
from core0.network.default_bridge import with_default
from core0.network.desired import Bridge, Desired, Ip, Link, Subnet
from core0.network.dnsmasq import hands_out
from core0.network.helpers import Helpers
from core0.network.host_machine import Lease
from core0.network.links import Manner, links_of
from core0.network.names import new_hwaddr
from core0.network.picture import Picture
from core0.network.plan import Kernel
from core0.network.ports import check_free, forwards_of
from core0.network.refusals import refusals
from core0.network.wishes import Wish, Wishes
from core0.waiting import Occurrence, pause, to_the_end

FIRST_WAIT, LONGEST_WAIT = 0.5, 30.0  # seconds between attempts to read what was desired


@implementer(INetworks)
class Networks:
    """
    :param in_thread: calls in a thread.
    :ivar recovered: what was desired is known.
    :param subnet: the network of the bridge that is made for ports, if containers have no other.
    """

    _log = Logger()

    def __init__(
        self, clock: IReactorTime, in_thread: ThreadRunner, picture: Picture, helpers: Helpers, *, subnet: str
    ) -> None:
        self._clock = clock
        self._in_thread = in_thread
        self._detached: set[int] = set()
        self._recovering: Deferred[None] | None = None
        self.recovered: Occurrence[None] = Occurrence()
        self._picture = picture
        self._helpers = helpers
        self._subnet = subnet
        self._lock = DeferredLock()

    async def recover(self, containers: Collection[int] | None) -> None:
        """
        See :meth:`core0.network.picture.Picture.recover`. What cannot be read is tried again until it can.
        """
        await self._recover(containers)
        if self._picture.unread:
            text = "{reason}; trying again; until then networks cannot be changed"
            self._log.critical(text, reason=self._picture.unread)
            self._recovering = Deferred.fromCoroutine(self._recover_later(containers))
            self._recovering.addErrback(self._failed)

    async def _recover(self, containers: Collection[int] | None) -> None:
        async with self._lock:
            there = None if containers is None else set(containers) - self._detached
            await self._picture.recover(there)
        if self._picture.unread:
            return
        for number in self._detached:
            try:
                await self.detach(number)
            except Refusal as error:
                self._log.error("something is left of container {number}: {error}", number=number, error=error)
        self.recovered.happen(None)

    async def _recover_later(self, containers: Collection[int] | None) -> None:
        wait = FIRST_WAIT
        while self._picture.unread:
            await pause(self._clock, wait)
            wait = min(wait * 2, LONGEST_WAIT)
            await self._recover(containers)
        self._log.info("networks can be changed again")

    def _failed(self, failure: Failure) -> None:
        if not failure.check(CancelledError):
            self._log.failure("cannot recover the networks", failure)

    async def stop(self) -> None:
        """
        Look after it no more. All that containers need stays as it is.
        """
        if self._recovering is not None:
            self._recovering.cancel()
        await self._picture.stop()

    async def create(self, name: str, hwaddr: str, subnet: Subnet | None, mtu: int = 0) -> None:
        """
        See :class:`core0.interfaces.INetworks`.

        :param hwaddr: its MAC address; empty: a new one.
        :param mtu: in bytes; 0: the least of its ports.
        """
        async with self._lock:
            await to_the_end(self._create(Bridge(name=name, hwaddr=hwaddr or new_hwaddr(), subnet=subnet, mtu=mtu)))

    async def _create(self, bridge: Bridge) -> None:
        with refusals():
            self._picture.known()
            desired, kernel = self._picture.desired, await self._picture.look()
            check_bridge(bridge, desired, kernel)
            await self._picture.more(desired.with_bridge(bridge), kernel)

    async def listed(self) -> list[str]:
        """
        See :class:`core0.interfaces.INetworks`.
        """
        with refusals():
            kernel = await self._picture.look()
        return sorted(link.name for link in kernel.links.values() if link.kind == "bridge")

    async def delete(self, name: str) -> None:
        """
        See :class:`core0.interfaces.INetworks`.
        """
        async with self._lock:
            await to_the_end(self._delete(name))

    async def _delete(self, name: str) -> None:
        with refusals():
            self._picture.known()
            desired, kernel = self._picture.desired, await self._picture.look()
            check_removal(name, desired, kernel)
            await self._picture.less(desired.without_bridge(name), kernel, name)

    async def attach(self, container: int, namespace: str, wishes: Wishes) -> Attached:
        """
        Give a container, which has none yet, its links and ports.

        :param namespace: the path of its network namespace, ``/proc/<pid>/ns/net`` or another one.
        :raises Refusal: 400, 404 or 409, something that is asked for is wrong, unknown or in use; 503, something is
            missing, or it failed; nothing is left of it then.
        """
        async with self._lock:
            return await to_the_end(self._attach(container, namespace, wishes))

    async def _attach(self, container: int, namespace: str, wishes: Wishes) -> Attached:
        with refusals():
            kernel = await self._picture.look()
            after = await self._planned(container, wishes, kernel)
            links = [link for link in after.links if link.container == container]
            await self._picture.more(after, kernel, links, namespace)
        return self.attached(container)

    async def check(self, wishes: Wishes) -> None:
        """
        Whether a container could have them now.

        :raises Refusal: as :meth:`attach`.
        """
        with refusals():
            await self._planned(0, wishes, await self._picture.look())

    async def _planned(self, container: int, wishes: Wishes, kernel: Kernel) -> Desired:
        """
        What is desired once a container has what it is to have.
        """
        self._picture.known()
        desired, wished = self._picture.desired, wishes.links
        if wishes.uplink:
            field = "arguments.port" if wishes.ports else "arguments.network.zerotier"
            desired, kernel = with_default(desired, kernel, self._subnet, field)
            wished = [Wish(DEFAULT, free=True)]
        leased: set[Ip] = set()
        for bridge in desired.bridges:
            if hands_out(bridge) and any(wish.bridge == bridge.name for wish in wished):
                leased |= set(await self._helpers.leases(bridge.name))
        links = links_of(container, wishes, wished, desired, kernel, leased)
        forwards = forwards_of(container, wishes.ports, links)
        await self._in_thread(check_free, forwards, desired)
        return desired.with_links(links).with_forwards(forwards)

    async def mend(self, container: int, namespace: str) -> None:
        """
        Make those links of a container anew that were not there when core0 started: somebody had removed them, or the
        network that their other ends were in is gone.

        :raises Refusal: 503, it failed.
        """
        had = self.attached(container)
        missing = [link for link in had.links if link.host_name in self._picture.missing]
        if missing:
            manner = Manner(back=bool(had.forwards), several=len(had.links) > 1, anew=True)
            async with self._lock:
                with refusals():
                    await to_the_end(self._picture.plug(missing, namespace, manner))

    async def leased(self, container: int, index: int, lease: Lease | None) -> None:
        """
        A server of others has given a container's link an address, or taken it.

        :raises Refusal: 503, it cannot be written down.
        """
        async with self._lock:
            with refusals():
                await to_the_end(self._picture.keep(self._picture.desired.with_lease(container, index, lease)))

    async def detach(self, container: int) -> None:
        """
        Take from a container all that it has; nothing happens if it has nothing.

        :raises Refusal: 503, something of it failed; the rest is gone.
        """
        async with self._lock:
            await to_the_end(self._detach(container))

    async def _detach(self, container: int) -> None:
        if self._picture.unread:
            self._detached.add(container)  # as soon as it is known what that takes
            return
        after = self._picture.desired.without_container(container)
        if after != self._picture.desired:
            with refusals():
                await self._picture.drop(after)

    def attached(self, container: int) -> Attached:
        """
        What a container has.
        """
        return attached(self._picture.desired, container)

    def links(self) -> dict[int, list[Link]]:
        """
        Those of all containers that have any.
        """
        found: dict[int, list[Link]] = {}
        for link in self._picture.desired.links:
            found.setdefault(link.container, []).append(link)
        return found
