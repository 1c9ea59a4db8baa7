"""
One container: what is known of it, what it is to answer, and what becomes of what its CoreX says.
"""

from collections.abc import Sequence

from msgspec.structs import replace
from twisted.logger import Logger

from core0 import procfs
from core0.bucket import Bucket
from core0.clock import epoch
from core0.containers.errands import Errands
from core0.containers.etc import HostResolver
from core0.containers.house import House
from core0.containers.memory import MemoryLimit, look
from core0.containers.reports import Live, Log, Own, Reports, Sample
from core0.containers.shelf import Life, Phase, Record
from core0.containers.undo import Undo
from core0.containers.watch import Watched
from core0.jobs.usage import Meter
from core0.messages import State
from core0.values import Final
from core0.waiting import Occurrence

TELL = 60.0  # seconds between words on what was ignored
WORDS, WORDS_AT_ONCE = 1, 100  # entries of its own log that core0 keeps: a second, and at once
MOST_WORDS = 8192  # characters of one


class Container:
    """
    :ivar undo: removes all that there is of it.
    :ivar first_word: happens when its CoreX says that it is there, with ""; or if there will be none, with the reason.
    :ivar dying: happens when its first process or its CoreX has ended, with the reason.
    :ivar emptied: happens when it has no processes any more, and is only listened to until all is heard.
    :ivar heard: all is.
    :ivar gone: happens when nothing of it is left.
    :ivar resolver: of the host, when it was last told about DNS.
    """

    _log = Logger()

    def __init__(self, house: House, record: Record) -> None:
        self._house = house
        self.record = record
        self.errands = Errands(house.reactor, record.number)
        self.reports = Reports(self.errands, house.settings.node, record.number)
        self.runner = house.runner(record.runtime)
        self.undo = Undo(f"container {record.number}")
        self.init: Watched | None = None
        self.corex: Watched | None = None
        self.meter = Meter()
        fresh, limit = record.phase == Phase.CREATING, record.request.limits.memory
        self.memory = MemoryLimit(house.reactor, record.number, limit, f"/{house.family}/{record.number}", fresh=fresh)
        self.first_word: Occurrence[str] = Occurrence()
        self.dying: Occurrence[str] = Occurrence()
        self.emptied: Occurrence[None] = Occurrence()
        self.heard = False
        self.gone: Occurrence[None] = Occurrence()
        self.resolver = HostResolver()
        self._words = Bucket(house.reactor, WORDS, WORDS_AT_ONCE)
        self._clogged: set[str] = set()  # ids of jobs
        self._ignored = 0  # of these the log tells
        self._told = -TELL

    @property
    def number(self) -> int:
        """
        Its number.
        """
        return self.record.number

    @property
    def phase(self) -> Phase:
        """
        Where it is.
        """
        return self.record.phase

    def move(self, phase: Phase) -> None:
        """
        Go on.
        """
        self.record = replace(self.record, phase=phase)

    def started(self, init: int) -> None:
        """
        Its first process lives.
        """
        self.init = self._watch("its first process has ended", init, self.record.init)
        self.record = replace(self.record, init=Life(init, procfs.started(init)))

    def joined(self, corex: int) -> None:
        """
        Its CoreX lives.
        """
        self.corex = self._watch("its CoreX has ended", corex, self.record.corex)
        self.record = replace(self.record, corex=Life(corex, procfs.started(corex)))

    def _watch(self, reason: str, pid: int, known: Life | None) -> Watched | None:
        process = Watched.find(self._house.reactor, pid, known.start if known else 0)
        if process is None:
            self._die(reason)
        else:
            process.on_ended = lambda: self._die(reason)
        return process

    def _die(self, reason: str) -> None:
        self.first_word.happen(reason)
        self.dying.happen(reason)

    def release(self) -> None:
        """
        Watch its processes no more.
        """
        self._tell()
        for process in (self.init, self.corex):
            if process is not None:
                process.close()

    async def results(self, lines: Sequence[bytes]) -> None:
        """
        Answers to errands; returns once they are written.
        """
        seqs = []
        answers = [self.errands.read(line) for line in lines]
        if any(isinstance(answer, Final) and answer.result.state == State.ERROR for answer in answers):
            await look(self._house.in_thread, [self.memory])
        for answer in answers:
            if isinstance(answer, Final):
                self._house.dispatched.finish(replace(answer, result=self.memory.explained(answer.result)))
                seqs.append(answer.seq)
            elif answer is not None:
                self.first_word.happen("")
        self._complain()
        if seqs:
            await self._house.dispatched.written(seqs)

    def records(self, lines: Sequence[bytes]) -> None:
        """
        Log records, samples and live output.
        """
        now = int(epoch(self._house.reactor) * 1_000_000_000)
        for line in lines:
            report = self.reports.read(line, now)
            match report:
                case Log():
                    self._house.journal.log(report.line)
                case Live():
                    self._house.journal.stream(report.id, report.line, report.last)
                    if self._house.journal.clogged(report.id):
                        self._clogged.add(report.id)
                case Sample():
                    self._house.journal.sample(report.id, report.fields, report.life)
                case Own() if self._words.take():
                    self._log.info("container {number}: {text}", number=self.number, text=report.text[:MOST_WORDS])
                case Own():
                    self.reports.ignored += 1
        self._complain()

    def clogged(self) -> bool:
        """
        Whether live output of a job in there is not read as fast as it comes: then the container is to wait.
        """
        self._clogged = {id for id in self._clogged if self._house.journal.clogged(id)}
        return bool(self._clogged)

    def _complain(self) -> None:
        """
        Say in the log, now and then, how much was not taken.
        """
        now = self._house.reactor.seconds()
        if now - self._told >= TELL and self._tell():
            self._told = now

    def _tell(self) -> bool:
        count = self.errands.ignored + self.reports.ignored - self._ignored
        if count:
            self._ignored += count
            text = "container {number}: {count} messages were ignored: nonsense, not for its CoreX to say, or too many"
            self._log.warn(text, number=self.number, count=count)
        return bool(count)
