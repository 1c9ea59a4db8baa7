"""
What containers have of the network: links and ports, addresses from servers of others, ZeroTier.
"""

from collections.abc import Callable, Sequence
from ipaddress import IPv4Interface, ip_interface
from typing import Any

from twisted.internet.defer import CancelledError, Deferred, gatherResults
from twisted.logger import Logger
from twisted.python.failure import Failure

from core0.errors import Refusal
from core0.network.attached import Attached
from core0.network.desired import Link
from core0.network.host_machine import Lease
from core0.network.lease_worker import Asked
from core0.network.leases import Leases
from core0.network.networks import Networks
from core0.network.refusals import refusals
from core0.network.wishes import Wishes
from core0.network.zerotiers import ZeroTiers


class Attachments:
    """
    :ivar on_change: told of a container whose addresses are others now.
    """

    _log = Logger()

    def __init__(self, reactor: Any, networks: Networks, zerotiers: ZeroTiers) -> None:
        self._networks = networks
        self._zerotiers = zerotiers
        self._leases = Leases(reactor, self._leased)
        self.on_change: Callable[[int], object] = lambda container: None

    async def check(self, wishes: Wishes) -> None:
        """
        Whether a container could have them now.

        :raises Refusal: as :meth:`attach`.
        """
        await self._networks.check(wishes)
        if wishes.zerotier:
            with refusals():
                await self._zerotiers.check()

    async def attach(self, container: int, namespace: str, wishes: Wishes, home: str) -> None:
        """
        Give a container all of it; what it has is to be detached even if this fails.

        :param namespace: the path of its network namespace, ``/proc/<pid>/ns/net`` or another one.
        :param home: a folder for what ZeroTier keeps, which is not there yet.
        :raises Refusal: 400, 404 or 409, something that is asked for is wrong, unknown or in use; 503, something is
            missing, or it failed.
        """
        attached = await self._networks.attach(container, namespace, wishes)
        asked = _asked(attached.links, wishes)
        with refusals():
            if asked:
                given = await self._leases.begin(container, namespace, asked)
                for index, lease in given.items():
                    await self._networks.leased(container, index, lease)
            if wishes.zerotier:
                await self._zerotiers.join(container, wishes.zerotier, namespace, home)

    async def recover(self, container: int, namespace: str, wishes: Wishes, home: str) -> None:
        """
        Go on with what a core0 before this one has given a container that lives. What cannot be is logged.
        """
        links = Deferred.fromCoroutine(self._recover_links(container, namespace, wishes))
        links.addErrback(self._failed)
        if self._networks.recovered.happened:
            await links
        if wishes.zerotier:
            await self._zerotiers.recover(container, wishes.zerotier, namespace, home)

    async def _recover_links(self, container: int, namespace: str, wishes: Wishes) -> None:
        await self._networks.recovered.wait()
        try:
            await self._networks.mend(container, namespace)
        except Refusal as error:
            text = "container {container} has not all of its links: {error}"
            self._log.error(text, container=container, error=error)
        asked = _asked(self._networks.attached(container).links, wishes)
        if asked:
            self._leases.adopt(container, namespace, asked)

    async def detach(self, container: int, home: str = "") -> None:
        """
        Take all of it; nothing happens if it has nothing.

        :param home: what ZeroTier may have kept, perhaps for a core0 before this one; empty: nothing.
        :raises Refusal: 503, it failed.
        """
        try:
            await self._leases.end(container)
        finally:
            try:
                await self._zerotiers.leave(container)
                if home:
                    await self._zerotiers.clear(home)
            finally:
                await self._networks.detach(container)

    def attached(self, container: int) -> Attached:
        """
        The links and ports that a container has.
        """
        return self._networks.attached(container)

    async def described(self, containers: Sequence[int]) -> list[list[dict[str, Any]]]:
        """
        What each of some containers has, for clients.
        """
        links = self._networks.links()
        asked = [Deferred.fromCoroutine(self._zerotiers.described(number)) for number in containers]
        found = []
        for number, told in zip(containers, await gatherResults(asked), strict=True):
            own = [_described(link) for link in links.get(number, ())]
            found.append([*own, _member(told)] if told is not None else own)
        return found

    async def stop(self) -> None:
        """
        Look after it no more. All that containers need stays as it is.
        """
        await self._leases.stop()
        await self._zerotiers.stop()

    def _leased(self, container: int, index: int, lease: Lease | None) -> None:
        Deferred.fromCoroutine(self._note(container, index, lease)).addErrback(self._failed)

    async def _note(self, container: int, index: int, lease: Lease | None) -> None:
        await self._networks.leased(container, index, lease)
        self.on_change(container)

    def _failed(self, failure: Failure) -> None:
        if not failure.check(CancelledError):
            self._log.failure("what a server has given a container cannot be kept", failure)


def _asked(links: Sequence[Link], wishes: Wishes) -> list[Asked]:
    found = []
    for link in links:
        if link.dhcp:
            last = ip_interface(link.address) if link.address else None
            known = last if isinstance(last, IPv4Interface) else None
            found.append(Asked(link.index, link.inside_name, known, bridge=link.bridge, hostname=wishes.hostname))
    return found


def _member(told: dict[str, Any]) -> dict[str, Any]:
    return {"zerotier": told["network"], **{key: value for key, value in told.items() if key != "network"}}


def _described(link: Link) -> dict[str, Any]:
    return {
        "name": link.inside_name,
        "bridge": link.bridge,
        "hwaddr": link.hwaddr,
        "addresses": [link.address] if link.address else [],
        "gateway": link.gateway,
        "link": link.host_name,
    }
