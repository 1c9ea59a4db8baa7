"""
The ports of core0 kept in memory. Contracts in ``tests/contract`` hold the fakes to what the real ones do.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.python.failure import Failure
from zope.interface import implementer
from zope.interface.verify import verifyClass

from core0.interfaces import IJob, ILedger, IProcesses, IRecords
from core0.messages import Mark, Message, Outcome, Rejection, Result, State, rejection
from core0.tree_interfaces import ITree
from core0.values import Claim, Final
from core0.waiting import Occurrence

T = TypeVar("T")


@implementer(ILedger)
class MemoryLedger:
    """
    What the server keeps, in dictionaries. Nothing expires.

    :ivar unfinished: payloads by number; a test puts entries there.
    :ivar finals: all that were written, in their order.
    :ivar claims: who holds an id, digest and number; the number is 0 once its result is written.
    """

    def __init__(self, node: str = "1:1") -> None:
        self.node = node
        self.unfinished: dict[int, bytes] = {}
        self.marks: dict[int, Mark] = {}
        self.results: dict[str, Result] = {}
        self.rejected: list[Rejection] = []
        self.claims: dict[str, tuple[str, int]] = {}
        self.finals: list[Final] = []
        self._present: Occurrence[None] = Occurrence()
        self._present.happen(None)
        self._pending: list[tuple[int, Callable[[], None]]] = []

    @property
    def here(self) -> bool:
        """
        Whether the server is there.
        """
        return self._present.happened

    def leave(self) -> None:
        """
        The server is away: whatever is written waits.
        """
        self._present = Occurrence()

    def come_back(self) -> None:
        """
        The server is there again.
        """
        pending, self._pending = self._pending, []
        for _, write in pending:
            write()
        self._present.happen(None)

    def _write(self, seq: int, write: Callable[[], None]) -> None:
        if self._present.happened:
            write()
        else:
            self._pending.append((seq, write))

    async def claim(self, claims: Sequence[Claim]) -> Sequence[bool]:
        """
        One after another.
        """
        await self._present.wait()
        return [not claim.digest or self._claim(claim) for claim in claims]

    def _claim(self, claim: Claim) -> bool:
        held = self._stands(claim.id, claim.seq)
        holder = self.claims.get(claim.id, ("", 0))[1]
        if held is None or (holder and holder not in self.unfinished):
            self.claims[claim.id] = (claim.digest, claim.seq)
            return True
        if held == claim.digest:
            self._remove(claim.seq)
        else:
            self._conflict(claim.seq, claim.id)
        return False

    def _stands(self, id: str, seq: int) -> str | None:
        """
        The digest of the content that an id stands for, if it is not that of this entry.
        """
        digest, holder = self.claims.get(id, ("", seq))
        return None if holder == seq or (not holder and id not in self.results) else digest

    def _conflict(self, seq: int, id: str) -> None:
        payload = self.unfinished.get(seq, b"")
        self.reject(seq, rejection(self.node, id, State.DUPLICATE_ID, "other content", payload, 0.0))

    def entries(self) -> set[int]:
        """
        Those whose answers wait.
        """
        return {seq for seq, _ in self._pending if seq}

    def answered(self) -> set[int]:
        """
        All that ever were.
        """
        return {final.seq for final in self.finals if not final.keep}

    async def restore(self) -> None:
        """
        It is the server itself.
        """

    def mark(self, seq: int, mark: Mark) -> "Deferred[None]":
        """
        At once, unless the server is away.
        """
        safe: Deferred[None] = Deferred()

        def write() -> None:
            self.marks[seq] = mark
            safe.callback(None)

        if seq:
            # not an answer, so not one of the entries
            self._write(0, write)
        else:
            safe.callback(None)
        return safe

    def finish(self, final: Final) -> None:
        """
        At once, unless the server is away.
        """
        self._write(final.seq, lambda: self._finish(final))

    def _finish(self, final: Final) -> None:
        # gone without an answer: the server has come back without what it held
        forgotten = final.digest and self.claims.get(final.id, own := (final.digest, final.seq)) == own
        if final.seq and final.seq not in self.unfinished and not forgotten:
            return
        if final.digest:
            held = self._stands(final.id, final.seq)
            if held is not None:
                if held == final.digest:
                    self._remove(final.seq)
                else:
                    self._conflict(final.seq, final.id)
                return
            self.claims[final.id] = (final.digest, final.seq if final.keep else 0)
        self.finals.append(final)
        self.results[final.id] = final.result
        if not final.keep:
            self._remove(final.seq)

    def reject(self, seq: int, rejection: Rejection) -> None:
        """
        At once, unless the server is away.
        """
        self._write(seq, lambda: self._reject(seq, rejection))

    def _reject(self, seq: int, rejection: Rejection) -> None:
        if seq in self.unfinished:
            self._remove(seq)
            self.rejected.insert(0, rejection)

    def _remove(self, seq: int) -> None:
        self.unfinished.pop(seq, None)
        self.marks.pop(seq, None)

    async def flushed(self) -> None:
        """
        Until the server has been there.
        """
        await self._present.wait()


@implementer(IRecords)
class MemoryRecords:
    """
    Everything that was handed in, in order.

    :param levels: those that are kept where a command does not say which.
    :ivar left: how many more there is room for.
    :ivar dropped: how many were not even made.
    """

    def __init__(self, levels: Sequence[int] = tuple(range(2, 10))) -> None:
        self.levels = levels
        self.left = 1_000_000
        self.dropped = 0
        self.full = False
        self.logs: list[tuple[str, int, str]] = []
        self.streams: list[tuple[str, Message, bool]] = []
        self.samples: list[tuple[str, Mapping[str, Any], float]] = []

    def room(self) -> int:
        """
        As the test says, less what has come since.
        """
        return max(0, self.left)

    def drop(self, count: int) -> None:
        """
        Counted.
        """
        self.dropped += count

    def log(self, job: str, level: int, text: str) -> None:
        """
        Kept.
        """
        self.left -= 1
        self.logs.append((job, level, text))

    def stream(self, job: str, message: Message, last: bool) -> None:
        """
        Kept.
        """
        self.streams.append((job, message, last))

    def clogged(self, job: str) -> bool:
        """
        As the test says.
        """
        return self.full

    def sample(self, job: str, fields: Mapping[str, str | int | float], life: float) -> None:
        """
        Kept.
        """
        self.samples.append((job, fields, life))

    def wants(self, level: int) -> bool:
        """
        As it was made.
        """
        return level in self.levels


@implementer(ITree)
class MemoryTree:
    """
    Processes that are numbers.

    :ivar signals: what was sent.
    """

    def __init__(self, *living: int) -> None:
        self.living = list(living)
        self.signals: list[int] = []
        self.closed = False

    def populated(self) -> bool:
        """
        While there are numbers left.
        """
        return bool(self.living)

    def pids(self) -> Sequence[int]:
        """
        The numbers.
        """
        return list(self.living)

    def members(self, pass_: dict[object, Any]) -> Sequence[int]:
        """
        The same.
        """
        return self.pids()

    def signal(self, number: int) -> None:
        """
        Kept; nothing ends by it.
        """
        self.signals.append(number)

    def kill(self) -> bool:
        """
        All end.
        """
        self.signals.append(9)
        self.living.clear()
        return True

    def close(self) -> None:
        """
        Kept.
        """
        self.closed = True


class ThreadlessReactor(Clock):
    """
    A clock that calls what is to be called in a thread right here.
    """

    joined = False  # as of a pool

    def getThreadPool(self) -> "ThreadlessReactor":
        """
        As a reactor's.
        """
        return self

    def callInThreadWithCallback(
        self, told: Callable[[bool, Any], None], work: Callable[..., Any], *arguments: Any, **keywords: Any
    ) -> None:
        """
        As a thread pool's.
        """
        try:
            result = work(*arguments, **keywords)
        except Exception:
            told(False, Failure())
        else:
            told(True, result)

    def callFromThread(self, work: Callable[..., Any], *arguments: Any) -> None:
        """
        As a reactor's.
        """
        work(*arguments)


async def at_once(work: Callable[..., T], *arguments: Any) -> T:
    """
    In the place of a thread: call it right here.
    """
    return work(*arguments)


for _interface, _fake in ((ILedger, MemoryLedger), (IRecords, MemoryRecords), (ITree, MemoryTree)):
    verifyClass(_interface, _fake)


@implementer(IProcesses)
class MemoryProcesses:
    """
    Runs no programs; signals reach trees at once.
    """

    async def run(self, spec: Any, job: IJob) -> Outcome:
        """
        Nobody asks for it.
        """
        raise AssertionError(f"{job.id} wants to run {spec}")

    async def signal(self, tree: ITree, number: int) -> None:
        """
        Send it here and now.
        """
        tree.signal(number)


verifyClass(IProcesses, MemoryProcesses)
