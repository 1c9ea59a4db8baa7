"""
The unfinished commands of a node, in Redis: claimed, marked, answered, many at a time.
"""

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

from msgspec.structs import replace
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from core0.interfaces import ILedger
from core0.messages import (
    Mark,
    Rejection,
    Result,
    State,
    decode_mark,
    encode,
    rejection,
)
from core0.redis import keys
from core0.redis.connection import Lost, ReplyError
from core0.redis.link import Link
from core0.redis.script import CLAIM, FINISH, MARK
from core0.values import Claim, Final
from core0.waiting import Bell, Occurrence, pause

BATCH = 256  # writes at once
BATCH_BYTES = 8 << 20
PENDING_BYTES = 64 << 20  # streams of results that wait to be written; beyond that they are cut
SHORT = 4096  # bytes of a stream that is cut
RETRY = 1.0  # seconds


@dataclass(frozen=True, slots=True)
class _Rejected:
    seq: int
    rejection: Rejection


@implementer(ILedger)
class Ledger:
    """
    :param life: of a result, in seconds.
    """

    _log = Logger()

    def __init__(self, clock: IReactorTime, link: Link, node: str, life: int) -> None:
        self._clock = clock
        self._link = link
        self._node = node
        self._life = life
        self._unfinished = keys.unfinished(node)
        self._marks = keys.marks(node)
        self._pending: deque[Final | _Rejected] = deque()
        self._bytes = 0
        self._marking: dict[int, Mark] = {}
        self._marked: list[Deferred[None]] = []
        self._bell = Bell()
        self._quiet: Occurrence[None] | None = None
        self._task: Deferred[None] | None = None
        self.spare: Callable[[int], bool] = lambda size: False
        self.on_written: Callable[[int], None] = lambda size: None

    def start(self) -> None:
        """
        Begin to write.
        """
        self._link.start()
        self._task = Deferred.fromCoroutine(self._work())
        self._task.addErrback(self._ended)

    def stop(self) -> None:
        """
        Write no more.
        """
        if self._task is not None:
            self._task.cancel()
        self._link.stop()

    def _ended(self, failure: Failure) -> None:
        if not failure.check(CancelledError, Lost):
            self._log.failure("the ledger has stopped writing", failure)

    def entries(self) -> set[int]:
        """
        The numbers of the entries whose results are not written yet.
        """
        return {pending.seq for pending in self._pending}

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
        answered = {item.id: item.seq for item in reversed(self._pending) if isinstance(item, Final)}
        late = [claim for claim in claims if answered.get(claim.id, claim.seq) < claim.seq]
        granted = await self._claim([claim for claim in claims if claim not in late])
        if late:
            await self.flushed()
            granted |= await self._claim(late)
        return [claim.seq in granted for claim in claims]

    async def _claim(self, claims: Sequence[Claim]) -> set[int]:
        """
        :returns: the numbers of those that shall run.
        """
        words: list[str | int] = [self._life, self._node]
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
        now = self._clock.seconds()
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
        self._wake()
        return deferred

    def finish(self, final: Final) -> None:
        """
        Written with all others of this turn.
        """
        size = _size(final.result)
        if self._bytes + size > PENDING_BYTES or (size > 2 * SHORT and self.spare(self._bytes + size)):
            final = _shortened(final)
            size = _size(final.result)
        self._bytes += size
        self._pending.append(final)
        self._wake()

    def reject(self, seq: int, rejection: Rejection) -> None:
        """
        Written with all others of this turn.
        """
        self._pending.append(_Rejected(seq, rejection))
        self._wake()

    def _wake(self) -> None:
        self._bell.ring()

    async def flushed(self) -> None:
        """
        Until nothing is left to write.
        """
        if self._pending or self._marking:
            if self._quiet is None:
                self._quiet = Occurrence()
            await self._quiet.wait()

    async def _work(self) -> None:
        while True:
            await self._bell.wait()
            await pause(self._clock, 0)  # the rest of this turn may have more
            while self._pending or self._marking:
                try:
                    count = len(self._pending)  # what comes meanwhile may follow from marks that come meanwhile
                    await self._flush_marks()
                    await self._flush_results(count)
                except Lost:
                    await self._link.up()  # for good: raises
                    await pause(self._clock, 0)
                except ReplyError as error:
                    self._log.warn("the server refuses a write: {error}; trying again", error=error)
                    self._link.doubt(error)
                    await pause(self._clock, RETRY)
            if self._quiet is not None:
                quiet, self._quiet = self._quiet, None
                quiet.happen(None)

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

    async def _flush_results(self, count: int) -> None:
        batch: list[Final | _Rejected] = []
        words: list[str | bytes | int] = [self._life, self._node]
        size = 0
        for item in islice(self._pending, count):
            if len(batch) == BATCH or (batch and size > BATCH_BYTES):
                break
            batch.append(item)
            if isinstance(item, _Rejected) or not item.keep:
                self._marking.pop(item.seq, None)  # it would outlive the entry
            line = _words(item)
            size += len(line[-1])
            words += line
        if not batch:
            return
        self.on_written(size)
        conflicts = await self._link.call(FINISH, (self._unfinished, self._marks, keys.REJECTED), words)
        for item in batch:
            self._pending.popleft()
            if isinstance(item, Final):
                self._bytes -= _size(item.result)
        for place in conflicts:
            final = batch[place - 1]
            if isinstance(final, Final):
                await self._conflict(final.seq, final.id)


def _words(item: Final | _Rejected) -> tuple[str, str, str, str, str, bytes]:
    if isinstance(item, _Rejected):
        return "r", str(item.seq), "", "", "0", encode(item.rejection)
    kind = ("k" if item.keep else "f") + ("t" if item.traces else "")
    return kind, str(item.seq), item.id, item.digest, str(int(item.life)), encode(item.result)


def _size(result: Result) -> int:
    return len(result.data) + len(result.critical) + len(result.streams[0]) + len(result.streams[1])


def _shortened(final: Final) -> Final:
    """
    With the ends of the streams only; ``truncated`` says so.
    """
    streams, truncated = final.result.streams, final.result.truncated
    short = tuple(text[-SHORT:] for text in streams)
    dropped = tuple(
        before + len(text.encode()) - len(kept.encode())
        for before, text, kept in zip(truncated, streams, short, strict=True)
    )
    return replace(final, result=replace(final.result, streams=short, truncated=dropped))
