"""
Startup services: jobs that core0 itself asks for, in the order of what they wait for.
"""

import re
from collections.abc import Callable, Sequence

import msgspec
from twisted.internet.defer import Deferred, TimeoutError
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

from core0.config import Service
from core0.errors import Refusal
from core0.interfaces import IAgent, ICommand
from core0.jobs.job import Job
from core0.jobs.manager import Jobs
from core0.messages import Command, Outcome, State, encode
from core0.reading import read_arguments
from core0.waiting import Occurrence, within


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
        self._running: dict[str, Occurrence[bool]] = {}
        self._started: dict[str, Service] = {}

    def start(self, services: Sequence[Service]) -> None:
        """
        Start these, each once those that it waits for run. Those that run, or are on their way, are left alone; those
        that failed are tried again.
        """
        fresh = [service for service in services if self._is_fresh(service)]
        for service in fresh:
            self._running[service.name] = Occurrence()
            self._started[service.name] = service
        for service in fresh:
            Deferred.fromCoroutine(self._start(service)).addErrback(self._broken, service)

    def _is_fresh(self, service: Service) -> bool:
        if service.name not in self._running or self._running[service.name].value is False:
            return True
        if service != self._started[service.name]:
            self._log.warn(
                "service {name} runs as it was configured before, until core0 is restarted", name=service.name
            )
        return False

    def _broken(self, failure: Failure, service: Service) -> None:
        self._log.failure("cannot start service {name}", failure, name=service.name)
        self._running[service.name].happen(False)

    async def _start(self, service: Service) -> None:
        for name in service.after:
            if name in self._running and not await self._running[name].wait():
                self._log.error("service {name} is not started: {other} does not run", name=service.name, other=name)
                self._running[service.name].happen(False)
                return
        try:
            job = self._job(service)
        except Refusal as error:
            self._log.error("cannot start service {name}: {error}", name=service.name, error=error)
            self._running[service.name].happen(False)
            return
        self._log.info("starting service {name}", name=service.name)
        self._running[service.name].happen(await self._runs(service, job))

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
        try:
            return await within(self._clock, service.running_delay, seen.wait())
        except TimeoutError:
            return True


def _well(outcome: Outcome | None) -> bool:
    return outcome is not None and outcome.state == State.SUCCESS
