"""
Connecting to a server that does not do its part.
"""

from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.testing import MemoryReactorClock, StringTransport
from twisted.trial.unittest import SynchronousTestCase

from core0.redis.connect import REPLY_TIMEOUT, connect
from core0.redis.connection import Connection, Lost
from core0.redis.link import Link
from core0.redis.url import RedisURL

SOCKET = RedisURL(path="/s")


class ConnectTests(SynchronousTestCase):
    """
    Whatever is wrong, it is said to be lost, and soon.
    """

    def setUp(self) -> None:
        """
        A reactor without a network.
        """
        self.reactor = MemoryReactorClock()

    def accept(self) -> Any:
        """
        Let the last attempt succeed.

        :returns: its protocol.
        """
        factory = self.reactor.unixClients[-1][1]
        protocol = factory.buildProtocol(None)
        protocol.makeConnection(StringTransport())
        return protocol

    def test_bad_names(self) -> None:
        """
        A name that no host can have is like a host that is not there.
        """
        for host in ("a..b", "x" * 80, "\udc80", "-.-", "é" * 70):
            connecting = Deferred.fromCoroutine(connect(self.reactor, RedisURL(hosts=((host, 1),), tls=True)))
            self.reactor.advance(60)
            self.failureResultOf(connecting, Lost)

    def test_silent(self) -> None:
        """
        A server that accepts and says nothing is given up, and the connection is closed.
        """
        connecting = Deferred.fromCoroutine(connect(self.reactor, SOCKET))
        protocol = self.accept()
        self.reactor.advance(REPLY_TIMEOUT - 1)
        self.assertNoResult(connecting)
        self.reactor.advance(2)
        self.failureResultOf(connecting, Lost)
        self.assertTrue(protocol.transport.disconnected)

    def test_silent_later(self) -> None:
        """
        So is one that stops answering while the scripts are loaded; then it is tried again.
        """
        prepared: list[Connection] = []

        async def prepare(connection: Connection) -> None:
            prepared.append(connection)

        link = Link(self.reactor, SOCKET, "test", prepare)
        link.start()
        self.addCleanup(link.stop)
        protocol = self.accept()
        protocol.dataReceived(b"+PONG\r\n")
        self.reactor.advance(REPLY_TIMEOUT + 1)
        self.assertTrue(protocol.transport.disconnected)
        self.reactor.advance(1)
        self.assertEqual((2, []), (len(self.reactor.unixClients), prepared))
