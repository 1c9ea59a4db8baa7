"""
The ``bash`` command.
"""

from zope.interface import implementer

from core0.commands.core import check_text
from core0.errors import Refusal
from core0.interfaces import BaseCommand, IAgent, ICommand, IJob
from core0.jobs.process import NOT_FOUND, Program, environment, locate
from core0.messages import Outcome
from core0.values import Arguments

MAX_ARGUMENT = 128 * 1024 - 1  # bytes of one argument that Linux passes
SHELLS = ("bash", "sh")


class BashArguments(Arguments, frozen=True):
    """
    ``script``: what to run. ``stdin``: what the script reads; without ``script`` it is the script itself.
    """

    script: str | None = None
    stdin: str | None = None

    def __post_init__(self) -> None:
        check_text("script", self.script)
        if not self.script and not self.stdin:
            raise ValueError("@script: required, but missing")


@implementer(ICommand)
class Bash(BaseCommand):
    """
    Run a script with ``bash``, or with ``sh`` where there is no bash. The result is the script's, as with
    ``core.system``.
    """

    name = "bash"
    agent = IAgent
    arguments = BashArguments

    def __init__(self, agent: IAgent) -> None:
        self._processes = agent.processes

    async def run(self, job: IJob) -> Outcome:
        """
        Run it to its end.
        """
        return await self._processes.run(_program(job.arguments), job)


def _program(given: BashArguments) -> Program:
    # nothing else is left of what may be large, once that has been read
    if not given.script:
        return Program(_shell(), stdin=given.stdin)
    if given.stdin is None and len(given.script.encode()) > MAX_ARGUMENT:
        return Program(_shell(), stdin=given.script)
    return Program(_shell(), ("-c", given.script), stdin=given.stdin)


def _shell() -> str:
    for shell in SHELLS:
        try:
            locate(Program(shell), environment({}))
        except Refusal:
            continue
        return shell
    raise Refusal(NOT_FOUND, "cannot run a script: there is neither bash nor sh here")
