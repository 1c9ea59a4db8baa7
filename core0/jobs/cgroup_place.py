"""
The cgroup v2 hierarchy as files: where this process is in it, and what is done with cgroups that are empty.
"""

import errno
import os
import re

from core0 import procfs

_OCTAL = re.compile(rb"\\([0-3][0-7]{2})")


def own_path(cgroup: bytes) -> bytes | None:
    """
    This process's place in the cgroup v2 hierarchy, from ``/proc/self/cgroup``; None also if it is outside of what its
    cgroup namespace shows.
    """
    for line in cgroup.split(b"\n"):
        if line.startswith(b"0::/"):
            return None if b".." in line[3:].split(b"/") else line[3:]
    return None


def own_folder(mountinfo: bytes, own: bytes) -> str | None:
    """
    The folder of a place in the cgroup v2 hierarchy. That is mounted at ``/sys/fs/cgroup``, or at ``…/unified`` on
    hosts that have both; in a container perhaps only a part of it.

    :param mountinfo: of ``/proc/self/mountinfo``.
    """
    for line in mountinfo.split(b"\n"):
        before, _, after = line.partition(b" - ")
        fields = before.split(b" ")
        if not after.startswith(b"cgroup2 ") or len(fields) < 5:
            continue
        root, point = (_unescaped(field).rstrip(b"/") for field in fields[3:5])
        if own.startswith(root + b"/") or own == root:
            return os.fsdecode((point + own[len(root) :]).rstrip(b"/"))
    return None


def _unescaped(field: bytes) -> bytes:
    return _OCTAL.sub(lambda found: bytes([int(found[1], 8)]), field)


def folders(path: str) -> list[str]:
    """
    A cgroup and those that were made in it, the outermost first.
    """
    stat = procfs.read(f"{path}/cgroup.stat")
    if not stat or stat.startswith(b"nr_descendants 0\n"):
        return [path]
    return [folder for folder, _, _ in os.walk(path)]


def remove(path: str) -> None:
    """
    Remove an empty cgroup and those that were made in it; one that is not empty stays.
    """
    for folder in reversed(folders(path)):
        try:
            os.rmdir(folder)
        except OSError as error:
            if error.errno not in (errno.ENOENT, errno.EBUSY):
                raise


def clean(path: str) -> bool:
    """
    Undo what ``kill`` and its processes did to a cgroup.

    :returns: whether it is as good as new.
    """
    try:
        frozen = procfs.read(f"{path}/cgroup.freeze")[:1]
        if frozen == b"1":
            procfs.write(f"{path}/cgroup.freeze", b"0")
        return bool(frozen) and len(folders(path)) == 1
    except OSError:
        return False
