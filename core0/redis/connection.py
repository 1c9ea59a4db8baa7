"""
One connection to Redis: txredisapi's protocol, without its pools and its own reconnecting.

A lost connection is an event that its user has to know of (what was in flight may or may not have happened), so
whoever needs one connects, works until it is lost, and connects again.
"""

from collections.abc import Callable
from typing import Any

import hiredis
import txredisapi
from twisted.internet.defer import Deferred, succeed
from twisted.internet.endpoints import (
    HostnameEndpoint,
    UNIXClientEndpoint,
    wrapClientTLS,
)
from twisted.internet.interfaces import IStreamClientEndpoint
from twisted.internet.protocol import Factory
from twisted.internet.ssl import optionsForClientTLS

from core0.redis.url import RedisURL

CONNECT_TIMEOUT = 10.0  # seconds
SLOWEST = 512 << 10  # bytes a second that a network carries at least, before a server counts as silent
MOST_SENDING = 60.0  # seconds

Lost = txredisapi.ConnectionError
ReplyError = txredisapi.ResponseError
RedisError = txredisapi.RedisError


class Once(Factory):
    """
    Makes one connection and does not say so in the log.
    """

    noisy = False
    isLazy = False  # for txredisapi

    def __init__(self, connection: "Connection") -> None:
        self._connection = connection

    def buildProtocol(self, addr: Any) -> "Connection":
        """
        Twisted's hook.
        """
        self._connection.factory = self
        return self._connection


class Connection(txredisapi.SubscriberProtocol):  # type: ignore[misc] # txredisapi has no types
    """
    A connection whose replies are bytes, exactly as they came (``007`` stays that).

    :param on_message: called with each message that is published to this connection: text, or a list of texts.
    """

    def __init__(self, on_message: Callable[[Any], None] | None = None) -> None:
        super().__init__(charset=None, convertNumbers=False)
        self._on_message = on_message
        self._alive = self._closed = False
        self._asked = self._answered = 0
        self._received = self._seen = self._ticks = self._sent = 0
        self.why_lost: BaseException | None = None
        self.run_id = ""
        self._write_at_once: Callable[[], object] | None = None

    def connectionMade(self) -> Any:
        """
        Twisted's hook.
        """
        self._alive = True
        # a transport with TLS has no such method
        self._write_at_once = getattr(self.transport, "doWrite", None)
        return super().connectionMade()

    def connectionLost(self, why: Any) -> None:
        """
        Twisted's hook.
        """
        self._alive = False
        if self.why_lost is None:
            self.why_lost = why.value
        super().connectionLost(why)

    def dataReceived(self, data: bytes, unpause: bool = False) -> None:
        """
        Twisted's hook.
        """
        self._received += 1
        try:
            super().dataReceived(data, unpause)
        except hiredis.ProtocolError as error:
            # what speaks is no such server; one that wants TLS answers with an alert of that
            self.why_lost = error
            self.close()

    @property
    def alive(self) -> bool:
        """
        Whether commands can be sent.
        """
        return self._alive and not self._closed

    def replyReceived(self, reply: Any) -> None:
        """
        Tell published messages from replies; a reply that looks like a message cannot come to a connection that has
        not subscribed.
        """
        self._answered += 1
        self._sent = 0
        if self._on_message is None:
            self.replyQueue.put(reply)
        else:
            super().replyReceived(reply)

    def messageReceived(self, pattern: Any, channel: bytes, message: Any) -> None:
        """
        txredisapi's hook.
        """
        if self._on_message is not None:
            self._on_message(message)

    def command(self, *words: str | bytes | float) -> "Deferred[Any]":
        """
        Send one command; several may be under way.

        :raises Lost: the connection is gone, or went before the reply; the command may have been carried out.
        :raises ReplyError: the server refused it.
        """
        if not self.alive:
            raise Lost("not connected")
        # packed in C: txredisapi's own execute_command takes 20 times as long for a batch
        packed = hiredis.pack_command(words)  # type: ignore[arg-type] # it takes any tuple of these
        self._sent += len(packed)
        self.transport.write(packed)
        if self._write_at_once is not None:
            # now, not in the reactor's next turn: the server works on it meanwhile. An error shows at the next event.
            self._write_at_once()
        self._asked += 1
        reply: Deferred[Any] = self.replyQueue.get()
        return reply.addCallback(self.handle_reply)

    def silent(self) -> float:
        """
        To be called once a second: for how many of these calls nothing has come, less what it may take to send what is
        under way. Counting calls, not time: a process that was stopped meanwhile has not looked.
        """
        self._ticks = self._ticks + 1 if self._seen == self._received else 0
        self._seen = self._received
        return self._ticks - min(self._sent / SLOWEST, MOST_SENDING)

    @property
    def heard(self) -> bool:
        """
        Whether anything has ever come.
        """
        return self._received > 0

    @property
    def waiting(self) -> bool:
        """
        Whether something was asked that is not answered.
        """
        return self._asked > self._answered

    def lost(self) -> "Deferred[Any]":
        """
        Fires when the connection is gone.
        """
        gone: Deferred[Any] = self.whenDisconnected() if self._alive else succeed(None)
        return gone

    def close(self) -> None:
        """
        Close it at once; what is under way fails with :class:`Lost`.
        """
        self._closed = True  # its transport says so only in the reactor's next turn
        if self.transport is not None:
            self.transport.abortConnection()


def endpoint(reactor: Any, url: RedisURL) -> IStreamClientEndpoint:
    """
    The endpoint of a server that is not behind Sentinels.
    """
    if url.path:
        return UNIXClientEndpoint(reactor, url.path, timeout=CONNECT_TIMEOUT)
    host, port = url.hosts[0]
    plain = HostnameEndpoint(reactor, host, port, timeout=CONNECT_TIMEOUT)
    return wrapClientTLS(optionsForClientTLS(host), plain) if url.tls else plain


__all__ = ["Connection", "Lost", "Once", "RedisError", "ReplyError", "endpoint"]
