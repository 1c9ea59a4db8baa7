"""
What a root file system must be before a runtime may touch it, and what has to be made in it for what is mounted there.
"""

import os
import stat
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec
from msgspec import Struct

KERNELS = ("dev", "proc", "sys")  # folders of the root that the kernel's file systems are mounted on
MAX_LINKS = 40  # on the way to one place; what the kernel follows
# what is always mounted, so that nothing of the image is seen below
ALWAYS = (*(f"/{name}" for name in KERNELS), "/tmp")
SHARED_MEMORY = "/dev/shm"
_KINDS = {stat.S_IFREG: "file", stat.S_IFLNK: "symlink", stat.S_IFDIR: "folder", stat.S_IFIFO: "FIFO"}
_SUFFIX = "/ns/mnt"
_decode = msgspec.json.Decoder(dict[str, Any]).decode


class OddImage(ValueError):
    """
    Something cannot be mounted in an image; the text says where, what is there, and what is expected.

    :param own: whether core0 would mount it by itself; else a client has asked for it.
    """

    def __init__(self, text: str, own: bool = True) -> None:
        super().__init__(text)
        self.own = own


@dataclass(frozen=True, slots=True)
class Target:
    """
    A path at which something will be mounted: a directory, or a ``file``.

    :ivar own: whether core0 mounts it by itself; else a client has asked for it.
    :ivar mode: of a directory; 0: as it is.
    """

    path: str
    file: bool = False
    own: bool = True
    mode: int = 0


class Places(Struct, frozen=True):
    """
    What has to be made in a root file system, by paths from its root in which nothing is a symlink.

    :ivar folders: directories, with all above them.
    :ivar files: empty files.
    :ivar replaced: symlinks whose place an empty file takes: they lead to where something else is mounted.
    :ivar modes: of directories, those that are made included: what runc mounts there gets it.
    """

    folders: list[str] = []
    files: list[str] = []
    replaced: list[str] = []
    modes: dict[str, int] = {}


def check(bundle: str, mount_namespace: str | None) -> None:
    """
    Refuse an image whose ``/dev`` is a symlink: runc 1.1 follows it, and makes devices and links on the host, wherever
    it leads to. ``/proc`` and ``/sys`` are the same question, which runtimes answer themselves. Those that are missing
    are made by the runtime.

    It reads files; so not in the reactor's thread.

    :param bundle: the folder of its ``config.json``.
    :param mount_namespace: in which its root is: ``/proc/<pid>/ns/mnt``; None: that of this process.
    :raises ValueError: it is no folder; says which.
    :raises OSError: the bundle cannot be read.
    """
    with open(os.path.join(bundle, "config.json"), "rb") as file:
        root = _decode(file.read())["root"]["path"]
    if mount_namespace is not None:
        if not mount_namespace.endswith(_SUFFIX):
            raise ValueError(f"expected /proc/<pid>{_SUFFIX}, got {mount_namespace!r}")
        root = f"{mount_namespace.removesuffix(_SUFFIX)}/root{root}"
    _check_kernels(root)


def _check_kernels(root: str) -> None:
    for name in KERNELS:
        mode = _mode(root, f"/{name}")
        if mode is not None and not stat.S_ISDIR(mode):
            raise OddImage(f"/{name} of the image is no folder but a {_kind(mode)}; make it one, or leave it out")


def places(root: str, targets: Sequence[Target]) -> Places:
    """
    What has to be made before something is mounted at targets: runtimes differ in what they do where a symlink leads to
    nothing.

    It reads files; so not in the reactor's thread.

    :param root: of an image that nobody changes, in the host's file system.
    :raises OddImage: there is something else, or a symlink that leads nowhere.
    :raises OSError: the image cannot be read.
    """
    _check_kernels(root)
    found = Places()
    mounted = (*ALWAYS, *(target.path for target in targets if not target.own))
    for target in targets:
        if _is_below(target.path, [path for path in mounted if path != target.path]):
            continue
        try:
            _look(root, target, found)
        except OddImage as error:
            raise OddImage(str(error), target.own) from error
    return found


def _look(root: str, target: Target, found: Places) -> None:
    place, mode = _led(root, target.path)
    hidden = _is_below(place, ALWAYS) or (place in ALWAYS and place != target.path)
    if hidden and target.own and place != SHARED_MEMORY:
        _replace(root, target, place, found)
    elif hidden:
        return  # it is made in what is mounted there
    elif mode is None:
        (found.files if target.file else found.folders).append(place)
    elif stat.S_ISDIR(mode) == target.file:
        expected = "file" if target.file else "folder"
        raise _odd(target, place, mode, f"a {expected}, since one is mounted there")
    if target.mode and not hidden and (mode is None or stat.S_IMODE(mode) != target.mode):
        found.modes[place] = target.mode


def _replace(root: str, target: Target, place: str, found: Places) -> None:
    above, mode = _led(root, os.path.dirname(target.path))
    if not target.file or mode is None or _is_below(above, ALWAYS) or above in ALWAYS:
        text = f"leads to {place!r}, which is not of the image in a container"
        raise OddImage(f"{target.path!r} of the image {text}; expected a {'file' if target.file else 'folder'}")
    found.replaced.append(f"{above}/{os.path.basename(target.path)}")


def _led(root: str, path: str) -> tuple[str, int | None]:
    """
    Where a path leads to for a process whose root this is, and what is there; None: nothing.
    """
    left, place, mode, links = path.split("/")[::-1], "", int(stat.S_IFDIR), 0
    there: int | None = mode
    while left:
        name = left.pop()
        if name in ("", "."):
            continue
        if there is not None and not stat.S_ISDIR(there):
            raise OddImage(
                f"{place!r} of the image is a {_kind(there)}; expected a folder, since {path!r} is to be in it"
            )
        if name == "..":
            place = place.rpartition("/")[0]
            there = _mode(root, place)
            continue
        there = _mode(root, f"{place}/{name}")
        if there is None or not stat.S_ISLNK(there):
            place = f"{place}/{name}"
            continue
        links += 1
        if links > MAX_LINKS:
            text = "is a symlink that leads to itself, or over too many others"
            raise OddImage(f"{f'{place}/{name}'!r} of the image {text}; expected something to mount {path!r} at")
        target = os.readlink(f"{root}{place}/{name}")
        place, there = ("" if target.startswith("/") else place), mode
        left += target.split("/")[::-1]
    return place, there


def _mode(root: str, place: str) -> int | None:
    try:
        return os.lstat(f"{root}{place}").st_mode
    except FileNotFoundError:
        return None


def _is_below(path: str, folders: Iterable[str]) -> bool:
    return any(path.startswith(f"{folder.rstrip('/')}/") for folder in folders)


def _kind(mode: int) -> str:
    return _KINDS.get(stat.S_IFMT(mode), "device or socket")


def _odd(target: Target, place: str, mode: int, expected: str) -> OddImage:
    led = "" if place == target.path else f" (where {target.path!r} leads to)"
    return OddImage(f"{place!r} of the image{led} is a {_kind(mode)}; expected {expected}")
