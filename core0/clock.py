"""
Two kinds of time: the one that timers go by, and the one that is told.

The wall clock of a machine that starts is set while core0 runs already. A timer must not go off, or wait for a day,
for that; so the reactor goes by the monotonic clock, and what is written down, in seconds since the epoch, by the other
one.
"""

import time
from typing import Any

from twisted.internet.interfaces import IReactorTime


def go_by_monotonic(reactor: Any) -> None:
    """
    Have all timers of a reactor go by the monotonic clock. To be called before there are any.
    """
    reactor.seconds = time.monotonic


def epoch(clock: IReactorTime) -> float:
    """
    Seconds since the epoch. A clock that does not go by the monotonic one (that of a test) is taken at its word.
    """
    return time.time() if clock.seconds is time.monotonic else clock.seconds()
