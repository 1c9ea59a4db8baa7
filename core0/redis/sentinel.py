"""
Asking Sentinels where the master is: all of them at the same time, so that one that is silent delays nothing.
"""

from collections import Counter
from typing import Any

from twisted.internet.defer import CancelledError, Deferred, TimeoutError

from core0.messages import shown
from core0.redis.connection import Connection, Lost, Once, RedisError, endpoint
from core0.redis.url import RedisURL
from core0.redis.why import WrongServer, why_lost
from core0.waiting import Occurrence, within

SENTINEL_TIMEOUT = 3.0  # seconds
SAME_TIME = 1.0  # seconds that all have, unless more than half of them agree before

Address = tuple[str, int]


async def find_master(reactor: Any, url: RedisURL) -> RedisURL:
    """
    The master's own URL, as most of the Sentinels say; as soon as more than half of all say the same, or after a second
    what most of those have said that have answered.

    :raises Lost: none has answered.
    :raises WrongServer: none knows such a master; or they are no Sentinels.
    """
    question = _Question(reactor, url)
    try:
        address = await question.answer()
    finally:
        question.cancel()
    return RedisURL(hosts=(address,), username=url.username, password=url.password)


class _Question:
    def __init__(self, reactor: Any, url: RedisURL) -> None:
        self._reactor = reactor
        self._url = url
        self._votes: Counter[Address] = Counter()
        self._failures: list[Exception] = []
        self._done: Occurrence[None] = Occurrence()
        self._asked = [Deferred.fromCoroutine(self._ask(host)) for host in url.hosts]
        for asked in self._asked:
            asked.addErrback(lambda failure: failure.trap(CancelledError))

    def cancel(self) -> None:
        for asked in self._asked:
            asked.cancel()

    async def answer(self) -> Address:
        if not self._done.happened:
            try:
                await within(self._reactor, SAME_TIME, self._done.wait())
            except TimeoutError:
                pass
        if not self._votes and not self._done.happened:
            await self._done.wait()
        if self._votes:
            return self._votes.most_common(1)[0][0]
        raise self._why()

    def _why(self) -> Exception:
        """
        What a Sentinel has said is more than that another one cannot be reached.
        """
        said = [failure for failure in self._failures if isinstance(failure, WrongServer)]
        return (said or self._failures)[0]

    async def _ask(self, host: Address) -> None:
        try:
            address = await within(self._reactor, SENTINEL_TIMEOUT, _ask(self._reactor, host, self._url.master))
        except TimeoutError:
            self._failures.append(
                Lost(f"the Sentinel at {_shown(host)} has not answered within {SENTINEL_TIMEOUT:.0f} s")
            )
        except RedisError as error:
            self._failures.append(error)
        else:
            self._votes[address] += 1
        self._count()

    def _count(self) -> None:
        asked = len(self._url.hosts)
        agreed = self._votes and self._votes.most_common(1)[0][1] > asked / 2
        if agreed or self._votes.total() + len(self._failures) >= asked or (self._votes and asked == 2):
            self._done.happen(None)


async def _ask(reactor: Any, host: Address, master: str) -> Address:
    connection = Connection()
    sentinel = RedisURL(hosts=(host,))
    try:
        await endpoint(reactor, sentinel).connect(Once(connection))
    except Exception as error:  # names that are none raise this and that
        raise Lost(f"cannot reach the Sentinel at {_shown(host)}: {error}") from error
    try:
        found = await connection.command("SENTINEL", "get-master-addr-by-name", master)
    except Lost as error:
        why = "it has closed the connection" if connection.why_lost is None else why_lost(sentinel, connection.why_lost)
        raise Lost(f"the Sentinel at {_shown(host)} does not answer: {why}") from error
    except RedisError as error:
        raise WrongServer(_refused(host, str(error))) from error
    finally:
        connection.close()
    if not found:
        raise WrongServer(f"the Sentinel at {_shown(host)} knows no master named {master!r}")
    try:
        name, port = found
        return name.decode(), int(port)
    except (AttributeError, TypeError, ValueError) as error:
        raise WrongServer(
            f"{_shown(host)} is not a Sentinel: expected the address of a master, got {shown(repr(found))}"
        ) from error


def _refused(host: Address, error: str) -> str:
    if error.startswith("NOAUTH"):
        return f"the Sentinel at {_shown(host)} asks for a password, which core0 cannot give: {error}"
    if "unknown command" in error.lower():
        return f"{_shown(host)} is not a Sentinel; a server itself is redis://host:port ({error})"
    return f"the Sentinel at {_shown(host)} refuses: {error}"


def _shown(host: Address) -> str:
    return f"{host[0]}:{host[1]}"
