"""
The memory of this machine.
"""

import psutil
from msgspec import Struct


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


def collect() -> Memory:
    """
    How much memory there is, and how much of it is in use.
    """
    memory, swap = psutil.virtual_memory(), psutil.swap_memory()
    used = memory.total - memory.available
    return Memory(
        total=memory.total,
        available=memory.available,
        used=used,
        used_percent=100 * used / memory.total if memory.total else 0.0,
        free=memory.free,
        active=memory.active,
        inactive=memory.inactive,
        buffers=memory.buffers,
        cached=memory.cached,
        shared=memory.shared,
        swap=Swap(total=swap.total, used=swap.used, free=swap.free),
    )
