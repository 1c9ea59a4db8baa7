"""
A whole root file system: every entry once, in order, below directories only.
"""

from bisect import bisect_left
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace

from core0.errors import Core0Error
from core0.images.entry import Entry, Kind
from core0.images.names import MAX_ID, octets
from core0.messages import shown
from core0.text_files import UTF8_MARK

MAX_ENTRIES = 1_000_000
MAX_BYTES = 1 << 40  # of all regular files, counted as often as they are there
MAX_TEXT = 1 << 28  # bytes of all paths and targets
MAX_TABLE = 1 << 20  # bytes of an etc/passwd or etc/group that are looked at
PASSWD, GROUP = "etc/passwd", "etc/group"
ROOT = {"root": 0}


class BadTree(Core0Error):
    """
    Entries do not make a root file system.

    :param path: of the one that is wrong, from the root.
    :param text: what is wrong with it.
    """

    def __init__(self, path: str, text: str) -> None:
        super().__init__(path, text)
        self.path = path
        self.text = text

    def __str__(self) -> str:
        return f"{shown('/' + self.path)}: {self.text}"


class Tree:
    """
    Made by :meth:`of`; does not change.

    :ivar entries: parents before children, else by the bytes of their names, the root first.
    """

    __slots__ = ("_contents", "entries")

    def __init__(self, entries: Sequence[Entry], contents: Mapping[str, int]) -> None:
        self.entries = entries
        self._contents = contents

    @classmethod
    def of(cls, entries: Iterable[Entry]) -> "Tree":
        """
        Put entries in order, and add directories that are missing above them: of root, 0755, from the epoch.

        :raises BadTree: they make no root file system, or one that is too large; and whatever ``entries`` raises.
        """
        grown = _Growth()
        for entry in sorted(bounded(entries), key=_place):
            grown.add(entry)
        if not grown.entries:
            grown.add(Entry("", Kind.DIRECTORY))
        return cls(grown.entries, grown.contents)

    def contents(self) -> Mapping[str, int]:
        """
        The hashes of all regular files, each with its size in bytes.
        """
        return self._contents

    def find(self, path: str) -> Entry | None:
        """
        The entry of a normal path; None if there is none. No symlink is followed.
        """
        at = bisect_left(self.entries, octets(path.replace("/", "\0")), key=_place)
        found = self.entries[at] if at < len(self.entries) else None
        return found if found is not None and found.path == path else None

    def named(self) -> bool:
        """
        Whether owners are given by names, so that :func:`owners` is needed before it is laid out.
        """
        return any(isinstance(entry.user, str) or isinstance(entry.group, str) for entry in self.entries)


def _place(entry: Entry) -> bytes:
    # no name has a NUL byte, and nothing sorts before it: so all that is in a directory follows it at once
    return octets(entry.path.replace("/", "\0"))


def bounded(entries: Iterable[Entry]) -> Iterator[Entry]:
    """
    The same entries, as long as they are not more than one root file system may have.

    :raises BadTree: they are.
    """
    size = text = 0
    for count, entry in enumerate(entries, 1):
        if count > MAX_ENTRIES:
            raise BadTree(entry.path, f"expected at most {MAX_ENTRIES} entries")
        size += entry.size
        if size > MAX_BYTES:
            raise BadTree(entry.path, f"expected files of at most {MAX_BYTES} bytes in all")
        text += len(entry.path) + len(entry.target)
        if text > MAX_TEXT:
            raise BadTree(entry.path, f"expected paths and targets of at most {MAX_TEXT} bytes in all")
        yield entry


