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
    :param folder: whether the folder that it is in is locked, too. A file may be removed while it is held, and another
        one made in its place.
    """

    def __init__(self, path: str, *, folder: bool = False) -> None:
        self._path = path
        self._with_folder = folder
        self._fd = self._folder = -1

    def take(self) -> None:
        """
        :raises AlreadyRunning: somebody has it; says who and where.
        :raises OSError: the file cannot be made.
        """
        fd = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if self._with_folder:
                self._lock_folder()
        except BlockingIOError as error:
            holder = os.read(fd, 1024).decode("utf-8", "replace").strip() or "it does not say which"
            os.close(fd)
            raise AlreadyRunning(f"core0 runs already: {holder}") from error
        except OSError:
            os.close(fd)
            raise
        self._fd = fd

    def _lock_folder(self) -> None:
        fd = os.open(os.path.dirname(self._path), os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(fd)
            raise
        except OSError:
            os.close(fd)  # a file system that cannot lock folders
        else:
            self._folder = fd

    def say(self, text: str) -> None:
        """
        Tell those who find it held, where its file can be written to.
        """
        self._write(text.encode() + b"\n")

    def _write(self, text: bytes) -> None:
        try:
            os.ftruncate(self._fd, 0)
            os.pwrite(self._fd, text, 0)
        except OSError:
            pass  # it counts who has the lock, not what is said of it

    def release(self) -> None:
        """
        Give it up.
        """
        if self._fd >= 0:
            self._write(b"")
            os.close(self._fd)
            self._fd = -1
        if self._folder >= 0:
            os.close(self._folder)
            self._folder = -1
