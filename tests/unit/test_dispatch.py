"""
Tests of sending commands into containers: written down, claimed, sent, and answered whatever becomes of the container.
"""

from collections.abc import AsyncIterator, Collection, Sequence
from types import SimpleNamespace
from typing import Any

from msgspec import Raw
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer
from zope.interface.verify import verifyClass

from core0.containers.dispatch import NORMALISED, Dispatcher
from core0.containers.errands import Errands
from core0.containers.shelf import Phase
from core0.corex_messages import decode_order
from core0.corex_settings import Settings
from core0.errors import Refusal
from core0.interfaces import IDispatched
from core0.messages import Command, State
from core0.reading import decode
from core0.values import Entry
from core0.waiting import Occurrence
from tests.fakes import MemoryLedger

UNREADABLE = (b'{"x":1e999}', b"[" * 1500 + b"]" * 1500, b'{"x":"\xff"}', b'{"x":"\\ud800"}')


def none_held(number: int) -> bool:
    """
    All containers are known.
    """
    return False


@implementer(IDispatched)
class MemoryDispatched(MemoryLedger):
    """
    The ledger of errands, in memory.
    """

    last = 0

    async def enter(self, entries: Sequence[Entry]) -> None:
        """
        At once.
        """
        for entry in entries:
            self.unfinished[entry.seq] = entry.payload
            self.last = max(self.last, entry.seq)

    async def taken(self) -> AsyncIterator[Sequence[Entry]]:
        """
        All at once.
        """
        if self.unfinished:
            yield [Entry(seq, payload) for seq, payload in sorted(self.unfinished.items())]

    async def highest(self) -> int:
        """
        Of those that were entered.
        """
        return self.last

    async def written(self, seqs: Collection[int]) -> None:
        """
        They always are.
        """


verifyClass(IDispatched, MemoryDispatched)


class MemoryChannels:
    """
    :ivar sent: orders by the number of the container.
    :ivar full: whether nothing more can be sent.
    """

    def __init__(self) -> None:
        self.sent: dict[int, list[bytes]] = {}
        self.full = False

    def room(self, n: int) -> bool:
        """
        As told.
        """
        return not self.full

    def send(self, n: int, line: bytes) -> None:
        """
        Keep it.
        """
        self.sent.setdefault(n, []).append(line)


