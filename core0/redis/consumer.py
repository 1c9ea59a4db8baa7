"""
Taking commands from the queues: many at a time, each into the unfinished ones in the same step.

Nothing is popped by a blocking command: a pop that is cancelled takes the next command with it. The server tells when a
queue has changed (client tracking, redirected to a second connection), and once a second core0 looks by itself.
"""

import re
from collections.abc import Callable, Sequence
from typing import Any, Protocol

from twisted.logger import Logger

from core0.messages import Mark
from core0.redis import keys
from core0.redis.connection import Connection, Lost, ReplyError
from core0.redis.ears import Ears
from core0.redis.entries import numbers, read_marks
from core0.redis.lease import LIFE, Lease
from core0.redis.link import Link
from core0.redis.script import REREAD, TAKE, URGENT
from core0.redis.store import Store
from core0.redis.task import Task
from core0.values import Entry
from core0.waiting import Bell, Occurrence, pause

BATCH = 256
BATCH_BYTES = 16 << 20
LOOK = 1.0  # seconds between looks without being told
TRICKLE = 5.0  # seconds between commands that a full server gives, while jobs run that may never end
PAUSE = 0.05  # seconds after a look for what may not wait
URGENT_DEPTH = 1000  # entries of each queue
URGENT_LARGEST = 64 << 10  # bytes
RETRY = 1.0  # seconds


class Taker(Protocol):
    """
    Who takes the commands.
    """

    @property
    def urgent(self) -> Sequence[str]:
        """
        The names of the commands that may not wait.
        """
        ...

    def room(self) -> int:
        """
        How many more can be taken.
        """
        ...

    def idle(self) -> bool:
        """
        Whether nothing runs, and everything is answered.
        """
        ...

    def known(self) -> set[int]:
        """
        The numbers of those that it has, or has had lately.
        """
        ...

    def recover(self, marks: dict[int, Mark]) -> None:
        """
        These had been started before they come to it.
        """
        ...

    async def restore(self) -> None:
        """
        Tell the server again what it has forgotten of those that it has.
        """
        ...

    async def admit(self, entries: Sequence[Entry]) -> None:
        """
        Take these on.
        """
        ...


