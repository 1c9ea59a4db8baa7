"""
What follows a run: the rule of ``max_restart`` and ``recurring_period``, as a function.
"""

import random
from collections.abc import Callable
from dataclasses import dataclass

from core0.messages import Command, Outcome, State

FIRST_WAIT = 1.0  # seconds
LONGEST_WAIT = 60.0  # seconds
HEALTHY = 60.0  # seconds; after a run as long as this, waits start over
JITTER = 0.1  # of a wait, up or down
_FAILED = frozenset({State.ERROR, State.TIMEOUT, State.INTERRUPTED})


@dataclass(frozen=True, slots=True)
class Done:
    """
    The job is over.
    """


@dataclass(frozen=True, slots=True)
class Retry:
    """
    The same once more, after so many seconds; nothing is published. ``step`` counts waits since they last started over.
    """

    seconds: float
    step: int


@dataclass(frozen=True, slots=True)
class Recur:
    """
    The result is published, and the next period begins after so many seconds.
    """

    seconds: float


def may_retry(command: Command, state: State, runs: int) -> bool:
    """
    Whether ``max_restart`` leaves another run to a job that failed ``runs`` times.
    """
    return state in _FAILED and runs <= (command.max_restart or 0)


def goes_on(command: Command, runs: int) -> bool:
    """
    Whether a job that was interrupted in its ``runs``-th run may run again.
    """
    return bool(command.recurring_period) or may_retry(command, State.INTERRUPTED, runs)


def after_run(
    command: Command,
    outcome: Outcome,
    runs: int,
    step: int,
    seconds: float,
    jitter: Callable[[], float] = random.random,
) -> Done | Retry | Recur:
    """
    What to do after a run.

    :param runs: how many there were, this one included; with ``recurring_period``, in this period.
    :param step: of the last :class:`Retry`, else 0.
    :param seconds: how long this run took.
    :param jitter: gives numbers from 0 to 1.
    """
    if outcome.state == State.KILLED:
        return Done()
    if may_retry(command, outcome.state, runs) and not outcome.refused:
        step = 0 if seconds >= HEALTHY else step
        wait = min(FIRST_WAIT * 2.0 ** min(step, 30), LONGEST_WAIT)
        return Retry(min(wait * (1 + JITTER * (2 * jitter() - 1)), LONGEST_WAIT), step + 1)
    if command.recurring_period:
        return Recur(command.recurring_period)
    return Done()
