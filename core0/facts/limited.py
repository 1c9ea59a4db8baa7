"""
The facts of a container that may not use all that its host has.
"""

import math
from typing import Any

from msgspec.structs import replace

from core0.facts.files import ROOT, text
from core0.facts.mem import Memory, Swap

# of the cgroup that the container sees as its own, in either version
USED = ("sys/fs/cgroup/memory.current", "sys/fs/cgroup/memory/memory.usage_in_bytes")


def used() -> int:
    """
    Bytes of memory that the container uses, caches included; 0 where it does not see that.
    """
    for path in USED:
        found = text(ROOT / path)
        if found.isdigit():
            return int(found)
    return 0


def memory(facts: Memory, limit: int, used: int) -> Memory:
    """
    The memory of a host, as far as a container may have it: no swap, since its limit includes that.

    :param limit: in bytes; ``used``, too.
    """
    if limit >= facts.total:
        return facts
    free, used = max(0, limit - used), min(used, limit)
    return replace(
        facts,
        total=limit,
        free=min(free, facts.free),
        available=min(free, facts.available),
        used=used,
        used_percent=100 * used / limit,
        swap=Swap(0, 0, 0),
    )


def processors(facts: list[Any], cores: float | None) -> list[Any]:
    """
    The processors of a host, no more of them than a container may use at once.
    """
    return facts if cores is None else facts[: math.ceil(cores)]
