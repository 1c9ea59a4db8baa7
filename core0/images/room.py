"""
Room on the disk: others write there, too, and what is laid out must not take the last of it from them.
"""

import errno
import os

SECTOR = 512  # bytes; the unit of st_blocks
EVERY = 16 << 20  # bytes between two looks
SHARE = 20  # what is left to others: a twentieth of the file system,
LEAST, MOST = 1 << 30, 8 << 30  # but at least and at most so many bytes,
SMALL = 4  # and never more than this part of a small one


class Room:
    """
    On the file system of a folder.

    :param reserve: bytes that are left to others; None: as many as fit its size.
    """

    def __init__(self, folder: str, reserve: int | None = None) -> None:
        self._folder = folder
        self._pending = 0
        if reserve is None:
            found = os.statvfs(folder)
            total = found.f_blocks * found.f_frsize
            reserve = min(max(total // SHARE, LEAST), MOST, total // SMALL)
        self.reserve = reserve

    def free(self) -> int:
        """
        Bytes that may be written.
        """
        found = os.statvfs(self._folder)
        return max(0, found.f_bavail * found.f_frsize - self.reserve)

    def take(self, count: int) -> None:
        """
        Somebody is about to write.

        :param count: bytes.
        :raises OSError: there is no room for that.
        """
        self._pending += count
        if self._pending < EVERY:
            return
        pending, self._pending = self._pending, 0
        free = self.free()
        if pending > free:
            text = f"{pending} more bytes do not fit below {self._folder}, {free} are free and {self.reserve} kept free"
            raise OSError(errno.ENOSPC, f"{text}; 'corectl store gc --all' removes what no container uses")
