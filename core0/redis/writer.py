"""
Writing what gathers, on a connection of its own: begin, end, and wait until nothing is left.
"""

from abc import ABC, abstractmethod

from twisted.internet.interfaces import IReactorTime

from core0.redis.link import Link
from core0.redis.task import Task
from core0.waiting import Bell, Occurrence


class Writer(ABC):
    """
    :param complaint: for the log, when it has ended by a mistake.
    """

    def __init__(self, clock: IReactorTime, link: Link, complaint: str) -> None:
        self._clock = clock
        self._link = link
        self._bell = Bell()
        self._quiet: Occurrence[None] | None = None
        self._task = Task(complaint)

    def start(self) -> None:
        """
        Begin to write.
        """
        self._link.start()
        self._task.start(self._work())

    def stop(self) -> None:
        """
        Write no more.
        """
        self._task.stop()
        self._link.stop()

    async def flushed(self) -> None:
        """
        Wait until nothing is left to write.
        """
        if self._left():
            if self._quiet is None:
                self._quiet = Occurrence()
            await self._quiet.wait()

    def _calm(self) -> None:
        """
        Tell those who wait for it, if nothing is left.
        """
        if self._quiet is not None and not self._left():
            quiet, self._quiet = self._quiet, None
            quiet.happen(None)

    @abstractmethod
    def _left(self) -> bool:
        """
        Whether anything is still to be written.
        """

    @abstractmethod
    async def _work(self) -> None:
        """
        Write, whenever the bell has rung, for as long as this is started.
        """
