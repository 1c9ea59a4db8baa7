"""
Ranges of user ids of the host that containers have, one each: which of them are in use, those of other core0 included.
"""

from collections.abc import Iterable

from core0 import procfs
from core0.containers.building import FIRST_ID, SLOTS, first_id
from core0.containers.rootfs import IDS


def slots_in(uid_maps: Iterable[bytes]) -> set[int]:
    """
    The ranges that maps of ids lead to, in full or in part.

    :param uid_maps: of ``/proc/<pid>/uid_map``.
    """
    found: set[int] = set()
    for text in set(uid_maps):
        for line in text.splitlines():
            words = line.split()
            if len(words) == 3 and all(map(bytes.isdigit, words)):
                first, count = int(words[1]), int(words[2])
                low, high = max(first, FIRST_ID), min(first + count, first_id(SLOTS))
                if low < high and count <= IDS:  # else it is that of a host, or of all that is on it
                    found.update(range((low - FIRST_ID) // IDS, (high - 1 - FIRST_ID) // IDS + 1))
    return found


def slots_in_use() -> set[int]:
    """
    Those of all processes of this machine. Reads /proc: call it in a thread.
    """
    return slots_in(procfs.read(f"/proc/{pid}/uid_map") for pid in procfs.processes())
