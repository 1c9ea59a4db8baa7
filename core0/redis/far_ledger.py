"""
The ledger of a CoreX: core0 has claimed its commands already and keeps them; what is left is to send the answers.
"""

from collections.abc import Sequence

from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger
from zope.interface import implementer

from core0.clock import epoch
from core0.corex_messages import ready_line, result_line
from core0.interfaces import ILedger
from core0.messages import Command, Mark, Rejection, State, refusal, result_of
from core0.redis import keys
from core0.redis.connection import Connection, Lost, ReplyError
from core0.redis.link import Link
from core0.redis.outbox import SHORT, Item, Outbox, shortened, size_of, words
from core0.redis.writer import Writer
from core0.values import Claim, Final
from core0.waiting import pause

BATCH = 256  # answers at once
PENDING_BYTES = 64 << 20  # streams of results that wait to be sent; beyond that they are cut
CROWDED = 10_000  # messages that core0 has not taken: then those of recurring jobs wait, of which the latest counts
RETRY = 1.0  # seconds
REJECTED, TWICE = 400, 409


@implementer(ILedger)
class FarLedger(Writer):
    """
    :param number: of the container.
    """

    _log = Logger()

    def __init__(self, clock: IReactorTime, link: Link, number: int) -> None:
        super().__init__(clock, link, "answers are not sent any more")
        self._number = number
        self._key = keys.corex_results(number)
        self._pending = Outbox()
        self._first: list[bytes] = []
        self._listed = 0

    def ready(self, pid: int) -> None:
        """
        Say that orders are taken, before any answer that is not sent yet.
        """
        self._first.append(ready_line(pid))
        self._bell.ring()

    async def claim(self, claims: Sequence[Claim]) -> Sequence[bool]:
        """
        All of them: core0 has asked for their ids.
        """
        return [True] * len(claims)

    def entries(self) -> set[int]:
        """
        The numbers of those whose answers are not sent yet.
        """
        return {item.content.seq for item in self._pending}

    def answered(self) -> set[int]:
        """
        None: core0 takes each order's answer once, and orders that come again are told by their numbers.
        """
        return set()

    async def restore(self) -> None:
        """
        Nothing: core0 keeps the orders.
        """

    def mark(self, seq: int, mark: Mark) -> "Deferred[None]":
        """
        Safe at once: what is lost with a CoreX does not run again.
        """
        return succeed(None)

    def finish(self, final: Final) -> None:
        """
        Sent with all others of this turn.
        """
        size = size_of(final.result)
        if self._pending.size + size > PENDING_BYTES and size > 2 * SHORT:
            final = shortened(final)
        self._pending.add(final)
        self._bell.ring()

    def reject(self, seq: int, rejection: Rejection) -> None:
        """
        A result that says why; without an id if that is not known: core0 knows it by the number.
        """
        code = TWICE if rejection.state == State.DUPLICATE_ID else REJECTED
        outcome = refusal(code, rejection.reason)
        id, now = rejection.id or "", int(epoch(self._clock) * 1000)
        command = Command(id=id, command="")
        self.finish(
            Final(seq, id, "", result_of(command, id, outcome, container=self._number, starttime=now, time=0, runs=0))
        )

    def _left(self) -> bool:
        return bool(self._pending or self._first)

    async def _work(self) -> None:
        while True:
            await self._bell.wait()
            await pause(self._clock, 0)  # the rest of this turn may have more
            while self._left():
                connection = await self._link.up()
                try:
                    await self._send(connection)
                except Lost:
                    await pause(self._clock, 0)
                except ReplyError as error:
                    self._log.warn("the server refuses answers: {error}; trying again", error=error)
                    await pause(self._clock, RETRY)
            self._calm()

    async def _send(self, connection: Connection) -> None:
        if self._listed > CROWDED:
            self._listed = int(await connection.command("LLEN", self._key))
        batch = self._finals() if self._listed > CROWDED else self._pending.batch(self._pending.last, BATCH)
        first = self._first[:]
        if not batch and not first:
            await pause(self._clock, RETRY)
            return
        lines = [self._line(item) for item in batch]
        self._listed = int(await connection.command("RPUSH", self._key, *first, *lines))
        del self._first[: len(first)]
        for item in batch:
            self._pending.done(item)

    def _finals(self) -> list[Item]:
        """
        Of a full batch those that end something.
        """
        found: list[Item] = []
        for item in self._pending:
            if item.kept is None:
                found.append(item)
                if len(found) >= BATCH or item.size > SHORT:
                    break
        return found

    def _line(self, item: Item) -> bytes:
        final = item.content
        assert isinstance(final, Final)  # there are no others here
        body = words(final, "", lambda: epoch(self._clock))[-1]
        return result_line(final.seq, body, keep=final.keep, life=final.life, traces=final.traces)
