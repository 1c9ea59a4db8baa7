"""
What may block, in threads: pools that hold up neither the reactor nor the end of core0.
"""

from collections.abc import Callable
from functools import partial
from threading import Thread
from typing import Any, TypeVar

from twisted.internet.interfaces import IReactorTime
from twisted.internet.threads import deferToThreadPool
from twisted.logger import Logger
from twisted.python.threadpool import ThreadPool

from core0.errors import NoThread
from core0.waiting import pause

T = TypeVar("T")
STOP_TIMEOUT = 5.0  # seconds for what threads are still at when core0 stops
REACTOR_THREADS = 10  # as Twisted has it
FIRST_LOOK, LAST_LOOK = 0.001, 0.1  # seconds between looks whether they have ended
_log = Logger()


class DaemonPool(ThreadPool):
    """
    Threads that do not hold up the end of core0 when they hang.
    """

    threadFactory = partial(Thread, daemon=True)  # type: ignore[assignment] # it is called like the class

    def stop(self) -> None:
        """
        Take no more work, and end when there is none. Unlike Twisted's it does not wait for that in the reactor.
        """
        if not self.joined:
            self.joined = True
            self.started = False
            self._team.quit()

    async def finish(self, clock: IReactorTime, seconds: float = STOP_TIMEOUT) -> None:
        """
        Stop, and wait until its threads have ended, for so many seconds at most.
        """
        self.stop()
        deadline = clock.seconds() + seconds
        step = FIRST_LOOK
        while busy := [thread for thread in self.threads if thread.is_alive()]:
            if clock.seconds() >= deadline:
                text = "{count} threads of {pool} have not ended within {seconds} s; not waiting for them"
                _log.warn(text, count=len(busy), pool=self.name, seconds=seconds)
                return
            await pause(clock, step)
            step = min(step * 2, LAST_LOOK)


def use_daemon_pool(reactor: Any) -> None:
    """
    Have a reactor's own pool be one whose threads are not waited for at the end.
    """
    if not isinstance(reactor.getThreadPool(), DaemonPool):  # that also has the reactor stop it at its end
        reactor.threadpool = DaemonPool(0, REACTOR_THREADS, "twisted.internet.reactor")
        reactor.callWhenRunning(reactor.threadpool.start)


async def in_pool(reactor: Any, pool: ThreadPool, work: Callable[..., T], *arguments: Any) -> T:
    """
    Call something that blocks in a thread of a pool. It is called once, whatever it raises.

    :raises NoThread: the pool has none that is free, and the kernel gives it no other; or it is stopped.
    """
    if pool.joined:
        raise NoThread
    try:
        answer = deferToThreadPool(reactor, pool, work, *arguments)
    except RuntimeError as error:  # of the threading module; what the work raises comes with the answer
        drop_unstarted(pool)
        raise NoThread from error
    result: T = await answer
    return result


def drop_unstarted(pool: ThreadPool) -> None:
    """
    Have a pool forget the threads that could not be started: it would wait for them when it is stopped.
    """
    pool.threads = [thread for thread in pool.threads if thread.ident is not None]
