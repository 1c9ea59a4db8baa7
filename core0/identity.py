"""
What tells this core0 from all others on the machine: an id, made once for its ``state_dir``.

All that core0 finds again by a name (cgroups and tags of jobs, cgroups and names of containers) is called by it. A path
is no name: it may mean another folder in another root, and short hashes of two paths may be the same. Nor is a copy of
the folder the same core0: the id counts only in the folder that it was made for.
"""

import hashlib
import os
import secrets

import msgspec
from msgspec import Struct
from msgspec.structs import replace
from twisted.logger import Logger

FILE = "id"
LARGEST = 4096  # bytes of that
CONTAINERS = "containers"  # folder of those
NAMED = 16  # hexadecimal digits in names: 64 bits
_log = Logger()


class Identity(Struct, frozen=True):
    """
    :ivar id: hexadecimal, 128 bits.
    :ivar device: of the folder that it is the id of; with ``inode``.
    :ivar containers: the name that all cgroups of containers are below.
    :ivar known: whether what is written down in the folder is about this core0's own past.
    :ivar past: the number by which a core0 before there were ids has tagged processes; 0 if there was none.
    """

    id: str
    device: int
    inode: int
    containers: str
    known: bool = True
    past: int = 0

    @property
    def cgroup(self) -> str:
        """
        The name of the cgroup that its jobs' are in.
        """
        return f"core0-{self.id[:NAMED]}"

    @property
    def number(self) -> int:
        """
        For what has only numbers, 64 bits.
        """
        return int(self.id[-NAMED:], 16)


def identify(state_dir: str) -> Identity:
    """
    That of the core0 that holds the lock of a ``state_dir``; kept there. Without, for this run only: what is left of it
    the next core0 does not find.
    """
    folder = os.stat(state_dir)
    kept = _read(os.path.join(state_dir, FILE))
    if kept is not None and (kept.device, kept.inode) == (folder.st_dev, folder.st_ino):
        if not _old(kept.containers) or _has_containers(state_dir):
            return replace(kept, known=True, past=0)
        found = replace(kept, containers=_containers(kept.id), known=True, past=0)
    else:
        found = _made(state_dir, folder, first=kept is None)
    try:
        _write(os.path.join(state_dir, FILE), msgspec.json.encode(found))
    except OSError as error:
        text = "cannot keep the id of this core0 in {path}: {error}; the next one does not find what this one leaves"
        _log.error(text, path=os.path.join(state_dir, FILE), error=error.strerror)
    return found


def _made(state_dir: str, folder: os.stat_result, *, first: bool) -> Identity:
    """
    :param first: there is none in the folder, not even that of another one.
    """
    id = secrets.token_hex(16)
    hashed = hashlib.sha256(os.path.realpath(state_dir).encode(errors="surrogateescape")).digest()
    if not first:
        text = "{folder} was copied or moved, or the machine has started anew: what was left from there is not touched"
        _log.warn(text, folder=state_dir)
    # living containers of a core0 before there were ids keep their names
    old = first and _has_containers(state_dir)
    return Identity(
        id,
        folder.st_dev,
        folder.st_ino,
        f"core0-containers-{hashed[:4].hex()}" if old else _containers(id),
        known=first,
        past=int.from_bytes(hashed[:2]) + 1 if first else 0,
    )


def _containers(id: str) -> str:
    return f"core0-containers-{id[:NAMED]}"


def _old(name: str) -> bool:
    return len(name) < len(_containers("0" * NAMED))


def _has_containers(state_dir: str) -> bool:
    try:
        return any(name.isdigit() for name in os.listdir(os.path.join(state_dir, CONTAINERS)))
    except OSError:
        return False


def _read(path: str) -> Identity | None:
    try:
        with open(path, "rb") as file:
            found = msgspec.json.decode(file.read(LARGEST), type=Identity)
    except (OSError, msgspec.MsgspecError):
        return None
    return found if len(found.id) == 32 and not set(found.id) - set("0123456789abcdef") else None


def _write(path: str, data: bytes) -> None:
    fd = os.open(f"{path}.new", os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    try:
        os.write(fd, data)
        os.fsync(fd)
    finally:
        os.close(fd)
    os.replace(f"{path}.new", path)
