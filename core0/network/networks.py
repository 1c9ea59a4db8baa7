"""
The networks of a host: one picture of what is desired, kept on disk, and made so. Changes are made one after another;
each is made wholly, or leaves everything as it was.
"""

from collections.abc import Awaitable, Collection, Sequence

from twisted.internet.defer import DeferredLock
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from core0.host_interfaces import INetworks
from core0.interfaces import ThreadRunner
from core0.network.attached import Attached, attached
from core0.network.checks import check_bridge, check_removal
from core0.network.claim import Claim, NotOurs
from core0.network.default_bridge import NAME as DEFAULT
from core0.network.default_bridge import with_default
from core0.network.desired import Bridge, Desired, Ip, Link, Subnet
from core0.network.dnsmasq import hands_out
from core0.network.helper import NotServed
from core0.network.helpers import Helpers
from core0.network.host_machine import Lease
from core0.network.kernel import Netlink, NotTaken
from core0.network.links import Manner, links_of, plug_all
from core0.network.names import new_hwaddr
from core0.network.nft import Firewall, NotRuled
from core0.network.plan import Kernel, Remove, Step, difference, withdrawal
from core0.network.ports import check_free, forwards_of
from core0.network.refusals import refusals
from core0.network.store import Store
from core0.network.wishes import Wish, Wishes
from core0.waiting import to_the_end


