"""
Owner, mode and time of what is laid out.
"""

import os
import stat

from core0.images.entry import Entry

SECOND = 1_000_000_000  # nanoseconds


def owner(entry: Entry) -> tuple[int, int]:
    """
    User and group as numbers; 0 for a name, which has not been looked up then.
    """
    return (
        entry.user if isinstance(entry.user, int) else 0,
        entry.group if isinstance(entry.group, int) else 0,
    )


def apply(fd: int, entry: Entry) -> None:
    """
    Make an open file or directory what the entry says. Whoever is not root cannot give files away, and keeps them.

    :raises OSError: the file system cannot note that.
    """
    try:
        os.fchown(fd, *owner(entry))
    except PermissionError:
        if os.geteuid() == 0:
            raise
    # after the owner, whose change takes set-uid bits away
    os.fchmod(fd, entry.mode)
    os.utime(fd, ns=(entry.mtime * SECOND, entry.mtime * SECOND))


def apply_by_name(name: bytes, folder: int, entry: Entry) -> None:
    """
    The same for what is not opened, such as a symlink.
    """
    try:
        os.chown(name, *owner(entry), dir_fd=folder, follow_symlinks=False)
    except PermissionError:
        if os.geteuid() == 0:
            raise
    os.utime(name, ns=(entry.mtime * SECOND, entry.mtime * SECOND), dir_fd=folder, follow_symlinks=False)


def fits(found: os.stat_result, entry: Entry) -> bool:
    """
    Whether a file is what the entry says.
    """
    if stat.S_IMODE(found.st_mode) != entry.mode or found.st_mtime_ns != entry.mtime * SECOND:
        return False
    return (found.st_uid, found.st_gid) == owner(entry) or os.geteuid() != 0
