"""
Where the cgroups of a process are, whatever hierarchies this host has.
"""

import os
import re
from dataclasses import dataclass

from core0 import procfs

_OCTAL = re.compile(r"\\([0-3][0-7]{2})")


@dataclass(frozen=True, slots=True)
class Hierarchy:
    """
    A mounted hierarchy: ``names`` are its controllers, none for version 2; ``root`` is the part of it that is mounted.
    """

    names: frozenset[str]
    root: str
    point: str

    def folder(self, path: str) -> str | None:
        """
        Where a cgroup is mounted; None if it is outside of what is.
        """
        root = self.root.rstrip("/")
        if path != root and not path.startswith(root + "/"):
            return None
        return self.point.rstrip("/") + path[len(root) :]


def hierarchies(mountinfo: str) -> list[Hierarchy]:
    """
    :param mountinfo: of ``/proc/self/mountinfo``.
    """
    found = []
    for line in mountinfo.splitlines():
        before, _, after = line.partition(" - ")
        fields, kind = before.split(" "), after.split(" ")
        if len(fields) < 5 or len(kind) < 3 or kind[0] not in ("cgroup", "cgroup2"):
            continue
        root, point = (_OCTAL.sub(lambda octal: chr(int(octal[1], 8)), field) for field in fields[3:5])
        names = frozenset(kind[2].split(",")) - {"rw", "ro"} if kind[0] == "cgroup" else frozenset()
        found.append(Hierarchy(names, root, point))
    return found


def folders(cgroup: str, mounted: list[Hierarchy]) -> list[str]:
    """
    The folders of all cgroups that a process is in.

    :param cgroup: of ``/proc/<pid>/cgroup``.
    """
    found = []
    for line in cgroup.splitlines():
        _, names, path = line.split(":", 2)
        wanted = frozenset(names.split(",")) if names else frozenset()
        for hierarchy in mounted:
            if wanted == hierarchy.names or (wanted and wanted <= hierarchy.names):
                folder = hierarchy.folder(path)
                if folder is not None:
                    found.append(folder)
                    break
    return found


def members(pid: int, mounted: list[Hierarchy]) -> list[int]:
    """
    The processes of the container that a process is the first of. Reads files: call it in a thread.
    """
    cgroup = procfs.read(f"/proc/{pid}/cgroup").decode("utf-8", "surrogateescape") if pid else ""
    for folder in folders(cgroup, mounted):
        found = [
            int(word)
            for below, _, _ in os.walk(folder)
            for word in procfs.read(os.path.join(below, "cgroup.procs")).split()
        ]
        if found:
            return found
    return []
