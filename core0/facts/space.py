"""
How full file systems are, without waiting for those that hang.
"""

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from errno import ENOENT, ENOTDIR
from threading import Lock, Thread
from time import monotonic

from core0.facts.files import clamp

PATIENCE = 2.0  # seconds


@dataclass(frozen=True, slots=True)
class Space:
    """
    The room of a file system in bytes. ``free`` is what anyone may use, so ``used + free`` may be less than ``total``.
    """

    total: int = 0
    used: int = 0
    free: int = 0


def ask(path: bytes) -> Space | None:
    """
    Ask the kernel; may hang for as long as a server is away.

    :returns: None if the file system refuses or its server is gone; no space at all if there is nothing at the path.
    """
    try:
        return room(os.statvfs(path))
    except OSError as error:
        return Space() if error.errno in (ENOENT, ENOTDIR) else None


def room(found: os.statvfs_result) -> Space:
    """
    What the kernel's answer comes to in bytes.
    """
    unit = found.f_frsize
    return Space(
        total=clamp(found.f_blocks * unit),
        used=clamp(max(0, found.f_blocks - found.f_bfree) * unit),
        free=clamp(found.f_bavail * unit),
    )


class Gauge:
    """
    Asks many file systems at once. There is never more than one thread for a path, however often it is asked about.

    :param patience: seconds to wait, for all of them together.
    """

    def __init__(self, question: Callable[[bytes], Space | None] = ask, patience: float = PATIENCE) -> None:
        self._question = question
        self._patience = patience
        self._lock = Lock()
        self._asked: dict[bytes, _Asked] = {}

    def measure(self, paths: Sequence[bytes]) -> list[Space | None]:
        """
        The room at each path, None where there is no answer in time.
        """
        with self._lock:
            self._asked = {path: asked for path, asked in self._asked.items() if asked.is_alive()}
            everything = [self._ask(path) for path in paths]
        deadline = monotonic() + self._patience
        for asked in everything:
            if asked.is_alive():
                asked.join(max(0.0, deadline - monotonic()))
        return [asked.space for asked in everything]

    def _ask(self, path: bytes) -> "_Asked":
        asked = self._asked.get(path)
        if asked is None:
            asked = self._asked[path] = _Asked(self._question, path)
            try:
                asked.start()
            except RuntimeError:
                pass  # there is no thread to be had, and so no answer
        return asked


class _Asked(Thread):
    """
    One question on its way. A daemon thread: an answer that never comes does not keep core0 from ending.
    """

    def __init__(self, question: Callable[[bytes], Space | None], path: bytes) -> None:
        super().__init__(name="statvfs", daemon=True)
        self._question = question
        self._path = path
        self.space: Space | None = None

    def run(self) -> None:
        self.space = self._question(self._path)
