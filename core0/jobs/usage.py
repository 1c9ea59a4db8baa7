"""
What processes consume, summed over trees.
"""

import os
import time
import weakref
from collections.abc import Callable, Sequence
from typing import Any

from core0 import procfs
from core0.interfaces import IJob, ThreadRunner
from core0.tree_interfaces import ITree
from core0.values import Usage

Figures = Callable[[int, bool], procfs.Figures | None]
_Seen = tuple[float, dict[int, tuple[int, float]]]  # when; of each pid: when it started, its CPU seconds


class Meter:
    """
    Looks at one tree again and again: CPU is counted from one look to the next, 0 at the first.

    :param figures: of a process, by its pid; None if it is gone.
    :param now: seconds on a clock that never goes back.
    """

    __slots__ = ("_figures", "_now", "_seen")

    def __init__(self, figures: Figures = procfs.figures, now: Callable[[], float] = time.monotonic) -> None:
        self._figures = figures
        self._now = now
        self._seen: _Seen | None = None

    def look(self, pids: Sequence[int], swapping: bool = True) -> Usage:
        """
        Sum up these processes. Reads /proc: call it in a thread.

        :param swapping: whether the machine has any.
        """
        now = self._now()
        before, seen = self._seen or (now, {})
        after: dict[int, tuple[int, float]] = {}
        spent, rss, vms, swap, threads = 0.0, 0, 0, 0, 0
        for pid in pids:
            figures = self._figures(pid, swapping)
            if figures is None:
                continue
            after[pid] = (figures.started, figures.cpu)
            started, cpu = seen.get(pid, (figures.started, figures.cpu if self._seen is None else 0.0))
            spent += max(0.0, figures.cpu - (cpu if started == figures.started else 0.0))
            rss += figures.rss
            vms += figures.vms
            swap += figures.swap
            threads += figures.threads
        self._seen = (now, after)
        percent = 100 * spent / (now - before) if now > before else 0.0
        return Usage(cpu=round(percent, 1), rss=rss, vms=vms, swap=swap, threads=threads)


def total(usages: Sequence[Usage]) -> Usage:
    """
    The sum of several.
    """
    return Usage(
        cpu=round(sum(usage.cpu for usage in usages), 1),
        rss=sum(usage.rss for usage in usages),
        vms=sum(usage.vms for usage in usages),
        swap=sum(usage.swap for usage in usages),
        threads=sum(usage.threads for usage in usages),
    )


class Gauge:
    """
    Meters of this process and of the trees of jobs, one for each who asks: CPU counts from his last look.

    :param in_thread: calls a blocking function in a thread.
    """

    def __init__(self, in_thread: ThreadRunner) -> None:
        self._in_thread = in_thread
        self._own = Meter()
        self._meters: weakref.WeakKeyDictionary[IJob, Meter] = weakref.WeakKeyDictionary()

    async def look(self, jobs: Sequence[IJob]) -> tuple[Usage, Sequence[Usage]]:
        """
        What this process and the tree of each of these jobs consume.
        """
        meters = [(self._meters.setdefault(job, Meter()), job.tree) for job in jobs]
        return await self._in_thread(_measure, meters, self._own)


def _measure(meters: Sequence[tuple[Meter, ITree | None]], own: Meter) -> tuple[Usage, list[Usage]]:
    swapping = procfs.swapping()
    found: dict[object, Any] = {}
    usages = [meter.look(tree.members(found) if tree else (), swapping) for meter, tree in meters]
    return own.look([os.getpid()], swapping), usages
