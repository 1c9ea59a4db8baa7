"""
An address by DHCP: asked for, and asked for again in time, for as long as a link can be used.
"""

import asyncio
import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from ipaddress import IPv4Interface
from socket import gethostname
from typing import Any

from pyroute2.dhcp.client import ClientConfig, randomized_increasing_backoff
from pyroute2.dhcp.fsm import State
from pyroute2.dhcp.hooks import Hook, Trigger
from pyroute2.dhcp.leases import Lease as GivenLease

from core0.network.host_lease import lease_of
from core0.network.host_machine import Lease
from core0.network.patient_dhcp import PatientClient, PatientLease

FIRST_RETRY, LAST_RETRY = 1.0, 30.0  # seconds between two questions that nobody answers
PATIENCE = {State.REBOOTING: 3, State.REQUESTING: 5, State.SELECTING: 300}  # seconds until it begins anew
STUCK = 600.0  # seconds without an answer after which the client is made anew
LOOK = 1.0  # seconds between looks whether it has to be
HOOK_TIMEOUT = 2.0  # seconds
# names of the tasks of pyroute2's client: it is dead without these two, and leaves the third behind when one stumbles
NEEDED = ("Listen for DHCP packets on {}", "Send outgoing DHCP packets on {}")
LEFT = "Watch {} for l2addr changes"


class Listener(ABC):
    """
    What a :class:`Client` tells.
    """

    @abstractmethod
    def given(self, link: str, lease: Lease) -> None:
        """
        A server gave an address, or said that it may stay.
        """

    @abstractmethod
    def taken(self, link: str) -> None:
        """
        A server said that the address is not this machine's.
        """

    @abstractmethod
    def lapsed(self, link: str) -> None:
        """
        Nobody answered until the address had run out.
        """

    @abstractmethod
    def troubled(self, link: str, reason: str) -> None:
        """
        It cannot even ask; it goes on trying.
        """


class Client:
    """
    Asks for one link.

    :param last: the address that the link had before; it is asked for first.
    :param hostname: told to servers; empty: none is; None: the one of this machine.
    """

    def __init__(self, link: str, listener: Listener, last: IPv4Interface | None, hostname: str | None = None) -> None:
        self._link = link
        self._listener = listener
        self._hostname = hostname
        self._last: GivenLease | None = None
        self._until = math.inf  # when that has run out, by the loop's clock
        self._unusable = ""
        self._kind = _kind(lambda: self._last, self._keep)
        if last is not None:
            options = {"lease_time": -1, "subnet_mask": str(last.netmask)}
            self._last = self._kind(ack={"yiaddr": str(last.ip), "options": options}, interface=link, server_mac="")

    async def run(self) -> None:
        """
        Until it is cancelled.
        """
        loop = asyncio.get_running_loop()
        wait = FIRST_RETRY
        while True:
            begun = loop.time()
            try:
                self._unusable = ""
                async with PatientClient(self._config()) as client:
                    await client.bootstrap()
                    await self._watch(client)
                    if self._unusable:
                        raise ValueError(self._unusable)
            except Exception as error:  # whatever somebody sent that it could not digest
                wait = FIRST_RETRY if loop.time() - begun > LAST_RETRY else min(wait * 2, LAST_RETRY)
                self._listener.troubled(self._link, f"cannot get an address by DHCP: {_reason(error)}")
                for task in _tasks(self._link, *NEEDED, LEFT):
                    task.cancel()
                await asyncio.sleep(wait)

    def _config(self) -> ClientConfig:
        return ClientConfig(
            interface=self._link,
            lease_type=self._kind,
            hooks=[
                Hook(self._bound, {Trigger.BOUND, Trigger.RENEWED, Trigger.REBOUND}),
                Hook(self._unbound, {Trigger.UNBOUND}),
                Hook(self._expired, {Trigger.EXPIRED}),
            ],
            timeouts=dict(PATIENCE),
            retransmission=lambda: randomized_increasing_backoff(FIRST_RETRY, LAST_RETRY),
            release=False,  # a core0 that is stopped takes no address away
            hook_timeout=HOOK_TIMEOUT,
            handle_signals=False,
            vendor_id="core0",
            host_name=gethostname() if self._hostname is None else self._hostname,
        )

    async def _watch(self, client: PatientClient) -> None:
        """
        Until it has been without an answer for long, has one that is of no use, or stumbles over a packet.
        """
        loop = asyncio.get_running_loop()
        bound = loop.time()
        needed = min(len(_tasks(self._link, *NEEDED)), len(NEEDED))  # 0 should they have other names one day
        while loop.time() - bound < STUCK and not self._unusable and len(_tasks(self._link, *NEEDED)) >= needed:
            await asyncio.sleep(LOOK)
            if client.state is State.BOUND:
                bound = loop.time()
            if loop.time() > self._until:  # pyroute2 says so itself unless it was made anew meanwhile
                self._until = math.inf
                self._listener.lapsed(self._link)

    def _keep(self, lease: GivenLease) -> None:
        self._last = lease
        seconds = lease.lease_time if lease.lease_time >= 0 else math.inf
        self._until = asyncio.get_running_loop().time() + seconds

    async def _bound(self, lease: GivenLease) -> None:
        try:
            self._listener.given(self._link, lease_of(lease.ack))
        except ValueError as error:
            self._last = None
            self._unusable = f"a server gave what cannot be used: {error}"

    async def _unbound(self, lease: GivenLease) -> None:
        self._last = None
        self._listener.taken(self._link)

    async def _expired(self, lease: GivenLease) -> None:
        self._listener.lapsed(self._link)


def _kind(last: Callable[[], GivenLease | None], keep: Callable[[GivenLease], None]) -> type[GivenLease]:
    """
    A kind of lease that is kept in memory: of an address, the kernel itself remembers that it is ours.
    """

    class Kept(PatientLease):
        def dump(self) -> None:
            keep(self)

        @classmethod
        def load(cls, interface: str) -> Any:
            return last()  # even if it has run out: it is kept

    return Kept


def _tasks(link: str, *names: str) -> list[asyncio.Task[Any]]:
    full = {name.format(link) for name in names}
    return [task for task in asyncio.all_tasks() if task.get_name() in full]


def _reason(error: Exception) -> str:
    return str(getattr(error, "strerror", None) or error or type(error).__name__).lower()
