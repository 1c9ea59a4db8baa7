"""
Removes what no container uses: the store of this host grows no larger than it may.
"""

import os
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

from core0.images.removal import remove
from core0.images.room import SECTOR
from core0.images.store import CONTENTS, PLISTS, ROOTS, Store

RECORDS = 10_000  # of plists, that are kept


@dataclass(frozen=True, slots=True)
class Freed:
    """
    What was removed: how many root file systems and contents, how many bytes; and the bytes that are left.
    """

    roots: int
    contents: int
    bytes: int
    left: int


def size(store: Store) -> int:
    """
    Bytes on the disk of all that is kept, about.
    """
    contents = sum(found.st_blocks for _, found in _contents(store)) * SECTOR
    return contents + sum(_own(store, digest) for digest in store.roots())


def collect(store: Store, max_bytes: int, *, wait: bool = False) -> Freed | None:
    """
    Remove what is in nobody's use, what was used last at the end, until the rest is not larger than it may be.

    :param wait: for jobs that lay something out.
    :returns: None, without ``wait``: there are such jobs.
    """
    trash = store.temporary("trash")
    try:
        with store.lock(alone=True, wait=wait) as mine:
            if not mine:
                return None
            os.mkdir(trash, 0o700)
            freed = _Collection(store, trash).run(max_bytes)
            _forget(store)
        return freed
    finally:
        remove(trash)  # which takes its time: others need not wait for it


class _Collection:
    """
    Moves what is to be removed out of the way.
    """

    def __init__(self, store: Store, trash: str) -> None:
        self._store = store
        self._trash = trash
        self._sizes = {hash: found.st_blocks * SECTOR for hash, found in sorted(_contents(store), key=_age)}
        self._roots = {digest: store.names(digest) for digest in store.roots()}
        self._own = {digest: _own(store, digest) for digest in self._roots}
        self._uses = Counter(hash for hashes in self._roots.values() for hash in hashes)
        self._contents_gone = self._roots_gone = 0
        self._total = self._before = sum(self._sizes.values()) + sum(self._own.values())

    def run(self, max_bytes: int) -> Freed:
        """
        Those that no root needs first, then root after root.
        """
        held = self._store.held()  # before anything goes: it may not be known now
        for hash in [hash for hash in self._sizes if not self._uses[hash]]:
            if self._total <= max_bytes:
                break
            self._remove_content(hash)
        for digest in [digest for digest in self._roots if digest not in held]:
            if self._total <= max_bytes:
                break
            self._remove_root(digest)
        return Freed(self._roots_gone, self._contents_gone, self._before - self._total, self._total)

    def _remove_root(self, digest: str) -> None:
        os.rename(os.path.join(self._store.folder, ROOTS, digest), os.path.join(self._trash, f"root-{digest}"))
        self._roots_gone += 1
        self._total -= self._own[digest]
        for hash in self._roots[digest]:
            self._uses[hash] -= 1
            if not self._uses[hash] and hash in self._sizes:
                self._remove_content(hash)

    def _remove_content(self, hash: str) -> None:
        os.rename(self._store.content(hash), os.path.join(self._trash, hash))
        self._contents_gone += 1
        self._total -= self._sizes.pop(hash)


def _age(content: tuple[str, os.stat_result]) -> float:
    return content[1].st_ctime


def _contents(store: Store) -> Iterator[tuple[str, os.stat_result]]:
    folder = os.path.join(store.folder, CONTENTS)
    for prefix in os.listdir(folder):
        with os.scandir(os.path.join(folder, prefix)) as entries:
            for entry in entries:
                try:
                    yield entry.name, entry.stat(follow_symlinks=False)
                except FileNotFoundError:
                    continue  # another collection


def _own(store: Store, digest: str) -> int:
    """
    Bytes that a root does not share.
    """
    found = store.meta(digest).get("bytes", 0)
    return found if isinstance(found, int) else 0


def _forget(store: Store) -> None:
    """
    Keep no more records of plists than there is use for.
    """
    folder = os.path.join(store.folder, PLISTS)
    names = [os.path.join(folder, name) for name in os.listdir(folder)]
    if len(names) > RECORDS:
        for path in sorted(names, key=os.path.getmtime)[:-RECORDS]:
            os.unlink(path)
