"""
The ``core.*`` commands.
"""

import signal as signals
from collections.abc import Callable, Mapping
from typing import Any

from msgspec.structs import force_setattr
from zope.interface import implementer

from core0.errors import Refusal
from core0.interfaces import BaseCommand, IAgent, ICommand, IHost, IJob
from core0.jobs.process import Program
from core0.jobs.usage import total
from core0.messages import Outcome, answer
from core0.values import Arguments, Usage

_DEFAULT = (None, 0, "")


@implementer(ICommand)
class Ping(BaseCommand):
    """
    Tell that the Core is there: ``"pong"``.
    """

    name = "core.ping"
    agent = IAgent
    urgent = True
    instant = True
    repeatable = True
    _pong = answer("pong")

    def __init__(self, agent: IAgent) -> None:
        pass

    async def run(self, job: IJob) -> Outcome:
        """
        Answer at once.
        """
        return self._pong


def check_text(field: str, text: str | None) -> None:
    """
    :raises ValueError: the kernel does not take text with a NUL in it.
    """
    if text is not None and "\0" in text:
        raise ValueError(f"@{field}: expected text without a NUL character, got {text[:40]!r}")


class SystemArguments(Arguments, frozen=True):
    """
    ``name``: the program; looked up in PATH unless it holds a slash. ``args``: its arguments. ``dir``: its working
    directory, which must exist; without it ``/``. ``env``: added to PATH, LANG and HOME. ``stdin``: what it reads, of
    any length.
    """

    name: str
    dir: str | None = None
    args: list[str] | None = None
    env: dict[str, str] | None = None
    stdin: str | None = None

    def __post_init__(self) -> None:
        check_text("name", self.name)
        check_text("dir", self.dir)
        if not self.name:
            raise ValueError('@name: expected a program, got ""')
        for place, text in enumerate(self.args or ()):
            check_text(f"args[{place}]", text)
        for field in ("dir", "args", "env", "stdin"):
            if not getattr(self, field):
                force_setattr(self, field, None)  # the same as none: the same content
        for name, text in (self.env or {}).items():
            check_text("env", name)
            check_text(f"env[{name!r}]", text)
            if not name or "=" in name:
                raise ValueError(f"@env: expected the name of a variable, without '=', got {name[:40]!r}")


@implementer(ICommand)
class System(BaseCommand):
    """
    Run a program, without a shell. The result is the program's: its exit status in ``code``, its output in ``streams``.
    """

    name = "core.system"
    agent = IAgent
    arguments = SystemArguments

    def __init__(self, agent: IAgent) -> None:
        self._processes = agent.processes

    async def run(self, job: IJob) -> Outcome:
        """
        Run it to its end.
        """
        return await self._processes.run(_program(job.arguments), job)


def _program(given: SystemArguments) -> Program:
    # nothing else is left of what may be large, once that has been read
    return Program(given.name, given.args or (), given.dir or None, given.env or {}, given.stdin)


def signal_number(signal: int | str | None) -> int | None:
    """
    The number of a signal given by number or name; None for none, "" or 0.

    :raises ValueError: there is no such signal.
    """
    if signal in _DEFAULT:
        return None
    if isinstance(signal, str):
        name = signal.upper()
        name = name if name.startswith("SIG") else f"SIG{name}"
        found = getattr(signals, name, None) if not name.startswith("SIG_") else None
        if isinstance(found, signals.Signals):
            return int(found)
    elif signal in signals.valid_signals():
        return signal
    raise ValueError(f"@signal: expected the number or the name of a signal, such as 15 or TERM, got {signal!r}")


class KillArguments(Arguments, frozen=True):
    """
    ``id``: of the command that started the job. ``signal``: by number or name; without it TERM, some seconds' grace,
    KILL.
    """

    id: str
    signal: int | str | None = None

    def __post_init__(self) -> None:
        signal_number(self.signal)


@implementer(ICommand)
class Kill(BaseCommand):
    """
    End a job and all processes that came of it: ``true``. Without ``signal`` they get TERM and, after ``kill_grace``,
    KILL, and the job's state is KILLED. TERM or KILL as ``signal`` are sent once, and whenever the job ends it is
    KILLED. Any other signal is sent once, and what it does is up to the processes. A killed job is never run again.
    """

    name = "core.kill"
    agent = IAgent
    arguments = KillArguments
    urgent = True

    def __init__(self, agent: IAgent) -> None:
        self._jobs = agent.jobs

    async def run(self, job: IJob) -> Outcome:
        """
        See to it; does not wait for the end.
        """
        given: KillArguments = job.arguments
        await self._jobs.kill(given.id, signal_number(given.signal))
        return answer(True)


@implementer(ICommand)
class KillAll(BaseCommand):
    """
    End all jobs, running, waiting or recurring, but not this one and not startup services that are ``protected``: the
    sorted list of their ids.
    """

    name = "core.killall"
    agent = IAgent
    urgent = True

    def __init__(self, agent: IAgent) -> None:
        self._jobs = agent.jobs

    async def run(self, job: IJob) -> Outcome:
        """
        See to it; does not wait for the end.
        """
        return answer(await self._jobs.killall(job.id))


@implementer(ICommand)
class State(BaseCommand):
    """
    What this Core and all processes of its jobs consume: ``cpu`` (% of one core since the last look, 0 at the first),
    ``rss``, ``vms``, ``swap`` (bytes), summed up; ``jobs``, how many there are besides this one; and ``core0``, the
    same figures of core0 itself with its ``uptime`` (s). With ``[network] file`` a host has ``network``, too: each link
    by its name, with its ``protocol``, its ``state`` (``up``, ``waiting``, ``failed``), its ``addresses``, and the
    ``reason`` why it is not up. What is wrong with a file is there under its path.
    """

    name = "core.state"
    agent = IAgent
    urgent = True
    repeatable = True

    def __init__(self, agent: IAgent) -> None:
        self._agent = agent

    async def run(self, job: IJob) -> Outcome:
        """
        Look at everything, in a thread.
        """
        jobs = self._agent.jobs.listed()
        own, others = await self._agent.usage([other for other in jobs if other.tree is not None])
        core0 = {**_figures(own), "uptime": round(self._agent.uptime(), 1)}
        return answer({**_figures(total([own, *others])), "jobs": len(jobs) - 1, "core0": core0, **self.more()})

    def more(self) -> Mapping[str, Any]:
        """
        What an agent of another kind adds.
        """
        return {}


def state_with(network: Callable[[], Mapping[str, Any]]) -> type[State]:
    """
    The same command for a host whose network core0 looks after.

    :param network: says how that has turned out.
    """

    class HostState(State):
        agent = IHost

        def more(self) -> Mapping[str, Any]:
            return {"network": network()}

    return HostState


def _figures(usage: Usage) -> dict[str, float]:
    return {"cpu": usage.cpu, "rss": usage.rss, "vms": usage.vms, "swap": usage.swap}


@implementer(ICommand)
class Reboot(BaseCommand):
    """
    Reboot the machine: ``true``, written before it goes down. Jobs get TERM and ``kill_grace``.
    """

    name = "core.reboot"
    agent = IHost

    def __init__(self, agent: IHost) -> None:
        self._host = agent

    async def run(self, job: IJob) -> Outcome:
        """
        Begin to stop.
        """
        if job.command.recurring_period or job.command.max_restart:
            raise Refusal(400, "recurring_period, max_restart: a reboot that comes again would never end")
        self._host.reboot()
        return answer(True)
