"""
One entry of a root file system, whatever it was read from.
"""

from dataclasses import dataclass
from enum import IntEnum


class Kind(IntEnum):
    """
    What an entry is; the numbers are those of a plist.
    """

    SOCKET = 0
    SYMLINK = 1
    REGULAR = 2
    BLOCK = 3
    DIRECTORY = 4
    CHARACTER = 5
    FIFO = 6


@dataclass(frozen=True, slots=True)
class Entry:
    """
    :ivar path: relative to the root, normal: no empty part, no ``.``, no ``..``; "" is the root itself. Bytes that are
        no UTF-8 are lone surrogates (``surrogateescape``), here and in all other texts.
    :ivar hash: of a regular file's content, lower-case hex: 64 digits SHA-256, 32 digits MD5; else empty.
    :ivar size: of a regular file, in bytes; else 0.
    :ivar user: a number, or a name to be looked up in the tables of the root file system itself.
    :ivar mode: permission bits, set-uid, set-gid and sticky included.
    :ivar mtime: seconds since the epoch; ``ctime`` too.
    :ivar target: of a symlink.
    :ivar device: major and minor number of a device.
    """

    path: str
    kind: Kind
    hash: str = ""
    size: int = 0
    user: int | str = 0
    group: int | str = 0
    mode: int = 0o755
    ctime: int = 0
    mtime: int = 0
    target: str = ""
    device: tuple[int, int] = (0, 0)
