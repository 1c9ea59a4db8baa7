"""
Processes that a program has left behind when it ended: they are ended with it, and that is said.
"""

from collections.abc import Iterable

from core0 import procfs

SHOWN = 5  # processes that are named
LONGEST_NAME = 32  # characters


def names(pids: Iterable[int]) -> list[tuple[int, str]]:
    """
    The living ones of these processes, with their names; that of a program is cut by the kernel. Reads /proc: call it
    in a thread.
    """
    found = []
    for pid in sorted(pids):
        if procfs.alive(pid):
            name = procfs.read(f"/proc/{pid}/comm").decode("utf-8", "replace").rstrip("\n")
            found.append((pid, name))
    return found


def told(processes: list[tuple[int, str]]) -> str:
    """
    What to say of them; empty if there are none.
    """
    if not processes:
        return ""
    named = [f"{_printable(name)} (pid {pid})" for pid, name in processes[:SHOWN]]
    more = len(processes) - len(named)
    count = "1 process" if len(processes) == 1 else f"{len(processes)} processes"
    text = f"ended {count} that the program had left running: {', '.join(named)}"
    return f"{text} and {more} more" if more else text


def _printable(name: str) -> str:
    return "".join(letter if letter.isprintable() else "?" for letter in name[:LONGEST_NAME]) or "?"
