"""
Connecting to a server that does not do its part.
"""

from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionLost
from twisted.internet.testing import MemoryReactorClock, StringTransport
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from core0.redis.connect import REPLY_TIMEOUT, connect
from core0.redis.connection import SLOWEST, Connection, Lost
from core0.redis.link import LOOK, SILENCE, Link
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

    def connected(self) -> tuple[Link, Any]:
        """
        A link with a connection, and its protocol.
        """
        link = Link(self.reactor, SOCKET, "test", scripts=())
        link.start()
        self.addCleanup(link.stop)
        protocol = self.accept()
        protocol.dataReceived(b"+PONG\r\n")
        return link, protocol

    def look(self, times: int) -> None:
        """
        Let so many looks pass.
        """
        for _ in range(times):
            self.reactor.advance(LOOK)

    def test_silence(self) -> None:
        """
        A server that does not answer a question is left after some looks, one that is asked nothing is not.
        """
        link, protocol = self.connected()
        self.look(10 * SILENCE)
        self.assertFalse(protocol.transport.disconnected)
        asked = self.successResultOf(Deferred.fromCoroutine(link.up())).command("GET", "x")
        self.look(SILENCE)
        self.assertTrue(protocol.transport.disconnected)
        protocol.connectionLost(Failure(ConnectionLost()))
        self.failureResultOf(asked, Lost)

    def test_stopped_itself(self) -> None:
        """
        A process that was stopped, and looks late, does not take that for the server's silence.
        """
        link, protocol = self.connected()
        asked = self.successResultOf(Deferred.fromCoroutine(link.up())).command("GET", "x")
        self.reactor.advance(100 * LOOK)
        self.assertFalse(protocol.transport.disconnected)
        protocol.dataReceived(b"$1\r\n1\r\n")
        self.assertEqual(b"1", self.successResultOf(asked))

    def test_part_of_an_answer(self) -> None:
        """
        A server whose answer comes slowly, or whose question is long, is not silent.
        """
        link, protocol = self.connected()
        connection = self.successResultOf(Deferred.fromCoroutine(link.up()))
        connection.command("GET", "x")
        protocol.dataReceived(b"$100\r\n")
        for _ in range(10 * SILENCE):
            protocol.dataReceived(b"x")
            self.look(1)
        self.assertFalse(protocol.transport.disconnected)
        protocol.dataReceived(b"x" * (100 - 10 * SILENCE) + b"\r\n")
        connection.command("SET", "x", b"y" * (4 * SLOWEST))
        self.look(SILENCE + 3)
        self.assertFalse(protocol.transport.disconnected)
        self.look(3)
        self.assertTrue(protocol.transport.disconnected)
