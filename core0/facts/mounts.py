"""
The mounts of this mount namespace, as ``/proc/self/mountinfo`` lists them.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

_OCTAL = re.compile(rb"\\((?!000)[0-3][0-7]{2})")
_INSIDE = 0  # stands for the mount outside of our sight that holds the first one


@dataclass(frozen=True, slots=True)
class Mount:
    """
    One mount. ``device`` is ``major:minor``; ``source`` is whatever was said at the mount, often a device's path.
    """

    id: int
    parent: int
    device: str
    point: bytes
    options: str
    fstype: str
    source: bytes


def parse(mountinfo: bytes) -> list[Mount]:
    """
    Read a mountinfo file; a line that is none is left out.
    """
    return [mount for line in mountinfo.split(b"\n") if (mount := _parse_line(line))]


def _parse_line(line: bytes) -> Mount | None:
    fields = line.split(b" ")  # not any white space: a source may be empty
    try:
        dash = fields.index(b"-", 6)
        fstype, source, options = fields[dash + 1 : dash + 4]
        return Mount(
            id=int(fields[0]),
            parent=int(fields[1]),
            device=fields[2].decode("ascii"),
            point=unescape(fields[4]),
            options=_merge(_text(fields[5]), _text(options)),
            fstype=_text(fstype),
            source=unescape(source),
        )
    except ValueError:
        return None


def unescape(field: bytes) -> bytes:
    r"""
    Undo the kernel's ``\040`` for a space, ``\011`` tab, ``\012`` newline, ``\134`` backslash.
    """
    return _OCTAL.sub(lambda found: bytes([int(found[1], 8)]), field)


def _text(field: bytes) -> str:
    return unescape(field).decode("utf-8", "replace")


def _merge(mount: str, superblock: str) -> str:
    """
    One list of the options of a mount and of its file system; each begins with ``rw`` or ``ro``, and one ``ro`` counts.
    """
    (own, _, more), (below, _, rest) = mount.partition(","), superblock.partition(",")
    return ",".join(part for part in ("ro" if "ro" in (own, below) else own, more, rest) if part)


def visible(mounts: Sequence[Mount]) -> set[int]:
    """
    The ids of the mounts that can be reached by their path: those that no other one was mounted over.
    """
    ids = {mount.id for mount in mounts}
    # the first mount's parent is outside of what we see, or itself
    covers = {
        (mount.parent if mount.parent in ids and mount.parent != mount.id else _INSIDE, mount.point): mount.id
        for mount in mounts
    }
    return {mount.id for mount in mounts if _reached(mount.point, covers) == mount.id}


def _reached(point: bytes, covers: dict[tuple[int, bytes], int]) -> int:
    """
    The mount in which the kernel ends up when it walks down a path.
    """
    here = _INSIDE
    for path in _ancestors(point):
        passed = set()
        while here not in passed and (here, path) in covers:
            passed.add(here)
            here = covers[here, path]
    return here


def _ancestors(path: bytes) -> Iterator[bytes]:
    yield b"/"
    end = path.find(b"/", 1)
    while end > 0:
        yield path[:end]
        end = path.find(b"/", end + 1)
    if path != b"/":
        yield path