class _Growth:
    """
    A tree that grows, from entries that come in its order.
    """

    def __init__(self) -> None:
        self.entries: list[Entry] = []
        self.contents: dict[str, int] = {}
        self._open: list[str] = []  # the directories above the last entry, with it if it is one; the root first
        self._text = 0

    def add(self, entry: Entry) -> None:
        """
        :raises BadTree: it cannot be there.
        """
        if not entry.path:
            if entry.kind is not Kind.DIRECTORY:
                raise BadTree("", "expected the root to be a directory")
        elif not self._open:
            self._append(Entry("", Kind.DIRECTORY))
        if self.entries and self.entries[-1].path == entry.path:
            if entry.kind is not Kind.DIRECTORY or entry != self.entries[-1]:
                raise BadTree(entry.path, "expected every path once")
            return
        if entry.path:
            self._open_parents(entry.path.rpartition("/")[0])
        self._append(entry)
        if entry.kind is Kind.REGULAR and self.contents.setdefault(entry.hash, entry.size) != entry.size:
            known = self.contents[entry.hash]
            raise BadTree(entry.path, f"expected {known} bytes, as of another file with this hash, got {entry.size}")

    def _append(self, entry: Entry) -> None:
        if len(self.entries) >= MAX_ENTRIES:
            raise BadTree(entry.path, f"expected at most {MAX_ENTRIES} entries, with directories that are implied")
        self.entries.append(entry)
        if entry.kind is Kind.DIRECTORY:
            self._open.append(entry.path)

    def _open_parents(self, parent: str) -> None:
        while self._open[-1] not in ("", parent) and not parent.startswith(f"{self._open[-1]}/"):
            self._open.pop()
        while self._open[-1] != parent:
            start = len(self._open[-1]) + 1 if self._open[-1] else 0
            end = parent.find("/", start)
            path = parent if end < 0 else parent[:end]
            self._imply(path)

    def _imply(self, path: str) -> None:
        # had it come as a directory, it would be among the open ones
        if self.entries[-1].path == path:
            raise BadTree(path, f"expected a directory, since there are entries below, got a {_kind(self.entries[-1])}")
        self._text += len(path)
        if self._text > MAX_TEXT:
            raise BadTree(path, f"expected implied directories with paths of at most {MAX_TEXT} bytes in all")
        self._append(Entry(path, Kind.DIRECTORY))


def _kind(entry: Entry) -> str:
    return {Kind.BLOCK: "device", Kind.CHARACTER: "device", Kind.REGULAR: "file"}.get(
        entry.kind, entry.kind.name.lower()
    )


def owners(tree: Tree, passwd: bytes, group: bytes) -> Tree:
    """
    The same tree with owners as numbers only. ``root`` is 0 where the tables do not say otherwise.

    Call it if :meth:`Tree.named`, with the contents of its regular files ``etc/passwd`` and ``etc/group``
    (:meth:`Tree.find` gives their hashes); b"" for one that is missing.

    :raises BadTree: a name is in no table.
    """
    users, groups = ROOT | _table(passwd), ROOT | _table(group)

    def number(entry: Entry, name: int | str, table: Mapping[str, int], where: str) -> int:
        found = table.get(name) if isinstance(name, str) else name
        if found is None:
            raise BadTree(entry.path, f"expected its owner in /{where} of the root file system, got {shown(str(name))}")
        return found

    entries = [
        replace(entry, user=number(entry, entry.user, users, PASSWD), group=number(entry, entry.group, groups, GROUP))
        if isinstance(entry.user, str) or isinstance(entry.group, str)
        else entry
        for entry in tree.entries
    ]
    return Tree(entries, tree.contents())


def _table(content: bytes) -> dict[str, int]:
    """
    Names and numbers, of ``name:password:number:…``; the first of a name counts, as in libc.
    """
    found: dict[str, int] = {}
    for line in content.removeprefix(UTF8_MARK)[:MAX_TABLE].replace(b"\r\n", b"\n").split(b"\n"):
        name, _, rest = line.decode("utf-8", "surrogateescape").partition(":")
        digits = rest.partition(":")[2].partition(":")[0]
        if name and digits.isascii() and digits.isdecimal() and len(digits) <= 10 and int(digits) < MAX_ID:
            found.setdefault(name, int(digits))
    return found
