"""
What a container says that it may not say.
"""

from types import SimpleNamespace
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.logger import Logger
from twisted.trial.unittest import SynchronousTestCase

from core0.containers.container import MOST_WORDS, TELL, WORDS, WORDS_AT_ONCE, Container
from core0.containers.request import Request
from core0.containers.shelf import Phase
from core0.corex_messages import own_line


class IgnoredTests(SynchronousTestCase):
    """
    A container that says nothing that makes sense.
    """

    def setUp(self) -> None:
        """
        With a log of its own.
        """
        self.clock = Clock()
        self.events: list[Any] = []
        observer: Any = self.events.append
        self.patch(Container, "_log", Logger(observer=observer))
        settings = SimpleNamespace(node="1:1")
        house: Any = SimpleNamespace(reactor=self.clock, settings=settings, runner=lambda runtime: None, family="f")
        record: Any = SimpleNamespace(number=7, runtime=None, phase=Phase.CREATING, request=Request(plist="/x"))
        self.container = Container(house, record)

    def say(self, results: int = 0, records: int = 0) -> None:
        """
        Say so many things.
        """
        if results:
            self.successResultOf(Deferred.fromCoroutine(self.container.results([b"nonsense"] * results)))
        if records:
            self.container.records([b"nonsense"] * records)

    def told(self) -> list[tuple[int, int]]:
        """
        What the log tells, container and count.
        """
        return [(event["number"], event["count"]) for event in self.events if "count" in event]

    def test_silent(self) -> None:
        """
        Where there is nothing to complain of the log says nothing.
        """
        self.successResultOf(Deferred.fromCoroutine(self.container.results([])))
        self.container.records([])
        self.container.release()
        self.assertEqual([], self.told())

    def test_once_a_minute(self) -> None:
        """
        The log tells how much was ignored, at most once a minute.
        """
        self.say(results=3)
        for _ in range(10):
            self.say(results=1, records=1)
        self.assertEqual([(7, 3)], self.told())
        self.clock.advance(TELL)
        self.say(records=5)
        self.assertEqual([(7, 3), (7, 25)], self.told())

    def test_own_words(self) -> None:
        """
        Of what a CoreX says for the log of core0 some comes through, cut, and the rest is counted.
        """
        self.container.records([own_line("x" * 2 * MOST_WORDS)] * (WORDS_AT_ONCE + 20))
        texts = [event["text"] for event in self.events if "count" not in event and "text" in event]
        self.assertEqual([MOST_WORDS] * WORDS_AT_ONCE, [len(text) for text in texts])
        self.assertEqual([(7, 20)], self.told())
        self.clock.advance(5 / WORDS)
        self.container.records([own_line("y")] * 10)
        self.assertEqual(WORDS_AT_ONCE + 5, len([event for event in self.events if "count" not in event]))

    def test_at_the_end(self) -> None:
        """
        What it has not told by the end of a container it tells then.
        """
        self.say(results=1)
        self.say(records=2)
        self.container.release()
        self.container.release()
        self.assertEqual([(7, 1), (7, 2)], self.told())
