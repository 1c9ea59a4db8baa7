"""
Waiting for something to happen, or for some time.
"""

from collections.abc import Coroutine
from typing import Any

from twisted.internet.defer import CancelledError, Deferred, TimeoutError, fail, succeed
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from core0.waiting import Bell, Occurrence, Turns, both, pause, to_the_end, within


def begin(work: Coroutine[Any, Any, Any]) -> "Deferred[Any]":
    """
    Begin to wait.
    """
    return Deferred.fromCoroutine(work)


class OccurrenceTests(SynchronousTestCase):
    """
    Something that happens once.
    """

    def test_before_and_after(self) -> None:
        """
        Whoever waits before and whoever asks afterwards gets what it happened with.
        """
        occurrence: Occurrence[int] = Occurrence()
        waiting = [begin(occurrence.wait()) for _ in range(3)]
        self.assertEqual((False, None), (occurrence.happened, occurrence.value))
        for one in waiting:
            self.assertNoResult(one)
        occurrence.happen(7)
        self.assertEqual([7, 7, 7], [self.successResultOf(one) for one in waiting])
        self.assertEqual(7, self.successResultOf(occurrence.wait()))
        self.assertEqual((True, 7), (occurrence.happened, occurrence.value))

    def test_once(self) -> None:
        """
        Only the first time counts.
        """
        occurrence: Occurrence[int] = Occurrence()
        occurrence.happen(1)
        occurrence.happen(2)
        self.assertEqual(1, self.successResultOf(occurrence.wait()))

    def test_cancelled(self) -> None:
        """
        One that waits no longer does not disturb the others.
        """
        occurrence: Occurrence[int] = Occurrence()
        first, second, third = (begin(occurrence.wait()) for _ in range(3))
        second.cancel()
        self.failureResultOf(second, CancelledError)
        occurrence.happen(7)
        self.assertEqual([7, 7], [self.successResultOf(one) for one in (first, third)])

    def test_cancelled_meanwhile(self) -> None:
        """
        Nor does one that another one stops just when it happens.
        """
        occurrence: Occurrence[int] = Occurrence()
        waiting: list[Deferred[Any]] = []

        async def stop_the_last() -> None:
            await occurrence.wait()
            waiting[-1].cancel()

        waiting.append(begin(stop_the_last()))
        waiting += [begin(occurrence.wait()) for _ in range(2)]
        occurrence.happen(7)
        self.assertEqual([None, 7], [self.successResultOf(one) for one in waiting[:2]])
        self.failureResultOf(waiting[2], CancelledError)

    def test_waits_again_meanwhile(self) -> None:
        """
        Whoever waits again while it happens has not to wait.
        """
        occurrence: Occurrence[int] = Occurrence()

        async def twice() -> tuple[int, int]:
            return await occurrence.wait(), await occurrence.wait()

        waiting = begin(twice())
        occurrence.happen(7)
        self.assertEqual((7, 7), self.successResultOf(waiting))


class BellTests(SynchronousTestCase):
    """
    A bell.
    """

    def test_ring(self) -> None:
        """
        A ring wakes the one that waits, once.
        """
        bell = Bell()
        waiting = begin(bell.wait())
        self.assertNoResult(waiting)
        bell.ring()
        self.successResultOf(waiting)
        again = begin(bell.wait())
        self.assertNoResult(again)
        bell.ring()
        self.successResultOf(again)

    def test_kept(self) -> None:
        """
        A ring that nobody waited for is kept; two are one.
        """
        bell = Bell()
        bell.ring()
        bell.ring()
        self.successResultOf(bell.wait())
        self.assertNoResult(begin(bell.wait()))

    def test_several(self) -> None:
        """
        All that wait are woken; one that is cancelled, or late, takes no other's turn.
        """
        clock, bell = Clock(), Bell()
        first, second, third = begin(bell.wait()), begin(bell.wait(clock, 5)), begin(bell.wait(clock, 9))
        first.cancel()
        self.failureResultOf(first, CancelledError)
        clock.advance(5)
        self.successResultOf(second)
        self.assertNoResult(third)
        fourth = begin(bell.wait())
        bell.ring()
        self.successResultOf(third)
        self.successResultOf(fourth)
        self.assertEqual([], clock.getDelayedCalls())
        self.assertNoResult(begin(bell.wait()))

    def test_silence(self) -> None:
        """
        A kept ring can be forgotten.
        """
        bell = Bell()
        bell.ring()
        bell.silence()
        self.assertNoResult(begin(bell.wait()))

    def test_time(self) -> None:
        """
        With a clock it waits no longer than it is told, and leaves no timer behind.
        """
        bell, clock = Bell(), Clock()
        waiting = begin(bell.wait(clock, 5.0))
        clock.advance(4.9)
        self.assertNoResult(waiting)
        clock.advance(0.2)
        self.successResultOf(waiting)
        waiting = begin(bell.wait(clock, 5.0))
        bell.ring()
        self.successResultOf(waiting)
        self.assertEqual([], clock.getDelayedCalls())
        self.assertNoResult(begin(bell.wait()))

    def test_cancelled(self) -> None:
        """
        A ring after the one that waited has left is kept for the next one.
        """
        bell, clock = Bell(), Clock()
        waiting = begin(bell.wait(clock, 5.0))
        waiting.cancel()
        self.failureResultOf(waiting, CancelledError)
        self.assertEqual([], clock.getDelayedCalls())
        bell.ring()
        self.successResultOf(bell.wait())


