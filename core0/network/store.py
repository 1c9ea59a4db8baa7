"""
What is desired, on disk: it survives core0 and the machine. All functions block; they are called in a thread.
"""

import os

from twisted.logger import Logger

from core0.durable import sync_names
from core0.network.desired import Desired, decode, encode
from core0.network.validity import check

FILE = "network.json"
LARGEST = 64 << 20  # bytes


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
        None if nothing was ever desired. A file that cannot be used is put aside, and nothing is desired any more.
        """
        try:
            with open(self._path, "rb") as file:
                desired = decode(file.read(LARGEST))
            check(desired)
            return desired
        except FileNotFoundError:
            return None
        except (OSError, ValueError, RecursionError) as error:
            aside = f"{self._path}.broken"
            text = "nothing is known of the network any more: {path}: {error}; it is {aside} now"
            self._log.critical(text, path=self._path, error=error, aside=aside)
            try:
                os.replace(self._path, aside)
            except OSError as failure:
                self._log.error("{path} is still there: {failure}", path=self._path, failure=failure)
            return Desired()

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
