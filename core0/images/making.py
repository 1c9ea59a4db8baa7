"""
From the address of a plist or an archive to a root file system on this host's disk.
"""

import os
from collections.abc import Callable, Iterator
from typing import BinaryIO

from core0.errors import Core0Error, Refusal
from core0.images import archive, plist
from core0.images.contents import Contents
from core0.images.entry import Entry, Kind
from core0.images.layout import Layout
from core0.images.patience import Patience
from core0.images.plists import MAX_ARCHIVE, Plists, Recipe, refusal
from core0.images.recognition import packaged
from core0.images.removal import remove
from core0.images.source import FIELD, STORAGE, Source, parse
from core0.images.store import FILES, TEMPORARY, Store
from core0.images.supplies import EMPTY, Local, Moved, Remote, Supply, Wrong, keep_file
from core0.images.tree import GROUP, MAX_TABLE, PASSWD, BadTree, Tree, owners

OWN = 4096  # bytes on the disk that an entry takes, about


class Making:
    """
    :param tell: called with how far it is.
    :ivar names: of what has to be written to the disk before it lasts, for the store's journal.
    """

    def __init__(self, store: Store, patience: Patience, tell: Callable[[str], None]) -> None:
        self._store = store
        self._patience = patience
        self._tell = tell
        self.names: list[str] = []

    def root(self, url: str, storage: str, hold: str) -> tuple[str, str]:
        """
        Have a root file system, and have a symlink point to it.

        :param storage: where the contents are; empty: beside the plist.
        :returns: its digest, and why there is no such symlink, or nothing.
        :raises Refusal: 400, 404 or 503.
        """
        source = parse(url, FIELD)
        contents = parse(storage, STORAGE) if storage else source.beside
        try:
            with self._store.lock():
                recipe = Plists(self._store, self._patience, self._tell).get(source)
                if recipe.file is not None:
                    with recipe.file, self._store.only_one(recipe.digest):
                        if not self._store.has_root(recipe.digest):
                            self._make(source, contents, recipe)
                return recipe.digest, self._hold(recipe.digest, hold)
        except Wrong as error:
            field = STORAGE if storage else FIELD
            raise Refusal(503, f"{field}: {contents.text}: {error}") from error
        except OSError as error:
            raise refusal(503, source, f"cannot be laid out: {error.strerror or error}") from error
        except MemoryError:
            raise refusal(400, source, "cannot be laid out: it takes too much memory") from None

    def hold(self, digest: str, hold: str) -> tuple[str, str]:
        """
        Have one more symlink point to a root.

        :returns: its digest, empty if it is not there any more; and why there is no such symlink, or nothing.
        """
        with self._store.lock():
            return (digest, self._hold(digest, hold)) if self._store.has_root(digest) else ("", "")

    def _hold(self, digest: str, hold: str) -> str:
        try:
            self._store.hold(digest, hold)
        except OSError as error:
            return f"{FIELD}: cannot make {hold}: {error.strerror}"
        return ""

    def _make(self, source: Source, storage: Source, recipe: Recipe) -> None:
        file = recipe.file
        assert file is not None
        folder = self._store.temporary("root")
        os.mkdir(folder, 0o700)
        try:
            supply: Supply
            if recipe.archive:
                tree = self._read(source, lambda: self._unpacked(file, folder))
                supply = Moved(folder)
            else:
                tree = self._read(source, lambda: plist.parse(plist.lines(file)))
                temporary = os.path.join(self._store.folder, TEMPORARY)
                room = self._store.room
                supply = Remote(storage, self._patience, temporary, room) if storage.remote else Local(storage, room)
            if recipe.changed():
                raise refusal(503, source, "it was changed while it was read")
            self._lay_out(source, tree, supply, recipe.digest, folder)
        finally:
            remove(folder)

    def _read(self, source: Source, entries: Callable[[], Iterator[Entry]]) -> Tree:
        try:
            tree = Tree.of(entries())
        except Core0Error as error:
            raise refusal(400, source, str(error)) from error
        if reason := packaged(tree):
            raise refusal(400, source, reason)
        return tree

    def _unpacked(self, file: BinaryIO, folder: str) -> Iterator[Entry]:
        members = archive.read(file, MAX_ARCHIVE)
        return archive.stored(members, lambda content: keep_file(content, folder, self._store.room))

    def _lay_out(self, source: Source, tree: Tree, supply: Supply, digest: str, folder: str) -> None:
        missing = self._missing(tree)
        self._check_room(source, supply.needed(missing) + OWN * len(tree.entries))
        self.names.append(self._store.journal.begin(missing, [digest]))
        contents = Contents(self._store, supply, self._tell)
        if tree.named():
            contents.fetch(_first(tree, missing, {PASSWD, GROUP}))
            try:
                tree = owners(tree, self._table(tree, PASSWD), self._table(tree, GROUP))
            except BadTree as error:
                raise refusal(400, source, str(error)) from error
        contents.fetch(_first(tree, missing))
        layout, made = Layout(self._store), os.path.join(folder, "made")
        os.mkdir(made, 0o700)
        layout.make(tree, os.path.join(made, FILES))
        self._store.publish_root(digest, made, layout.shared, layout.size)

    def _missing(self, tree: Tree) -> dict[str, int]:
        """
        The contents that the store lacks, with their sizes.

        :raises Wrong: a content of the store is not as large as it has to be, or an empty one has a hash of another.
        """
        missing = {}
        for hash, size in tree.contents().items():
            if not size and hash not in EMPTY:
                raise Wrong(f"content {hash}: expected 0 bytes, but this is not the hash of nothing")
            found = self._store.look(hash) if size else None
            if found is not None and found.st_size != size:
                raise Wrong(f"content {hash}: expected {size} bytes, it has {found.st_size}")
            if size and found is None:
                missing[hash] = size
        return missing

    def _check_room(self, source: Source, needed: int) -> None:
        free = self._store.room.free()
        if needed > free:
            kept = f"{self._store.room.reserve} more are kept free"
            text = f"it takes {needed} bytes below {self._store.folder}, where {free} are free and {kept}"
            raise refusal(503, source, f"{text}; 'corectl store gc --all' removes what no container uses")

    def _table(self, tree: Tree, path: str) -> bytes:
        entry = tree.find(path)
        if entry is None or entry.kind is not Kind.REGULAR or not entry.size:
            return b""
        with open(self._store.content(entry.hash), "rb") as file:
            return file.read(MAX_TABLE)


def _first(tree: Tree, hashes: dict[str, int], paths: set[str] | None = None) -> dict[str, Entry]:
    """
    For each of these contents the first file that is it: the store's own is to be like that one.
    """
    found: dict[str, Entry] = {}
    for entry in tree.entries:
        if entry.kind is Kind.REGULAR and entry.hash in hashes and (paths is None or entry.path in paths):
            found.setdefault(entry.hash, entry)
    return found
