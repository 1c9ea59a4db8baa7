"""
The thread in which all DHCP of one container is: in the container's network, with an asyncio loop of its own.
"""

import os
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import IPv4Interface

from core0.network.host_machine import Lease
from core0.network.loop_thread import LoopThread
from core0.network.namespaces import enter


@dataclass(frozen=True, slots=True)
class Asked:
    """
    A link of a container whose address a DHCP server is asked for.

    :ivar index: which of the container's links.
    :ivar name: that it has in the container.
    :ivar last: the address that it had before; it is asked for first.
    :ivar bridge: behind which the server is.
    :ivar hostname: the one of the container, which the server is told; empty: none is.
    """

    index: int
    name: str
    last: IPv4Interface | None = None
    bridge: str = ""
    hostname: str = ""


class Listener(ABC):
    """
    What a :class:`LeaseWorker` tells, in its thread.
    """

    @abstractmethod
    def has(self, index: int, lease: Lease | None) -> None:
        """
        A link has got what a server gave; None: it has nothing any more.
        """

    @abstractmethod
    def troubled(self, index: int, reason: str) -> None:
        """
        A link cannot get an address now; it goes on trying.
        """

    @abstractmethod
    def over(self, reason: str) -> None:
        """
        Nothing comes after this.

        :param reason: why it has ended by itself; empty if it was stopped.
        """


class LeaseWorker:
    """
    :param container: its number.
    :param namespace: a descriptor of the container's network namespace; closed here.
    """

    def __init__(self, container: int, namespace: int, links: Sequence[Asked], listener: Listener) -> None:
        self._namespace = namespace
        self._links = links
        self._listener = listener
        self._thread = LoopThread(f"core0-dhcp-{container}", self._keep, listener.over, enter=self._enter)

    def start(self) -> None:
        """
        Begin.

        :raises RuntimeError: there is no thread to be had.
        """
        try:
            self._thread.start()
        except BaseException:
            os.close(self._namespace)
            raise

    def stop(self) -> None:
        """
        End soon; from any thread. Addresses and routes stay.
        """
        self._thread.stop()

    def _enter(self) -> None:
        try:
            enter(self._namespace)
        finally:
            os.close(self._namespace)

    async def _keep(self) -> None:
        # only now: a core0 without such links does not load it
        from core0.network.lease_keeper import LeaseKeeper

        await LeaseKeeper(self._links, self._listener).run()
