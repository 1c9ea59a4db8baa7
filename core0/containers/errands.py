"""
The errands of one container: what was dispatched to it and is not answered, and what its CoreX may say of them.

A CoreX is not trusted: it answers for nothing but its own errands, each of them once.
"""

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from math import isfinite

import msgspec
from msgspec.structs import replace
from twisted.internet.interfaces import IReactorTime

from core0.clock import epoch
from core0.corex_messages import Garbled, Ready, ResultMessage, decode_answer
from core0.messages import RESULT_LEVELS, Command, Outcome, Result, decode_result, refusal, result_of
from core0.values import Final

REMEMBERED = 10_000  # answered errands whose records may still come
AFTERWARDS = 60.0  # seconds that they may
LATE = 86400.0  # seconds that a recurring result outlives the time when the next one is due
HIGHEST_CODE = 599
HIGHEST = 2**53  # of other numbers: clients read them as floats
LONGEST_LIFE = 3600.0  # seconds of a sample, where the command does not say more
NONSENSE, GONE = 500, 503


@dataclass(frozen=True, slots=True)
class Errand:
    """
    A command that was dispatched.

    :ivar seq: its number, in µs since the epoch.
    :ivar digest: of its content.
    :ivar command: as the client sent it, with its id.
    :ivar line: the order, as it is sent.
    """

    seq: int
    id: str
    digest: str
    command: Command
    line: bytes


@dataclass(slots=True)
class _Job:
    id: str
    life: float  # seconds that a sample may live
    stream: bool  # live output may still come
    traces: bool = False  # there is live output, or there are samples


@dataclass(frozen=True, slots=True)
class _Open:
    errand: Errand
    job: _Job  # outlives the errand, which may be large


class Numbers:
    """
    The numbers of errands: µs since the epoch, each higher than the one before.
    """

    def __init__(self, clock: IReactorTime) -> None:
        self._clock = clock
        self._last = 0

    def after(self, seq: int) -> None:
        """
        Give only higher ones from now on.
        """
        self._last = max(self._last, seq)

    def next(self) -> int:
        """
        A new one.
        """
        self._last = max(self._last + 1, int(epoch(self._clock) * 1_000_000))
        return self._last