class DispatchTests(SynchronousTestCase):
    """
    One host with container 3.
    """

    def setUp(self) -> None:
        """
        With a clock of its own.
        """
        self.clock = Clock()
        self.clock.advance(1000)
        self.ledger = MemoryDispatched()
        self.channels = MemoryChannels()
        self.house = self.new_house(self.clock)
        self.dispatcher = Dispatcher(self.house)
        self.container = self.new_container(3)

    def new_house(self, clock: Clock) -> Any:
        """
        With the same ledger.
        """
        settings = Settings(number=0, node="1:1", user="", password="")
        return SimpleNamespace(reactor=clock, dispatched=self.ledger, channels=self.channels, settings=settings)

    def new_container(self, number: int) -> Any:
        """
        A living one.
        """
        errands = Errands(self.clock, number)
        return SimpleNamespace(number=number, errands=errands, phase=Phase.LIVE, dying=Occurrence())

    def dispatch(self, id: str, container: Any = None, **arguments: Any) -> "Deferred[None]":
        """
        Send a ping.
        """
        command = Command(command="core.ping", **arguments)
        return Deferred.fromCoroutine(self.dispatcher.dispatch(container or self.container, command, id))

    def orders(self) -> list[Command]:
        """
        What was sent.
        """
        return [decode(bytes(decode_order(line).payload)) for line in self.channels.sent.get(3, [])]

    def test_sent(self) -> None:
        """
        A command is written down before it is sent, under the id that it was given.
        """
        sent = self.dispatch("a", tags="t")
        self.assertNoResult(sent)
        self.clock.advance(0)
        self.successResultOf(sent)
        self.assertEqual([("a", "core.ping", "t")], [(order.id, order.command, order.tags) for order in self.orders()])
        self.assertEqual((1, 1), (len(self.ledger.unfinished), len(self.container.errands)))

    def test_order(self) -> None:
        """
        Commands come in the order in which they were dispatched.
        """
        for number in range(10):
            self.dispatch(str(number))
        self.clock.advance(0)
        self.assertEqual([str(number) for number in range(10)], [order.id for order in self.orders()])
        seqs = [decode_order(line).seq for line in self.channels.sent[3]]
        self.assertEqual(sorted(set(seqs)), seqs)

    def test_repeated(self) -> None:
        """
        The same command under the same id is sent once, however its arguments are written.
        """
        for text in (b'{"a":1,"b":2}', b'{"b": 2, "a": 1}'):
            self.dispatch("a", arguments=Raw(text))
            self.clock.advance(0)
        self.assertEqual(1, len(self.orders()))
        self.assertEqual(1, len(self.ledger.unfinished))

    def test_other_content(self) -> None:
        """
        Another command under the same id is not sent but rejected; the same one for another container is another one.
        """
        self.dispatch("a")
        self.clock.advance(0)
        self.dispatch("a", queue="q")
        self.dispatch("a", self.new_container(4))
        self.clock.advance(0)
        self.assertEqual([State.DUPLICATE_ID] * 2, [each.state for each in self.ledger.rejected])
        self.assertEqual((1, [3]), (len(self.orders()), list(self.channels.sent)))

    def test_full(self) -> None:
        """
        A container with too much on its way to it is refused more, and nothing is written down.
        """
        self.channels.full = True
        error = self.failureResultOf(self.dispatch("a"), Refusal).value
        self.assertEqual((503, {}), (error.code, self.ledger.unfinished))

    def test_died_meanwhile(self) -> None:
        """
        A command whose container ends while it is written down is answered.
        """
        sent = self.dispatch("a")
        self.container.dying.happen("it fell")
        self.clock.advance(0)
        self.successResultOf(sent)
        result = self.ledger.results["a"]
        self.assertEqual((State.ERROR, 503, 3), (result.state, result.code, result.container))
        self.assertEqual({}, self.ledger.unfinished)

    def test_recovered(self) -> None:
        """
        After a restart the errands of a living container are known again, and those of a dead one are answered.
        """
        self.dispatch("a")
        self.dispatch("b", self.new_container(4))
        self.clock.advance(0)
        again, alive = Dispatcher(self.house), self.new_container(3)
        self.successResultOf(Deferred.fromCoroutine(again.recover({3: alive}, none_held)))
        self.assertEqual([self.channels.sent[3][0]], alive.errands.again())
        self.assertEqual(503, self.ledger.results["b"].code)
        self.assertEqual(1, len(self.ledger.unfinished))

    def test_held(self) -> None:
        """
        What was dispatched to a container of which nothing can be known yet is neither sent nor answered until it is.
        """
        self.dispatch("a")
        self.clock.advance(0)
        again, alive = Dispatcher(self.house), self.new_container(3)
        self.successResultOf(Deferred.fromCoroutine(again.recover({}, lambda number: number == 3)))
        self.assertEqual(({}, 1), (self.ledger.results, len(self.ledger.unfinished)))
        self.successResultOf(Deferred.fromCoroutine(again.recover({3: alive}, none_held)))
        self.assertEqual([self.channels.sent[3][0]], alive.errands.again())

    def test_numbers_after_recovery(self) -> None:
        """
        After a restart numbers go on where they were, even if the clock was set back.
        """
        self.dispatch("a")
        self.clock.advance(0)
        self.dispatch("answered")
        self.clock.advance(0)
        for final in self.container.errands.orphaned("it is gone"):
            self.ledger.finish(final)
        self.assertEqual({}, self.ledger.unfinished)
        first = decode_order(self.channels.sent[3][-1]).seq
        clock = Clock()
        dispatcher = Dispatcher(self.new_house(clock))
        self.successResultOf(Deferred.fromCoroutine(dispatcher.recover({3: self.container}, none_held)))
        Deferred.fromCoroutine(dispatcher.dispatch(self.container, Command(command="core.ping"), "b"))
        clock.advance(0)
        self.assertGreater(decode_order(self.channels.sent[3][-1]).seq, first)

    def test_unreadable(self) -> None:
        """
        What is written down and cannot be read is rejected with a reason, not kept for ever.
        """
        bad = [b"nonsense", b"\xff", b'{"container":3,"command":{}}', b"[" * 2000, b'{"container":3,"command":"\xff"}']
        bad += [b'{"container":3,"command":{"command":"x","arguments":%s}}' % text for text in UNREADABLE]
        self.ledger.unfinished.update(enumerate(bad, 5))
        self.successResultOf(Deferred.fromCoroutine(Dispatcher(self.house).recover({}, none_held)))
        self.assertEqual(({}, len(bad)), (self.ledger.unfinished, len(self.ledger.rejected)))

    def test_unreadable_with_an_id(self) -> None:
        """
        What is written down and cannot be read is answered under its id, if it has one.
        """
        self.ledger.unfinished[5] = b'{"container":3,"command":{"id":"a","command":5}}'
        self.successResultOf(Deferred.fromCoroutine(Dispatcher(self.house).recover({}, none_held)))
        [final] = self.ledger.finals
        self.assertEqual(("a", 500, 3), (final.id, final.result.code, final.result.container))
        self.assertEqual({}, self.ledger.unfinished)

    def test_unreadable_arguments(self) -> None:
        """
        Arguments that cannot be read are refused, and nothing is written down.
        """
        for text in UNREADABLE:
            error = self.failureResultOf(self.dispatch("a", arguments=Raw(text)), Refusal).value
            self.assertEqual((400, "arguments.command"), (error.code, str(error)[:17]))
        self.clock.advance(0)
        self.assertEqual(({}, {}), (self.ledger.unfinished, self.channels.sent))

    def test_large_arguments(self) -> None:
        """
        Large arguments are passed on without being read; the same text is the same command.
        """
        text = b"[%s1e999]" % (b"[]," * NORMALISED)
        for _ in range(2):
            self.dispatch("a", arguments=Raw(text))
            self.clock.advance(0)
        self.assertEqual([text], [bytes(order.arguments) for order in self.orders()])
        self.assertEqual(1, len(self.ledger.unfinished))
