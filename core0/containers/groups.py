"""
The cgroups of a container, seen from the host: emptied and removed, in whatever hierarchies there are.

Functions that read and write the kernel's files; so not in the reactor's thread.
"""

import os
import signal
from collections.abc import Iterator
from pathlib import Path

from core0.containers.cgroups import hierarchies

UNIFIED = "/sys/fs/cgroup/unified"  # where hosts with both versions have the second one
MOST = 10_000  # cgroups below that of one container


def mounted(path: str) -> list[str]:
    """
    The folders of one cgroup in all hierarchies, whether they are there or not.

    :param path: absolute, from the root of each hierarchy.
    """
    if not path.startswith("/") or path == "/" or ".." in path.split("/"):
        raise ValueError(f"no cgroup of a container: {path!r}")
    found = (hierarchy.folder(path) for hierarchy in hierarchies(Path("/proc/self/mountinfo").read_text()))
    return list(dict.fromkeys(folder for folder in found if folder is not None))


def existing(path: str) -> list[str]:
    """
    The folders of one cgroup in the hierarchies that have it.
    """
    return [folder for folder in mounted(path) if os.path.isdir(folder)]


def make_unified(path: str) -> str:
    """
    Make a cgroup in the second version's hierarchy of a host with both.

    :returns: its folder.
    """
    folder = UNIFIED + path
    os.makedirs(folder, exist_ok=True)
    return folder


def kill(path: str) -> bool:
    """
    Kill all that is in there, and below.

    :returns: whether nothing is left. A process that has been killed takes its time to end.
    """
    found = [_kill_in(folder) for top in mounted(path) for folder in _below(top)]
    return True not in found


def remove(path: str) -> bool:
    """
    Remove the cgroups, and all below them.

    :returns: whether they are gone: those with processes stay.
    """
    tops = mounted(path)
    for top in tops:
        for folder in sorted(_below(top), key=len, reverse=True):
            _remove(folder)
    return not any(os.path.isdir(top) for top in tops)


def remove_empty(path: str) -> None:
    """
    Remove a cgroup, with none below it, where nothing is in it: the parent of those of the containers.
    """
    for folder in mounted(path):
        _remove(folder)


def _remove(folder: str) -> None:
    try:
        os.rmdir(folder)
    except OSError:
        pass  # in use, or gone already


def _below(top: str) -> Iterator[str]:
    """
    A cgroup and those below it; none if it is not there.
    """
    waiting, seen = [top], 0
    while waiting and seen < MOST:
        folder = waiting.pop()
        try:
            entries = list(os.scandir(folder))
        except OSError:
            continue
        seen += 1
        yield folder
        waiting += [entry.path for entry in entries if entry.is_dir(follow_symlinks=False)]


def _kill_in(folder: str) -> bool:
    """
    :returns: whether there is anybody.
    """
    try:
        with open(os.path.join(folder, "cgroup.kill"), "wb", buffering=0) as file:
            file.write(b"1")
    except OSError:
        pass  # version 1, or a threaded one: each by itself
    try:
        with open(os.path.join(folder, "cgroup.procs"), "rb") as file:
            pids = [int(word) for word in file.read().split()]
    except OSError:
        return False  # gone, or threaded: whoever is in there is in the one above it as well
    for pid in pids:
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
    return bool(pids)
