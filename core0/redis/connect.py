"""
Connecting and logging in.
"""

from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

from twisted.internet.defer import CancelledError, DeferredList, TimeoutError
from twisted.internet.error import ConnectingCancelledError

from core0.redis.connection import Connection, Lost, Once, ReplyError, endpoint
from core0.redis.sentinel import find_master
from core0.redis.url import RedisURL
from core0.redis.why import Replica, WrongServer, why_lost, why_refused, wrong_server
from core0.waiting import within

REPLY_TIMEOUT = 10.0  # seconds for all that is said before a connection is of use

T = TypeVar("T")


async def connect(
    reactor: Any,
    url: RedisURL,
    on_message: Callable[[Any], None] | None = None,
    *,
    patience: float = REPLY_TIMEOUT,
) -> Connection:
    """
    Connect and log in.

    :param patience: seconds for the connection, and as many for logging in.
    :raises Lost: the server cannot be reached.
    :raises RedisError: it does not let us in, or is none that serves; Lost is one, too.
    """
    if url.master:
        url = await find_master(reactor, url)
    connection = Connection(on_message)
    try:
        await within(reactor, patience, endpoint(reactor, url).connect(Once(connection)))
    except ConnectingCancelledError as error:
        raise CancelledError from error
    except CancelledError:
        raise
    except TimeoutError as error:
        raise Lost(f"cannot reach {url}: no connection within {patience:.0f} s") from error
    except Exception as error:  # names that are none raise this and that
        raise Lost(f"cannot reach {url}: {error}") from error
    try:
        await in_time(reactor, str(url), _log_in(connection, url), patience)
    except Lost as error:
        why = "" if connection.why_lost is None else why_lost(url, connection.why_lost)
        connection.close()
        if not why and url.tls and not connection.heard:
            why = f"{error}, not even the handshake; if it does not speak TLS, say redis:// instead of rediss://"
        raise (Lost(f"cannot reach {url}: {why}") if why else error) from error
    except BaseException:
        connection.close()
        raise
    return connection


async def _log_in(connection: Connection, url: RedisURL) -> None:
    """
    All at once: it takes a fraction of the time. A server on a unix socket is where it is said to be; of another one it
    is asked what it is.
    """
    questions: list[tuple[str, ...]] = [("PING",)]
    if url.password is not None:
        questions.insert(0, ("AUTH", *filter(None, (url.username, url.password))))
    if not url.path:
        questions += (("INFO", "server"), ("INFO", "replication"))
    replies = [connection.command(*words) for words in questions]
    told: dict[str, str] = {}
    for (good, reply), words in zip(await DeferredList(replies, consumeErrors=True), questions, strict=True):
        if good and words[0] == "INFO":
            told |= fields(reply) if isinstance(reply, bytes) else {}
        elif not good and (words[0] != "INFO" or not reply.check(ReplyError)):
            if reply.check(ReplyError):
                raise ReplyError(why_refused(url, str(reply.value))) from reply.value
            reply.raiseException()
    connection.run_id = told.get("run_id", "")
    if text := wrong_server(url, told):
        raise (Replica if told.get("role") == "slave" else WrongServer)(text)


def fields(info: bytes) -> dict[str, str]:
    """
    What the answer to INFO says.
    """
    lines = (line.partition(":") for line in info.decode("utf-8", "replace").splitlines())
    return {name: value.strip() for name, colon, value in lines if colon}


async def in_time(reactor: Any, whom: str, conversation: Awaitable[T], seconds: float = REPLY_TIMEOUT) -> T:
    """
    The result of what is said on a new connection.

    :raises Lost: the server takes too long; whoever calls closes the connection.
    """
    try:
        return await within(reactor, seconds, conversation)
    except TimeoutError as error:
        raise Lost(f"{whom} has not answered within {seconds:.0f} s") from error
