"""
Whatever happens to jobs, in whatever order: each has exactly one result, and nobody waits who could run.
"""

from collections import Counter
from collections.abc import Callable
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from core0.errors import Refusal
from core0.jobs.job import Job, Phase
from core0.jobs.manager import Jobs
from core0.messages import Outcome, State
from core0.values import Final
from tests.fakes import MemoryLedger, MemoryTree
from tests.work import FAILED, Work, make_job

LIMIT, WAITING = 3, 8
REFUSED = Outcome(state=State.ERROR, code=127, refused=True)
OUTCOMES: tuple[Callable[[], Outcome | Exception], ...] = (
    Outcome,
    lambda: FAILED,
    lambda: REFUSED,
    lambda: Outcome(state=State.ERROR, code=143, cut=True),
    lambda: Outcome(code=0, cut=True),
    lambda: Refusal(404, "cannot"),
    CancelledError,
)
RARELY = st.sampled_from([False] * 5 + [True])
KINDS = {
    "plain": Work(),
    "late": Work(ends_late=True),
    "urgent": Work(urgent=True),
    "urgent late": Work(urgent=True, ends_late=True),
    "repeatable": Work(repeatable=True),
}
ORDERS = st.fixed_dictionaries(
    {
        "kind": st.sampled_from(sorted(KINDS)),
        "queue": st.sampled_from(["q", "q", "p", None]),
        "max_restart": st.sampled_from([None, 2]),
        "recurring_period": st.sampled_from([None, None, 10.0]),
        "max_time": st.sampled_from([None, 5.0]),
        "size": st.integers(0, 100),
        "protected": st.booleans(),
        "due": st.sampled_from([0.0, 0.0, 1003.0]),
        "runs": st.sampled_from([0, 0, 1]),
    }
)


class WatchedLedger(MemoryLedger):
    """
    Knows what was asked of it, the server being there or not.
    """

    def __init__(self) -> None:
        super().__init__()
        self.asked: list[Final] = []

    def finish(self, final: Final) -> None:
        """
        Watched.
        """
        self.asked.append(final)
        super().finish(final)


