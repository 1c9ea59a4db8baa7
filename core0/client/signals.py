"""
What a signal to this process does, besides ending it.
"""

import os
import signal
from collections.abc import Callable
from typing import Any

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Signals:
    """
    What a signal to this process does: the first one what ``handler`` does, the second one ends it at once.
    """

    def __init__(self, reactor: Any, handler: Callable[[int], None]) -> None:
        self.reactor = reactor
        self._count = 0
        self.handler = handler
        # one that comes just before the reactor waits would be heard only when something else happens
        signal.set_wakeup_fd(reactor.waker.o, warn_on_full_buffer=False)
        for number in SIGNALS:
            if signal.getsignal(number) is not signal.SIG_IGN:
                signal.signal(number, self._signalled)

    def on_signal(self, handler: Callable[[int], None]) -> None:
        """
        Do this from now on.
        """
        self.handler = handler

    def _signalled(self, number: int, frame: object) -> None:
        self._count += 1
        if self._count > 1:
            os._exit(128 + number)
        self.reactor.callFromThread(lambda: self.handler(number))
