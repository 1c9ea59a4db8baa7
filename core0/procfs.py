"""
What /proc says of a process. All of it can be gone between two looks; then there is nothing to say.
"""

import errno
import os
import time
from dataclasses import dataclass

_TICKS = os.sysconf("SC_CLK_TCK")
_PAGE = os.sysconf("SC_PAGE_SIZE")
_CROWDED = (errno.EMFILE, errno.ENFILE)
_TRIES = 20


@dataclass(frozen=True, slots=True)
class Figures:
    """
    ``cpu`` in seconds since it started, ``started`` in clock ticks since the machine did; the rest in bytes.
    """

    cpu: float
    started: int
    rss: int
    vms: int
    swap: int
    threads: int


def read(path: str) -> bytes:
    """
    The whole of a small kernel file; empty if it is gone.

    :raises OSError: too many files are open: that does not say that it is gone.
    """
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError as error:
        if error.errno in _CROWDED:
            raise
        return b""
    try:
        # a short read is not the last one: lists of processes come in pieces of a page
        pieces = []
        while piece := os.read(fd, 1 << 16):
            pieces.append(piece)
        return b"".join(pieces)
    except OSError:
        return b""
    finally:
        os.close(fd)


def write(path: str, data: bytes) -> None:
    """
    Write to a kernel file at once.
    """
    fd = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
    try:
        os.write(fd, data)
    finally:
        os.close(fd)


def open_process(pid: int) -> int | None:
    """
    A descriptor of a process; None if it is gone, or only a further thread of one. May wait: call it in a thread.

    :raises OSError: too many files are open, and that stays so. While a program is being started it is so for moments.
    """
    for tries in range(_TRIES, 0, -1):
        try:
            return os.pidfd_open(pid)
        except OSError as error:
            if error.errno not in _CROWDED:
                return None
            if tries == 1:
                raise
        time.sleep(0.001)
    return None


def leads(pid: int) -> bool:
    """
    Whether this is a process, not one of its further threads: those have no descriptor.
    """
    fd = open_process(pid)
    if fd is not None:
        os.close(fd)
    return fd is not None


def parse_stat(data: bytes) -> tuple[bytes, list[bytes]] | None:
    """
    State and the numbers after it of ``/proc/<pid>/stat``; the name before them may hold anything, brackets too.
    """
    _, bracket, rest = data.rpartition(b")")
    fields = rest.split()
    return (fields[0], fields[1:]) if bracket and len(fields) > 20 else None


def parse_swap(status: bytes) -> int:
    """
    Bytes of swap that the text of ``/proc/<pid>/status`` tells of.
    """
    _, _, rest = status.partition(b"VmSwap:")
    words = rest.split(maxsplit=1)
    return int(words[0]) * 1024 if words else 0


def figures(pid: int, swap: bool = True) -> Figures | None:
    """
    What a process consumes; None if it is gone.

    :param swap: whether to look for swap: half of the work, and for nothing on a machine without.
    """
    stat = parse_stat(read(f"/proc/{pid}/stat"))
    if stat is None:
        return None
    _, fields = stat
    return Figures(
        cpu=(int(fields[10]) + int(fields[11])) / _TICKS,
        started=int(fields[18]),
        rss=int(fields[20]) * _PAGE,
        vms=int(fields[19]),
        swap=parse_swap(read(f"/proc/{pid}/status")) if swap else 0,
        threads=int(fields[16]),
    )


def swapping() -> bool:
    """
    Whether the machine has any swap.
    """
    return read("/proc/swaps").count(b"\n") > 1


def started(pid: int) -> int:
    """
    When a living process was started, in clock ticks since the machine was: with its pid that tells it from all others
    since then. 0 if it does not live; a zombie does not.
    """
    fields = _living(pid)
    return int(fields[18]) if fields is not None else 0


def alive(pid: int) -> bool:
    """
    Whether a process runs: a zombie does not.
    """
    return _living(pid) is not None


def _living(pid: int) -> list[bytes] | None:
    stat = parse_stat(read(f"/proc/{pid}/stat"))
    return stat[1] if stat is not None and stat[0] not in (b"Z", b"X") else None


def children(pid: int) -> list[int]:
    """
    The direct children of a process, orphans that it got as a sub-reaper included.
    """
    return [int(word) for word in read(f"/proc/{pid}/task/{pid}/children").split()]


def all_children(pid: int) -> list[int]:
    """
    The direct children of a process, whichever of its threads has started them.
    """
    try:
        threads = os.listdir(f"/proc/{pid}/task")
    except OSError:
        return []
    return [int(word) for thread in threads for word in read(f"/proc/{pid}/task/{thread}/children").split()]


def parent(pid: int) -> int:
    """
    Of a process; 0 if it has none, or is gone.
    """
    stat = parse_stat(read(f"/proc/{pid}/stat"))
    return int(stat[1][0]) if stat is not None else 0


def processes() -> list[int]:
    """
    All processes that can be seen.
    """
    return [int(name) for name in os.listdir("/proc") if name.isdigit()]
