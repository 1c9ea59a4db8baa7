"""
Where in a container something is mounted, as clients write it.
"""

import posixpath
import re
from json import dumps as json_text

from core0.containers.request import Mount
from core0.messages import shown
from core0.values import Arguments

EXPECTED = 'expected an absolute path of the container, with ":ro" behind it to make it read-only'
COLON = 'a path with a colon in it is written {"path": "/a:b", "read_only": false}'
# what others take behind the colon, and why it is not taken here
_REASONS = {
    **dict.fromkeys(("z", "Z"), "files are not relabelled for SELinux"),
    "U": "owners are mapped, and not changed",
    **dict.fromkeys(
        ("shared", "rshared", "slave", "rslave", "private", "rprivate", "unbindable", "runbindable"),
        "what is mounted later on one side never appears on the other one",
    ),
    **dict.fromkeys(
        ("nosuid", "nodev", "suid", "dev"), "set-uid programs and devices work in privileged containers alone"
    ),
    **dict.fromkeys(("bind", "rbind"), "all of it is mounted, with what is mounted below"),
}
# what others take behind a comma, alone or with a value; taken for a name it would be another place, and writable
_OPTIONS = frozenset(
    {
        *("ro", "rw", "readonly", "cached", "delegated", "consistent", "consistency", "idmap", "chown", "relabel"),
        *("bind-propagation", "bind-recursive", "bind-nonrecursive", "nocopy", "volume-nocopy"),
        *(option.lower() for option in _REASONS),
    }
)


class MountArguments(Arguments, frozen=True):
    """
    ``path``: in the container, taken as it is. ``read_only``: without it, it can be written to.
    """

    path: str
    read_only: bool | None = None


def read_mount(source: str, target: str | MountArguments) -> Mount:
    """
    One mount.

    :raises ValueError: it is none; begins with ``@`` and the field.
    """
    field = f"@mount[{source!r:.80}]"
    if not source.startswith("/") or "\0" in source:
        text = "expected an absolute path of the host (there are no named volumes; make a directory)"
        raise ValueError(f"@mount: {text}, got {shown(source)}")
    path, read_only = _split(field, target)
    if not path.startswith("/") or "\0" in path or ".." in path.split("/"):
        raise ValueError(f"{field}: {EXPECTED}, without '..', got {shown(path)}")
    path = re.sub("^//", "/", posixpath.normpath(path))
    if path == "/" or re.match(r"/(proc|sys|dev)(/|$)", path):
        raise ValueError(f"{field}: {shown(path)} is the container's own; expected another path")
    return Mount(source, path, read_only)


def _split(field: str, target: str | MountArguments) -> tuple[str, bool]:
    if isinstance(target, MountArguments):
        return target.path, bool(target.read_only)
    path, colon, option = target.partition(":")
    if any(word.partition("=")[0].lower() in _OPTIONS for word in path.split(",")[1:]):
        text = f'options stand behind a colon; if this is the path, write {{"path": {json_text(path)}}}'
        raise ValueError(f"{field}: {EXPECTED}, got {shown(target)}; {text}")
    if not colon or option in ("ro", "rw"):
        return path, option == "ro"
    words = re.split("[:,]", option)
    unknown = next((word for word in words if word not in ("ro", "rw")), None)
    if unknown is None:
        reason = "only one option may stand behind the path"
    elif unknown.lower() in ("ro", "rw"):
        reason = f"options are written in small letters, {unknown.lower()}"
    else:
        reason = f"the option {shown(unknown)} is not known"
        reason = f"{reason}: {_REASONS[unknown]}; leave it out" if unknown in _REASONS else reason
    raise ValueError(f"{field}: {EXPECTED}, got {shown(target)}; {reason}; {COLON}")