class Consumer:
    """
    :param queues: the lists to take from.
    :param largest: bytes of a payload; of larger ones only the beginning comes here.
    :param lease: of the node's address, where others could have it, too.
    """

    _log = Logger()

    def __init__(
        self,
        reactor: Any,
        store: Store,
        node: str,
        queues: Sequence[str],
        largest: int,
        taker: Taker,
        lease: Lease | None = None,
    ) -> None:
        self._reactor = reactor
        self._node = node
        self._queues = list(queues)
        self._largest = largest
        self._taker = taker
        self._lease = lease
        self._bell = Bell()
        self._ears = Ears(store, lambda keys: self._bell.ring())
        self._link = Link(reactor, store, "taking commands", self._ears.attach)
        self._trickled = 0.0
        self._waiting_for_room = False
        self._odd = 0
        self._refused = ""
        self._task = Task("taking commands has stopped")
        self._unfinished = keys.unfinished(node)
        self.ready: Occurrence[None] = Occurrence()
        self.full: Callable[[], bool] = lambda: False

    def start(self) -> None:
        """
        Begin to take.
        """
        self._link.start()
        self._task.start(self._work())

    async def stop(self) -> None:
        """
        Take no more. What was taken meanwhile is among the unfinished, for the next start.
        """
        self._task.stop()
        self._link.stop()
        self._ears.close()

    def ring(self) -> None:
        """
        There may be room again. Whoever does not wait for that is not told.
        """
        if self._waiting_for_room:
            self._bell.ring()

    async def _work(self) -> None:
        while True:
            connection = await self._link.up()
            try:
                if self._lease is not None:
                    await self._lease.take(self._link, connection)
                await self._reread(connection)
                self.ready.happen(None)
                await self._serve(connection)
            except Lost:
                await pause(self._reactor, 0)
            except ReplyError as error:
                if str(error) != self._refused:
                    self._refused = str(error)
                    held = self._lease.why(str(error)) if self._lease is not None else ""
                    self._log.error("cannot take commands: {error}; trying again", error=held or error)
                self._link.doubt(error)
                await pause(self._reactor, RETRY)

    async def _reread(self, connection: Connection) -> None:
        """
        Admit what was taken while nobody heard the reply. What has a mark had been started all the same.
        """
        await self._taker.restore()
        unfinished = numbers(await self._link.ask(connection, "HKEYS", self._unfinished))
        known = self._taker.known()
        unknown = [seq for seq in unfinished if seq not in known]
        if unknown:
            marks = read_marks(await self._link.ask(connection, "HGETALL", keys.marks(self._node)))
            self._taker.recover({seq: marks[seq] for seq in unknown if seq in marks})
        await self.admit_again(connection, unknown)

    async def admit_again(self, connection: Connection, numbers: Sequence[int]) -> None:
        """
        Read unfinished entries and hand them on, in order, some at a time.
        """
        rest = list(numbers)
        while rest:
            await self._roomy(connection)
            batch = rest[: min(BATCH, max(1, self._taker.room()))]
            words = (BATCH_BYTES, *batch)
            entries = _entries(await self._link.once(connection, REREAD, (self._unfinished,), words))
            # what the reply lacks is gone, or did not fit
            last = entries[-1].seq if entries else batch[-1]
            rest = [seq for seq in rest if seq > last]
            await self._taker.admit(entries)

    async def _roomy(self, connection: Connection) -> None:
        while self._taker.room() <= 0:
            self.ready.happen(None)
            await self._wait_for_room(connection)

    async def _wait_for_room(self, connection: Connection) -> None:
        """
        Take what may not wait, then wait until something changes. Looking costs the server a millisecond, so it is not
        done more often than every so often, whoever pushes.
        """
        await self._take_urgent(connection)
        self._waiting_for_room = True
        try:
            await pause(self._reactor, PAUSE)
            if self.full() or self._taker.room() <= 0:
                await self._bell.wait(self._reactor, LOOK - PAUSE)
        finally:
            self._waiting_for_room = False

    async def _serve(self, connection: Connection) -> None:
        turn = 0
        while True:
            room = self._room()
            if room <= 0:
                await self._wait_for_room(connection)
                continue
            turn += 1
            self._bell.silence()
            left, entries = await self._take(connection, room, turn)
            if entries:
                await self._taker.admit(entries)
            if not left:
                await self._bell.wait(self._reactor, LOOK)

    def _room(self) -> int:
        """
        How many may be taken. What fills the server may be the commands themselves: one at a time they make room again.
        """
        room = min(BATCH, self._taker.room())
        if not self.full():
            return room
        now = self._reactor.seconds()
        if self._taker.idle() or now - self._trickled >= TRICKLE:
            self._trickled = now
            return min(room, 1)
        return 0

    async def _take(self, connection: Connection, most: int, turn: int) -> tuple[int, list[Entry]]:
        queues = self._queues if turn % 2 else self._queues[::-1]  # each comes first in its turn
        words = (*self._holder(), most, BATCH_BYTES, self._largest)
        reply = await self._link.once(connection, TAKE, (*self._keys(), *queues), words)
        if self._refused:
            self._log.info("commands are taken again")
            self._refused = ""
        self._tell_odd(reply[1])
        return reply[0], _entries(reply[2:])

    async def _take_urgent(self, connection: Connection) -> None:
        words: list[str | int] = [
            *self._holder(),
            BATCH,
            URGENT_DEPTH,
            URGENT_LARGEST,
            self._largest,
            *self._taker.urgent,
        ]
        reply = await self._link.once(connection, URGENT, (*self._keys(), *self._queues), words)
        if reply:
            await self._taker.admit(_entries(reply))

    def _tell_odd(self, count: int) -> None:
        if count > self._odd:
            self._log.error("of {queues} {count} cannot be served: they are no lists", queues=self._queues, count=count)
        self._odd = count

    def _keys(self) -> tuple[str, str, str]:
        return self._unfinished, keys.clock(self._node), keys.lease(self._node)

    def _holder(self) -> tuple[str, int, int]:
        return (self._lease.holder, LIFE, self._lease.renewal()) if self._lease is not None else ("", 0, 0)


_TOO_LARGE = re.compile(rb"\0([0-9]{1,20}) ([0-9]{1,20})\n")


def _entries(words: Sequence[bytes]) -> list[Entry]:
    return [_entry(int(seq), payload) for seq, payload in zip(words[::2], words[1::2], strict=True)]


def _entry(seq: int, payload: bytes) -> Entry:
    """
    What the scripts keep of a payload, read. Anything else is as it is: clients may have written it, or an older core0.
    """
    if payload.startswith(b"\0\0"):
        return Entry(seq, payload[1:])
    head = _TOO_LARGE.match(payload)
    if head is None:
        return Entry(seq, payload)
    size, largest = map(int, head.groups())
    reason = f"payload of {size} bytes: at most {largest} are taken ([redis] max_command)"
    return Entry(seq, payload[head.end() :], reason)
