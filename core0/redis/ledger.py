"""
The unfinished commands of a node, in Redis: claimed, marked, answered, many at a time.
"""

from collections.abc import Callable, Sequence
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger
from zope.interface import implementer

from core0.clock import epoch
from core0.interfaces import ILedger
from core0.messages import (
    Mark,
    Rejection,
    State,
    decode_mark,
    encode,
    rejection,
)
from core0.redis import keys
from core0.redis.connection import Lost, ReplyError
from core0.redis.link import Link
from core0.redis.outbox import SHORT, Item, Outbox, Rejected, shortened, size_of, words
from core0.redis.script import CLAIM, FINISH, MARK
from core0.redis.writer import Writer
from core0.values import Claim, Final
from core0.waiting import pause

BATCH = 256  # writes at once
PENDING_BYTES = 64 << 20  # streams of results that wait to be written; beyond that they are cut
RETRY = 1.0  # seconds
SUSPICIOUS = 3  # times in a row that a batch could not be written; then its items are written one by one


@implementer(ILedger)
class Ledger(Writer):
    """
    :param life: of a result, in seconds.
    :param holder: who holds the ids that it claims: the node, unless it has another ledger that does.
    """

    _log = Logger()

    def __init__(self, clock: IReactorTime, link: Link, node: str, life: int, holder: str = "") -> None:
        super().__init__(clock, link, "the ledger has stopped writing")
        self._node = node
        self._life = life
        self._holder = holder or node
        self._unfinished = keys.unfinished(node)
        self._marks = keys.marks(node)
        self._pending = Outbox()
        self._failures = 0
        self._singly = 0
        self._marking: dict[int, Mark] = {}
        self._marked: list[Deferred[None]] = []
        self.spare: Callable[[int], bool] = lambda size: False
        self.on_written: Callable[[int], None] = lambda size: None

    def entries(self) -> set[int]:
        """
        The numbers of the entries whose results are not written yet.
        """
        return {item.content.seq for item in self._pending}

    async def unfinished(self) -> list[int]:
        """
        The numbers of all unfinished entries, in the order in which they were taken.
        """
        return sorted(int(seq) for seq in await self._ask("HKEYS", self._unfinished))

    async def marks(self) -> dict[int, Mark]:
        """
        The marks of those that had been started. Marks without an entry are removed.
        """
        words = await self._ask("HGETALL", self._marks)
        marks = {int(seq): decode_mark(mark) for seq, mark in zip(words[::2], words[1::2], strict=True)}
        stale = marks.keys() - set(await self.unfinished())
        if stale:
            await self._ask("HDEL", self._marks, *map(str, stale))
        return {seq: mark for seq, mark in marks.items() if seq not in stale}

    async def claim(self, claims: Sequence[Claim]) -> Sequence[bool]:
        """
        Ask for all at once; but an answer that is still to be written comes before the claim of a later entry to its
        id.
        """
        before = self._pending.before(claims)
        granted = await self._claim([claim for claim in claims if claim.seq not in before])
        for items in before.values():
            for item in items:
                await item.written.wait()
        granted |= await self._claim([claim for claim in claims if claim.seq in before])
        return [claim.seq in granted for claim in claims]

    async def _claim(self, claims: Sequence[Claim]) -> set[int]:
        """
        :returns: the numbers of those that shall run.
        """
        words: list[str | int] = [self._life, self._holder]
        for claim in claims:
            words += (claim.seq, claim.id, claim.digest)
        verdicts = await self._link.call(CLAIM, (self._unfinished, self._marks), words) if claims else ()
        for claim, verdict in zip(claims, verdicts, strict=True):
            if verdict == 2:
                await self._conflict(claim.seq, claim.id)
        return {claim.seq for claim, verdict in zip(claims, verdicts, strict=True) if verdict == 0}

    async def _conflict(self, seq: int, id: str) -> None:
        """
        An id came again, with other content.
        """
        payload = await self._ask("HGET", self._unfinished, str(seq)) or b""
        reason = f"id {id!r} stands for a command with other content, whose result is not {self._life} s old yet"
        now = epoch(self._clock)
        self.reject(seq, rejection(self._node, id, State.DUPLICATE_ID, reason, payload, now))

    async def _ask(self, *words: str) -> Any:
        """
        The server's reply, for as long as it takes.
        """
        while True:
            connection = await self._link.up()
            try:
                return await connection.command(*words)
            except Lost:
                await pause(self._clock, 0)

    def mark(self, seq: int, mark: Mark) -> "Deferred[None]":
        """
        Written with all others of this turn; of two for the same entry the later one.
        """
        deferred: Deferred[None] = Deferred()
        if not seq:
            deferred.callback(None)
            return deferred
        self._marking[seq] = mark
        self._marked.append(deferred)
        self._bell.ring()
        return deferred

    def finish(self, final: Final) -> None:
        """
        Written with all others of this turn.
        """
        size = size_of(final.result)
        pending = self._pending.size + size
        if pending > PENDING_BYTES or (size > 2 * SHORT and self.spare(pending)):
            final = shortened(final)
        self._pending.add(final)
        self._bell.ring()

    def reject(self, seq: int, rejection: Rejection) -> None:
        """
        Written with all others of this turn.
        """
        self._pending.add(Rejected(seq, rejection))
        self._bell.ring()

    def _left(self) -> bool:
        return bool(self._pending or self._marking)

    async def _work(self) -> None:
        while True:
            await self._bell.wait()
            await pause(self._clock, 0)  # the rest of this turn may have more
            while self._left():
                try:
                    last = self._pending.last  # what comes meanwhile may follow from marks that come meanwhile
                    await self._flush_marks()
                    await self._flush_results(last)
                except Lost:
                    await self._link.up()  # for good: raises
                    await pause(self._clock, 0)
                except ReplyError as error:
                    self._log.warn("the server refuses a write: {error}; trying again", error=error)
                    self._link.doubt(error)
                    await pause(self._clock, RETRY)
            self._calm()

    async def _flush_marks(self) -> None:
        if not self._marking:
            return
        marking, marked = self._marking, self._marked
        self._marking, self._marked = {}, []
        words = [word for seq, mark in marking.items() for word in (str(seq), encode(mark))]
        try:
            connection = await self._link.up()
            await self._link.once(connection, MARK, (self._marks,), words)
        except BaseException:
            self._marking = marking | self._marking
            self._marked = marked + self._marked
            raise
        for deferred in marked:
            deferred.callback(None)

    async def _flush_results(self, last: int) -> None:
        batch = self._pending.batch(last, 1 if self._singly else BATCH)
        if not batch:
            return
        try:
            conflicts = await self._write(batch)
        except (Lost, ReplyError):
            self._doubt(batch)
            raise
        self._failures = 0
        self._singly = max(0, self._singly - 1)
        for place in conflicts:
            final = batch[place - 1].content
            if isinstance(final, Final):
                await self._conflict(final.seq, final.id)
        for item in batch:
            self._pending.done(item)

    async def _write(self, batch: Sequence[Item]) -> Sequence[int]:
        """
        :returns: the places (from 1) of those whose id stands for other content.
        """
        sent: list[str | bytes | int] = [self._life, self._holder]
        size = 0
        for item in batch:
            if item.kept is None:
                self._marking.pop(item.content.seq, None)  # it would outlive the entry
            line = words(item.content, self._node, lambda: epoch(self._clock))
            size += len(line[-1])
            sent += line
        self.on_written(size)
        connection = await self._link.up()
        keys_of = (self._unfinished, self._marks, keys.REJECTED)
        conflicts: Sequence[int] = await self._link.once(connection, FINISH, keys_of, sent)
        return conflicts

    def _doubt(self, batch: Sequence[Item]) -> None:
        """
        When this happens again and again one of them may be the reason: the others shall not wait for it.
        """
        if self._singly:
            self._singly -= 1
            self._pending.put_off(batch[0])
            return
        self._failures += 1
        if self._failures >= SUSPICIOUS:
            self._failures = 0
            self._singly = len(batch)
