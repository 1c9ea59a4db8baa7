"""
The program that goes on to another one in a mount namespace of its own, which has no cgroups.

Called with the number of the user to become, a folder that may be made, and the command line. That user can use Python
and the project, wherever they are.
"""

import os
import subprocess
import sys
from pathlib import Path


def main(user: int, scratch: Path, command: list[str]) -> None:
    """
    Prepare the namespace, and go on.
    """
    for line in Path("/proc/self/mounts").read_text().splitlines():
        _, place, kind, *_ = line.split()
        if kind == "cgroup2":
            subprocess.run(["umount", "--lazy", place], check=True)
    if user:
        scratch.mkdir(exist_ok=True)
        show({Path(place).resolve() for place in (sys.base_prefix, sys.prefix, os.environ["PYTHONPATH"])}, scratch)
        os.setgroups([])
        os.setresgid(user, user, user)
        os.setresuid(user, user, user)
        os.environ["HOME"] = "/"
    os.execv(command[0], command)


def show(paths: set[Path], scratch: Path) -> None:
    """
    Have everybody enter the folders in which something is that everybody needs: what else is in them is hidden.
    """
    closed = {path: folders[-1] for path in paths if (folders := closed_on_the_way(path))}
    for number, path in enumerate(closed):
        (scratch / str(number)).mkdir(exist_ok=True)
        mount("--bind", path, scratch / str(number))
    for folder in set(closed.values()):
        mount("-t", "tmpfs", "-o", "mode=755", "tmpfs", folder)
    for number, path in enumerate(closed):
        path.mkdir(parents=True, exist_ok=True)
        mount("--bind", scratch / str(number), path)


def closed_on_the_way(path: Path) -> list[Path]:
    """
    The folders on the way to a path that not everybody may enter, the topmost last.
    """
    return [folder for folder in (path, *path.parents) if not folder.stat().st_mode & 0o001]


def mount(*words: str | Path) -> None:
    """
    Call ``mount``.
    """
    subprocess.run(["mount", *words], check=True)


if __name__ == "__main__":
    main(int(sys.argv[1]), Path(sys.argv[2]), sys.argv[3:])
