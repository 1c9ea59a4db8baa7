"""
Removes directory trees that strangers have designed: however deep, whatever their modes, and no symlink is followed.
"""

import os
import stat
import uuid

FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


def remove(path: str) -> None:
    """
    Remove a file or a directory and all that is in it. It need not be there.

    :raises OSError: it cannot be removed; ENOTEMPTY, somebody puts something there meanwhile.
    """
    try:
        is_folder = stat.S_ISDIR(os.lstat(path).st_mode)
    except FileNotFoundError:
        return
    if is_folder:
        _empty(path)
        os.rmdir(path)
    else:
        _unlink(path)


def _unlink(name: str, folder: int | None = None) -> None:
    """
    A file that somebody else may remove, or give another name, just now.
    """
    try:
        os.unlink(name, dir_fd=folder)
    except FileNotFoundError:
        pass


def _empty(path: str) -> None:
    """
    Directories move to the top before they are emptied: a path to one deep down may be longer than the kernel takes,
    and it may be deeper than there are descriptors or frames of Python's stack.
    """
    os.chmod(path, 0o700)
    top = os.open(path, FOLDER)
    try:
        waiting = _clear(top, top)
        while waiting:
            name = waiting.pop()
            folder = os.open(name, FOLDER, dir_fd=top)
            try:
                waiting += _clear(folder, top)
            finally:
                os.close(folder)
            os.rmdir(name, dir_fd=top)
    finally:
        os.close(top)


def _clear(folder: int, top: int) -> list[str]:
    """
    Remove what is in a directory, but for directories, which move to the top.

    :returns: their names there.
    """
    moved = []
    with os.scandir(folder) as entries:
        found = [(entry.name, entry.is_dir(follow_symlinks=False)) for entry in entries]
    for name, is_folder in found:
        if not is_folder:
            _unlink(name, folder)
            continue
        # whoever is not root needs that to move it, and to empty it
        os.chmod(name, 0o700, dir_fd=folder)
        new = uuid.uuid4().hex
        os.rename(name, new, src_dir_fd=folder, dst_dir_fd=top)
        moved.append(new)
    return moved