class Life(RuleBasedStateMachine):
    """
    A manager, and everything that may be done to it.
    """

    @initialize(orders=st.lists(ORDERS, max_size=6))
    def begin(self, orders: list[dict[str, Any]]) -> None:
        """
        It begins with some commands.
        """
        self.clock = Clock()
        self.clock.advance(1000.0)
        self.ledger = WatchedLedger()
        self.jobs = Jobs(self.clock, self.ledger, limit=LIMIT, waiting=WAITING)
        self.submitted: list[Job] = []
        self.in_line: list[Job] = []
        self.stopped: Deferred[None] | None = None
        for work in KINDS.values():
            work.begun.clear()
            work.running.clear()
        self.submit(orders)

    @precondition(lambda self: self.stopped is None)
    @rule(orders=st.lists(ORDERS, min_size=1, max_size=4))
    def submit(self, orders: list[dict[str, Any]]) -> None:
        """
        Commands come.
        """
        for order in orders:
            self.take(**order)

    def take(self, kind: str, size: int, protected: bool, due: float, runs: int, **fields: Any) -> None:
        """
        A command comes, or one of a core0 before.
        """
        seq = len(self.submitted) + 1
        self.ledger.unfinished[seq] = b""
        job = make_job(f"{kind} {seq}", KINDS[kind], seq=seq, size=size, protected=protected, **fields)
        job.runs = runs if fields["max_restart"] else 0
        self.submitted.append(job)
        self.jobs.submit(job, due)
        if job.phase != Phase.SLEEPING and not job.command.recurring_period:
            self.in_line.append(job)

    def running(self) -> list[tuple[Work, Job]]:
        """
        What could end by itself.
        """
        return [(work, self.jobs.find(id)) for work in KINDS.values() for id in work.running]

    @rule(place=st.integers(0, 20), outcome=st.sampled_from(OUTCOMES))
    def end(self, place: int, outcome: Callable[[], Outcome | Exception]) -> None:
        """
        A run ends.
        """
        running = self.running()
        if running:
            work, job = running[place % len(running)]
            if job.tree is not None:
                job.detached()
            work.end(job.id, outcome())
            self.clock.advance(0)

    @rule(place=st.integers(0, 20))
    def attach(self, place: int) -> None:
        """
        A run gets its processes.
        """
        running = self.running()
        if running and running[place % len(running)][1].tree is None:
            running[place % len(running)][1].attached(MemoryTree(1), 1)

    @rule(place=st.integers(0, 20), signal=st.sampled_from([None, None, 1, 9, 15]))
    def kill(self, place: int, signal: int | None) -> None:
        """
        A client kills a job, or sends it a signal.
        """
        listed = self.jobs.listed()
        if listed:
            killed = Deferred.fromCoroutine(self.jobs.kill(listed[place % len(listed)].id, signal))
            killed.addErrback(lambda failure: failure.trap(Refusal) and None)
            self.clock.advance(0)

    @rule(really=RARELY)
    def killall(self, really: bool) -> None:
        """
        A client kills all of them.
        """
        if really:
            self.end_all()

    def end_all(self) -> None:
        """
        Kill all.
        """
        Deferred.fromCoroutine(self.jobs.killall(""))
        self.clock.advance(0)

    @rule(seconds=st.sampled_from([0.0, 0.0, 0.5, 1.5, 5.0, 10.0, 70.0]))
    def wait(self, seconds: float) -> None:
        """
        Time passes.
        """
        self.clock.advance(seconds)

    @rule()
    def leave(self) -> None:
        """
        The server goes away.
        """
        if not self.away():
            self.ledger.leave()

    @rule()
    def come_back(self) -> None:
        """
        The server comes back.
        """
        self.ledger.come_back()
        self.clock.advance(0)

    def away(self) -> bool:
        """
        Whether the server is.
        """
        return not self.ledger.here

    @precondition(lambda self: self.stopped is None and len(self.submitted) > 3)
    @rule(really=RARELY)
    def stop(self, really: bool) -> None:
        """
        core0 is told to stop.
        """
        if really:
            self.stopped = Deferred.fromCoroutine(self.jobs.stop())

    @precondition(lambda self: self.stopped is not None)
    @rule()
    def hurry(self) -> None:
        """
        It is told again.
        """
        self.jobs.hurry()

    @invariant()
    def one_result(self) -> None:
        """
        A job that is listed has no final result yet, one that is not has one, or goes on another time.
        """
        counts = Counter(final.id for final in self.ledger.asked if not final.keep)
        listed = {job.id for job in self.jobs.listed()}
        for job in self.submitted:
            if job.id in listed:
                assert counts[job.id] == 0, job.id
            elif counts[job.id] == 0:
                assert self.stopped is not None, job.id
                assert job.seq in self.ledger.unfinished, job.id
                assert self.may_go_on(job), job.id
            else:
                assert counts[job.id] == 1, job.id

    @staticmethod
    def may_go_on(job: Job) -> bool:
        """
        Whether a job that was stopped may be left to the next core0.
        """
        command = job.command
        noted = job.phase == Phase.STARTING
        repeats = bool(command.recurring_period) or job.runs <= (command.max_restart or 0)
        return noted or repeats or job.adapter.repeatable

    @invariant()
    def bounds(self) -> None:
        """
        No more live than may be, as many bytes counted as jobs hold, no less room than none.
        """
        listed = self.jobs.listed()
        live = [job for job in listed if job.live]
        assert self.jobs.live == len(live)
        assert len([job for job in live if not job.adapter.urgent]) <= LIMIT
        assert self.jobs.payloads.size == sum(job.size for job in listed)
        assert self.jobs.room() >= 0

    @invariant()
    def queues(self) -> None:
        """
        One at a time has the turn in a queue, in the order in which they came.
        """
        for name in ("q", "p"):
            members = [job for job in self.jobs.listed() if job.command.queue == name]
            turn = [job for job in members if job.live or job.phase == Phase.RETRYING]
            assert len(turn) <= 1, [(job.id, job.state) for job in turn]
            line = [job.id for job in self.in_line if job.command.queue == name]
            for work in KINDS.values():
                begun = [id for id in dict.fromkeys(work.begun) if id in line]
                assert begun == sorted(begun, key=line.index), begun

    @invariant()
    def nobody_idles(self) -> None:
        """
        While there is room, whoever waits is behind another one in a queue.
        """
        if self.stopped is not None or self.jobs.live >= LIMIT:
            return
        listed = self.jobs.listed()
        busy = {job.command.queue for job in listed if job.live or job.phase == Phase.RETRYING}
        for job in listed:
            if job.phase == Phase.WAITING:
                assert job.command.queue and job.command.queue in busy, job.id

    @invariant()
    def runs(self) -> None:
        """
        No job runs more often than it may.
        """
        for job in self.submitted:
            if not job.command.recurring_period:
                assert job.adapter.begun.count(job.id) <= (job.command.max_restart or 0) + 1, job.id  # type: ignore[attr-defined] # Work

    def teardown(self) -> None:
        """
        In the end everything is ended, and nothing is left of it.
        """
        if not hasattr(self, "jobs"):
            return
        self.come_back()
        for job in self.submitted:
            job.protected = False
        if self.stopped is None:
            self.end_all()
            self.one_result()
            for _ in range(2):
                for job in list(self.jobs.listed()):
                    job.cut(job.verdict)
            assert self.jobs.listed() == []
            assert self.ledger.unfinished == {}
        else:
            self.jobs.hurry()
            self.jobs.hurry()
            assert self.stopped.called
        self.one_result()
        assert self.jobs.live == 0
        assert self.clock.getDelayedCalls() == []


class SequenceTests(SynchronousTestCase):
    """
    Random lives.
    """

    def test_any_sequence(self) -> None:
        """
        Over any sequence of commands, ends, kills, outages and a stop each job has its result exactly once, bytes are
        counted right, queues are in order, and nobody waits who could run.
        """
        run_state_machine_as_test(Life, settings=settings(max_examples=100, stateful_step_count=60, deadline=None))
