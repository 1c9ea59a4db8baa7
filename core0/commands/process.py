"""
The ``process.*`` commands that clients of this protocol's family send.
"""

from zope.interface import implementer

from core0.commands.core import Kill
from core0.interfaces import BaseCommand, IAgent, ICommand, IJob
from core0.messages import Command, Outcome, answer
from core0.values import Arguments, Usage


class ListArguments(Arguments, frozen=True):
    """
    ``id``: of one job; without it all of them.
    """

    id: str | None = None


@implementer(ICommand)
class ProcessList(BaseCommand):
    """
    The jobs that are not finished, this one included, oldest first: a list of ``cmd`` (the command as it was sent,
    defaults filled in), ``cpu`` (% of one core since the last look), ``rss``, ``vms``, ``swap`` (bytes), ``starttime``
    (ms since the epoch, 0 if it has not started), ``state`` (waiting, starting, running, retrying, sleeping) and
    ``runs``.
    """

    name = "process.list"
    agent = IAgent
    arguments = ListArguments
    repeatable = True

    def __init__(self, agent: IAgent) -> None:
        self._agent = agent

    async def run(self, job: IJob) -> Outcome:
        """
        Look at them, in a thread.
        """
        given: ListArguments = job.arguments
        jobs = [self._agent.jobs.find(given.id)] if given.id else self._agent.jobs.listed()
        _, usages = await self._agent.usage(jobs)
        return answer([_shown(one, usage) for one, usage in zip(jobs, usages, strict=True)])


def _shown(job: IJob, usage: Usage) -> dict[str, object]:
    return {
        "cmd": _command(job.id, job.command),
        "cpu": usage.cpu,
        "rss": usage.rss,
        "vms": usage.vms,
        "swap": usage.swap,
        "starttime": int(job.started * 1000),
        "state": job.state,
        "runs": job.runs,
    }


def _command(id: str, command: Command) -> dict[str, object]:
    return {
        "id": id,
        "command": command.command,
        "arguments": {} if bytes(command.arguments) == b"null" else command.arguments,
        "queue": command.queue or "",
        "stats_interval": command.stats_interval or 0,
        "max_time": command.max_time or 0,
        "max_restart": command.max_restart or 0,
        "recurring_period": command.recurring_period or 0,
        "log_levels": command.log_levels,
        "stream": bool(command.stream),
        "tags": [] if command.tags is None else command.tags,
    }


@implementer(ICommand)
class ProcessKill(Kill):
    """
    The same as ``core.kill``.
    """

    name = "process.kill"
