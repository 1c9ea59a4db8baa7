"""
Work that goes on in the background for as long as core0 lives.
"""

from collections.abc import Callable, Coroutine
from typing import Any

from twisted.internet.defer import CancelledError, Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure

from core0.redis.connection import Lost


def _nothing() -> None:
    pass


# Called when such work has ended by a mistake of core0's own: without it core0 lives, and is deaf. Whoever puts the
# parts together assigns what ends the process, so that it is started again.
on_broken: Callable[[], None] = _nothing


class Task:
    """
    :param complaint: for the log, when it has ended by a mistake.
    """

    _log = Logger()

    def __init__(self, complaint: str) -> None:
        self._complaint = complaint
        self._deferred: Deferred[None] | None = None

    def start(self, work: Coroutine[Any, Any, None]) -> None:
        """
        Begin.
        """
        self._deferred = Deferred.fromCoroutine(work)
        self._deferred.addErrback(self._ended)

    def stop(self) -> None:
        """
        End it.
        """
        if self._deferred is not None:
            self._deferred.cancel()

    def _ended(self, failure: Failure) -> None:
        if failure.check(CancelledError, Lost):
            return
        self._log.critical(
            "{complaint}: {reason}\n{trace}",
            complaint=self._complaint,
            reason=failure.getErrorMessage(),
            trace=failure.getTraceback(),
        )
        on_broken()
