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


class LogFiles:
    """
    A thread writes them, so that a slow disk slows nobody. What it cannot keep up with is dropped and counted.

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
            if len(self._lines) >= MAX_LINES or self._bytes + len(line) > MAX_BYTES:
                self._dropped += 1
                return
            self._lines.append(line)
            self._bytes += len(line)
            if len(self._lines) == 1:
                self._changed.notify()

    def _work(self) -> None:
        fd, size = -1, 0
        while True:
            with self._changed:
                while not (self._lines or self._stopping or self._reopen):
                    self._changed.wait()
                lines, self._lines, self._bytes = self._lines, [], 0
                dropped, self._dropped = self._dropped, 0
                reopen, self._reopen = self._reopen, False
                stopping = self._stopping
            if dropped:
                lines.append(self.tell_dropped(dropped, "the disk"))
            try:
                fd, size = self._write(fd, size, lines, reopen)
            except OSError:
                with self._changed:
                    self._dropped += len(lines)
                    if not stopping:
                        self._changed.wait(1.0)
            if stopping and not self._lines:
                if fd >= 0:
                    os.close(fd)
                return

    def _write(self, fd: int, size: int, lines: list[bytes], reopen: bool) -> tuple[int, int]:
        """
        Append, and begin a new file where the current one is full.
        """
        if reopen and fd >= 0:
            os.close(fd)
            fd = -1
        pending: list[bytes] = []
        for line in lines:
            if fd < 0:
                fd, size = self._open()
            if size and size + len(line) + 1 > self._largest:
                _write_all(fd, pending)
                pending = []
                os.close(fd)
                self._rotate()
                fd, size = self._open()
            pending.append(line)
            size += len(line) + 1
        if pending:
            _write_all(fd, pending)
        return fd, size

    def _open(self) -> tuple[int, int]:
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC
        fd = os.open(os.path.join(self._folder, FILE_NAME), flags, 0o600)
        return fd, os.fstat(fd).st_size

    def _rotate(self) -> None:
        path = os.path.join(self._folder, FILE_NAME)
        for number in range(PIECES - 1, 0, -1):
            older = path if number == 1 else f"{path}.{number - 1}"
            if os.path.exists(older):
                os.replace(older, f"{path}.{number}")


def _write_all(fd: int, lines: list[bytes]) -> None:
    data = memoryview(b"".join(line + b"\n" for line in lines))
    while data:
        data = data[os.write(fd, data) :]
