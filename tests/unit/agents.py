"""
The base of tests of agents: one on a clock, with a ledger in memory, and commands of all kinds.
"""

from typing import ClassVar

from msgspec import Struct
from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer

from core0.agent import Agent
from core0.commands.core import Ping
from core0.commands.registry import Registry
from core0.interfaces import BaseCommand, IAgent, ICommand, IJob
from core0.jobs.manager import Jobs
from core0.messages import Outcome, Rejection, Result
from core0.values import Entry, NoArguments
from tests.fakes import MemoryLedger, MemoryProcesses, MemoryRecords, ThreadlessReactor
from tests.unit.jobs import NOW
from tests.work import Offer, Stamp, Work


@implementer(ICommand)
class Picky(BaseCommand):
    """
    Takes arguments.
    """

    name = "test.picky"
    agent = IAgent
    arguments: ClassVar[type[Struct]] = Stamp

    def __init__(self, agent: IAgent) -> None:
        self._agent = agent

    async def run(self, job: IJob) -> Outcome:
        """
        Nothing.
        """
        return Outcome()


class Liar(Picky):
    """
    Says that it is instant, and waits.
    """

    name = "test.liar"
    arguments = NoArguments
    instant = True

    async def run(self, job: IJob) -> Outcome:
        """
        Wait for nothing that comes.
        """
        await Deferred()
        return Outcome()


class Broken(Picky):
    """
    Cannot even be made.
    """

    name = "test.broken"

    def __init__(self, agent: IAgent) -> None:
        raise RuntimeError("broken")


class AgentCase(SynchronousTestCase):
    """
    An agent on a ledger in memory.
    """

    def setUp(self) -> None:
        """
        A new one.
        """
        self.reactor = ThreadlessReactor()
        self.reactor.advance(NOW)
        self.ledger = MemoryLedger()
        self.records = MemoryRecords()
        self.work = Work()
        self.again = Work(repeatable=True)
        self.seq = 0
        self.begin()

    def begin(self) -> None:
        """
        Start the agent, as after a crash if there was one before.
        """
        self.jobs = Jobs(self.reactor, self.ledger, limit=10, waiting=10)
        registry = Registry([Ping, Picky, Liar, Broken, Offer(self.work), Offer(self.again, "test.again")])  # type: ignore[list-item] # what it needs
        self.agent = Agent(
            self.reactor,  # type: ignore[arg-type] # all that it needs of one
            registry,
            self.ledger,
            self.jobs,
            MemoryProcesses(),
            self.records,
            node="1:1",
        )

    def entry(self, content: bytes) -> Entry:
        """
        Something that was taken.
        """
        self.seq += 1
        self.ledger.unfinished[self.seq] = content
        return Entry(self.seq, content)

    def admit(self, *contents: bytes) -> None:
        """
        Have it admitted.
        """
        self.successResultOf(self.agent.admit([self.entry(content) for content in contents]))
        self.reactor.advance(0)

    def result(self, id: str) -> Result:
        """
        The only result of that id.
        """
        found = [final.result for final in self.ledger.finals if final.id == id]
        self.assertEqual(1, len(found), found)
        return found[0]

    def rejected(self) -> Rejection:
        """
        The only thing that was rejected.
        """
        self.assertEqual(1, len(self.ledger.rejected), self.ledger.rejected)
        return self.ledger.rejected[0]

    def assert_answered(self) -> None:
        """
        Nothing is left, and nothing waits.
        """
        self.assertEqual({}, self.ledger.unfinished)
        self.assertEqual([], self.jobs.listed())
