"""
The jobs of an agent: who runs, who waits, and what becomes of each.
"""

from collections import OrderedDict
from collections.abc import Awaitable, Callable, Sequence

from msgspec.structs import replace
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from core0.clock import epoch
from core0.errors import Refusal
from core0.interfaces import IJobs, ILedger
from core0.jobs.bookkeeping import Bookkeeping
from core0.jobs.job import Job, Payloads, Phase
from core0.jobs.queues import Queues
from core0.jobs.restart import LONGEST_WAIT, Done, Retry, after_run, goes_on
from core0.messages import Outcome, State, checked, refusal, shown
from core0.waiting import Occurrence, Turns, pause

KILLED_CODE = 137
KILLED = Outcome(state=State.KILLED, code=KILLED_CODE)  # while it waited
STARTING = 48  # jobs on their way to start at once; the others wait, which takes less memory
START_BUDGET = 0.003  # seconds of a turn spent on starting programs, each some 0.3 ms
AT_ONCE = 50  # jobs ended in one turn
DEADLY = frozenset({9, 15})
MAX_PAYLOAD_BYTES = 256 << 20  # of all jobs together


@implementer(IJobs)
class Jobs:
    """
    :param limit: jobs that may be live at once; urgent ones do not ask.
    :param waiting: jobs beyond that which are taken and wait.
    :param core: the number that results carry: 0 for a host.
    :ivar payloads: what all jobs hold of their payloads, live ones included.
    """

    _log = Logger()

    def __init__(self, clock: IReactorTime, ledger: ILedger, *, limit: int, waiting: int, core: int = 0) -> None:
        self._clock = clock
        self._books = Bookkeeping(clock, ledger, core)
        self._limit = limit
        self._waiting = waiting
        self._jobs: dict[str, Job] = {}
        self._ready: OrderedDict[Job, None] = OrderedDict()  # of thousands any may be killed
        self._queues = Queues()
        self._turns = Turns(clock, START_BUDGET)
        self._starting = 0
        self._pumping = self._stopping = False
        self.payloads = Payloads()
        self._idle: Occurrence[None] | None = None
        self.live = 0
        self.on_room: Callable[[], None] = lambda: None
        self.on_started: Callable[[Job], None] = lambda job: None
        self.on_stopped: Callable[[Job], None] = lambda job: None
        self.on_ended: Callable[[Job, Outcome], None] = lambda job, outcome: None
        self.send: Callable[[Job, int], Awaitable[None]] = _send

    def room(self) -> int:
        """
        How many more commands can be taken.
        """
        if self.payloads.size >= MAX_PAYLOAD_BYTES:
            return 0
        live = min(self.live, self._limit)  # urgent ones beyond it count as waiting: no endless number of them
        return max(0, self._limit - live + self._waiting - (len(self._jobs) - live))

    def listed(self) -> Sequence[Job]:
        """
        All jobs that are not finished, oldest first.
        """
        return list(self._jobs.values())

    def get(self, id: str) -> Job | None:
        """
        One of them, if it is one.
        """
        return self._jobs.get(id)

    def find(self, id: str) -> Job:
        """
        One of them.
        """
        job = self.get(id)
        if job is None:
            raise Refusal(404, f"cannot find job {shown(id)}: it is not running, waiting or recurring here")
        return job

    def submit(self, job: Job, due: float = 0.0) -> None:
        """
        Take on a job; it runs when its turn comes, not before ``due`` (seconds since the epoch).
        """
        self._jobs[job.id] = job
        self.payloads.hold(job)
        # the clock may have been set back since that was written down
        wait = min(due - epoch(self._clock), LONGEST_WAIT if job.runs else job.command.recurring_period or 0.0)
        if wait <= 0:
            if self._queues.enter(job):
                self._turn(job)
            self._pump()
        elif not job.runs:
            self._defer(job, Phase.SLEEPING, wait)
        elif self._queues.enter(job):  # else it waits for its turn, which takes its time, too
            self._defer(job, Phase.RETRYING, wait)

    def _defer(self, job: Job, phase: Phase, seconds: float) -> None:
        job.phase = phase
        job.timer = self._clock.callLater(seconds, self._again, job)

    def _turn(self, job: Job | None) -> None:
        if job is not None and job.phase == Phase.WAITING:  # else it does not want it any more
            if job.adapter.urgent:
                self._start(job)
            else:
                self._ready[job] = None

    def _pump(self) -> None:
        """
        Start those that are ready, as far as there is room. What it starts may call it again: the first call goes on.
        """
        if self._pumping:
            return
        self._pumping = True
        try:
            while self._ready and self.live < self._limit and self._starting < STARTING and not self._stopping:
                job, _ = self._ready.popitem(last=False)
                self._start(job)
        finally:
            self._pumping = False

    def _start(self, job: Job) -> None:
        if self._stopping:
            return
        job.move(Phase.STARTING)
        self._starting += 1
        self.live += 1
        job.verdict = None
        running = Deferred.fromCoroutine(self._run(job))
        if job.live:
            job.running = running
            if job.verdict is not None:
                running.cancel()
        running.addErrback(lambda failure: self._log.failure("job {id} was lost", failure, id=job.id))

    async def _run(self, job: Job) -> None:
        """
        One run: note it, do it, see what follows.
        """
        try:
            try:
                await self._note(job)
                self._begin(job)
                outcome = checked(await job.adapter.run(job))
            except Refusal as error:
                outcome = refusal(error.code, str(error))
            except CancelledError:
                outcome = Outcome(state=State.ERROR, code=KILLED_CODE, cut=True)
            except Exception:
                self._log.failure("command {command} failed", Failure(), command=job.command.command)
                outcome = refusal(500, f"{job.command.command} failed: a bug in core0; its log has the details")
        finally:
            self._end(job)
        if job.verdict is not None and (outcome.cut or job.verdict == State.KILLED):
            code = outcome.code or (KILLED_CODE if job.verdict == State.KILLED else 0)
            outcome = replace(outcome, state=job.verdict, code=code, cut=True, refused=False)
        self._settle(job, outcome)

    async def _note(self, job: Job) -> None:
        if not job.adapter.repeatable:
            await self._books.starts(job)
            if not job.adapter.urgent:
                await self._turns.mine()

    def _begin(self, job: Job) -> None:
        job.move(Phase.RUNNING)
        self._starting -= 1
        job.runs += 1
        job.started, job.began = epoch(self._clock), self._clock.seconds()
        job.attached_to, job.detached_from = self._attached, self.on_stopped
        if job.command.max_time and job.command.max_time > 0:
            job.timer = self._clock.callLater(job.command.max_time, job.cut, State.TIMEOUT)
        self._pump()

    def _attached(self, job: Job) -> None:
        self._books.runs(job)
        self.on_started(job)

    def _end(self, job: Job) -> None:
        self.live -= 1
        job.stop_timer()
        job.running = None
        job.ended = self._clock.seconds()
        if job.phase == Phase.STARTING:
            self._starting -= 1
            job.started, job.began = epoch(self._clock), job.ended

    def _settle(self, job: Job, outcome: Outcome) -> None:
        """
        Publish, try again, or both.
        """
        if self._stopping and outcome.cut and job.verdict is None:
            if job.phase == Phase.STARTING:  # noted, but it has not run
                self._books.waits(job, 0.0)
            self._forget(job)  # unfinished: the next core0 goes on with it
            return
        following = after_run(job.command, outcome, job.runs, job.step, job.ended - job.began)
        if job.phase == Phase.STARTING or isinstance(following, Done):
            job.move(Phase.DONE)
            self._close(job, outcome)
        elif isinstance(following, Retry):
            job.step = following.step
            job.move(Phase.RETRYING)
            self._later(job, following.seconds)
        else:
            self._publish(job, outcome, keep=True)
            job.runs = job.step = 0
            job.move(Phase.SLEEPING)
            self._turn(self._queues.leave(job))
            self._later(job, following.seconds)
        self._pump()
        self._changed()

    def _later(self, job: Job, seconds: float) -> None:
        self._books.waits(job, seconds)
        if not self._stopping:
            job.timer = self._clock.callLater(seconds, self._again, job)

    def _again(self, job: Job) -> None:
        # while it retries it keeps the turn of its queue
        has_turn = job.phase == Phase.RETRYING or self._queues.enter(job)
        job.move(Phase.WAITING)
        if has_turn:
            self._turn(job)
        self._pump()

    def _close(self, job: Job, outcome: Outcome) -> None:
        self._publish(job, outcome, keep=False)
        self._forget(job)
        self._turn(self._queues.leave(job))

    def _forget(self, job: Job) -> None:
        job.stop_timer()
        self.payloads.let_go(job)
        if self._jobs.get(job.id) is job:
            del self._jobs[job.id]
        if job.done is not None:
            job.done.happen(None)
        self._changed()

    def _changed(self) -> None:
        self.on_room()
        if self._idle is not None and not self.live:
            self._idle.happen(None)

    def _publish(self, job: Job, outcome: Outcome, *, keep: bool) -> None:
        self.on_ended(job, outcome)
        if job.done is not None:
            job.done.happen(outcome)
        self._books.ended(job, outcome, keep=keep)

    async def kill(self, id: str, signal: int | None) -> None:
        """
        End a job, or send a signal to its processes.
        """
        job = self.find(id)
        if signal is None or (signal in DEADLY and job.tree is None):
            self._kill(job)
            return
        if job.tree is None:
            raise Refusal(409, f"cannot signal job {shown(id)} while it is {job.state}: it has no process")
        if signal in DEADLY:
            job.verdict = State.KILLED
            self._books.condemned(job)
        await self.send(job, signal)

    def _kill(self, job: Job) -> None:
        if job.live:
            self._books.condemned(job)
            job.cut(State.KILLED)
            return
        self._take_out(job)
        self._close(job, KILLED)
        self._pump()

    def _take_out(self, job: Job) -> None:
        self._ready.pop(job, None)
        job.stop_timer()
        if not job.runs:
            job.started, job.began = epoch(self._clock), job.ended
        job.move(Phase.DONE)

    async def killall(self, but: str) -> Sequence[str]:
        """
        End all but one, and the protected ones.
        """
        killed = [job for job in self._jobs.values() if job.id != but and not job.protected]
        waiting = [job for job in killed if not job.live]
        for job in waiting:
            # before any of them ends: its queue's turn, or its room, is not for one of these
            self._take_out(job)
        for job in waiting:
            self._close(job, KILLED)
        for place, job in enumerate(killed):
            if place % AT_ONCE == AT_ONCE - 1:
                await pause(self._clock, 0)  # thousands of them would keep the reactor for a second
            if job.phase != Phase.DONE:
                self._kill(job)
        self._pump()
        return sorted(job.id for job in killed)

    async def stop(self) -> None:
        """
        End what runs, in order: what may go on another time stays unfinished, the rest is INTERRUPTED.
        """
        self._stopping = True
        self._idle = Occurrence()
        for job in list(self._jobs.values()):
            job.stop_timer()
            if job.live:
                job.cut(None if self._goes_on(job) else State.INTERRUPTED)
        self._changed()
        await self._idle.wait()

    def hurry(self) -> None:
        """
        Cut the grace of what is being stopped short.
        """
        for job in list(self._jobs.values()):
            if job.live:
                job.cut(job.verdict)

    def _goes_on(self, job: Job) -> bool:
        return job.adapter.repeatable or job.phase == Phase.STARTING or goes_on(job.command, job.runs)


async def _send(job: Job, signal: int) -> None:
    """
    Signal a job's processes here and now; an agent has threads for that.
    """
    if job.tree is not None:
        job.tree.signal(signal)
