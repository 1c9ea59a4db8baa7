"""
The unfinished commands of a node, in Redis: claimed, marked, answered, many at a time.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

from twisted.internet.defer import Deferred
from twisted.logger import Logger
from zope.interface import implementer

from core0.clock import epoch
from core0.interfaces import ILedger
from core0.messages import (
    Mark,
    Rejection,
    State,
    encode,
    rejection,
)
from core0.redis import keys
from core0.redis.answers import Answers
from core0.redis.connect import fields
from core0.redis.connection import Connection, Lost, ReplyError
from core0.redis.entries import numbers, read_marks
from core0.redis.held import Held
from core0.redis.link import Link
from core0.redis.outbox import SHORT, Item, Outbox, Rejected, Words, remembered, shortened, size_of, words
from core0.redis.script import CLAIM, FINISH, MARK, RESTORE
from core0.redis.store import Store
from core0.redis.url import RedisURL
from core0.redis.writer import Writer
from core0.values import Claim, Final
from core0.waiting import pause

BATCH = 256  # writes at once
BATCH_BYTES = 8 << 20
LINE = 6  # words of an answer, for the script
PENDING_BYTES = 64 << 20  # streams of results that wait to be written; beyond that they are cut
RETRY = 1.0  # seconds
MOST_TRIES = 5  # of an answer by itself that the server refuses
SUSPICIOUS = 3  # times in a row that a batch could not be written; then its items are written one by one


_Word = str | bytes | int


@implementer(ILedger)
class Ledger(Writer):
    """
    What it has claimed and what it has answered lately it knows by itself, too: the server may come back, or be
    replaced by another one, without the latest of what it was told.

    :param life: of a result, in seconds.
    :param holder: who holds the ids that it claims: the node, unless it has another ledger that does.
    :param name: of its connection, for the log.
    """

    _log = Logger()

    def __init__(
        self,
        reactor: Any,
        store: Store | RedisURL,
        node: str,
        life: int,
        holder: str = "",
        name: str = "writing results",
    ) -> None:
        self.link = Link(reactor, store, name, self._restore)
        super().__init__(reactor, self.link, "the ledger has stopped writing")
        self._node = node
        self._life = life
        self._holder = holder or node
        self._unfinished = keys.unfinished(node)
        self._marks = keys.marks(node)
        self._last = keys.clock(node)
        self._pending = Outbox()
        self._held = Held()
        self._answers = Answers(reactor, life)
        self._run_id = ""
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

    def answered(self) -> set[int]:
        """
        The numbers of the entries that were answered lately.
        """
        return self._answers.numbers()

    async def unfinished(self) -> list[int]:
        """
        The numbers of all unfinished entries, in the order in which they were taken.
        """
        return numbers(await self._ask("HKEYS", self._unfinished))

    async def marks(self) -> dict[int, Mark]:
        """
        The marks of those that had been started. Marks without an entry are removed.
        """
        marks = read_marks(await self._ask("HGETALL", self._marks))
        stale = marks.keys() - set(await self.unfinished())
        if stale:
            await self._ask("HDEL", self._marks, *map(str, stale))
        self._held.marks = {seq: mark for seq, mark in marks.items() if seq not in stale}
        return dict(self._held.marks)

    async def claim(self, claims: Sequence[Claim]) -> Sequence[bool]:
        """
        Ask for all at once; but an answer that is still to be written comes before the claim of a later entry to its
        id.
        """
        self._held.add(claims)
        before = self._pending.before(claims)
        granted = await self._claim([claim for claim in claims if claim.seq not in before])
        for items in before.values():
            for item in items:
                await item.settled.wait()
        granted |= await self._claim([claim for claim in claims if claim.seq in before])
        return [claim.seq in granted for claim in claims]

    async def _claim(self, claims: Sequence[Claim]) -> set[int]:
        """
        :returns: the numbers of those that shall run.
        """
        granted = {claim.seq for claim in claims if not claim.digest}
        named = [claim for claim in claims if claim.digest]
        await self._remind(named)
        words: list[str | int] = [self._life, self._holder]
        for claim in named:
            words += (claim.seq, claim.id, claim.digest)
        verdicts = await self._link.call(CLAIM, (self._unfinished, self._marks), words) if named else ()
        for claim, verdict in zip(named, verdicts, strict=True):
            if verdict == 0:
                granted.add(claim.seq)
                self._held.grant(claim)
                continue
            self._held.remove(claim.seq)
        # after that: what is still held would be put back if the connection is lost now
        for claim, verdict in zip(named, verdicts, strict=True):
            if verdict == 2:
                await self._conflict(claim.seq, claim.id)
        return granted

    async def _remind(self, claims: Sequence[Claim]) -> None:
        """
        Put back jobs that these ids stand for, before the server is asked for them: never two at once under one id.
        """
        firsts = [
            first for claim in claims if (first := self._held.of_id(claim.id)) is not None and first.seq != claim.seq
        ]
        if not firsts:
            return
        known = [word for first in firsts for word in self._holding(first, first.payload)]
        await self._link.call(RESTORE, self._restore_keys(), (self._holder, self._highest(), *known))
        # the call may have been repeated after one of them was answered: it would stay unfinished for ever
        held = {claim.seq for first in firsts if (claim := self._held.of_id(first.id)) is not None}
        over = {first.seq for first in firsts} - held - self.entries()
        if over:
            await self._ask("HDEL", self._unfinished, *map(str, over))

    async def _conflict(self, seq: int, id: str) -> None:
        """
        An id came again, with other content.
        """
        self._conflicting(seq, id, await self._ask("HGET", self._unfinished, str(seq)) or b"")

    def _conflicting(self, seq: int, id: str, payload: bytes) -> None:
        reason = f"id {id!r} stands for a command with other content, whose result is not {self._life} s old yet"
        now = epoch(self._clock)
        self.reject(seq, rejection(self._node, id, State.DUPLICATE_ID, reason, payload, now))

    async def _ask(self, command: str, key: str, *words: str) -> Any:
        """
        The server's reply, for as long as it takes.
        """
        told = ""
        while True:
            connection = await self._link.up()
            try:
                return await self._link.ask(connection, command, key, *words)
            except Lost:
                await pause(self._clock, 0)
            except ReplyError as error:
                if str(error) != told:
                    told = str(error)
                    self._log.warn("the server refuses {command}: {error}; trying again", command=command, error=error)
                self._link.doubt(error)
                await pause(self._clock, RETRY)

    def mark(self, seq: int, mark: Mark) -> "Deferred[None]":
        """
        Written with all others of this turn; of two for the same entry the later one.
        """
        deferred: Deferred[None] = Deferred()
        if not seq:
            deferred.callback(None)
            return deferred
        self._marking[seq] = mark
        self._held.mark(seq, mark)
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
        if not final.keep:
            self._held.remove(final.seq)
        self._pending.add(final)
        self._bell.ring()

    def reject(self, seq: int, rejection: Rejection) -> None:
        """
        Written with all others of this turn.
        """
        self._held.remove(seq)
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
        lines: list[Words] = []
        try:
            conflicts = await self._write(batch, lines)
        except (Lost, ReplyError) as error:
            alone = bool(self._singly)
            self._doubt(batch)
            if alone and isinstance(error, ReplyError):
                await self._give_up(batch[0], error)
            raise
        self._failures = 0
        self._singly = max(0, self._singly - 1)
        for place in conflicts:
            final = batch[place - 1].content
            if isinstance(final, Final):
                await self._conflict(final.seq, final.id)
        refused = {place - 1 for place in conflicts}
        for place, (item, line) in enumerate(zip(batch, lines, strict=True)):
            if place not in refused:
                self._answers.add(remembered(item.content, line, self._node, self._now))
            self._pending.done(item)

    def _now(self) -> float:
        return epoch(self._clock)

    async def _write(self, batch: Sequence[Item], lines: list[Words]) -> Sequence[int]:
        """
        :param lines: gets the answers as they are written.
        :returns: the places (from 1) of those whose id stands for other content.
        """
        sent: list[str | bytes | int] = [self._life, self._holder]
        size = 0
        for item in batch:
            if item.kept is None:
                self._marking.pop(item.content.seq, None)  # it would outlive the entry
            line = words(item.content, self._node, self._now)
            lines.append(line)
            size += len(line[-1])
            sent += line
        self.on_written(size)
        connection = await self._link.up()
        conflicts: Sequence[int] = await self._link.once(connection, FINISH, self._finish_keys(), sent)
        return conflicts

    def _finish_keys(self) -> tuple[str, str, str]:
        return self._unfinished, self._marks, keys.REJECTED

    def _restore_keys(self) -> tuple[str, str]:
        return self._unfinished, self._last

    def _highest(self) -> int:
        """
        The highest number that is known to have been given.
        """
        return max(self._held.highest, self._answers.highest)

    async def restore(self) -> None:
        """
        Put back what the server has forgotten.
        """
        try:
            await self._restore(await self._link.up())
        except Lost:
            pass  # it is done with each new connection

    async def _restore(self, connection: Connection) -> None:
        """
        Answer what was answered and is unfinished nevertheless; put back entries, claims, marks and answers that are
        missing.
        """
        another = await self._is_another(connection)
        if not self._held and not self._answers:
            return
        there = set(numbers(await self._link.ask(connection, "HKEYS", self._unfinished)))
        answered = [line for seq in sorted(there) if (line := self._answers.get(seq)) is not None]
        for batch in _batches(answered):
            sent = (self._life, self._holder, *batch)
            for place in await self._link.once(connection, FINISH, self._finish_keys(), sent):
                seq, id = batch[place * LINE - 5], batch[place * LINE - 4]
                payload = await connection.command("HGET", self._unfinished, seq)
                self._conflicting(int(seq), str(id), payload or b"")
        known = [self._holding(claim, b"" if claim.seq in there else claim.payload) for claim in self._held]
        if another:
            known += await self._missing_answers(connection)
        restored = 0
        for batch in _batches(known):
            sent = (self._holder, self._highest(), *batch)
            restored += await self._link.once(connection, RESTORE, self._restore_keys(), sent)
        marks = [(str(seq), encode(mark)) for seq, mark in self._held.marks.items()]
        for batch in _batches(marks):
            await self._link.once(connection, MARK, (self._marks,), batch)
        if answered or restored:
            text = "the server had forgotten commands: {answered} were answered again, {restored} put back"
            self._log.warn(text, answered=len(answered), restored=restored)

    async def _is_another(self, connection: Connection) -> bool:
        """
        Whether this server may not have been told all answers. What was removed from the same one stays away.
        """
        try:
            told = fields(await connection.command("INFO", "server")).get("run_id", "")
        except ReplyError:
            told = ""
        another = not told or told != self._run_id
        self._run_id = told
        return another

    def _holding(self, claim: Claim, payload: bytes) -> "tuple[_Word, ...]":
        """
        As the script takes it: a command that is unfinished; of one that is still being claimed the entry only.
        """
        return "h", claim.seq, claim.id, claim.digest if self._held.granted(claim) else "", payload, 0

    async def _missing_answers(self, connection: Connection) -> "list[tuple[_Word, ...]]":
        """
        Those of whose ids the server knows nothing.
        """
        ids = self._answers.ids()
        missing: list[tuple[_Word, ...]] = []
        for first in range(0, len(ids), BATCH):
            some = ids[first : first + BATCH]
            found = await connection.command("MGET", *map(keys.claim, some))
            for id, claim in zip(some, found, strict=True):
                if claim is None and (answer := self._answers.of_id(id)) is not None:
                    missing.append(_answering(*answer))
        return missing

    async def _give_up(self, item: Item, error: ReplyError) -> None:
        """
        An answer that the server refuses again and again, though it takes others, goes to ``core:rejected``.
        """
        if item.tries < MOST_TRIES or not isinstance(final := item.content, Final):
            return
        connection = await self._link.up()
        # nothing to write: whatever is wrong with this is not about the answer
        await self._link.once(connection, FINISH, self._finish_keys(), (self._life, self._holder))
        reason = f"the server does not take the result: {error}"
        self._log.error("{reason}, of {id!r}", reason=reason, id=final.id)
        self._pending.done(item)
        self.reject(final.seq, rejection(self._node, final.id, State.ERROR, reason, b"", self._now()))

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


def _answering(words: Words, life: int) -> tuple[_Word, ...]:
    """
    As the script takes it: an answer that an id stands for.
    """
    _, seq, id, digest, _, body = words
    return "a", seq, id, digest, body, life


def _batches(lines: Sequence[Sequence[_Word]]) -> Iterator[list[_Word]]:
    """
    The words of some lines at a time, so that no call is too large.
    """
    batch: list[_Word] = []
    size = count = 0
    for line in lines:
        length = sum(len(word) for word in line if not isinstance(word, int))
        if count and (count >= BATCH or size + length > BATCH_BYTES):
            yield batch
            batch, size, count = [], 0, 0
        batch += line
        size, count = size + length, count + 1
    if batch:
        yield batch
