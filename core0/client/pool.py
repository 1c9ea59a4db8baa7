"""
The connections of a client. Each serves one at a time: a command that waits holds up all others on its connection.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from twisted.internet.defer import TimeoutError
from twisted.internet.error import ConnectError

from core0.client.errors import ServerError
from core0.redis.connect import connect
from core0.redis.connection import Connection, Lost, RedisError
from core0.redis.store import PATIENCE, SENTINEL_PATIENCE
from core0.redis.url import RedisURL
from core0.redis.why import Replica, WrongServer
from core0.waiting import pause, within

MAX_IDLE = 8
FIRST_WAIT, LONGEST_WAIT = 0.05, 1.0  # seconds between attempts
CONNECT_TIMEOUT = 15.0  # seconds, logging in included


class Pool:
    """
    :param patience: seconds for which a server that went away is looked for.
    :ivar url: of the server.
    """

    def __init__(self, reactor: Any, url: RedisURL, patience: float) -> None:
        self._reactor = reactor
        self.url = url
        self._patience = patience
        self._idle: list[Connection] = []
        self._busy: set[Connection] = set()
        self._closed = False

    @asynccontextmanager
    async def connection(self, patience: float | None = None) -> AsyncIterator[Connection]:
        """
        A connection, for as long as the ``with`` block lasts; it is closed if that ends with an error.

        :raises ServerError: there is none to be had.
        """
        connection = await self._take(self._patience if patience is None else patience)
        self._busy.add(connection)
        try:
            yield connection
        except BaseException:
            connection.close()  # what it was asked may still be under way
            raise
        else:
            self._keep(connection)
        finally:
            self._busy.discard(connection)

    def _keep(self, connection: Connection) -> None:
        if self._closed or len(self._idle) >= MAX_IDLE:
            connection.close()
        elif connection.alive:
            self._idle.append(connection)

    async def _take(self, patience: float) -> Connection:
        while self._idle:
            connection = self._idle.pop()
            if connection.alive:
                return connection
        end = self._reactor.seconds() + patience
        wait = FIRST_WAIT
        while not self._closed:
            try:
                return await within(self._reactor, CONNECT_TIMEOUT, self._connect())
            except (RedisError, TimeoutError) as error:
                # a server that has just started refuses everything until it has read its files
                passing = isinstance(error, Lost | TimeoutError | Replica) or str(error).startswith("LOADING")
                if not passing or self._reactor.seconds() + wait > end:
                    raise ServerError(self._why_not(error)) from error
            await pause(self._reactor, wait)
            wait = min(wait * 2, LONGEST_WAIT)
        raise ServerError("this client is closed")

    async def _connect(self) -> Connection:
        # where there are Sentinels there may be another master meanwhile
        patience = SENTINEL_PATIENCE if self.url.master else PATIENCE
        return await connect(self._reactor, self.url, patience=patience)

    def _why_not(self, error: Exception) -> str:
        if isinstance(error, TimeoutError):
            return f"cannot reach core0 at {self.url}: no answer for {CONNECT_TIMEOUT:.0f} s"
        if isinstance(error, WrongServer):
            return str(error)
        if isinstance(error, Lost):
            return f"{error}; is core0 running there?" if isinstance(error.__cause__, ConnectError) else str(error)
        return f"cannot log in: {error}"

    async def close(self) -> None:
        """
        Close all connections; whoever uses one gets :class:`ServerError`.
        """
        self._closed = True
        connections = [*self._idle, *self._busy]
        self._idle.clear()
        for connection in connections:
            gone = connection.lost()
            connection.close()
            await gone
