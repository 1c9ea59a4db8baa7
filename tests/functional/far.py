"""
core0's end and a CoreX, both in this process, with a real server between them and a proxy on either side.
"""

from collections.abc import Callable, Sequence
from typing import Any, ClassVar

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry
from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.trial.unittest import TestCase
from zope.interface import implementer

from core0.agent import Agent
from core0.commands.core import Ping
from core0.commands.registry import Registry
from core0.containers.errands import Errand, Errands, Numbers
from core0.corex_messages import Ready, order_line
from core0.interfaces import BaseCommand, IAgent, ICommand, IJob
from core0.jobs.manager import Jobs
from core0.messages import Command, Outcome, encode
from core0.redis import acl, keys
from core0.redis.channels import Channels
from core0.redis.far_consumer import FarConsumer
from core0.redis.far_ledger import FarLedger
from core0.redis.far_sink import FarSink
from core0.redis.link import Link
from core0.redis.url import RedisURL, parse
from core0.values import Final
from core0.waiting import pause
from tests.daemon import PATIENCE
from tests.fakes import MemoryProcesses, MemoryRecords
from tests.functional.proxy import Proxy
from tests.valkey import Valkey
from tests.work import Offer, Work

NUMBER = 1
PASSWORD = "secret of a CoreX"


@implementer(ICommand)
class Counted(BaseCommand):
    """
    Notes that it ran.
    """

    name = "test.counted"
    agent = IAgent
    ran: ClassVar[list[str]] = []

    def __init__(self, agent: IAgent) -> None:
        self._agent = agent

    async def run(self, job: IJob) -> Outcome:
        """
        Take a turn.
        """
        self.ran.append(job.id)
        await pause(reactor, 0)
        return Outcome(data="1", level=20)


class Host:
    """
    Receives for one container.

    :ivar hold: results are not done with before this fires.
    :ivar held: whether some wait for that.
    """

    def __init__(self, number: int = NUMBER) -> None:
        self.errands = Errands(reactor, number)
        self.finals: list[Final] = []
        self.ready: list[Ready] = []
        self.lines: list[bytes] = []
        self.hold: Deferred[None] | None = None
        self.held = False

    async def results(self, lines: Sequence[bytes]) -> None:
        """
        Keep what counts.
        """
        if self.hold is not None:
            self.held = True
            await self.hold
        for line in lines:
            found = self.errands.read(line)
            if isinstance(found, Final):
                self.finals.append(found)
            elif found is not None:
                self.ready.append(found)

    def clogged(self) -> bool:
        """
        Never.
        """
        return False

    def records(self, lines: Sequence[bytes]) -> None:
        """
        Keep them.
        """
        self.lines += lines

    def ids(self) -> list[str]:
        """
        Of the results so far.
        """
        return [final.id for final in self.finals]


