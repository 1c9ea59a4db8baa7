"""
Log records in files: JSON lines, rotated, with a cap on the total.
"""

import os
import threading
from collections.abc import Callable

FILE_NAME = "jobs.log"
PIECES = 16  # the total is so many files
MAX_LINES = 20_000
MAX_BYTES = 8 << 20
RETRY = 1.0  # seconds until a write that failed is tried again


class LogFiles:
    """
    A thread writes them, so that a slow disk slows nobody. What it cannot keep up with, and a record larger than a file
    may be, is dropped and counted. What could not be written is tried again.

    :param folder: where ``jobs.log`` and the older ``jobs.log.1`` to ``.15`` are.
    :param total: bytes of all of them together.
    """

    def __init__(self, folder: str, total: int) -> None:
        self._folder = folder
        self._largest = max(total // PIECES, 4096)
        self._lines: list[bytes] = []
        self._bytes = 0
        self._dropped = 0
        self._changed = threading.Condition()
        self._fd = -1
        self._size = 0
        self._stopping = False
        self._reopen = False
        self._thread: threading.Thread | None = None
        self.tell_dropped: Callable[[int, str], bytes] = lambda count, where: b""

    def start(self) -> None:
        """
        Begin to write.

        :raises OSError: the folder cannot be made.
        """
        os.makedirs(self._folder, mode=0o700, exist_ok=True)
        self._thread = threading.Thread(target=self._work, name="core0-logs", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """
        Write what is left, for some seconds at most.
        """
        with self._changed:
            self._stopping = True
            self._changed.notify()
        if self._thread is not None:
            self._thread.join(timeout=5.0)

    def limit(self, total: int) -> None:
        """
        Let all files together have so many bytes from now on.
        """
        self._largest = max(total // PIECES, 4096)

    def reopen(self) -> None:
        """
        Somebody else moved the file away.
        """
        with self._changed:
            self._reopen = True
            self._changed.notify()

    def log(self, line: bytes) -> None:
        """
        Keep a log record, if there is room.
        """
        with self._changed:
            full = len(self._lines) >= MAX_LINES or self._bytes + len(line) > MAX_BYTES
            if full or len(line) >= self._largest:
                self._dropped += 1
            else:
                self._lines.append(line)
                self._bytes += len(line)
            if len(self._lines) < 2:
                self._changed.notify()

    def _work(self) -> None:
        while True:
            with self._changed:
                while not (self._lines or self._dropped or self._stopping or self._reopen):
                    self._changed.wait()
                lines, self._lines, self._bytes = self._lines, [], 0
                dropped, self._dropped = self._dropped, 0
                reopen, self._reopen = self._reopen, False
                stopping = self._stopping
            try:
                if reopen:
                    self._close()
                self._write(lines)
                if dropped:
                    self._write([self.tell_dropped(dropped, "the disk")])
            except OSError:
                with self._changed:
                    self._lines[:0] = lines
                    self._bytes += sum(map(len, lines))
                    self._dropped += dropped
                    if not stopping:
                        self._changed.wait(RETRY)
                        continue
            if stopping:
                self._close()
                return

    def _write(self, lines: list[bytes]) -> None:
        """
        Append, and begin a new file where the current one is full. Whatever is written is removed from ``lines``.
        """
        if self._fd >= 0 and not os.fstat(self._fd).st_nlink:
            self._close()  # it was removed: one that was only moved is written to until somebody says otherwise
        while lines:
            if self._fd < 0:
                self._open()
            size, count = self._size, 0
            while count < len(lines) and (not size or size + len(lines[count]) < self._largest):
                size += len(lines[count]) + 1
                count += 1
            if count:
                self._append(lines[:count])
                del lines[:count]
            else:
                self._close()
                self._rotate()

    def _append(self, lines: list[bytes]) -> None:
        data = b"".join(line + b"\n" for line in lines)
        rest = memoryview(data)
        try:
            while rest:
                rest = rest[os.write(self._fd, rest) :]
        except OSError:
            os.ftruncate(self._fd, self._size)  # no half of a record
            raise
        self._size += len(data)

    def _open(self) -> None:
        os.makedirs(self._folder, mode=0o700, exist_ok=True)
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC
        self._fd = os.open(os.path.join(self._folder, FILE_NAME), flags, 0o600)
        self._size = os.fstat(self._fd).st_size

    def _close(self) -> None:
        fd, self._fd = self._fd, -1
        if fd >= 0:
            os.close(fd)

    def _rotate(self) -> None:
        path = os.path.join(self._folder, FILE_NAME)
        for number in range(PIECES - 1, 0, -1):
            older = path if number == 1 else f"{path}.{number - 1}"
            if os.path.exists(older):
                os.replace(older, f"{path}.{number}")
