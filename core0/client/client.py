"""
Talking to core0 from a Twisted program: push commands, wait for results, follow live output.
"""

from binascii import a2b_base64
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, replace
from typing import Any, Self, TypedDict, TypeVar, Unpack
from uuid import uuid4

import msgspec
from msgspec import UNSET, Raw
from twisted.internet.defer import CancelledError, TimeoutError

from core0.client.errors import NoAnswer, Rejected, ServerError, TakenBack
from core0.client.pool import Pool
from core0.errors import Refusal
from core0.messages import MAX_SHOWN, Command, Record, Rejection, Result, decode_result, encode, usable_id
from core0.redis import keys
from core0.redis.connection import Connection, Lost, ReplyError
from core0.redis.url import RedisURL, parse
from core0.waiting import pause, within

PATIENCE = 10.0  # seconds
REPLY_TIMEOUT = 30.0  # seconds for what the server answers at once
SENTINEL_REPLY_TIMEOUT = 5.0  # behind Sentinels: there may be another master meanwhile
RATE = 1 << 20  # bytes a second of a command that is sent
ROUND = 5.0  # seconds that one command blocks on the server at most
DOUBT = 0.5  # seconds without a result before the first look whether there will be one
SHORTEST = 0.01  # seconds; 0 would be for ever
SETTLE = 2.0  # seconds after a result in which live output may still arrive
RECORDS = 2000  # of live output, fetched at once
NEWEST = 200  # entries of core:rejected that are searched
FIRST_LOOK, LOOK = 0.05, 1.0  # seconds between looks whether there is a result, while live output is awaited
AGAIN = 0.05  # seconds before a command is sent again on another connection
LARGEST = 512 << 20  # bytes; a server takes no larger command
PASSING = ("READONLY", "LOADING", "MASTERDOWN", "NOREPLICAS", "UNBLOCKED")  # how replies begin while a master changes
REACHED = 5.0  # seconds for the answer of a node that is there, however busy it is
REPEATED, GLANCE = 2.0, 0.05  # seconds in which a repeat shows as one, and between looks for that
LAST = 2 | 4  # the flags of the last record of live output: the job succeeded, or did not

T = TypeVar("T")
_decode_record = msgspec.json.Decoder(Record).decode
_decode_rejection = msgspec.json.Decoder(Rejection).decode


class Fields(TypedDict, total=False):
    """
    What a command may say besides its id, its name and its arguments. Durations are in seconds.
    """

    queue: str | None
    stats_interval: float | None
    max_time: float | None
    max_restart: int | None
    recurring_period: float | None
    log_levels: list[int] | None
    stream: bool | None
    messages: bool | None
    tags: str | list[str] | None


@dataclass(frozen=True, slots=True)
class Batch:
    """
    Live output as it is fetched: some records at a time, in their order.

    ``more`` have been there already when these were fetched. ``gap``: some before these may have been dropped, since
    they came faster than they were read. ``last``: the last of all is among them.
    """

    records: tuple[Record, ...]
    more: bool = False
    gap: bool = False
    last: bool = False


@dataclass(frozen=True, slots=True)
class Sent:
    """
    A command on its way.

    ``payload`` is what was pushed; empty if it is with core0 already. ``chosen``: its sender has chosen its id, which
    may stand for something else. ``before``: rejections of the same that are older, by time and node. ``life``: of a
    result that was there before, in ms; negative for none.
    """

    id: str
    payload: bytes = b""
    chosen: bool = False
    before: frozenset[tuple[int, str]] = frozenset()
    life: int = -2


def output_bytes(record: Record) -> bytes:
    """
    The bytes that a record of plain output (level 1 or 2) stands for, its newline included: all of them, one after
    another, are the stream as it was.
    """
    message = record.message
    data = message.message.encode("utf-8", "replace")
    if message.base64 is not UNSET:
        try:
            data = a2b_base64(message.base64, strict_mode=True)
        except ValueError:
            pass  # of a Core that is not to be trusted
    return data if message.part is True else data + b"\n"


def is_last(record: Record) -> bool:
    """
    Whether a record ends the live output of its job; it has no text.
    """
    meta = record.message.meta
    return isinstance(meta, int) and bool(meta & LAST)


