"""
One core0 for one state directory.
"""

import fcntl
import os

from core0.errors import AlreadyRunning


class Lock:
    """
    Held for as long as the process lives, through a fork too; whoever finds it held learns by whom.

    :param path: of the file; its text says who holds it.
    """

    def __init__(self, path: str) -> None:
        self._path = path
        self._fd = -1

    def take(self) -> None:
        """
        :raises AlreadyRunning: somebody has it; says who and where.
        :raises OSError: the file cannot be made.
        """
        fd = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            holder = os.read(fd, 1024).decode("utf-8", "replace").strip() or "it does not say which"
            os.close(fd)
            raise AlreadyRunning(f"core0 runs already: {holder}") from error
        self._fd = fd

    def say(self, text: str) -> None:
        """
        Tell those who find it held.
        """
        os.ftruncate(self._fd, 0)
        os.pwrite(self._fd, text.encode() + b"\n", 0)

    def release(self) -> None:
        """
        Give it up.
        """
        if self._fd >= 0:
            self.say("")
            os.close(self._fd)
            self._fd = -1