class FarCase(TestCase):
    """
    A server, and users for two containers.
    """

    valkey: ClassVar[Valkey]
    limit = 100  # jobs that may be live in the CoreX
    waiting = 1000

    @classmethod
    def setUpClass(cls) -> None:
        """
        Start it.
        """
        cls.valkey = Valkey().start()
        cls.admit()

    @classmethod
    def admit(cls) -> None:
        """
        Let the CoreX of both in.
        """
        with cls.valkey.client() as client:
            for number in (1, 2):
                rules = acl.corex_rules(number, acl.hashed(PASSWORD))
                client.execute_command("ACL", "SETUSER", acl.corex_user(number), "reset", *rules)

    @classmethod
    def tearDownClass(cls) -> None:
        """
        End it.
        """
        cls.valkey.close()

    def setUp(self) -> None:
        """
        An empty server, and core0's end of one channel.
        """
        self.client = self.valkey.client()
        self.addCleanup(self.client.close)
        self.client.flushall()
        self.near, self.far = self.proxy("near"), self.proxy("far")
        self.numbers = Numbers(reactor)
        self.host = Host()
        self.channels = self.begin()
        self.channels.open(NUMBER, self.host)
        Counted.ran.clear()
        self.work = Work(urgent=False)

    def proxy(self, name: str) -> Proxy:
        """
        To the server.
        """
        path = self.valkey.folder / f"{name}.sock"
        path.unlink(missing_ok=True)
        proxy = Proxy(path, self.valkey.socket)
        self.addCleanup(proxy.close)
        return proxy

    def begin(self) -> Channels:
        """
        Start core0's end.
        """
        channels = Channels(reactor, parse(self.near.url))
        channels.start()
        self.addCleanup(self.end, channels.stop)
        return channels

    async def end(self, stop: Callable[[], None]) -> None:
        """
        Stop something, and let its connections close.
        """
        stop()
        for _ in range(3):
            await pause(reactor, 0)

    @property
    def url(self) -> RedisURL:
        """
        As the CoreX is told it.
        """
        return RedisURL(path=str(self.far.path), username=acl.corex_user(NUMBER), password=PASSWORD)

    def link(self, name: str) -> Link:
        """
        Of the CoreX.
        """
        return Link(reactor, self.url, name, scripts=())

    def start_corex(self) -> None:
        """
        Start the CoreX's end, and an agent behind it.
        """
        self.ledger = FarLedger(reactor, self.link("results"), NUMBER)
        self.sink = FarSink(reactor, self.link("records"), NUMBER)
        self.jobs = Jobs(reactor, self.ledger, limit=self.limit, waiting=self.waiting, core=NUMBER)
        urgent = Offer(Work(urgent=True), "test.urgent")
        self.urgent: Work = urgent(None)  # type: ignore[assignment] # it is what was offered
        registry = Registry([Ping, Counted, Offer(self.work), urgent])  # type: ignore[list-item] # what it needs
        agent = Agent(
            reactor,  # type: ignore[arg-type] # it is more than mypy knows
            registry,
            self.ledger,
            self.jobs,
            MemoryProcesses(),
            MemoryRecords(),
            node="1:1",
            core=NUMBER,
        )
        consumer = FarConsumer(reactor, self.url, NUMBER, agent, self.ledger)
        self.jobs.on_room = consumer.ring
        for part in (self.ledger, self.sink, consumer):
            part.start()
            self.addCleanup(self.end, part.stop)
        self.ledger.ready(7)

    def errand(self, id: str, command: str = "core.ping", **fields: Any) -> Errand:
        """
        One that is dispatched, and not yet sent.
        """
        content = Command(id=id, command=command, **fields)
        seq = self.numbers.next()
        errand = Errand(seq, id, "d" * 64, content, order_line(seq, encode(content)))
        self.host.errands.add(errand)
        return errand

    def dispatch(self, *ids: str, command: str = "core.ping", **fields: Any) -> None:
        """
        Send commands into the container.
        """
        for id in ids:
            self.channels.send(NUMBER, self.errand(id, command, **fields).line)

    async def until(self, look: Callable[[], Any], what: str) -> None:
        """
        Wait until something is so.
        """
        deadline = reactor.seconds() + PATIENCE
        while not look():
            if reactor.seconds() > deadline:
                raise AssertionError(f"{what}: not within {PATIENCE:.0f} s")
            await pause(reactor, 0.005)

    async def answered(self, *ids: str) -> None:
        """
        Wait until these are answered, and the lists are empty; each was answered once.
        """
        await self.until(lambda: set(ids) <= set(self.host.ids()), "all are answered")
        self.assertEqual(sorted(ids), sorted(self.host.ids()))
        await self.until(lambda: not any(self.lengths()), "nothing is left")

    def lengths(self, number: int = NUMBER) -> list[int]:
        """
        Of the lists of a container.
        """
        return [self.client.llen(key) for key in names(number)]

    def corex(self, number: int = NUMBER) -> redis.Redis:
        """
        A client with the rights of a CoreX.
        """
        client = corex_client(self.valkey.socket, number)
        self.addCleanup(client.close)
        return client


def corex_client(socket: str, number: int) -> redis.Redis:
    """
    A client with the rights of a CoreX, that tries everything once.
    """
    once = Retry(NoBackoff(), 0)
    return redis.Redis(
        unix_socket_path=socket, username=acl.corex_user(number), password=PASSWORD, protocol=2, retry=once
    )


def names(number: int) -> tuple[str, str, str]:
    """
    The lists of a container: orders, results, records.
    """
    return keys.orders(number), keys.corex_results(number), keys.corex_records(number)
