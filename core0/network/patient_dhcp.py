"""
pyroute2's client of DHCP, made such that no server can keep it busy: each may be anybody's, and say anything.
"""

import asyncio
import math
from collections.abc import Iterator
from itertools import chain
from typing import Any

from pyroute2.dhcp.client import AsyncDHCPClient, ClientConfig, randomized_increasing_backoff
from pyroute2.dhcp.dhcp4socket import AsyncDHCP4Socket
from pyroute2.dhcp.leases import Lease
from pyroute2.dhcp.messages import ReceivedDHCPMessage

FIRST_WAIT, LAST_WAIT = 1.0, 30.0  # seconds between two beginnings that have led to nothing
SOONEST = 1.0  # seconds until an address is asked for again
RENEWAL, REBINDING = 0.5, 0.85  # of the time of a lease, when a server says nothing that makes sense
PACKETS = 100.0  # that are read in a second; the kernel drops what comes beyond them
BURST = 50  # packets that are read at once


class PatientClient(AsyncDHCPClient):  # type: ignore[misc] # it has no types
    """
    Begins anew at once when a server says no, or has let a lease run out; but waits longer and longer if that happens
    again and again.
    """

    def __init__(self, config: ClientConfig) -> None:
        super().__init__(config)
        self._sock = PacedSocket(config.interface)
        self._begun = -math.inf  # by the loop's clock
        self._waits: Iterator[float] = iter(())
        self._later: asyncio.TimerHandle | None = None

    async def bootstrap(self) -> None:
        """
        Ask for an address; later, if it has just been done. Until then nothing is sent and no answer is taken.
        """
        loop = asyncio.get_running_loop()
        if loop.time() - self._begun > LAST_WAIT:
            self._waits = chain((0.0,), randomized_increasing_backoff(FIRST_WAIT, LAST_WAIT))
            self._begun = loop.time()
            await super().bootstrap()
        else:
            # not by waiting here: whoever calls this may be what the next change of state cancels
            self._later = loop.call_later(next(self._waits), lambda: loop.create_task(self._begin()))

    async def _begin(self) -> None:
        self._begun = asyncio.get_running_loop().time()
        await super().bootstrap()

    async def __aexit__(self, *exception: object) -> None:
        if self._later is not None:
            self._later.cancel()
        await super().__aexit__(*exception)


class PacedSocket(AsyncDHCP4Socket):  # type: ignore[misc] # it has no types
    """
    Reads no more packets than there can be reasons for: to make sense of one takes much longer than to send it.
    """

    _next = -math.inf  # when there is time for another one, by the loop's clock

    async def get(self) -> ReceivedDHCPMessage:
        """
        The next packet that makes sense.
        """
        while True:
            now = self.loop.time()
            self._next = max(self._next, now - BURST / PACKETS) + 1 / PACKETS
            if self._next > now:
                await asyncio.sleep(self._next - now)
            data = await self.loop.sock_recv(self, 4096)
            try:
                return self._decode_msg(data)
            except ValueError:
                continue


class PatientLease(Lease):  # type: ignore[misc] # it has no types
    """
    Asked for again in time, whatever the server says about when; but not at once.
    """

    @property
    def renewal_in(self) -> float | None:
        """
        Seconds until its server is asked whether it may stay; None: it may for ever.
        """
        return _sensible(super().renewal_in, self.expiration_in, RENEWAL)

    @property
    def rebinding_in(self) -> float | None:
        """
        Seconds until any server is asked whether it may stay; None: it may for ever.
        """
        return _sensible(super().rebinding_in, self.expiration_in, REBINDING)


def _sensible(given: Any, whole: float | None, share: float) -> float | None:
    if whole is None or whole <= 0:  # more than 68 years come out below 0
        return max(given, SOONEST) if given is not None and given > 0 else None
    return max(given if given is not None and 0 < given < whole else whole * share, SOONEST)
