"""
A server, wherever it is at the moment, for all connections that go there.
"""

from collections.abc import Callable
from typing import Any, Protocol

from twisted.internet.defer import Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure

from core0.redis.connect import connect
from core0.redis.connection import Connection
from core0.redis.sentinel import find_master
from core0.redis.url import RedisURL
from core0.waiting import Occurrence

PATIENCE = 10.0  # seconds for a connection, and as many for logging in
SENTINEL_PATIENCE = 3.0  # seconds: there may be another master meanwhile


class Member(Protocol):
    """
    Who keeps a connection.
    """

    def leave(self, run_id: str) -> None:
        """
        The server is another one by now, known by this: connect anew unless that is the one.
        """
        ...

    def distrust(self) -> None:
        """
        The server is silent: connect anew if nothing has come from it here either.
        """
        ...


class Store:
    """
    Sentinels are asked once for all that connect at the same time.
    """

    _log = Logger()

    def __init__(self, reactor: Any, url: RedisURL) -> None:
        self.reactor = reactor
        self.url = url
        self.patience = SENTINEL_PATIENCE if url.master else PATIENCE
        self._members: set[Member] = set()
        self._asking: Occurrence[RedisURL | Failure] | None = None

    def join(self, member: Member) -> None:
        """
        Be told when the server is silent, or another one.
        """
        self._members.add(member)

    def part(self, member: Member) -> None:
        """
        Be told no more.
        """
        self._members.discard(member)

    async def connect(self, on_message: Callable[[Any], None] | None = None) -> Connection:
        """
        See :func:`core0.redis.connect.connect`. All others have the same server from now on.
        """
        url = await self._place() if self.url.master else self.url
        connection = await connect(self.reactor, url, on_message, patience=self.patience)
        if connection.run_id:
            for member in tuple(self._members):
                member.leave(connection.run_id)
        return connection

    def silent(self) -> None:
        """
        One of the connections had no answer for too long.
        """
        for member in tuple(self._members):
            member.distrust()

    async def _place(self) -> RedisURL:
        if self._asking is None:
            asking = self._asking = Occurrence[RedisURL | Failure]()
            # goes on whoever stops waiting for it
            Deferred.fromCoroutine(find_master(self.reactor, self.url)).addBoth(self._told, asking)
        found = await self._asking.wait()
        if isinstance(found, Failure):
            found.raiseException()
        return found

    def _told(self, found: RedisURL | Failure, asking: Occurrence[RedisURL | Failure]) -> None:
        self._asking = None
        asking.happen(found)
