"""
What a root file system may hold: the limits of names, numbers and times, whatever they are read from.
"""

from core0.errors import Core0Error
from core0.messages import shown

MAX_PATH = 4096  # bytes of a path
MAX_PART = 255  # bytes of a name in it; what Linux takes
MAX_TARGET = 4095  # bytes of a symlink's target
MAX_ID = (1 << 32) - 1  # user and group numbers are below; the kernel reads this one as "nobody in particular"
MAX_SIZE = 1 << 60  # bytes of a file
MAX_MAJOR, MAX_MINOR = 1 << 12, 1 << 20  # what the kernel has room for
FIRST_TIME, LAST_TIME = -(1 << 31), (1 << 34) - (1 << 31) - 1  # seconds since the epoch: what ext4 can note
PERMISSIONS = 0o7777
_FEWEST = 4  # bytes of a character, at most


class BadName(Core0Error):
    """
    A path or a target cannot be in a root file system; the text says what was expected, and what there is.
    """


def octets(text: str) -> bytes:
    """
    The bytes that a text of an :class:`~core0.images.entry.Entry` stands for.
    """
    return text.encode("utf-8", "surrogateescape")


def text(octets: bytes) -> str:
    """
    The text of an :class:`~core0.images.entry.Entry` that stands for these bytes.
    """
    return octets.decode("utf-8", "surrogateescape")


def normal(path: str) -> str:
    """
    A path relative to the root, without its slashes too many and its dots; "" is the root.

    :raises BadName: it leads out, is too long, or has a NUL byte or nothing in it.
    """
    parts = [part for part in path.split("/") if part and part != "."]
    if not path:
        raise BadName("expected a path, got nothing")
    if ".." in parts:
        raise BadName(f"expected a path without '..', got {shown(path)}")
    if "\0" in path:
        raise BadName(f"expected a path without NUL bytes, got {shown(path)}")
    if len(path) * _FEWEST > MAX_PART:
        for part in parts:
            if len(octets(part)) > MAX_PART:
                raise BadName(f"expected names of at most {MAX_PART} bytes, got {shown(part)}")
        if len(octets(path)) > MAX_PATH:
            raise BadName(f"expected at most {MAX_PATH} bytes, got {shown(path)}")
    return "/".join(parts)


def checked_target(target: str) -> str:
    """
    The target of a symlink, as it is.

    :raises BadName: there cannot be such a symlink.
    """
    if not target or "\0" in target:
        raise BadName(f"expected the target of a symlink, got {shown(target)}")
    if len(target) * _FEWEST > MAX_TARGET and len(octets(target)) > MAX_TARGET:
        raise BadName(f"expected a target of at most {MAX_TARGET} bytes, got {shown(target)}")
    return target


def possible_time(seconds: int) -> int:
    """
    The nearest time that a file can have, in seconds since the epoch.
    """
    return min(max(seconds, FIRST_TIME), LAST_TIME)