class TurnsTests(SynchronousTestCase):
    """
    Spreading work.
    """

    def test_order(self) -> None:
        """
        Turns come in the order of who asked, none of them at once.
        """
        clock, done = Clock(), []
        turns = Turns(clock, 1.0)

        async def work(number: int) -> None:
            await turns.mine()
            done.append(number)

        for number in range(5):
            begin(work(number))
        self.assertEqual([], done)
        clock.advance(0)
        self.assertEqual([0, 1, 2, 3, 4], done)

    def test_budget(self) -> None:
        """
        When the time of a turn is used up, the rest waits for the next one.
        """
        clock, done = Clock(), []
        turns = Turns(clock, 1.0)

        async def work(number: int) -> None:
            await turns.mine()
            done.append(number)
            clock.rightNow += 0.6

        for number in range(5):
            begin(work(number))
        seen = []
        while len(done) < 5:
            call = clock.calls.pop(0)
            call.func()
            seen.append(len(done))
        self.assertEqual([2, 4, 5], seen)

    def test_cancelled(self) -> None:
        """
        One that waits no longer costs nobody his turn.
        """
        clock = Clock()
        turns = Turns(clock, 1.0)
        waiting = [begin(turns.mine()) for _ in range(3)]
        waiting[0].cancel()
        waiting[1].cancel()
        clock.advance(0)
        self.failureResultOf(waiting[0], CancelledError)
        self.failureResultOf(waiting[1], CancelledError)
        self.successResultOf(waiting[2])

    def test_again(self) -> None:
        """
        Whoever asks again meanwhile comes behind those that wait.
        """
        clock, done = Clock(), []
        turns = Turns(clock, 1.0)

        async def work(name: str, times: int) -> None:
            for _ in range(times):
                await turns.mine()
                done.append(name)

        begin(work("a", 2))
        begin(work("b", 1))
        clock.advance(0)
        self.assertEqual(["a", "b", "a"], done)
        self.assertEqual([], clock.getDelayedCalls())


class PauseTests(SynchronousTestCase):
    """
    Some time.
    """

    def test_pause(self) -> None:
        """
        It takes as long as it is told.
        """
        clock = Clock()
        waiting = begin(pause(clock, 5.0))
        clock.advance(4.9)
        self.assertNoResult(waiting)
        clock.advance(0.2)
        self.successResultOf(waiting)

    def test_cancelled(self) -> None:
        """
        Whoever is stopped meanwhile leaves no timer behind.
        """
        clock = Clock()
        waiting = begin(pause(clock, 5.0))
        waiting.cancel()
        self.failureResultOf(waiting, CancelledError)
        self.assertEqual([], clock.getDelayedCalls())


