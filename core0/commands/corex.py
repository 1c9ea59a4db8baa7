"""
The ``corex.*`` commands: containers.
"""

import uuid
from functools import partial
from typing import Annotated

from msgspec import Meta, Raw
from msgspec.structs import replace
from zope.interface import implementer

from core0.commands.create_arguments import CreateArguments
from core0.errors import Refusal, Undecodable
from core0.interfaces import BaseCommand, ICommand, IHost, IJob
from core0.messages import Outcome, answer, shown
from core0.reading import decode
from core0.values import Arguments

_INNER = uuid.UUID("0c0e0c0e-d15b-5a7c-8000-c0e0c0e0c0e0")

Number = Annotated[int, Meta(ge=1, le=2**53)]


@implementer(ICommand)
class Create(BaseCommand):
    """
    Make a container and start a CoreX in it: its number, once that CoreX has answered. If it fails nothing is left of
    it. With ``"stream": true`` the command tells how far it is. ``recurring_period`` is refused: there would be one
    more container each time.
    """

    name = "corex.create"
    agent = IHost
    arguments = CreateArguments

    def __init__(self, agent: IHost) -> None:
        self._host = agent

    async def run(self, job: IJob) -> Outcome:
        """
        From the plist to the first answer.
        """
        if job.command.recurring_period:
            text = "expected none with corex.create, which would make one more container each time"
            raise Refusal(400, f"recurring_period: {text}, got {job.command.recurring_period}")
        given: CreateArguments = job.arguments
        say = partial(self._host.say, job)
        return answer(await self._host.containers.create(given.request(), job.seq, say))


@implementer(ICommand)
class List(BaseCommand):
    """
    The living containers: an object with one for each, by its number as text.

    * ``cpu`` (number): what all its processes use, in % of one core since the last look, 0 at the first.
    * ``rss``, ``vms``, ``swap`` (integers): their memory in bytes.
    * ``oom_kills`` (integer): how many of its processes the kernel has killed because its limit of memory was reached;
      0 if it has none.
    * ``hostname`` (string): as asked for.
    * ``plist`` (string): where its root file system is from; of a URL without user, password and query.
    * ``pid`` (integer): its first process, as the host sees it.
    * ``started`` (integer): when its CoreX had answered, in ms since the epoch.
    * ``network`` (list of objects): its links, each with ``name`` in the container, ``bridge``, ``hwaddr``,
      ``addresses`` (``ip/length``), ``gateway`` (empty if none) and ``link``, the name of its end on the host; and one
      with ``zerotier`` (the id of the network), ``address`` (of this member), ``status``, ``addresses`` and
      ``interface``.
    * ``port``, ``mount`` (objects): as asked for.
    """

    name = "corex.list"
    agent = IHost
    repeatable = True

    def __init__(self, agent: IHost) -> None:
        self._host = agent

    async def run(self, job: IJob) -> Outcome:
        """
        Look at all of them, in a thread.
        """
        return answer(await self._host.containers.listed())


class DispatchArguments(Arguments, frozen=True):
    """
    ``container``: its number. ``command``: a whole command, with all fields that it may have.
    """

    container: Number
    command: Raw


@implementer(ICommand)
class Dispatch(BaseCommand):
    """
    Have the CoreX of a container run a command: the id that it runs under, its own or a new one. Its result appears at
    ``result:<that id>``, with ``container`` set.
    """

    name = "corex.dispatch"
    agent = IHost
    arguments = DispatchArguments
    # done again it is the same command under the same id, which never runs twice; but for one that recurs, see _new_id
    repeatable = True

    def __init__(self, agent: IHost) -> None:
        self._host = agent

    async def run(self, job: IJob) -> Outcome:
        """
        Returns once it is safely on its way.
        """
        given: DispatchArguments = job.arguments
        try:
            command = decode(bytes(given.command))
        except Undecodable as error:
            raise Refusal(400, f"arguments.command: {error}") from error
        id = command.id or _new_id(job)
        if id == job.id:
            raise Refusal(400, f"arguments.command.id: expected another id than that of the dispatch, got {shown(id)}")
        await self._host.containers.dispatch(given.container, replace(command, id=id), id)
        return answer(id)


def _new_id(job: IJob) -> str:
    """
    The same one for a run that is done again after core0 has died, but not for the next run.
    """
    if job.command.recurring_period:
        # these count their runs anew in each period
        return str(uuid.uuid4())
    return str(uuid.uuid5(_INNER, f"{job.id} {job.runs}"))


class TerminateArguments(Arguments, frozen=True):
    """
    ``container``: its number.
    """

    container: Number


@implementer(ICommand)
class Terminate(BaseCommand):
    """
    End a container: TERM for its jobs, ``kill_grace``, KILL; ``true`` once every process, mount and folder of it is
    gone. If something of it cannot be removed: 500, naming it; core0 tries again at its next start.
    """

    name = "corex.terminate"
    agent = IHost
    arguments = TerminateArguments

    def __init__(self, agent: IHost) -> None:
        self._host = agent

    async def run(self, job: IJob) -> Outcome:
        """
        To the end.
        """
        given: TerminateArguments = job.arguments
        await self._host.containers.terminate(given.container)
        return answer(True)
