"""
Addresses by DHCP for links of containers: behind a bridge there may be a server that is not core0's.

Each container with such links has a thread, which is in its network. What a link has got stays when core0 ends.
"""

import os
from collections.abc import Callable, Sequence
from typing import Any

from twisted.internet.defer import Deferred, TimeoutError
from twisted.logger import Logger

from core0.network.host_machine import Lease
from core0.network.kernel import NotTaken
from core0.network.lease_holder import LeaseHolder
from core0.network.lease_worker import Asked
from core0.waiting import within

WAIT = 10.0  # seconds for the first addresses of a container
STOP_TIMEOUT = 5.0  # seconds


class Leases:
    """
    :param changed: told, in the reactor's thread, of the container's number, the index of its link and the lease that
        it now has; None: none any more.
    """

    _log = Logger()

    def __init__(self, reactor: Any, changed: Callable[[int, int, Lease | None], object]) -> None:
        self._reactor = reactor
        self._changed = changed
        self._holders: dict[int, LeaseHolder] = {}

    async def begin(
        self, container: int, namespace: str, links: Sequence[Asked], *, wait: float = WAIT
    ) -> dict[int, Lease]:
        """
        The first lease of each link, once all have one and it is set; ``changed`` is told of those that come after.

        :param namespace: the path of the container's network namespace.
        :param wait: seconds that it takes at most.
        :raises NotTaken: a link gets none, or the namespace cannot be entered. Nobody asks any more then; what links
            have got is left to go with them.
        """
        if not links:
            return {}
        holder = self._hold(container, namespace, links)
        try:
            await holder.settle(wait)
        except Exception:  # and when it is cancelled
            await self._drop(container, holder)
            raise
        holder.tells = True
        return dict(holder.leases)

    def adopt(self, container: int, namespace: str, links: Sequence[Asked]) -> None:
        """
        Go on with a container of a core0 before this one: ``changed`` is told of all leases. Troubles are logged.
        """
        if not links:
            return
        try:
            holder = self._hold(container, namespace, links)
        except NotTaken as error:
            self._trouble(container, error)
            return
        holder.tells = True
        Deferred.fromCoroutine(self._look_after(container, holder))

    async def _look_after(self, container: int, holder: LeaseHolder) -> None:
        try:
            await holder.settle(WAIT)
        except NotTaken as error:
            if not holder.ended.happened:
                self._trouble(container, error)

    def _trouble(self, container: int, error: NotTaken) -> None:
        text = "container {container}: its links keep their last addresses, if any: {error}"
        self._log.error(text, container=container, error=str(error))

    async def end(self, container: int) -> None:
        """
        Ask no more for a container; nothing happens if nobody does. What links have got is left to go with them.
        """
        holder = self._holders.get(container)
        if holder is not None:
            await self._drop(container, holder)

    async def stop(self) -> None:
        """
        Ask no more for any container. What links have got stays.
        """
        holders, self._holders = list(self._holders.values()), {}
        await self._stop(holders)

    def _hold(self, container: int, namespace: str, links: Sequence[Asked]) -> LeaseHolder:
        """
        :raises NotTaken: there is no such namespace, or nobody to ask.
        """
        try:
            # at once: the process that the path means may end, and another one get its number
            descriptor = os.open(namespace, os.O_RDONLY | os.O_CLOEXEC)
        except OSError as error:
            raise NotTaken(f"cannot enter the network of the container: {(error.strerror or '').lower()}") from error
        former = self._holders.pop(container, None)
        if former is not None:
            former.stop()
        holder = LeaseHolder(
            self._reactor, container, descriptor, links, lambda index, lease: self._changed(container, index, lease)
        )
        holder.start()
        self._holders[container] = holder
        return holder

    async def _drop(self, container: int, holder: LeaseHolder) -> None:
        if self._holders.get(container) is holder:
            del self._holders[container]
        await self._stop([holder])

    async def _stop(self, holders: Sequence[LeaseHolder]) -> None:
        async def ended() -> None:
            for holder in holders:
                await holder.ended.wait()

        for holder in holders:
            holder.stop()
        try:
            await within(self._reactor, STOP_TIMEOUT, ended())
        except TimeoutError:
            text = "threads that ask for addresses by DHCP have not ended within {seconds} s"
            self._log.warn(text, seconds=STOP_TIMEOUT)
