"""
One connection to Redis: txredisapi's protocol, without its pools and its own reconnecting.

A lost connection is an event that its user has to know of (what was in flight may or may not have happened), so
whoever needs one connects, works until it is lost, and connects again.
"""

from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

import hiredis
import txredisapi
from twisted.internet.defer import CancelledError, Deferred, DeferredList, TimeoutError, succeed
from twisted.internet.endpoints import (
    HostnameEndpoint,
    UNIXClientEndpoint,
    wrapClientTLS,
)
from twisted.internet.error import ConnectingCancelledError
from twisted.internet.interfaces import IStreamClientEndpoint
from twisted.internet.protocol import Factory
from twisted.internet.ssl import optionsForClientTLS

from core0.redis.url import RedisURL
from core0.waiting import within

CONNECT_TIMEOUT = 10.0  # seconds
REPLY_TIMEOUT = 10.0  # seconds for all that is said before a connection is of use

T = TypeVar("T")

Lost = txredisapi.ConnectionError
ReplyError = txredisapi.ResponseError
RedisError = txredisapi.RedisError


class _Once(Factory):
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
        self._seen = 0
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
        super().connectionLost(why)

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
        self.transport.write(hiredis.pack_command(words))  # type: ignore[arg-type] # it takes any tuple of these
        if self._write_at_once is not None:
            # now, not in the reactor's next turn: the server works on it meanwhile. An error shows at the next event.
            self._write_at_once()
        self._asked += 1
        reply: Deferred[Any] = self.replyQueue.get()
        return reply.addCallback(self.handle_reply)

    def stuck(self) -> bool:
        """
        Whether something was asked, and nothing was answered since the last time that somebody wanted to know this.
        """
        still = self._seen == self._answered and self._asked > self._answered
        self._seen = self._answered
        return still

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


async def connect(reactor: Any, url: RedisURL, on_message: Callable[[Any], None] | None = None) -> Connection:
    """
    Connect and log in.

    :raises Lost: the server cannot be reached.
    :raises RedisError: it does not let us in; Lost is one, too.
    """
    if url.master:
        url = await _master(reactor, url)
    try:
        connection = Connection(on_message)
        await endpoint(reactor, url).connect(_Once(connection))
    except ConnectingCancelledError as error:
        raise CancelledError from error
    except CancelledError:
        raise
    except Exception as error:  # names that are none raise this and that
        raise Lost(f"cannot reach {url}: {error}") from error
    try:
        await in_time(reactor, str(url), _log_in(connection, url))
    except BaseException:
        connection.close()
        raise
    return connection


async def _log_in(connection: Connection, url: RedisURL) -> None:
    questions: list[tuple[str, ...]] = [("PING",)]
    if url.password is not None:
        questions.insert(0, ("AUTH", *filter(None, (url.username, url.password))))
    replies = [connection.command(*words) for words in questions]  # both at once: it takes half as long
    for good, reply in await DeferredList(replies, consumeErrors=True):
        if not good:
            reply.raiseException()


async def in_time(reactor: Any, whom: str, conversation: Awaitable[T]) -> T:
    """
    The result of what is said on a new connection.

    :raises Lost: the server takes too long; whoever calls closes the connection.
    """
    try:
        return await within(reactor, REPLY_TIMEOUT, conversation)
    except TimeoutError as error:
        raise Lost(f"{whom} has not answered within {REPLY_TIMEOUT:.0f} s") from error


async def _master(reactor: Any, url: RedisURL) -> RedisURL:
    """
    Ask one Sentinel after another where the master is.
    """
    failure: Exception = Lost("no Sentinel given")
    for host in url.hosts:
        try:
            sentinel = await connect(reactor, RedisURL(hosts=(host,)))
        except RedisError as error:
            failure = error
            continue
        try:
            question = sentinel.command("SENTINEL", "get-master-addr-by-name", url.master)
            address = await in_time(reactor, f"the Sentinel at {host[0]}:{host[1]}", question)
        except RedisError as error:
            failure = error
            continue
        finally:
            sentinel.close()
        if address:
            return RedisURL(
                hosts=((address[0].decode(), int(address[1])),), username=url.username, password=url.password
            )
        failure = Lost(f"the Sentinel at {host[0]}:{host[1]} knows no master named {url.master}")
    raise failure


__all__ = ["Connection", "Lost", "RedisError", "ReplyError", "connect", "in_time"]
