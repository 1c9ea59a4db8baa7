"""
The unix socket of a server that asks for a password: whoever may open the socket is logged in.

A Redis server knows one ``default`` user, with a password or without, for its unix socket and for TCP alike. So where
it listens on TCP, core0 itself listens at the socket of the clients, and forwards each connection to the server's own
socket after having logged in there.
"""

import os
from typing import Any

from twisted.internet.endpoints import UNIXClientEndpoint, connectProtocol
from twisted.internet.error import CannotListenError
from twisted.internet.interfaces import IListeningPort
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.python.failure import Failure

from core0.errors import ServerFailed

MAX_CONNECTIONS = 1000  # each takes two descriptors
_LOGGED_IN = b"+OK\r\n"


def login(password: str) -> bytes:
    """
    ``AUTH``, as it is sent.
    """
    word = password.encode()
    return b"*2\r\n$4\r\nAUTH\r\n$%d\r\n%s\r\n" % (len(word), word)


class _Side(Protocol):
    """
    One of the two connections: what it reads is written to the other one, no faster than that one takes it.
    """

    transport: Any

    def __init__(self) -> None:
        self.other: _Side | None = None

    def dataReceived(self, data: bytes) -> None:
        """
        Twisted's hook.
        """
        if self.other is not None:
            self.other.transport.write(data)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """
        Twisted's hook.
        """
        if self.other is not None:
            other, self.other = self.other, None
            other.transport.unregisterProducer()
            other.transport.loseConnection()

    def forward_to(self, other: "_Side") -> None:
        """
        Begin to forward.
        """
        self.other = other
        other.transport.registerProducer(self.transport, True)


class _Upstream(_Side):
    """
    The connection to the server, which is logged in before anything else is sent.
    """

    def __init__(self, client: _Side, words: bytes) -> None:
        super().__init__()
        self._client = client
        self._words = words
        self._reply = b""

    def connectionMade(self) -> None:
        """
        Twisted's hook.
        """
        self.transport.write(self._words)

    def dataReceived(self, data: bytes) -> None:
        """
        Twisted's hook.
        """
        if self.other is not None:
            super().dataReceived(data)
            return
        self._reply += data
        if self._reply == _LOGGED_IN:
            self.forward_to(self._client)
            self._client.forward_to(self)
            self._client.transport.resumeProducing()
        elif not _LOGGED_IN.startswith(self._reply):
            self.transport.loseConnection()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """
        Twisted's hook.
        """
        super().connectionLost(reason)
        self._client.transport.loseConnection()


class _Client(_Side):
    """
    The connection of a client; nothing is read from it before the server can be told.
    """

    factory: "LocalProxy"

    def connectionMade(self) -> None:
        """
        Twisted's hook.
        """
        self.factory.connections += 1
        if self.factory.connections > MAX_CONNECTIONS:
            self.transport.write(b"-ERR max number of clients reached\r\n")
            self.transport.loseConnection()
            return
        self.transport.pauseProducing()
        connecting = connectProtocol(self.factory.endpoint, _Upstream(self, self.factory.words))
        connecting.addErrback(lambda failure: self.transport.loseConnection())

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """
        Twisted's hook.
        """
        self.factory.connections -= 1
        super().connectionLost(reason)


class LocalProxy(Factory[_Client]):
    """
    :param path: the server's own socket.
    :param password: of its ``default`` user.
    """

    protocol = _Client
    noisy = False

    def __init__(self, reactor: Any, path: str, password: str) -> None:
        self._reactor = reactor
        self.endpoint = UNIXClientEndpoint(reactor, path)
        self.words = login(password)
        self.connections = 0

    def listen(self, socket: str) -> IListeningPort:
        """
        Take connections at a unix socket, in the place of one that a previous core0 may have left there.

        :raises ServerFailed: the socket cannot be made.
        """
        try:
            if os.path.lexists(socket):
                os.unlink(socket)
            port: IListeningPort = self._reactor.listenUNIX(socket, self, backlog=511, mode=0o600)
        except (OSError, CannotListenError) as error:
            raise ServerFailed(f"[redis] socket: cannot listen at {socket}: {error}") from error
        return port
