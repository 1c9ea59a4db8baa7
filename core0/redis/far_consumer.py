"""
How a CoreX takes its orders: it looks at its queue, admits what is new, and only then removes it. So nothing is lost
with a connection, and what comes twice is told by its number.
"""

from collections.abc import Sequence
from heapq import heappush, heappushpop
from typing import Any

import msgspec
from twisted.logger import Logger

from core0.clock import epoch
from core0.corex_messages import Garbled, Order, decode_order
from core0.interfaces import ILedger
from core0.messages import State, rejection
from core0.redis import keys
from core0.redis.connection import Connection, Lost, ReplyError
from core0.redis.consumer import Taker
from core0.redis.link import Link
from core0.redis.task import Task
from core0.redis.url import RedisURL
from core0.values import Entry
from core0.waiting import Bell, pause

BATCH = 256
BATCH_BYTES = 16 << 20
PEEK = 10.0  # seconds that a look at an empty queue takes at most
SILENCE = 15  # looks, one a second, without a word from the server: more than such a look takes
PAUSE = 0.05  # seconds after a look for what may not wait
LOOK = 1.0  # seconds between these looks
RETRY = 1.0  # seconds
URGENT_DEPTH = 1000  # orders
URGENT_LARGEST = 64 << 10  # bytes
REMEMBERED = 20_000  # numbers of orders


class Seen:
    """
    Which orders have come already: the highest numbers, and whatever is not higher than any that was forgotten.

    :param most: numbers that are remembered.
    """

    __slots__ = ("_floor", "_heap", "_most", "_numbers")

    def __init__(self, most: int = REMEMBERED) -> None:
        self._most = most
        self._floor = 0
        self._heap: list[int] = []
        self._numbers: set[int] = set()

    def __contains__(self, number: int) -> bool:
        return number <= self._floor or number in self._numbers

    def add(self, number: int) -> None:
        """
        It has come.
        """
        self._numbers.add(number)
        if len(self._heap) < self._most:
            heappush(self._heap, number)
            return
        self._floor = heappushpop(self._heap, number)
        self._numbers.discard(self._floor)


class _Named(msgspec.Struct):
    command: str
    queue: str | None = None


_decode_named = msgspec.json.Decoder(_Named).decode


class FarConsumer:
    """
    :param number: of the container.
    :param ledger: answers what cannot be read.
    """

    _log = Logger()

    def __init__(self, reactor: Any, url: RedisURL, number: int, taker: Taker, ledger: ILedger) -> None:
        self._reactor = reactor
        self._taker = taker
        self._ledger = ledger
        self._node = f"container {number}"
        self._key = keys.orders(number)
        self._link = Link(reactor, url, "taking orders", scripts=(), silence=SILENCE)
        self._bell = Bell()
        self._seen = Seen()
        self._step = 1
        self._task = Task("orders are not taken any more")

    def start(self) -> None:
        """
        Begin to take.
        """
        self._link.start()
        self._task.start(self._work())

    def stop(self) -> None:
        """
        Take no more.
        """
        self._task.stop()
        self._link.stop()

    def ring(self) -> None:
        """
        There may be room again.
        """
        self._bell.ring()

    async def _work(self) -> None:
        while True:
            connection = await self._link.up()
            try:
                while True:
                    await self._serve(connection)
            except Lost:
                await pause(self._reactor, 0)
            except ReplyError as error:
                self._log.warn("cannot take orders: {error}; trying again", error=error)
                await pause(self._reactor, RETRY)
                await self._serve_once(connection)

    async def _serve_once(self, connection: Connection) -> None:
        """
        To look does not ask for memory, to wait does: on a full server it still goes on like this.
        """
        try:
            await self._take(connection)
        except (Lost, ReplyError):
            pass  # the next turn tells

    async def _serve(self, connection: Connection) -> None:
        """
        Take until there is nothing, then wait for the next one.
        """
        if self._taker.room() <= 0:
            await self._wait_for_room(connection)
        elif not await self._take(connection):
            # the first to itself: whatever becomes of the reply, it is still there
            await connection.command("BLMOVE", self._key, self._key, "LEFT", "LEFT", PEEK)

    async def _take(self, connection: Connection) -> int:
        """
        :returns: how many were removed.
        """
        most = min(self._step, BATCH, self._taker.room())
        if most <= 0:
            return 0
        lines = await connection.command("LRANGE", self._key, 0, most - 1)
        self._learn(lines)
        await self._admit([order for line in lines if (order := self._read(line)) is not None])
        if lines:
            await connection.command("LTRIM", self._key, len(lines), -1)
        return len(lines)

    def _learn(self, lines: Sequence[bytes]) -> None:
        """
        How many to read next time: more and more, as long as they are small.
        """
        largest = max(map(len, lines), default=1)
        self._step = max(1, min(BATCH, 4 * self._step, BATCH_BYTES // max(largest, 1)))

    def _read(self, line: bytes) -> Order | None:
        """
        :returns: None if it is no news, or answered.
        """
        try:
            order = decode_order(line)
        except Garbled as error:
            if not error.seq:
                self._log.error("an order is lost: {error}", error=error)
            elif error.seq not in self._seen:
                self._seen.add(error.seq)
                now = epoch(self._reactor)
                refused = rejection(self._node, None, State.ERROR, f"{error} ({self._node})", b"", now)
                self._ledger.reject(error.seq, refused)
            return None
        return None if order.seq in self._seen else order

    async def _admit(self, orders: Sequence[Order]) -> None:
        entries = []
        for order in orders:
            if order.seq not in self._seen:
                self._seen.add(order.seq)
                entries.append(Entry(order.seq, bytes(order.payload)))
        if entries:
            await self._taker.admit(entries)

    async def _wait_for_room(self, connection: Connection) -> None:
        """
        Admit what may not wait, and leave it where it is; then wait until something changes.
        """
        await self._admit_urgent(connection)
        self._bell.silence()
        await pause(self._reactor, PAUSE)
        if self._taker.room() <= 0:
            await self._bell.wait(self._reactor, LOOK)

    async def _admit_urgent(self, connection: Connection) -> None:
        first = 0
        while first < URGENT_DEPTH:
            lines = await connection.command("LRANGE", self._key, first, first + self._step - 1)
            first += self._step
            self._learn(lines)
            await self._admit([order for line in lines if (order := self._urgent(line)) is not None])
            if not lines:
                return

    def _urgent(self, line: bytes) -> Order | None:
        if len(line) > URGENT_LARGEST:
            return None
        try:
            order = decode_order(line)
            named = _decode_named(order.payload)
        except (Garbled, msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            return None
        return order if named.command in self._taker.urgent and not named.queue else None
