"""
What an archive leaves behind where it is unpacked member by member: of what it has several times the last one stays,
folders are merged, and what is below a symlink to a folder is in that folder.
"""

from collections.abc import Iterator

from core0.errors import Core0Error
from core0.images.entry import Entry, Kind
from core0.images.names import MAX_PATH, octets
from core0.images.tree import MAX_ENTRIES, MAX_TEXT
from core0.messages import shown

MAX_LINKS = 40  # symlinks on the way to one place; what the kernel follows
MAX_STEPS = 1 << 22  # parts of paths that are looked at, beyond those that are folders already


class BadPlace(Core0Error):
    """
    There is no such place as a member asks for; the text says why.
    """


class Extraction:
    """
    A root file system that grows: only names, no file is touched. Symlinks lead to where they do for a process whose
    root this is, so never out of it.
    """

    def __init__(self) -> None:
        self._entries: dict[str, Entry] = {}  # by path; folders that no member is may be missing
        self._folders: dict[str, set[str]] = {"": set()}  # the names that are in each
        self._implied = 0  # bytes of the paths of folders that no member was
        self._steps = 0

    def place(self, path: str) -> str:
        """
        The path of what a member names, with no symlink above it; folders that are missing there are made.

        :raises BadPlace: something above it is neither a folder nor leads to one.
        """
        parent, _, name = path.rpartition("/")
        folder = parent if parent in self._folders else self._found(parent)
        place = f"{folder}/{name}" if folder else name
        if folder != parent and len(place) * 4 > MAX_PATH and len(octets(place)) > MAX_PATH:
            raise BadPlace(f"expected at most {MAX_PATH} bytes with the symlinks above it, got {shown(place)}")
        return place

    def find(self, place: str) -> Entry | None:
        """
        What a member before has put at such a place, unless it is a folder.
        """
        return None if place in self._folders else self._entries.get(place)

    def add(self, entry: Entry) -> None:
        """
        Put something at a place, instead of what is there; folders keep what is in them.
        """
        path = entry.path
        if entry.kind is Kind.DIRECTORY:
            if path not in self._folders:
                self._folders[path] = set()
        elif path in self._folders:
            self._remove(path)
        self._entries[path] = entry
        if path:
            parent, _, name = path.rpartition("/")
            self._folders[parent].add(name)

    def entries(self) -> Iterator[Entry]:
        """
        All that is there in the end.
        """
        yield from self._entries.values()

    def _remove(self, path: str) -> None:
        left = [path]
        while left:
            folder = left.pop()
            for name in self._folders.pop(folder, ()):
                place = f"{folder}/{name}" if folder else name
                self._entries.pop(place, None)
                left.append(place)
        self._entries.pop(path, None)

    def _found(self, path: str) -> str:
        """
        The folder that a path leads to.
        """
        left: list[str] = []
        folder, links = path, 0
        while folder not in self._folders:
            folder, _, name = folder.rpartition("/")
            left.append(name)
        while left:
            self._step()
            name = left.pop()
            if name in ("", "."):
                continue
            if name == "..":
                folder = folder.rpartition("/")[0]
                continue
            place = f"{folder}/{name}" if folder else name
            entry = None if place in self._folders else self._entries.get(place)
            if entry is None:
                self._imply(place, folder, name)
                folder = place
                continue
            links += 1
            folder = self._followed(entry, folder, links)
            left += entry.target.split("/")[::-1]
        return folder

    def _step(self) -> None:
        self._steps += 1
        if self._steps > MAX_STEPS:
            raise BadPlace("expected fewer symlinks above members, all of them together lead through too many folders")

    def _imply(self, place: str, folder: str, name: str) -> None:
        if place in self._folders:
            return
        self._implied += len(place)
        if len(self._folders) >= MAX_ENTRIES or self._implied > MAX_TEXT:
            raise BadPlace("expected fewer folders above members that have no member of their own")
        self._folders[place] = set()
        self._folders[folder].add(name)

    def _followed(self, entry: Entry, folder: str, links: int) -> str:
        """
        Where the target of a symlink begins.
        """
        place = shown(f"/{entry.path}")
        if entry.kind is not Kind.SYMLINK:
            raise BadPlace(f"expected a directory at {place}, since there are entries below; a member before is none")
        if links > MAX_LINKS:
            raise BadPlace(f"expected a directory at {place}, got symlinks that lead to each other")
        return "" if entry.target.startswith("/") else folder
