"""
How full the server is.
"""

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import LoopingCall
from twisted.logger import Logger
from twisted.python.failure import Failure

from core0.redis import keys
from core0.redis.connection import RedisError
from core0.redis.link import Link

INTERVAL = 2.0  # seconds
SHORT = 0.8  # of its memory: results are stored with short streams
STOP = 0.95  # nothing is taken any more
SCARCE = 1000  # log records kept above SHORT; all of them are in files, too


def memory(info: bytes) -> tuple[int, int]:
    """
    Used and maximal memory in bytes, from the text of ``INFO memory``; (0, 0) for a server without a maximum.
    """
    figures = dict(line.partition(b":")[::2] for line in info.splitlines())
    most = int(figures.get(b"maxmemory", b"0") or 0)
    return (int(figures.get(b"used_memory", b"0") or 0), most) if most else (0, 0)


class Pressure:
    """
    Looks every other second, over a link that others use, too; in between it counts what core0 writes.
    """

    _log = Logger()

    def __init__(self, clock: IReactorTime, link: Link) -> None:
        self._link = link
        self._used = 0
        self._most = 0
        self._written = 0
        self._told = False
        self._loop = LoopingCall(self._look)
        self._loop.clock = clock

    def start(self) -> None:
        """
        Begin to look.
        """
        self._loop.start(INTERVAL)

    def stop(self) -> None:
        """
        Look no more.
        """
        if self._loop.running:
            self._loop.stop()

    def written(self, size: int) -> None:
        """
        So many bytes are being stored.
        """
        self._written += size

    def short(self, more: int = 0) -> bool:
        """
        Whether results are to be stored with short streams; ``more`` bytes are still to be stored.
        """
        return self._used + self._written + more > SHORT * self._most > 0

    def stopped(self) -> bool:
        """
        Whether nothing more is to be taken.
        """
        return self._used + self._written > STOP * self._most > 0

    def _look(self) -> "Deferred[None]":
        return Deferred.fromCoroutine(self._ask()).addErrback(self._failed)

    def _failed(self, failure: Failure) -> None:
        if not failure.check(RedisError):  # it may be away, or not tell; then there is nothing to go by
            self._log.failure("cannot see how full the server is", failure)

    async def _ask(self) -> None:
        connection = await self._link.up()
        written = self._written
        self._used, self._most = memory(await connection.command("INFO", "memory"))
        self._written -= written  # sent before, on the same connection, so it is among what is used
        if self.short():
            await connection.command("LTRIM", keys.LOGS, -SCARCE, -1)
        if self.short() and not self._told:
            text = "the server's memory is {percent} % full: results are cut short, above 95 % nothing is taken"
            self._log.warn(text, percent=100 * self._used // self._most)
        self._told = self.short()
