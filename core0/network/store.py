"""
What is desired, on disk: it survives core0 and the machine. All functions block; they are called in a thread.
"""

import os

from twisted.logger import Logger

from core0.network.desired import Desired, decode, encode

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

    def load(self) -> Desired | None:
        """
        None if nothing was ever desired. A file that cannot be used is put aside.
        """
        try:
            with open(self._path, "rb") as file:
                return decode(file.read(LARGEST))
        except FileNotFoundError:
            return None
        except (OSError, ValueError) as error:
            aside = f"{self._path}.broken"
            text = "nothing is known of the network any more: {path}: {error}; it is {aside} now"
            self._log.critical(text, path=self._path, error=error, aside=aside)
            os.replace(self._path, aside)
            return None

    def save(self, desired: Desired) -> None:
        """
        All of it or nothing.

        :raises OSError: it cannot be written; what was there before is still there.
        """
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
