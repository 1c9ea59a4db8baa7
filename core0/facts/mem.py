"""
The memory of this machine.
"""

from collections.abc import Mapping
from pathlib import Path

from msgspec import Struct

from core0.facts.files import ROOT, clamp, integer, text


class Swap(Struct, frozen=True):
    """
    The swap space, in bytes.
    """

    total: int
    used: int
    free: int


class Memory(Struct, frozen=True, rename="camel"):
    """
    The memory, in bytes; ``used_percent`` is that of ``total``.
    """

    total: int
    available: int
    used: int
    used_percent: float
    free: int
    active: int
    inactive: int
    buffers: int
    cached: int
    shared: int
    swap: Swap


def collect(root: Path = ROOT) -> Memory:
    """
    How much memory there is, and how much of it is in use.
    """
    return summarize(parse(text(root / "proc/meminfo")))


def parse(meminfo: str) -> dict[str, int]:
    """
    Read ``/proc/meminfo``: bytes by name.
    """
    found: dict[str, int] = {}
    for line in meminfo.splitlines():
        name, colon, value = line.partition(":")
        if colon:
            found[name.strip()] = clamp(integer(value) * (1024 if value.rstrip().endswith("kB") else 1))
    return found


def summarize(sizes: Mapping[str, int]) -> Memory:
    """
    Work out the answer from the figures of the kernel.
    """

    def size(name: str) -> int:
        return max(0, sizes.get(name, 0))

    total, free = size("MemTotal"), size("MemFree")
    # kernels before 3.14, and some sandboxes, do not say what is available
    guess = free + size("Buffers") + size("Cached") + size("SReclaimable")
    available = min(total, size("MemAvailable") if "MemAvailable" in sizes else guess)
    swap, free_swap = size("SwapTotal"), min(size("SwapTotal"), size("SwapFree"))
    return Memory(
        total=total,
        available=available,
        used=total - available,
        used_percent=100 * (total - available) / total if total else 0.0,
        free=free,
        active=size("Active"),
        inactive=size("Inactive"),
        buffers=size("Buffers"),
        cached=size("Cached"),
        shared=size("Shmem"),
        swap=Swap(total=swap, used=swap - free_swap, free=free_swap),
    )
