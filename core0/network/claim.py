"""
Who looks after the networks of this host: one core0 at a time, or they would undo what the other one does.
"""

import os

from core0.errors import AlreadyRunning, Core0Error
from core0.lock import Lock

FOLDER = "/run"  # where no user but root can take it away from core0


class NotOurs(Core0Error):
    """
    Another core0 looks after them; the text says which.
    """


class Claim:
    """
    That it is this one.

    :param state: its folder, which tells it from others.
    """

    def __init__(self, state: str) -> None:
        self._state = state
        self._lock: Lock | None = None

    def take(self) -> None:
        """
        Unless it was taken before.

        :raises NotOurs: another one has it, or it cannot be had.
        """
        if self._lock is not None:
            return
        try:
            lock = Lock(path())
            lock.take()
            lock.say(f"pid {os.getpid()}, which keeps its state in {self._state}")
        except AlreadyRunning as error:
            raise NotOurs(
                f"another core0 looks after the networks of this host: {error}; use that, or stop it"
            ) from error
        except OSError as error:
            text = f"cannot look after the networks of this host: {error.filename or FOLDER}: {error.strerror}"
            raise NotOurs(f"{text}; is this core0 root?") from error
        self._lock = lock

    def drop(self) -> None:
        """
        Another one may take it.
        """
        if self._lock is not None:
            self._lock.release()
            self._lock = None


def path() -> str:
    """
    Of the lock: each network namespace has one of its own.
    """
    return f"{FOLDER}/core0-networks-{os.stat('/proc/self/ns/net').st_ino}.lock"
