"""
The connections of a client: kept for the next one, or closed.
"""

import os
import tempfile
from shutil import rmtree

from twisted.internet import reactor
from twisted.internet.protocol import Factory, Protocol
from twisted.trial.unittest import TestCase

from core0.client.pool import Pool
from core0.redis.connection import Connection
from core0.redis.url import RedisURL


class _Answering(Protocol):
    """
    A server that answers everything.
    """

    def dataReceived(self, data: bytes) -> None:
        """
        Twisted's hook.
        """
        assert self.transport is not None
        self.transport.write(b"+PONG\r\n")


class PoolTests(TestCase):
    """
    Real connections to a server that answers whatever it is asked.
    """

    def setUp(self) -> None:
        """
        A server, and a pool of connections to it.
        """
        folder = tempfile.mkdtemp(prefix="core0-pool-")
        self.addCleanup(rmtree, folder)
        path = os.path.join(folder, "sock")
        factory = Factory.forProtocol(_Answering)
        factory.noisy = False
        port = reactor.listenUNIX(path, factory)  # type: ignore[attr-defined]
        self.addCleanup(port.stopListening)
        self.pool = Pool(reactor, RedisURL(path=path), 1.0)
        self.addCleanup(self.pool.close)

    async def used(self, error: "type[BaseException] | None" = None) -> Connection:
        """
        Use one; then comes an error, if one is given.
        """
        async with self.pool.connection() as connection:
            await connection.command("PING")
            if error is not None:
                self.used_last = connection
                raise error
        return connection

    async def test_kept(self) -> None:
        """
        A connection that has served is the next one's.
        """
        first = await self.used()
        self.assertIs(first, await self.used())

    async def test_closed_after_an_error(self) -> None:
        """
        A connection that is closed for an error serves nobody else, also in the moment before its end is known.
        """
        for error in (RuntimeError, KeyboardInterrupt, GeneratorExit):
            try:
                await self.used(error)
            except error:
                pass
            self.assertEqual([], self.pool._idle)
            self.assertEqual(set(), self.pool._busy)
            self.assertIsNot(self.used_last, await self.used())
            self.pool._idle.pop().close()

    async def test_closed_meanwhile(self) -> None:
        """
        A connection that its user has closed serves nobody else.
        """
        async with self.pool.connection() as connection:
            connection.close()
        self.assertEqual([], self.pool._idle)
        self.assertIsNot(connection, await self.used())
