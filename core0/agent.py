"""
An agent: takes entries, finds their commands, and sees that each gets its answer.
"""

import uuid
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from msgspec import UNSET, Raw, Struct
from msgspec.json import Decoder
from msgspec.structs import replace
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from core0.clock import epoch
from core0.commands.registry import Registry
from core0.corex_settings import NO_LIMITS, Limits
from core0.errors import Refusal, Undecodable
from core0.interfaces import IAgent, ICommand, ICoreReactor, IJob, ILedger, IProcesses, IRecords
from core0.jobs.job import LARGE, Job
from core0.jobs.manager import KILLED_CODE, Jobs
from core0.jobs.restart import goes_on, may_retry
from core0.jobs.sampler import Sampler
from core0.jobs.usage import Gauge
from core0.messages import (
    STREAM_FAILED,
    STREAM_SUCCEEDED,
    Command,
    Level,
    Mark,
    Message,
    Outcome,
    State,
    checked,
    encode,
    refusal,
    rejection,
    result_of,
    shown,
)
from core0.reading import decode, digest, find_id, read_arguments
from core0.threads import in_pool
from core0.values import Claim, Entry, Final, Usage

T = TypeVar("T")
_NAMELESS = uuid.UUID("0c0e0c0e-b0a7-5c0e-8000-c0e0c0e0c0e0")
LARGE_FIELD = 1024  # bytes of an argument that is left out then
NULL = b"null"
_decode_texts = Decoder(dict[str, Raw]).decode


