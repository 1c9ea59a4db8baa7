"""
What is there after a power cut, and what tells one run of the machine from another.
"""

import os

BOOT = "/proc/sys/kernel/random/boot_id"  # another one each time the machine starts


def boot() -> str:
    """
    The machine's present run.
    """
    with open(BOOT, encoding="ascii") as file:
        return file.read().strip()


def sync_names(folder: str) -> None:
    """
    Have the disk know what is in a folder by which names; of what is in these files it is told by each of them.
    """
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
