"""
What is desired, on disk: it survives core0 and the machine. All functions block; they are called in a thread.
"""

import errno
import os

from twisted.logger import Logger

from core0.durable import sync_names
from core0.errors import Core0Error
from core0.network.desired import Desired, decode, encode
from core0.network.validity import check

FILE = "network.json"
LARGEST = 64 << 20  # bytes


class Unread(Core0Error):
    """
    What is desired is not known as long as its file cannot be read; the text says why.
    """


class Store:
    """
    :param folder: in which the file is.
    """

    _log = Logger()

    def __init__(self, folder: str) -> None:
        self.folder = folder
        self._path = os.path.join(folder, FILE)
        self._old = f"{self._path}.old"

    def load(self) -> Desired | None:
        """
        None if nothing was ever desired. A file that was read whole and cannot be used is put aside, and nothing is
        desired any more.

        :raises OSError: it cannot be read, or put aside, now: what is desired is not known, and it is to be left alone.
        """
        try:
            text = self._read()
        except FileNotFoundError:
            return None
        try:
            desired = decode(text)
            check(desired)
            return desired
        except (ValueError, RecursionError) as error:
            aside = f"{self._path}.broken"
            os.replace(self._path, aside)
            said = "cannot use {path}: {error}; starting with no networks; the file is {aside} now"
            self._log.critical(said, path=self._path, error=error, aside=aside)
            return Desired()

    def _read(self) -> bytes:
        try:
            with open(self._path, "rb") as file:
                text = file.read(LARGEST + 1)
        except MemoryError as error:
            raise OSError(errno.ENOMEM, os.strerror(errno.ENOMEM), self._path) from error
        if len(text) > LARGEST:
            raise OSError(errno.EFBIG, os.strerror(errno.EFBIG), self._path)
        return text

    def save(self, desired: Desired) -> None:
        """
        All of it or nothing; there to stay.

        :raises OSError: it cannot be written; what was there before is still there.
        """
        self._remember()
        new = f"{self._path}.new"
        fd = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        try:
            with open(fd, "wb") as file:
                file.write(encode(desired))
                file.flush()
                os.fsync(file.fileno())
            os.replace(new, self._path)
        except BaseException:
            os.unlink(new)
            raise
        sync_names(self.folder)

    def _remember(self) -> None:
        for work in (lambda: os.unlink(self._old), lambda: os.link(self._path, self._old)):
            try:
                work()
            except FileNotFoundError:
                pass  # nothing was desired yet

    def back(self) -> None:
        """
        What was there before the last :meth:`save` is there again; it takes no room on the disk.

        :raises OSError: that cannot be.
        """
        try:
            os.replace(self._old, self._path)
        except FileNotFoundError:
            os.unlink(self._path)
        sync_names(self.folder)
