"""
Startup services: jobs that core0 itself asks for, in the order of what they wait for.
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import msgspec
from twisted.internet.defer import CancelledError, Deferred, TimeoutError
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

from core0.config import Service
from core0.errors import Refusal
from core0.interfaces import IAgent, ICommand
from core0.jobs.job import Job, Phase
from core0.jobs.manager import Jobs
from core0.messages import Command, Outcome, State, encode
from core0.reading import read_arguments
from core0.waiting import Occurrence, pause, within

FIRST_REMINDER, REMINDER = 10.0, 3600.0  # seconds until it is said that a service does not run yet, and between repeats
SHORTEST = 0.05  # seconds between looks at a service that is tried again


@dataclass(slots=True)
class _Life:
    """
    A service from one start to the next one that a reload asks for.

    :ivar job: None before there is one, or if there cannot be one.
    """

    service: Service
    running: Occurrence[bool] = field(default_factory=Occurrence)
    job: Job | None = None

    @property
    def done(self) -> bool:
        """
        Whether it ended well, and for good.
        """
        ended = None if self.job is None or self.job.done is None else self.job.done.value
        return _well(ended) and not self.service.recurring_period


class Startup:
    """
    :param find: gives the command of a name; None if there is none.
    """

    _log = Logger()

    def __init__(
        self, clock: IReactorTime, agent: IAgent, jobs: Jobs, find: Callable[[IAgent, str], ICommand | None]
    ) -> None:
        self._clock = clock
        self._agent = agent
        self._jobs = jobs
        self._find = find
        self._lives: dict[str, _Life] = {}

    def start(self, services: Sequence[Service]) -> None:
        """
        Start these, each once those that it waits for run. Those that run, are tried again, or are on their way are
        left alone, and so are those that ended well and are configured as they were; those that failed, died or were
        killed are started again.
        """
        names = {service.name for service in services}
        gone = [name for name, life in self._lives.items() if name not in names and not self._lasts(life)]
        for name in gone:
            del self._lives[name]
        fresh = [service for service in services if self._is_fresh(service)]
        before = {service.name: self._lives.get(service.name) for service in fresh}
        for service in fresh:
            self._lives[service.name] = _Life(service)
        for service in fresh:
            life = self._lives[service.name]
            Deferred.fromCoroutine(self._start(life, before[service.name])).addErrback(self._broken, life)

    def _lasts(self, life: _Life) -> bool:
        """
        Whether it runs, or may come to run without being started again.
        """
        if life.job is None:
            return not life.running.happened
        return self._is_listed(life.job) and life.job.verdict != State.KILLED

    def _is_listed(self, job: Job) -> bool:
        return self._jobs.get(job.id) is job

    def _is_fresh(self, service: Service) -> bool:
        life = self._lives.get(service.name)
        if life is None:
            return True
        if not self._lasts(life):
            return not life.done or service != life.service
        if service != life.service:
            text = "service {name} goes on as it was configured before; reload again once it has ended"
            self._log.warn(text, name=service.name)
        return False

    def _broken(self, failure: Failure, life: _Life) -> None:
        self._log.failure("cannot start service {name}", failure, name=life.service.name)
        life.running.happen(False)

    async def _start(self, life: _Life, before: _Life | None) -> None:
        service = life.service
        for name in service.after:
            if name in self._lives and not await self._lives[name].running.wait():
                self._log.error("service {name} is not started: {other} does not run", name=service.name, other=name)
                life.running.happen(False)
                return
        while before is not None and before.job is not None and self._is_listed(before.job):
            await pause(self._clock, SHORTEST)  # it has been killed, and has its grace
        try:
            life.job = self._job(service)
        except Refusal as error:
            self._log.error("cannot start service {name}: {error}", name=service.name, error=error)
            life.running.happen(False)
            return
        self._log.info("starting service {name}", name=service.name)
        reminder = Deferred.fromCoroutine(self._remind(service, life.job))
        reminder.addErrback(lambda failure: failure.trap(CancelledError))
        try:
            running = await self._runs(service, life.job)
        except Exception:  # not what is thrown into a coroutine that is collected: the other one may be so already
            reminder.cancel()
            raise
        reminder.cancel()
        life.running.happen(running)

    async def _remind(self, service: Service, job: Job) -> None:
        """
        Say now and then that a service does not count as running yet, and why not.
        """
        if service.running_match:
            reason = f"no line of its output has matched {service.running_match!r}"
        elif service.running_delay < 0:
            reason = "it has not ended"
        else:
            reason = f"it has not run for {service.running_delay:g} s"
        wait = FIRST_REMINDER if service.running_delay < FIRST_REMINDER else REMINDER
        while True:
            await pause(self._clock, wait)
            wait = REMINDER
            others = [life.service.name for life in self._lives.values() if service.name in life.service.after]
            if others or service.running_match:
                self._log.warn(
                    "service {name} does not count as running yet: {reason} (it is {state}, run {runs}); {others}",
                    name=service.name,
                    reason=reason,
                    state=job.state,
                    runs=job.runs,
                    others=f"waiting for it: {', '.join(others) or 'none'}",
                )

    def _job(self, service: Service) -> Job:
        """
        :raises Refusal: the command or its arguments are wrong, or a client's job has its name.
        """
        adapter = self._find(self._agent, service.command)
        if adapter is None:
            raise Refusal(404, f"[startup.{service.name}] command: unknown command {service.command!r}")
        if any(job.id == service.name for job in self._jobs.listed()):
            raise Refusal(409, f"a command of a client has the id {service.name!r}")
        command = Command(
            id=service.name,
            command=service.command,
            arguments=msgspec.Raw(encode(service.arguments)),
            queue=service.queue or None,
            stats_interval=service.stats_interval or None,
            max_time=service.max_time or None,
            max_restart=service.max_restart or None,
            recurring_period=service.recurring_period or None,
            log_levels=[int(level) for level in service.log_levels],
            stream=service.stream,
            messages=service.messages,
            tags=service.tags if isinstance(service.tags, str) else list(service.tags),
        )
        arguments = read_arguments(command.arguments, adapter.arguments)
        return Job(0, service.name, command, adapter, arguments, "", protected=service.protected)

    async def _runs(self, service: Service, job: Job) -> bool:
        """
        Begin, and wait until it counts as running, or has failed.
        """
        seen: Occurrence[bool] = Occurrence()
        if service.running_match:
            pattern = re.compile(service.running_match)
            job.watch = lambda line: seen.happen(True) if pattern.search(line) else None
        job.done = Occurrence()
        ended = Deferred.fromCoroutine(job.done.wait())
        ended.addCallback(lambda outcome: seen.happen(_well(outcome) and not service.running_match))
        self._jobs.submit(job)
        if service.running_match or service.running_delay < 0:
            return await seen.wait()
        return await self._settles(service.running_delay, job, seen)

    async def _settles(self, delay: float, job: Job, seen: Occurrence[bool]) -> bool:
        """
        Wait until a run has lasted so long, or there will be none any more.
        """
        while True:
            left = delay
            if job.phase == Phase.RUNNING:
                left -= self._clock.seconds() - job.began
                if left <= 0:
                    return True
            # a run that begins meanwhile cannot last longer than that before the next look
            try:
                return await within(self._clock, max(left, SHORTEST), seen.wait())
            except TimeoutError:
                pass


def _well(outcome: Outcome | None) -> bool:
    return outcome is not None and outcome.state == State.SUCCESS