@implementer(INetworks)
class Networks:
    """
    :param in_thread: calls in a thread that is always the same one.
    :param subnet: the network of the bridge that is made for ports, if containers have no other.
    """

    _log = Logger()

    def __init__(
        self, in_thread: ThreadRunner, firewall: Firewall, helpers: Helpers, store: Store, *, subnet: str
    ) -> None:
        self._in_thread = in_thread
        self._firewall = firewall
        self._helpers = helpers
        self._store = store
        self._subnet = subnet
        self._netlink = Netlink()
        self._claim = Claim(store.folder)
        self._lock = DeferredLock()
        self._desired = Desired()
        self._missing: set[str] = set()  # links of containers, as core0 has found it

    async def recover(self, containers: Collection[int]) -> None:
        """
        Have again what was desired before. What cannot be is logged. Without anything desired nothing is touched.

        :param containers: those that there may be; links and ports of all others are not desired any more.
        """
        before = await self._in_thread(self._store.load)
        if before is None:
            return
        try:
            self._claim.take()
        except NotOurs as error:
            self._log.critical("the network is not as it was: {error}", error=error)
            self._desired = before  # it is made so as soon as that can be
            return
        after = before
        for number in {each.container for each in before.links} | {each.container for each in before.forwards}:
            if number not in containers:
                after = after.without_container(number)
        async with self._lock:
            self._desired = after
            await self._recover(before, after)

    async def _recover(self, before: Desired, after: Desired) -> None:
        try:
            kernel = await self._look()
            self._missing = {link.host_name for link in after.links} - kernel.links.keys()
            for step in [*withdrawal(before, after, kernel), *difference(after, kernel)]:
                await self._attempt(self._in_thread(self._netlink.take, [step]))
        except NotTaken as error:
            self._log.error("the network is not as it was: {error}", error=error)
        await self._attempt(self._firewall.recover(after))
        await self._attempt(self._helpers.recover(after))
        await self._attempt(self._in_thread(self._store.save, after))

    async def _attempt(self, work: Awaitable[object]) -> None:
        try:
            await work
        except (NotTaken, NotRuled, OSError) as error:
            self._log.error("the network is not as it was: {error}", error=error)

    async def stop(self) -> None:
        """
        Look after it no more. All that containers need stays as it is.
        """
        self._firewall.stop()
        await self._helpers.stop()
        await self._in_thread(self._netlink.close)
        self._claim.drop()

    async def _look(self) -> Kernel:
        return await self._in_thread(self._netlink.look)

    async def create(self, name: str, hwaddr: str, subnet: Subnet | None) -> None:
        """
        See :class:`core0.interfaces.INetworks`.

        :param hwaddr: its MAC address; empty: a new one.
        """
        async with self._lock:
            await to_the_end(self._create(Bridge(name=name, hwaddr=hwaddr or new_hwaddr(), subnet=subnet)))

    async def _create(self, bridge: Bridge) -> None:
        with refusals():
            kernel = await self._look()
            check_bridge(bridge, self._desired, kernel)
            await self._make(self._desired.with_bridge(bridge), kernel)

    async def listed(self) -> list[str]:
        """
        See :class:`core0.interfaces.INetworks`.
        """
        with refusals():
            kernel = await self._look()
        return sorted(link.name for link in kernel.links.values() if link.kind == "bridge")

    async def delete(self, name: str) -> None:
        """
        See :class:`core0.interfaces.INetworks`.
        """
        async with self._lock:
            await to_the_end(self._delete(name))

    async def _delete(self, name: str) -> None:
        with refusals():
            kernel = await self._look()
            check_removal(name, self._desired, kernel)
            await self._remove(self._desired.without_bridge(name), kernel, name)

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
            kernel = await self._look()
            after = await self._planned(container, wishes, kernel)
            links = [link for link in after.links if link.container == container]
            await self._make(after, kernel, links, namespace)
        return self.attached(container)

    async def check(self, wishes: Wishes) -> None:
        """
        Whether a container could have them now.

        :raises Refusal: as :meth:`attach`.
        """
        with refusals():
            await self._planned(0, wishes, await self._look())

    async def _planned(self, container: int, wishes: Wishes, kernel: Kernel) -> Desired:
        """
        What is desired once a container has what it is to have.
        """
        desired, wished = self._desired, wishes.links
        if wishes.uplink:
            field = "arguments.port" if wishes.ports else "arguments.network.zerotier"
            desired, kernel = with_default(desired, kernel, self._subnet, field)
            wished = [Wish(DEFAULT, free=True)]
        leased: set[Ip] = set()
        for bridge in desired.bridges:
            if hands_out(bridge) and any(wish.bridge == bridge.name for wish in wished):
                leased |= set(await self._helpers.leases(bridge.name))
        links = links_of(container, wishes.hostname, wished, desired, kernel, leased)
        forwards = forwards_of(container, wishes.ports, links)
        await self._in_thread(check_free, forwards, desired)
        return desired.with_links(links).with_forwards(forwards)

    async def mend(self, container: int, namespace: str) -> None:
        """
        Make those links of a container anew that were not there when core0 started: somebody had removed them, or the
        network that their other ends were in is gone.

        :raises Refusal: 503, it failed.
        """
        attached = self.attached(container)
        missing = [link for link in attached.links if link.host_name in self._missing]
        if missing:
            async with self._lock:
                with refusals():
                    manner = Manner(back=bool(attached.forwards), several=len(attached.links) > 1, anew=True)
                    work = self._in_thread(plug_all, self._netlink, missing, namespace, manner)
                    await to_the_end(work)

    async def leased(self, container: int, index: int, lease: Lease | None) -> None:
        """
        A server of others has given a container's link an address, or taken it.

        :raises Refusal: 503, it cannot be written down.
        """
        async with self._lock:
            after = self._desired.with_lease(container, index, lease)
            if after != self._desired:
                with refusals():
                    await self._in_thread(self._store.save, after)
                self._desired = after

    async def detach(self, container: int) -> None:
        """
        Take from a container all that it has; nothing happens if it has nothing.

        :raises Refusal: 503, it failed.
        """
        async with self._lock:
            await to_the_end(self._detach(container))

    async def _detach(self, container: int) -> None:
        """
        Whatever fails: the rest goes, and what is left is nothing that is desired.
        """
        before, after = self._desired, self._desired.without_container(container)
        if after == before:
            return
        with refusals():
            self._claim.take()
            self._desired = after
            failed: list[BaseException] = []
            for work in (
                lambda: self._firewall.drop(after),
                lambda: self._helpers.make(after),
                lambda: self._withdraw(before, after),
                lambda: self._in_thread(self._store.save, after),
            ):
                try:
                    await work()
                except (NotTaken, NotRuled, NotServed, OSError) as error:
                    failed.append(error)
            if failed:
                raise failed[0]

    async def _withdraw(self, before: Desired, after: Desired) -> None:
        await self._in_thread(self._netlink.take, withdrawal(before, after, await self._look()))

    def attached(self, container: int) -> Attached:
        """
        What a container has.
        """
        return attached(self._desired, container)

    def links(self) -> dict[int, list[Link]]:
        """
        Those of all containers that have any.
        """
        found: dict[int, list[Link]] = {}
        for link in self._desired.links:
            found.setdefault(link.container, []).append(link)
        return found

    async def _make(self, after: Desired, kernel: Kernel, links: Sequence[Link] = (), namespace: str = "") -> None:
        """
        Have more; if that cannot be, all is as before.

        :param links: those that are new, of the container with this namespace.
        """
        self._claim.take()
        before, steps = self._desired, difference(after, kernel)
        # first: a core0 that is killed meanwhile makes it complete when it starts again
        await self._in_thread(self._store.save, after)
        try:
            await self._in_thread(self._netlink.take, steps)
            try:
                manner = Manner(back=after.forwards != before.forwards, several=len(links) > 1)
                await self._in_thread(plug_all, self._netlink, links, namespace, manner)
                await self._firewall.make(after)
                await self._helpers.make(after)
            except BaseException:
                await self._back(before, [Remove(link.host_name) for link in links])
                await self._in_thread(self._netlink.undo, steps)
                raise
        except BaseException:
            await self._in_thread(self._store.save, before)
            raise
        self._desired = after

    async def _remove(self, after: Desired, kernel: Kernel, bridge: str = "") -> None:
        """
        Have less; if that cannot be, as much as before, as far as possible.

        :param bridge: one that goes, even if somebody else has made it.
        """
        self._claim.take()
        before = self._desired
        steps: list[Step] = list(withdrawal(before, after, kernel))
        if bridge in kernel.links and Remove(bridge) not in steps:
            steps.append(Remove(bridge))
        try:
            await self._firewall.make(after)
            await self._helpers.make(after)
            await self._in_thread(self._netlink.take, steps)
            if after != before:
                # last: a core0 that is killed meanwhile has it all again when it starts
                await self._in_thread(self._store.save, after)
        except BaseException:
            await self._back(before, difference(before, await self._look()))
            raise
        self._desired = after

    async def _back(self, before: Desired, steps: Sequence[Step]) -> None:
        """
        Have it as it was.
        """
        for work in (
            lambda: self._helpers.make(before),
            lambda: self._firewall.make(before),
            lambda: self._in_thread(self._netlink.take, steps),
        ):
            try:
                await work()
            except Exception:
                self._log.failure("the network is not as it was", Failure())
