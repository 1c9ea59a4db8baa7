"""
What /proc says of a process. All of it can be gone between two looks; then there is nothing to say.
"""

import os
from dataclasses import dataclass

_TICKS = os.sysconf("SC_CLK_TCK")


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
    """
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return b""
    try:
        data = os.read(fd, 1 << 16)
        while len(data) % (1 << 16) == 0 and (more := os.read(fd, 1 << 16)):
            data += more
        return data
    except OSError:
        return b""
    finally:
        os.close(fd)


def parse_stat(data: bytes) -> tuple[bytes, list[bytes]] | None:
    """
    State and the numbers after it of ``/proc/<pid>/stat``; the name before them may hold anything, brackets too.
    """
    _, bracket, rest = data.rpartition(b")")
    fields = rest.split()
    return (fields[0], fields[1:]) if bracket and len(fields) > 20 else None


def parse_status(data: bytes) -> dict[bytes, int]:
    """
    The numbers of ``/proc/<pid>/status`` by name; sizes in kB, as there.
    """
    found = {}
    for line in data.splitlines():
        name, _, value = line.partition(b":")
        words = value.split()
        if words and words[0].isdigit():
            found[name] = int(words[0])
    return found


def figures(pid: int) -> Figures | None:
    """
    What a process consumes; None if it is gone.
    """
    stat = parse_stat(read(f"/proc/{pid}/stat"))
    if stat is None:
        return None
    _, fields = stat
    status = parse_status(read(f"/proc/{pid}/status"))
    return Figures(
        cpu=(int(fields[10]) + int(fields[11])) / _TICKS,
        started=int(fields[18]),
        rss=status.get(b"VmRSS", 0) * 1024,
        vms=status.get(b"VmSize", 0) * 1024,
        swap=status.get(b"VmSwap", 0) * 1024,
        threads=status.get(b"Threads", 0),
    )


def alive(pid: int) -> bool:
    """
    Whether a process runs: a zombie does not.
    """
    stat = parse_stat(read(f"/proc/{pid}/stat"))
    return stat is not None and stat[0] not in (b"Z", b"X")


def children(pid: int) -> list[int]:
    """
    The direct children of a process, orphans that it got as a sub-reaper included.
    """
    return [int(word) for word in read(f"/proc/{pid}/task/{pid}/children").split()]


def processes() -> list[int]:
    """
    All processes that can be seen.
    """
    return [int(name) for name in os.listdir("/proc") if name.isdigit()]