class Client:
    """
    Use :meth:`connect`, and :meth:`close` at the end; or ``async with await Client.connect(…) as client``.

    A connection that is lost is made again, for as long as ``patience`` says; then there is a :class:`ServerError`.
    """

    def __init__(self, reactor: Any, pool: Pool, queue: str, patience: float) -> None:
        self._reactor = reactor
        self._pool = pool
        self._queue = queue
        self._patience = patience
        self._reply_timeout = SENTINEL_REPLY_TIMEOUT if pool.url.master else REPLY_TIMEOUT

    @classmethod
    async def connect(cls, reactor: Any, url: RedisURL | str, *, node: str = "", patience: float = PATIENCE) -> Self:
        """
        :param node: the ``<gid>:<nid>`` that commands are for; without it whichever core0 serves ``core:default``.
        :param patience: seconds for which a server that goes away later is looked for; behind Sentinels now, too.
        :raises ServerError: it cannot be reached now.
        :raises core0.errors.ConfigError: the URL is none.
        """
        place = parse(url) if isinstance(url, str) else url
        pool = Pool(reactor, place, patience)
        # behind Sentinels there will be another master soon
        async with pool.connection(patience=patience if place.master else 0.0):
            pass
        return cls(reactor, pool, keys.node_queue(node) if node else keys.SHARED_QUEUE, patience)

    async def reach(self, node: str) -> None:
        """
        Make sure that there is a core0 that takes what is sent.

        :raises ServerError: none answers; nothing is left behind that would be taken later.
        """
        try:
            await self.run("core.ping", timeout=REACHED)
        except NoAnswer as error:
            text = f"no core0 has answered as node {node} within {REACHED:g} s: is that its address, and does it run?"
            raise ServerError(f"{text} Nothing was sent") from error

    async def close(self) -> None:
        """
        Disconnect; whoever still waits gets :class:`ServerError`.
        """
        await self._pool.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exception: object) -> None:
        await self.close()

    async def submit(
        self, command: str, arguments: Any = None, *, id: str | None = None, **fields: Unpack[Fields]
    ) -> str:
        """
        Push a command; does not wait for anything to come of it.

        :param arguments: anything that JSON has, as the command declares it.
        :param id: a new UUID if there is none. It stands for this content, which never runs twice under it.
        :returns: the id.
        :raises Refusal: 400, this cannot be sent.
        """
        return (await self.send(command, arguments, id=id, **fields)).id

    async def send(
        self, command: str, arguments: Any = None, *, id: str | None = None, **fields: Unpack[Fields]
    ) -> Sent:
        """
        As :meth:`submit`, for those who may take it back.
        """
        name = str(uuid4()) if id is None else id
        if not usable_id(name):
            raise Refusal(400, f"id: expected 1 to 1024 bytes of text, got {name[:40]!r}")
        try:
            content = Raw(encode({} if arguments is None else arguments))
            payload = encode(Command(id=name, command=command, arguments=content, **fields))
        except (TypeError, ValueError) as error:
            raise Refusal(400, f"this command cannot be written as JSON in UTF-8: {error}") from error
        return await self.send_as_is(payload, name, chosen=id is not None)

    async def send_as_is(self, payload: bytes, id: str, *, chosen: bool) -> Sent:
        """
        As :meth:`send`, a command that is written already.

        :param chosen: whether the id may stand for something else.
        :raises TakenBack: this was cancelled when the command was in its queue already; it is there no more.
        """
        sent = await self.prepare(Sent(id, payload, chosen))
        try:
            await self.push(payload)
        except CancelledError as error:
            # the reply may be all that was missing
            if await self.take_back(sent):
                raise TakenBack(f"core0 had not taken {id}, and will not: it was taken back") from error
            raise
        return sent

    async def prepare(self, sent: Sent) -> Sent:
        """
        Learn what there is under an id before something is sent under it.
        """
        if not sent.chosen:
            return sent
        life = await self._ask(lambda connection: connection.command("PTTL", keys.result(sent.id)))
        before = frozenset((each.time, each.node) for each in await self._rejections(sent))
        return replace(sent, before=before, life=life)

    async def take_back(self, sent: Sent) -> bool:
        """
        Remove a command from its queue, unless core0 has taken it: then it will not run.

        :returns: whether it was still there.
        """
        if not sent.payload:
            return False
        return bool(await self._ask(lambda connection: connection.command("LREM", self._queue, 1, sent.payload)))

    async def push(self, payload: bytes) -> None:
        """
        Push a command as it is. It should have an id: it is pushed again if the connection was lost meanwhile.

        :raises Refusal: 413, no server takes it.
        """
        if len(payload) > LARGEST:
            text = f"this command has {len(payload)} bytes: at most {LARGEST} can be sent"
            raise Refusal(413, f"{text}, and core0 takes fewer ([redis] max_command)")
        seconds = self._reply_timeout + len(payload) / RATE
        await self._ask(lambda connection: connection.command("RPUSH", self._queue, payload), seconds)

    async def result(self, id: str) -> Result | None:
        """
        The result of a command, if it is there now.
        """
        found = await self._ask(lambda connection: connection.command("LINDEX", keys.result(id), -1))
        return None if found is None else decode_result(found)

    async def wait(self, id: str, timeout: float) -> Result:
        """
        Wait for a result, and leave it there for others.

        :param timeout: seconds; may be ``math.inf``.
        :raises NoAnswer: it took longer.
        :raises Rejected: there will be none.
        """
        return await self._wait(id, timeout, None)

    async def answer(self, sent: Sent, timeout: float) -> Result:
        """
        Wait for the result of what was sent; what core0 has not taken when the time is up is taken back.

        :param timeout: seconds; may be ``math.inf``.
        :raises NoAnswer: it took longer; ``taken_back`` says whether it will not run.
        :raises Rejected: there will be none; also if the id stands for another command, whatever comes of that.
        """
        try:
            result = await self._wait(sent.id, timeout, sent)
        except NoAnswer as error:
            if await self.take_back(sent):
                text = f"core0 has not taken {sent.id} within {timeout:g} s, and will not: it was taken back"
                raise NoAnswer(f"{text}; is core0 running, and not too busy?", taken_back=True) from error
            text = f"no result of {sent.id} within {timeout:g} s; core0 has taken it, and it goes on"
            raise NoAnswer(text) from error
        await self.check(sent)
        return result

    async def check(self, sent: Sent) -> None:
        """
        Whether a result under the id of a command that was sent is its own: that of the same content.

        :raises Rejected: it is not.
        """
        again = False
        end, place = self._reactor.seconds() + REPEATED, ("LPOS", self._queue, sent.payload)
        while sent.chosen and self._reactor.seconds() < end:
            taken = not sent.payload or await self._ask(lambda connection: connection.command(*place)) is None
            life = await self._ask(lambda connection: connection.command("PTTL", keys.result(sent.id)))
            await self._raise_rejected(sent)
            # a repeat has renewed the life of the result
            if taken and (life > sent.life if sent.life >= 0 else again):
                return
            again = taken  # core0 has some time to reject what it has just taken
            await pause(self._reactor, GLANCE)

    async def _wait(self, id: str, timeout: float, sent: Sent | None) -> Result:
        key = keys.result(id)
        start = self._reactor.seconds()
        waited, look = 0.0, DOUBT
        while True:
            step = _step(min(timeout, look) - waited)
            found = await self._block(step, "BRPOPLPUSH", key, key, step)
            if found is not None:
                return decode_result(found)
            waited = self._reactor.seconds() - start
            if waited < min(timeout, look):
                continue
            late, look = waited >= timeout, 2 * waited
            if sent is not None:
                await self._raise_rejected(sent)
            if late:
                raise NoAnswer(f"no result of {id} within {timeout:g} s; is core0 running, and not too busy?")

    async def run(
        self,
        command: str,
        arguments: Any = None,
        *,
        timeout: float,
        id: str | None = None,
        **fields: Unpack[Fields],
    ) -> Result:
        """
        Push a command and wait for its result.

        :param timeout: seconds; may be ``math.inf``. What core0 has taken by then goes on: ``max_time`` ends that. What
            it has not is taken back.
        :raises NoAnswer: it took longer.
        :raises Rejected: there will be no result, or that of another command with the same id.
        """
        return await self.answer(await self.send(command, arguments, id=id, **fields), timeout)

    async def stream(self, id: str, timeout: float) -> AsyncIterator[Record]:
        """
        The live output of a command that was pushed with ``stream=True``: its lines and messages, without newlines, as
        they come. Ends when the job does; that of a recurring one, with each of its runs. Reading takes them away:
        there is one reader for each. Of what comes faster than it is read, the newest 10,000 are kept.

        :param timeout: seconds for all of it; may be ``math.inf``.
        :raises NoAnswer: it took longer.
        """
        async for batch in self.follow(id, timeout):
            for record in batch.records:
                yield record

    async def follow(self, id: str, timeout: float, sent: Sent | None = None) -> AsyncIterator[Batch]:
        """
        As :meth:`stream`, in batches, which tell what may be missing. One comes each second at least, be it empty.

        :param sent: the command itself, if it was sent from here.
        :raises Rejected: it was not admitted.
        """
        start = self._reactor.seconds()
        end, look = start + timeout, DOUBT
        settled, wait = 0.0, FIRST_LOOK
        while True:
            batch, finished = await self._fetch(id)
            yield batch
            if batch.last:
                return
            now = self._reactor.seconds()
            if now >= end:
                raise NoAnswer(f"{id} has not ended within {timeout:g} s")
            if batch.records:
                settled, wait = 0.0, FIRST_LOOK
                continue
            if finished and not settled:
                result = await self.result(id)
                settled = now + (SETTLE if result is not None and result.runs else 0.0)
            if settled and now >= settled:
                return
            if sent is not None and now - start >= look:
                look = 2 * (now - start)
                await self._raise_rejected(sent)
            step = _step(min(end, settled or end) - now, wait)
            wait = min(wait * 2, LOOK)
            key = keys.stream(id)
            # from one end to the same one: waits for a record and takes none
            await self._block(step, "BLMOVE", key, key, "LEFT", "LEFT", step)

    async def _fetch(self, id: str) -> tuple[Batch, bool]:
        """
        The live output there is, and whether there is a result.
        """
        key = keys.stream(id)

        async def work(connection: Connection) -> Any:
            words = (("MULTI",), ("LLEN", key), ("LPOP", key, RECORDS), ("EXISTS", keys.result(id)), ("EXEC",))
            replies = [connection.command(*command) for command in words]
            for reply in replies[:-1]:
                reply.addErrback(lambda failure: None)  # the last one fails as well
            return await replies[-1]

        length, lines, finished = await self._ask(work)
        records = tuple(_decode_record(line) for line in lines or ())
        last = any(is_last(record) for record in records)
        return Batch(records, length > RECORDS, length >= keys.MAX_STREAM, last), bool(finished)

    async def _raise_rejected(self, sent: Sent) -> None:
        """
        :raises Rejected: it was not admitted.
        """
        for rejection in await self._rejections(sent):
            if (rejection.time, rejection.node) not in sent.before:
                raise Rejected(rejection.reason)

    async def _rejections(self, sent: Sent) -> list[Rejection]:
        """
        What core0 said on ``core:rejected`` of such a command: one with this id, or without one that it could read.
        """
        found = await self._ask(lambda connection: connection.command("LRANGE", keys.REJECTED, 0, NEWEST - 1))
        rejections = list(map(_decode_rejection, found))
        if not sent.payload:
            return [each for each in rejections if each.id == sent.id]
        beginning = sent.payload[:MAX_SHOWN].decode("utf-8", "replace")
        return [each for each in rejections if each.id in (sent.id, None) and each.payload == beginning]

    async def _block(self, seconds: float, *words: str | float) -> Any:
        """
        Have the server wait for something.
        """
        return await self._ask(lambda connection: connection.command(*words), self._reply_timeout + seconds)

    async def _ask(self, work: Callable[[Connection], Awaitable[T]], seconds: float = 0.0) -> T:
        """
        Ask the server; again, if the connection is lost meanwhile.

        :param seconds: for its reply; 0: as for what it answers at once.
        """
        seconds = seconds or self._reply_timeout
        end = self._reactor.seconds() + seconds + self._patience
        while True:
            try:
                async with self._pool.connection() as connection:
                    return await within(self._reactor, seconds, work(connection))
            except ReplyError as error:
                if not str(error).startswith(PASSING) or self._reactor.seconds() >= end:
                    raise ServerError(f"the server of core0 refuses: {error}") from error
            except (Lost, TimeoutError) as error:
                if self._reactor.seconds() >= end:
                    raise ServerError(f"the server of core0 does not answer: {error}") from error
            await pause(self._reactor, AGAIN)


def _step(seconds: float, most: float = ROUND) -> float:
    return min(max(seconds, SHORTEST), most)


__all__ = ["Batch", "Client", "Fields", "NoAnswer", "Rejected", "Sent", "ServerError", "is_last", "output_bytes"]
