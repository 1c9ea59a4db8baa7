"""
The errands of a node: the commands that it sent into containers and that are not answered, in Redis like its unfinished
ones, and claimed by a name of their own.
"""

from collections.abc import AsyncIterator, Collection, Sequence
from typing import Any

from twisted.internet.defer import Deferred, DeferredList
from twisted.python.failure import Failure
from zope.interface import implementer

from core0.interfaces import IDispatched
from core0.redis import keys
from core0.redis.connection import Lost, ReplyError
from core0.redis.ledger import RETRY, Ledger
from core0.redis.script import REREAD
from core0.redis.store import Store
from core0.redis.task import Task
from core0.redis.url import RedisURL
from core0.values import Entry
from core0.waiting import Bell, pause

BATCH = 256  # entries
BATCH_BYTES = 16 << 20


@implementer(IDispatched)
class Dispatched(Ledger):
    """
    :param life: of a result, in seconds.
    """

    def __init__(self, reactor: Any, store: Store | RedisURL, node: str, life: int) -> None:
        super().__init__(reactor, store, node, life, holder=f"{node}:corex", name="writing results of containers")
        self._unfinished = keys.dispatched(node)
        self._marks = keys.dispatched_marks(node)
        self._last = keys.dispatched_clock(node)
        self._highest_written = 0
        self._entering: list[tuple[Entry, Deferred[None] | None]] = []  # the last of each call has somebody waiting
        self._entered = Bell()
        self._enter_task = Task("errands are not written down any more")

    def start(self) -> None:
        """
        Begin to write.
        """
        super().start()
        self._enter_task.start(self._enter_all())

    def stop(self) -> None:
        """
        Write no more.
        """
        self._enter_task.stop()
        super().stop()

    async def enter(self, entries: Sequence[Entry]) -> None:
        """
        Write new ones down, with all others of this turn; returns once they are safe. May be done again.
        """
        if not entries:
            return
        written: Deferred[None] = Deferred()
        self._entering += ((entry, None) for entry in entries[:-1])
        self._entering.append((entries[-1], written))
        self._entered.ring()
        await written

    async def _enter_all(self) -> None:
        while True:
            await self._entered.wait()
            await pause(self._clock, 0)  # the rest of this turn may have more
            while self._entering:
                batch = self._next_batch()
                try:
                    await self._enter(batch)
                except Lost:
                    await pause(self._clock, 0)
                    continue
                except ReplyError as error:
                    self._log.warn("the server refuses an errand: {error}; trying again", error=error)
                    self._link.doubt(error)
                    await pause(self._clock, RETRY)
                    continue
                del self._entering[: len(batch)]
                for _, written in batch:
                    if written is not None and not written.called:
                        written.callback(None)

    async def _enter(self, batch: "Sequence[tuple[Entry, Deferred[None] | None]]") -> None:
        words = [word for entry, _ in batch for word in (str(entry.seq), entry.payload)]
        self._highest_written = max(self._highest_written, *(entry.seq for entry, _ in batch))
        connection = await self._link.up()
        # a CoreX that lives on takes none for a new one that is lower than what it has had, whatever the clock says
        replies = (
            connection.command("SET", self._last, self._highest_written),
            connection.command("HSET", self._unfinished, *words),
        )
        for reply in await DeferredList(replies, consumeErrors=True):
            if isinstance(reply[1], Failure):
                reply[1].raiseException()

    def _next_batch(self) -> list[tuple[Entry, "Deferred[None] | None"]]:
        size = 0
        for place, (entry, _) in enumerate(self._entering):
            size += len(entry.payload)
            if place and (place >= BATCH or size > BATCH_BYTES):
                return self._entering[:place]
        return self._entering[:]

    async def taken(self) -> AsyncIterator[list[Entry]]:
        """
        All that are unanswered, in the order of their numbers, some at a time.
        """
        rest = await self.unfinished()
        while rest:
            batch = rest[:BATCH]
            words = await self._link.call(REREAD, (self._unfinished,), (BATCH_BYTES, *batch))
            entries = [Entry(int(seq), payload) for seq, payload in zip(words[::2], words[1::2], strict=True)]
            # what the reply lacks is gone, or did not fit
            last = entries[-1].seq if entries else batch[-1]
            rest = [seq for seq in rest if seq > last]
            if entries:
                yield entries

    async def highest(self) -> int:
        """
        The highest number of any that was ever written down.
        """
        self._highest_written = max(self._highest_written, int(await self._ask("GET", self._last) or 0))
        return self._highest_written

    async def written(self, seqs: Collection[int]) -> None:
        """
        Wait until no answer to any of these is left to write.
        """
        wanted = set(seqs)
        while items := [item for item in self._pending if item.content.seq in wanted]:
            for item in reversed(items):  # once the last of a batch is written all of it is
                await item.written.wait()