class Errands:
    """
    :param number: of the container.
    :ivar ignored: how many answers were none to an errand of this container.
    """

    def __init__(self, clock: IReactorTime, number: int) -> None:
        self._clock = clock
        self._number = number
        self._open: dict[int, _Open] = {}
        self._by_id: dict[str, _Job] = {}
        self._answered: deque[tuple[float, _Job]] = deque()
        self.ignored = 0

    def __len__(self) -> int:
        return len(self._open)

    def __contains__(self, seq: int) -> bool:
        return seq in self._open

    def add(self, errand: Errand) -> None:
        """
        It is about to be sent.
        """
        command = errand.command
        job = _Job(errand.id, max(LONGEST_LIFE, command.stats_interval or 0.0), bool(command.stream))
        self._open[errand.seq], self._by_id[errand.id] = _Open(errand, job), job

    def again(self) -> list[bytes]:
        """
        The orders of all that are unanswered, in the order of their numbers: for a CoreX that may not have got them.
        """
        return [self._open[seq].errand.line for seq in sorted(self._open)]

    def orphaned(self, reason: str) -> list[Final]:
        """
        Answer all of them with ERROR, 503: there is nobody who will.
        """
        return [self._failed(entry, GONE, reason) for entry in list(self._open.values())]

    def read(self, line: bytes) -> Final | Ready | None:
        """
        What a CoreX has put on its list of results.

        :returns: None, and counted, if it is nothing that this container may say.
        """
        try:
            answer = decode_answer(line)
        except Garbled as error:
            return self._nonsense(error.seq, str(error))
        return self.result(answer) if isinstance(answer, ResultMessage) else answer

    def result(self, message: ResultMessage) -> Final | None:
        """
        The answer to an errand, with our own word for what was asked; one that says it wrong is answered by that.

        :returns: None, and counted, if it is no answer to one of this container.
        """
        entry = self._open.get(message.seq)
        if entry is None:
            self.ignored += 1
            return None
        try:
            result = decode_result(message.result)
            _check(result)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError, ValueError) as error:
            return self._nonsense(message.seq, str(error))
        errand, recurs = entry.errand, bool(entry.errand.command.recurring_period)
        if result.id not in ("", errand.id) or (message.keep and not recurs):
            self.ignored += 1
            return None
        tags = errand.command.tags
        result = replace(
            result,
            id=errand.id,
            command=errand.command.command,
            tags=[] if tags is None else tags,
            container=self._number,
        )
        traces = message.traces or entry.job.traces
        if not message.keep:
            self._close(entry)
        return Final(errand.seq, errand.id, errand.digest, result, message.keep, _life(errand.command, message), traces)

    def _nonsense(self, seq: int, reason: str) -> Final | None:
        entry = self._open.get(seq)
        if entry is None:
            self.ignored += 1
            return None
        text = f"CoreX {self._number} has sent nonsense instead of a result: {reason}"
        return self._failed(entry, NONSENSE, text)

    def _failed(self, entry: _Open, code: int, reason: str) -> Final:
        self._close(entry)
        return failed(self._clock, self._number, entry.errand, code, reason)

    def _close(self, entry: _Open) -> None:
        del self._open[entry.errand.seq]
        self._answered.append((self._clock.seconds(), entry.job))
        self._forget()

    def _forget(self) -> None:
        """
        Those that were answered long ago.
        """
        oldest = self._clock.seconds() - AFTERWARDS
        while self._answered and (len(self._answered) > REMEMBERED or self._answered[0][0] < oldest):
            _, job = self._answered.popleft()
            if self._by_id.get(job.id) is job:
                del self._by_id[job.id]

    def knows(self, id: str) -> bool:
        """
        Whether records of this job may come: it was dispatched here, and is unanswered, or was until some seconds ago.
        """
        self._forget()
        return id in self._by_id

    def sampled(self, id: str, life: float) -> float | None:
        """
        A sample of a job has come, for so many seconds.

        :returns: for how many it is kept; None if it is not.
        """
        if not self.knows(id) or not isfinite(life) or life < 0:
            return None
        job = self._by_id[id]
        job.traces = True
        return min(life, job.life)

    def streamed(self, id: str, last: bool) -> bool:
        """
        A piece of live output of a job has come.

        :returns: whether it is kept: the command has asked for it, and the last one was not there yet.
        """
        if not self.knows(id) or not self._by_id[id].stream:
            return False
        job = self._by_id[id]
        job.traces = True
        job.stream = not last
        return True

    def cut_streams(self) -> list[str]:
        """
        The jobs whose live output has not ended, and will not by itself: from now on it has.
        """
        cut = [job for job in self._by_id.values() if job.stream]
        for job in cut:
            job.stream = False
        return [job.id for job in cut]


def failed(clock: IReactorTime, number: int, errand: Errand, code: int, reason: str) -> Final:
    """
    The answer to an errand of container ``number`` that nobody else gives.
    """
    now = int(epoch(clock) * 1000)
    outcome: Outcome = refusal(code, reason)
    result = result_of(errand.command, errand.id, outcome, container=number, starttime=now, time=0, runs=0)
    return Final(errand.seq, errand.id, errand.digest, result, traces=True)


def _life(command: Command, message: ResultMessage) -> float:
    """
    Seconds that the result of one run lives longer than others.
    """
    if not message.keep:
        return 0.0
    longest = (command.recurring_period or 0.0) + max(command.max_time or 0.0, LATE)
    return min(message.life, longest) if message.life >= 0 else 0.0


def _check(result: Result) -> None:
    """
    :raises ValueError: no Core answers like this.
    """
    if result.level and result.level not in RESULT_LEVELS:
        raise ValueError(f"level: expected 0, 20 to 23 or 30, got {result.level}")
    if not 0 <= result.code <= HIGHEST_CODE:
        raise ValueError(f"code: expected 0 to {HIGHEST_CODE}, got {result.code}")
    numbers: Sequence[int] = (result.starttime, result.time, result.runs, *result.truncated)
    if not all(0 <= number <= HIGHEST for number in numbers):
        raise ValueError("starttime, time, runs, truncated: expected numbers that are not negative")
