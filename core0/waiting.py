"""
Waiting in coroutines: for something to happen, or for some time.
"""

from collections import deque
from collections.abc import Awaitable
from typing import Any, Generic, TypeVar

from twisted.internet.defer import CancelledError, Deferred, DeferredList, ensureDeferred
from twisted.internet.interfaces import IReactorTime
from twisted.python.failure import Failure

S = TypeVar("S")
T = TypeVar("T")


class Occurrence(Generic[T]):
    """
    Something that happens once; any number may wait for it, and each may be cancelled without harm to the others.
    """

    __slots__ = ("_value", "_waiting", "happened")

    def __init__(self) -> None:
        self.happened = False
        self._value: T | None = None
        self._waiting: deque[Deferred[T]] | None = None  # most of them nobody waits for

    def happen(self, value: T) -> None:
        """
        It is so; only the first time counts.
        """
        if self.happened:
            return
        self.happened, self._value = True, value
        while self._waiting:  # what one of them does may cancel another
            self._waiting.popleft().callback(value)

    async def wait(self) -> T:
        """
        Until it has happened.
        """
        if self.happened:
            return self._value  # type: ignore[return-value] # set together
        if self._waiting is None:
            self._waiting = deque()
        deferred: Deferred[T] = Deferred(self._waiting.remove)
        self._waiting.append(deferred)
        return await deferred

    @property
    def value(self) -> T | None:
        """
        What it happened with; None before.
        """
        return self._value


class Bell:
    """
    Rings for all that wait; a ring that nobody waited for is kept, once.
    """

    __slots__ = ("_rung", "_waiting")

    def __init__(self) -> None:
        self._rung = False
        self._waiting: list[Deferred[None]] = []

    def ring(self) -> None:
        """
        Wake all that wait, or the next one that will.
        """
        if not self._waiting:
            self._rung = True
            return
        ringing, self._waiting = self._waiting, []
        while ringing:
            # what one of them does may cancel another
            waiting = ringing.pop(0)
            if not waiting.called:
                waiting.callback(None)

    def silence(self) -> None:
        """
        Forget a ring that nobody waited for.
        """
        self._rung = False

    async def wait(self, clock: IReactorTime | None = None, seconds: float = 0.0) -> None:
        """
        Until it rings; with a clock, at most so many seconds.
        """
        if self._rung:
            self._rung = False
            return
        deferred: Deferred[None] = Deferred(self._left)
        self._waiting.append(deferred)
        timer = clock.callLater(seconds, self._late, deferred) if clock is not None else None
        try:
            await deferred
        finally:
            if timer is not None and timer.active():
                timer.cancel()

    def _late(self, deferred: "Deferred[None]") -> None:
        self._left(deferred)
        deferred.callback(None)

    def _left(self, deferred: "Deferred[None]") -> None:
        if deferred in self._waiting:
            self._waiting.remove(deferred)


class Turns:
    """
    Spreads work that takes its time over turns of the reactor, so that others come to theirs in between.

    :param budget: seconds in a turn after which the rest waits for the next one.
    """

    def __init__(self, clock: IReactorTime, budget: float) -> None:
        self._clock = clock
        self._budget = budget
        self._waiting: deque[Deferred[None]] = deque()

    async def mine(self) -> None:
        """
        Until it is one's turn.
        """
        deferred: Deferred[None] = Deferred()
        self._waiting.append(deferred)
        if len(self._waiting) == 1:
            self._clock.callLater(0, self._go)
        await deferred

    def _go(self) -> None:
        end = self._clock.seconds() + self._budget
        while self._waiting:
            # it stays in line meanwhile: then whoever comes does not ask for another turn
            self._waiting[0].callback(None)
            self._waiting.popleft()
            if self._clock.seconds() >= end:
                break
        if self._waiting:
            self._clock.callLater(0, self._go)


async def pause(clock: IReactorTime, seconds: float) -> None:
    """
    Let some time pass.
    """
    deferred: Deferred[None] = Deferred(lambda _: timer.cancel())
    timer = clock.callLater(seconds, deferred.callback, None)
    await deferred


async def within(clock: IReactorTime, seconds: float, work: Awaitable[T]) -> T:
    """
    The result of something that has so long; it is cancelled then.

    :raises twisted.internet.defer.TimeoutError: it took longer.
    """
    deferred: Deferred[Any] = work if isinstance(work, Deferred) else ensureDeferred(work)  # type: ignore[arg-type]
    result: T = await deferred.addTimeout(seconds, clock)
    return result


async def both(first: Awaitable[T], second: Awaitable[S]) -> tuple[T, S]:
    """
    The results of two things that go on at the same time. If one fails the other one is cancelled and waited for.

    :raises Exception: of the one that failed before the other one.
    """
    deferreds: list[Deferred[Any]] = [ensureDeferred(first), ensureDeferred(second)]  # type: ignore[arg-type]
    failures: list[Failure] = []

    def failed(failure: Failure, other: "Deferred[Any]") -> None:
        failures.append(failure)
        other.cancel()

    for deferred, other in (deferreds, reversed(deferreds)):
        deferred.addErrback(failed, other)
    results: Any = await DeferredList(deferreds)
    if failures:
        failures[0].raiseException()
    return results[0][1], results[1][1]


async def to_the_end(work: Awaitable[T]) -> T:
    """
    The result of something that is not left half done: cancelled or not, it is waited for.

    :raises twisted.internet.defer.CancelledError: after that, if this was cancelled meanwhile.
    """
    ended: Occurrence[Any] = Occurrence()
    ensureDeferred(work).addBoth(ended.happen)  # type: ignore[arg-type] # any awaitable will do
    cancelled = False
    while not ended.happened:
        try:
            await ended.wait()
        except CancelledError:
            cancelled = True
    if isinstance(ended.value, Failure):
        ended.value.raiseException()
    if cancelled:
        raise CancelledError
    result: T = ended.value  # type: ignore[assignment] # it is no failure
    return result
