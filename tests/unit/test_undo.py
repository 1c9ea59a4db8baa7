"""
Tests of undoing what was done.
"""

from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from core0.containers.undo import Undo


class UndoTests(SynchronousTestCase):
    """
    A stack of inverses.
    """

    def setUp(self) -> None:
        """
        An empty one.
        """
        self.undo = Undo("a thing")
        self.undone: list[str] = []

    def test_order(self) -> None:
        """
        The last that was done is undone first, and each once.
        """
        for name in "abc":
            self.undo.push(name, lambda name=name: self.undone.append(name))  # type: ignore[misc]
        self.successResultOf(Deferred.fromCoroutine(self.undo.unwind()))
        self.successResultOf(Deferred.fromCoroutine(self.undo.unwind()))
        self.assertEqual(["c", "b", "a"], self.undone)

    def test_failure(self) -> None:
        """
        What cannot be undone is logged, and everything else is undone all the same.
        """
        self.undo.push("a", lambda: self.undone.append("a"))
        self.undo.push("b", lambda: 1 / 0)  # type: ignore[arg-type, return-value]
        self.undo.push("c", lambda: self.undone.append("c"))
        self.successResultOf(Deferred.fromCoroutine(self.undo.unwind()))
        self.assertEqual(["c", "a"], self.undone)
        self.assertEqual(1, len(self.flushLoggedErrors(ZeroDivisionError)))

    def test_cancelled(self) -> None:
        """
        What is cancelled counts as not undone, and is no mistake; everything else is undone all the same.
        """
        slow: Deferred[None] = Deferred()
        self.undo.push("a", lambda: self.undone.append("a"))
        self.undo.push("b", lambda: slow)
        unwinding = Deferred.fromCoroutine(self.undo.unwind())
        slow.cancel()
        self.successResultOf(unwinding)
        self.assertEqual((["a"], ["b (cancelled)"]), (self.undone, self.undo.failed))

    def test_waits(self) -> None:
        """
        A step that takes its time is waited for before the next one.
        """
        slow: Deferred[None] = Deferred()
        self.undo.push("a", lambda: self.undone.append("a"))
        self.undo.push("b", lambda: slow)
        unwinding = Deferred.fromCoroutine(self.undo.unwind())
        self.assertEqual([], self.undone)
        slow.callback(None)
        self.successResultOf(unwinding)
        self.assertEqual(["a"], self.undone)