class WithinTests(SynchronousTestCase):
    """
    Something that has so long.
    """

    async def work(self, clock: Clock, seconds: float) -> str:
        """
        Takes so long.
        """
        try:
            await pause(clock, seconds)
        except CancelledError:
            self.cancelled = True
            raise
        return "done"

    def setUp(self) -> None:
        """
        Nothing was cancelled yet.
        """
        self.clock = Clock()
        self.cancelled = False

    def test_in_time(self) -> None:
        """
        What ends in time gives its result, and no timer is left.
        """
        waiting = begin(within(self.clock, 5.0, self.work(self.clock, 3.0)))
        self.clock.advance(3)
        self.assertEqual("done", self.successResultOf(waiting))
        self.assertEqual([], self.clock.getDelayedCalls())

    def test_too_late(self) -> None:
        """
        What takes longer is stopped, and that is an error.
        """
        waiting = begin(within(self.clock, 5.0, self.work(self.clock, 7.0)))
        self.clock.advance(5)
        self.failureResultOf(waiting, TimeoutError)
        self.assertTrue(self.cancelled)
        self.assertEqual([], self.clock.getDelayedCalls())

    def test_cancelled(self) -> None:
        """
        Stopping who waits stops what he waits for, and is not taken for its being late.
        """
        waiting = begin(within(self.clock, 5.0, self.work(self.clock, 7.0)))
        waiting.cancel()
        self.failureResultOf(waiting, CancelledError)
        self.assertTrue(self.cancelled)
        self.assertEqual([], self.clock.getDelayedCalls())

    def test_its_own_error(self) -> None:
        """
        An error of the work itself is what it is.
        """
        work: Deferred[str] = Deferred()
        waiting = begin(within(self.clock, 5.0, work))
        work.errback(ValueError("no"))
        self.failureResultOf(waiting, ValueError)
        self.assertEqual([], self.clock.getDelayedCalls())


class BothTests(SynchronousTestCase):
    """
    Two things at the same time.
    """

    def setUp(self) -> None:
        """
        Two that have not happened.
        """
        self.first: Deferred[int] = Deferred()
        self.second: Deferred[str] = Deferred()
        self.waiting = Deferred.fromCoroutine(both(self.first, self.second))

    def test_results(self) -> None:
        """
        Both results, whichever came first.
        """
        self.second.callback("b")
        self.assertNoResult(self.waiting)
        self.first.callback(1)
        self.assertEqual((1, "b"), self.successResultOf(self.waiting))

    def test_failure(self) -> None:
        """
        If one fails the other one is cancelled, and that one's end is waited for before the failure is told.
        """
        for place in (0, 1):
            told: list[Deferred[None]] = []
            failing, end = Deferred[None](), Deferred[None]()

            async def other(told: "list[Deferred[None]]" = told, end: "Deferred[None]" = end) -> None:
                try:
                    await Deferred[None]()
                finally:
                    told.append(end)
                    await end

            works = [other(), other()]
            works[place].close()
            works[place] = failing  # type: ignore[call-overload]
            waiting = Deferred.fromCoroutine(both(*works))
            failing.errback(ValueError("a"))
            self.assertEqual([end], told)
            self.assertNoResult(waiting)
            end.errback(KeyError("a consequence"))
            self.failureResultOf(waiting, ValueError)

    def test_failed_at_once(self) -> None:
        """
        What has failed before the other one begins cancels that, too; so it does if that cannot be hindered.
        """
        other: Deferred[int] = Deferred()
        self.failureResultOf(Deferred.fromCoroutine(both(fail(ValueError()), other)), ValueError)
        self.assertTrue(other.called)
        self.failureResultOf(Deferred.fromCoroutine(both(succeed(1), fail(ValueError()))), ValueError)

    def test_cancelled(self) -> None:
        """
        Whoever gives up cancels both.
        """
        self.waiting.cancel()
        self.failureResultOf(self.waiting, CancelledError)
        self.assertTrue(self.first.called and self.second.called)


class ToTheEndTests(SynchronousTestCase):
    """
    What is not left half done.
    """

    def test_cancelled(self) -> None:
        """
        It is waited for although somebody gave up, and then that is told.
        """
        work: Deferred[int] = Deferred()
        waiting = Deferred.fromCoroutine(to_the_end(work))
        waiting.cancel()
        self.assertNoResult(waiting)
        self.assertFalse(work.called)
        work.callback(1)
        self.failureResultOf(waiting, CancelledError)

    def test_result(self) -> None:
        """
        Its result, or its error.
        """
        self.assertEqual(1, self.successResultOf(Deferred.fromCoroutine(to_the_end(succeed(1)))))
        self.failureResultOf(Deferred.fromCoroutine(to_the_end(fail(ValueError()))), ValueError)
