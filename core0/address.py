"""
The address of a node, ``<gid>:<nid>``: who holds it, and which ones were served from a state directory before.
"""

import hashlib
import os
import platform

import msgspec
from msgspec import Struct
from twisted.logger import Logger

from core0.durable import boot, sync_names

FILE = "address.json"
MOST_BEFORE = 16  # addresses
DIGITS = 32  # of what tells one holder of an address from another one

_log = Logger()


class _Kept(Struct):
    node: str
    before: list[str] = []


class Holder(Struct):
    """
    Who holds an address, for people. ``since`` is in ms since the epoch.
    """

    host: str
    process: int
    boot: str
    since: int


def holder(id: str, now: float) -> str:
    """
    Who this core0 is, as a lease has it: digits that are the same for each process of this core0 until the machine is
    started again, and JSON.

    :param id: that of the core0.
    :param now: in seconds since the epoch.
    """
    run = boot()
    digits = hashlib.sha256(f"{id} {run}".encode()).hexdigest()[:DIGITS]
    found = Holder(platform.node(), os.getpid(), run, int(now * 1000))
    return f"{digits} {msgspec.json.encode(found).decode()}"


def note(state_dir: str, node: str) -> tuple[str, ...]:
    """
    Remember the address that is served from now on.

    :returns: those that were served before and of which something may be left; the latest last.
    :raises OSError: it cannot be read or written.
    """
    kept = _read(state_dir)
    if kept is None:
        kept = _Kept(node)
        _write(state_dir, kept)
    elif kept.node != node:
        before = [each for each in kept.before if each not in (node, kept.node)]
        kept = _Kept(node, [*before, kept.node][-MOST_BEFORE:])
        _write(state_dir, kept)
    return tuple(kept.before)


def forget(state_dir: str, address: str) -> None:
    """
    Nothing is left of an address that was served before.

    :raises OSError: that cannot be written.
    """
    kept = _read(state_dir)
    if kept is not None and address in kept.before:
        _write(state_dir, _Kept(kept.node, [each for each in kept.before if each != address]))


def _read(state_dir: str) -> _Kept | None:
    path = os.path.join(state_dir, FILE)
    try:
        with open(path, "rb") as file:
            return msgspec.json.decode(file.read(), type=_Kept)
    except FileNotFoundError:
        return None
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        _log.error("cannot load {path}: {error}; making a new one", path=path, error=error)
        return None


def _write(state_dir: str, kept: _Kept) -> None:
    path = os.path.join(state_dir, FILE)
    new = f"{path}.new"
    with open(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600), "wb") as file:
        file.write(msgspec.json.encode(kept) + b"\n")
        file.flush()
        os.fsync(file.fileno())
    os.replace(new, path)
    sync_names(state_dir)