@implementer(IAgent)
class Agent:
    """
    :param node: ``<gid>:<nid>``.
    :param core: the number of the CoreX, 0 for a host.
    :param limits: of the container that it is in.
    """

    _log = Logger()

    def __init__(
        self,
        reactor: ICoreReactor,
        registry: Registry,
        ledger: ILedger,
        jobs: Jobs,
        processes: IProcesses,
        records: IRecords,
        *,
        node: str,
        core: int = 0,
        stats_interval: float = 0.0,
        limits: Limits = NO_LIMITS,
    ) -> None:
        self._reactor = reactor
        self._registry = registry
        self._ledger = ledger
        self._records = records
        self.node = node
        self.core = core
        self.limits = limits
        self.jobs = jobs
        self.processes = processes
        self.urgent = registry.urgent()
        self._started = reactor.seconds()
        self._gauge = Gauge(self.in_thread)
        self._left: dict[int, Mark] = {}
        self.sampler = Sampler(reactor, Gauge(self.in_thread), records, stats_interval)
        jobs.on_started, jobs.on_stopped = self.sampler.add, self.sampler.remove
        jobs.on_ended = self._ended
        jobs.send = self._send

    def recover(self, marks: dict[int, Mark]) -> None:
        """
        Remember what had been started, by the core0 before this one most likely; it matters when those entries are
        admitted.
        """
        self._left |= marks

    def room(self) -> int:
        """
        How many more commands can be taken.
        """
        return self.jobs.room()

    def idle(self) -> bool:
        """
        Whether nothing runs but startup services, and everything is answered.
        """
        return not self._ledger.entries() and not any(job.live and job.seq for job in self.jobs.listed())

    def known(self) -> set[int]:
        """
        The numbers of the entries that are not to be admitted again.
        """
        return {job.seq for job in self.jobs.listed()} | self._ledger.entries() | self._ledger.answered()

    async def restore(self) -> None:
        """
        Put back what the server has forgotten of them.
        """
        await self._ledger.restore()

    def uptime(self) -> float:
        """
        Seconds since the start.
        """
        return self._reactor.seconds() - self._started

    async def in_thread(self, work: Callable[..., T], *arguments: Any) -> T:
        """
        In a thread of the reactor's pool.
        """
        return await in_pool(self._reactor, self._reactor.getThreadPool(), work, *arguments)

    async def usage(self, jobs: Sequence[IJob]) -> tuple[Usage, Sequence[Usage]]:
        """
        Since the last time that anybody asked.
        """
        return await self._gauge.look(jobs)

    async def admit(self, entries: Sequence[Entry]) -> None:
        """
        Answer what can be answered at once, and make jobs of the rest.
        """
        jobs: list[Job] = []
        claims: list[Claim] = []
        for entry in entries:
            try:
                job = self._read(entry)
            except Exception:
                self._log.failure("cannot read entry {seq}", Failure(), seq=entry.seq)
                self._failed_to_read(entry)
                continue
            if job is not None:
                jobs.append(job)
                claims.append(Claim(job.seq, job.id, job.digest, entry.payload))
        if jobs:
            await self._claim(jobs, claims)

    def _read(self, entry: Entry) -> Job | None:
        """
        :returns: None if it is answered already.
        """
        if entry.too_large:
            self._refuse_unread(entry, find_id(entry.payload), 413, entry.too_large)
            return None
        try:
            command = decode(entry.payload)
        except Undecodable as error:
            self._refuse_unread(entry, error.id, 400, str(error))
            return None
        id = command.id or str(uuid.uuid5(_NAMELESS, f"{self.node}:{entry.seq}"))
        if self._is_duplicate(entry, id):
            return None
        adapter = self._registry.find(self, command.command)
        if adapter is None:
            text = f"unknown command {shown(command.command)}; core.ping, core.system, info.os are some that exist"
            self._answer(entry, command, id, None, refusal(404, text, State.UNKNOWN_CMD))
            return None
        try:
            arguments = read_arguments(command.arguments, adapter.arguments)
        except Refusal as error:
            self._answer(entry, command, id, None, refusal(error.code, str(error)))
            return None
        if adapter.instant and not command.queue and not command.recurring_period:
            self._answer(entry, command, id, arguments, self._at_once(adapter))
            return None
        content = digest(command, arguments) if command.id else ""
        if len(entry.payload) > LARGE:  # not twice
            command = replace(command, arguments=_shown(arguments))
        return Job(entry.seq, id, command, adapter, arguments, content, size=len(entry.payload))

    def _resident(self, id: str) -> Job | None:
        """
        The job of that id that holds it without a claim: a startup service, or a command that came without an id.
        """
        job = self.jobs.get(id)
        return None if job is None or (job.seq and job.digest) else job

    def _at_once(self, adapter: ICommand) -> Outcome:
        """
        Drive a command that waits for nothing.
        """
        work = adapter.run(None)  # type: ignore[arg-type] # no job is made of it
        try:
            work.send(None)
        except StopIteration as done:
            return checked(done.value)
        work.close()
        raise RuntimeError(f"{adapter.name} is declared instant, but it waits")

    def _answer(self, entry: Entry, command: Command, id: str, arguments: Struct | None, outcome: Outcome) -> None:
        now = int(epoch(self._reactor) * 1000)
        runs = 0 if arguments is None else 1
        result = result_of(command, id, outcome, container=self.core, starttime=now, time=0, runs=runs)
        self._ledger.finish(Final(entry.seq, id, digest(command, arguments) if command.id else "", result))

    def _failed_to_read(self, entry: Entry) -> None:
        """
        Answer nevertheless, whatever is wrong with it: an error that leaves here would end all taking.
        """
        text = "core0 failed to read this: a bug; its log has the details"
        try:
            self._refuse_unread(entry, find_id(entry.payload), 500, text)
        except Exception:
            self._log.failure("cannot refuse entry {seq}", Failure(), seq=entry.seq)
            self._reject(entry, None, State.ERROR, text)

    def _refuse_unread(self, entry: Entry, id: str | None, code: int, reason: str) -> None:
        """
        Tell who sent what is no command, or cannot be read: under its id, if it has one.
        """
        if id is None:
            self._reject(entry, None, State.ERROR, reason)
        elif not self._is_duplicate(entry, id):
            content = Raw(entry.payload + entry.too_large.encode())
            self._answer(entry, Command(id=id, command="", arguments=content), id, None, refusal(code, reason))

    def _is_duplicate(self, entry: Entry, id: str) -> bool:
        """
        Whether a job without a claim has that id: then the entry is rejected here.
        """
        resident = self._resident(id)
        if resident is not None:
            whose = "a command that came without one" if resident.seq else "a startup service"
            self._reject(entry, id, State.DUPLICATE_ID, f"id {shown(id)} is that of {whose}")
        return resident is not None

    def _reject(self, entry: Entry, id: str | None, state: State, reason: str) -> None:
        now = epoch(self._reactor)
        self._ledger.reject(entry.seq, rejection(self.node, id, state, reason, entry.payload, now))

    async def _claim(self, jobs: Sequence[Job], claims: Sequence[Claim]) -> None:
        """
        Run those whose ids stand for nothing else.
        """
        for job, granted in zip(jobs, await self._ledger.claim(claims), strict=True):
            mark = self._left.pop(job.seq, None)
            if not granted:
                continue
            if self.jobs.get(job.id) is not None:  # it came while the claim was under way
                reason = f"id {shown(job.id)} is that of another job by now"
                now = epoch(self._reactor)
                self._ledger.reject(job.seq, rejection(self.node, job.id, State.DUPLICATE_ID, reason, b"", now))
            else:
                self._go(job, mark)

    def _go(self, job: Job, mark: Mark | None) -> None:
        """
        Begin, or go on where the core0 before this one was interrupted.
        """
        if mark is not None and mark.killed:
            self._over(job, mark, State.KILLED)
        elif mark is not None and mark.due:
            job.runs = mark.runs
            self.jobs.submit(job, mark.due / 1000)
        elif mark is None or job.adapter.repeatable:
            self.jobs.submit(job)
        elif goes_on(job.command, mark.runs):
            # of a period whose retries are used up the next one is due
            job.runs = mark.runs if may_retry(job.command, State.INTERRUPTED, mark.runs) else 0
            self.jobs.submit(job)
        else:
            self._over(job, mark, State.INTERRUPTED)

    def _over(self, job: Job, mark: Mark, state: State) -> None:
        """
        Answer for a run that ended with the core0 before this one.
        """
        outcome = Outcome(state=state, code=KILLED_CODE)
        result = result_of(
            job.command, job.id, outcome, container=self.core, starttime=mark.started, time=0, runs=mark.runs
        )
        self._ledger.finish(Final(job.seq, job.id, job.digest, result, traces=True))
        self._ended(job, outcome)

    def say(self, job: IJob, text: str) -> None:
        """
        Tell whoever follows a job how far it is.
        """
        if job.command.stream:
            now = int(epoch(self._reactor) * 1_000_000_000)
            self._records.stream(job.id, Message(Level.USER, text, now, Level.USER << 16), False)

    def _ended(self, job: Job, outcome: Outcome) -> None:
        if job.command.stream:
            flag = STREAM_SUCCEEDED if outcome.state == State.SUCCESS else STREAM_FAILED
            now = int(epoch(self._reactor) * 1_000_000_000)
            run = int(job.started * 1000)
            ends = UNSET if outcome.printed is None else outcome.printed
            self._records.stream(job.id, Message(1, "", now, 1 << 16 | flag, run, ends=ends), True)

    async def _send(self, job: Job, signal: int) -> None:
        if job.tree is not None:
            await self.processes.signal(job.tree, signal)


def _shown(arguments: Struct) -> Raw:
    """
    Those that ``process.list`` shows of a job whose arguments are large.
    """
    texts = _decode_texts(encode(arguments))
    small = {name: text for name, text in texts.items() if len(text) <= LARGE_FIELD and bytes(text) != NULL}
    return Raw(encode(small))
