"""
What was done, and how it is undone: in reverse, all of it, whatever fails on the way.
"""

from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack

from twisted.internet.defer import CancelledError
from twisted.logger import Logger
from twisted.python.failure import Failure

Step = Callable[[], Awaitable[object] | None]


class Undo:
    """
    A stack of inverses.

    :ivar failed: what could not be undone, each with the reason.
    """

    _log = Logger()

    def __init__(self, what: str) -> None:
        self._what = what
        self._stack = AsyncExitStack()
        self.failed: list[str] = []

    def push(self, name: str, step: Step) -> None:
        """
        Remember how something is undone; better just before it is done.
        """
        self._stack.push_async_callback(self._run, name, step)

    async def _run(self, name: str, step: Step) -> None:
        try:
            result = step()
            if result is not None:
                await result
        except CancelledError:
            # on purpose, so no failure to be looked into
            self.failed.append(f"{name} (cancelled)")
            self._log.warn("{what}: not undone, cancelled: {name}", what=self._what, name=name)
        except Exception as error:
            self.failed.append(f"{name} ({error})")
            self._log.failure("{what}: cannot undo: {name}", Failure(), what=self._what, name=name)

    async def unwind(self) -> None:
        """
        Undo everything.
        """
        await self._stack.aclose()
