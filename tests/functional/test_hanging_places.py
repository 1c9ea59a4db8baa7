"""
Directories and files on a file system that does not answer, as of a server that is gone.
"""

import os
import threading
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from core0.errors import Refusal
from core0.jobs import lookup
from core0.jobs.lookup import ANSWER, FRESH, LOOKERS, Places, Program, environment
from tests.daemon import eventually


class _Reactor(Clock):
    """
    Time of its own; what comes from threads is called when the test says so.
    """

    def __init__(self) -> None:
        super().__init__()
        self.come: list[Any] = []

    def callFromThread(self, work: Any, *arguments: Any, **fields: Any) -> None:
        """
        Twisted's hook.
        """
        self.come.append(lambda: work(*arguments, **fields))

    def turn(self) -> int:
        """
        Call what has come.
        """
        come, self.come = self.come, []
        for work in come:
            work()
        return len(come)


class PlacesTests(SynchronousTestCase):
    """
    Where programs are found. A place hangs while ``self.hung`` is not set.
    """

    def setUp(self) -> None:
        """
        A file system that can be made to hang.
        """
        self.reactor = _Reactor()
        self.places = Places(self.reactor)  # type: ignore[arg-type] # all that it needs
        self.going = threading.Event()
        self.going.set()
        self.addCleanup(self.going.set)
        self.looks = 0
        look = lookup._look

        def slow(*arguments: Any) -> None:
            self.looks += 1
            self.going.wait(60)
            look(*arguments)

        self.patch(lookup, "_look", slow)

    def locate(self, name: str, directory: str | None = None) -> "Deferred[str]":
        """
        Begin to look for a program.
        """
        program = Program(name, directory=directory)
        return Deferred.fromCoroutine(self.places.locate(program, environment({})))

    def found(self, name: str, directory: str | None = None) -> str:
        """
        Look for a program to the end.
        """
        looking = self.locate(name, directory)
        eventually(lambda: self.reactor.turn() or looking.called, "it answers")
        return self.successResultOf(looking)

    def test_usual(self) -> None:
        """
        A plain name is found without a thread.
        """
        self.assertTrue(self.successResultOf(self.locate("true")).endswith("/true"))
        self.assertEqual(0, self.looks)

    def test_fresh(self) -> None:
        """
        A place that has answered is taken to do so for a moment, but what is there is looked at each time.
        """
        self.found("true", "/tmp")
        self.successResultOf(self.locate("true", "/tmp"))
        self.assertEqual(1, self.looks)
        self.reactor.advance(FRESH)
        self.assertNoResult(self.locate("true", "/tmp"))

    def test_refused(self) -> None:
        """
        A place that is wrong is refused as ever.
        """
        looking = self.locate("/no/such/program")
        eventually(self.reactor.turn, "it answers")
        self.assertEqual(127, self.failureResultOf(looking, Refusal).value.code)

    def test_hanging(self) -> None:
        """
        A place that hangs is refused after some seconds; if too many hang, at once, and until they go on.
        """
        self.going.clear()
        hanging = [self.locate(f"{os.sep}bin/true", f"/proc/{number}") for number in range(LOOKERS)]
        eventually(lambda: self.looks == LOOKERS, "all look")
        self.reactor.advance(ANSWER)
        for looking in hanging:
            refusal = self.failureResultOf(looking, Refusal).value
            self.assertEqual((503, True), (refusal.code, "does not answer" in str(refusal)))
        self.assertEqual(503, self.failureResultOf(self.locate("true", "/tmp"), Refusal).value.code)
        self.successResultOf(self.locate("true"))
        self.going.set()
        eventually(lambda: len(self.reactor.come) == LOOKERS, "all answer")
        self.reactor.turn()
        self.assertTrue(self.found("true", "/tmp"))
