"""
The leases of one container, as the reactor's thread knows them.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from twisted.internet.defer import TimeoutError
from twisted.logger import Logger

from core0.network.host_machine import Lease
from core0.network.kernel import NotTaken
from core0.network.lease_worker import Asked, LeaseWorker, Listener
from core0.waiting import Occurrence, within

LONGEST = 200  # characters of a trouble: somebody may have sent some of them


class LeaseHolder(Listener):
    """
    :param namespace: see :class:`LeaseWorker`.
    :param changed: told of the index of a link and what it now has, once :attr:`tells` is set.
    :ivar ended: nobody asks any more.
    """

    _log = Logger()

    def __init__(
        self,
        reactor: Any,
        container: int,
        namespace: int,
        links: Sequence[Asked],
        changed: Callable[[int, Lease | None], object],
    ) -> None:
        self._reactor = reactor
        self._container = container
        self._links = {link.index: link for link in links}
        self._changed = changed
        self._leases: dict[int, Lease] = {}
        self._troubles: dict[int, str] = {}
        self._settled: Occurrence[str] = Occurrence()  # with why it never will be; empty: it is
        self._stopped = False
        self._worker = LeaseWorker(container, namespace, links, self)
        self.ended: Occurrence[None] = Occurrence()
        self.tells = False

    @property
    def leases(self) -> Mapping[int, Lease]:
        """
        What links have now, by their indices.
        """
        return dict(self._leases)

    def start(self) -> None:
        """
        Begin to ask.

        :raises NotTaken: there is no thread for it.
        """
        try:
            self._worker.start()
        except RuntimeError as error:
            raise NotTaken(f"cannot ask for addresses by DHCP: {error}") from error

    async def settle(self, wait: float) -> None:
        """
        Until each link has a lease.

        :param wait: seconds that it takes at most.
        :raises NotTaken: one has none by then, or never will have.
        """
        try:
            reason = await within(self._reactor, wait, self._settled.wait())
        except TimeoutError as error:
            raise NotTaken(self._lacking(wait)) from error
        if reason:
            raise NotTaken(reason)

    def stop(self) -> None:
        """
        Ask no more, and tell nothing more; it takes until :attr:`ended`. What links have got stays.
        """
        self._stopped = True
        self._worker.stop()

    def _lacking(self, wait: float) -> str:
        lacking = [index for index in self._links if index not in self._leases]
        # rather one of which it is known what is wrong
        index = min(lacking, key=lambda index: index not in self._troubles)
        link = self._links[index]
        trouble = f" ({self._troubles[index]})" if index in self._troubles else ""
        text = f"no DHCP server gives {link.name} an address within {wait:g} s; is there one behind bridge"
        return f"{text} {link.bridge}?{trouble}"

    def has(self, index: int, lease: Lease | None) -> None:
        """
        See :class:`Listener`.
        """
        self._reactor.callFromThread(self._has, index, lease)

    def troubled(self, index: int, reason: str) -> None:
        """
        See :class:`Listener`.
        """
        self._reactor.callFromThread(self._troubled, index, reason)

    def over(self, reason: str) -> None:
        """
        See :class:`Listener`.
        """
        self._reactor.callFromThread(self._over, reason)

    def _has(self, index: int, lease: Lease | None) -> None:
        self._troubles.pop(index, None)
        if lease is not None:
            self._leases[index] = lease
        else:
            self._leases.pop(index, None)
        if self.tells and not self._stopped:
            what = str(lease.address) if lease is not None else "no address any more"
            text = "container {container}: {link} has {what} by DHCP"
            self._log.info(text, container=self._container, link=self._links[index].name, what=what)
            self._changed(index, lease)
        if len(self._leases) == len(self._links):
            self._settled.happen("")

    def _troubled(self, index: int, reason: str) -> None:
        reason = "".join(letter if letter.isprintable() else "?" for letter in reason[:LONGEST])
        if self._troubles.get(index) == reason:
            return  # as before
        self._troubles[index] = reason
        if self.tells and not self._stopped:
            text = "container {container}: {link} has trouble: {reason}"
            self._log.warn(text, container=self._container, link=self._links[index].name, reason=reason)

    def _over(self, reason: str) -> None:
        if self.tells and not self._stopped:
            self._log.error("container {container}: {reason}", container=self._container, reason=reason)
        self._settled.happen(reason or "nobody asks for addresses by DHCP any more")
        self.ended.happen(None)
