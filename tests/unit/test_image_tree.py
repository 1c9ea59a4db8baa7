"""
Trees: entries in order, or why they are no root file system.
"""

from collections.abc import Iterable, Iterator

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from core0.images import tree
from core0.images.entry import Entry, Kind
from core0.images.tree import BadTree, Tree, owners

ROOT = Entry("", Kind.DIRECTORY)
NAMES = st.sampled_from(["a", "a!", "b", "c\udcff", "é"])
PATHS = st.lists(NAMES, max_size=4).map("/".join)
ENTRIES = st.builds(Entry, PATHS, st.sampled_from(Kind), mode=st.just(0o700))


def directory(path: str, mode: int = 0o755) -> Entry:
    """
    A directory.
    """
    return Entry(path, Kind.DIRECTORY, mode=mode)


def file(path: str, size: int = 1, hash: str = "") -> Entry:
    """
    A regular file; its hash is of its size, unless it is given.
    """
    return Entry(path, Kind.REGULAR, hash=hash or f"{size:064x}", size=size)


def place(entry: Entry) -> list[bytes]:
    """
    What entries are in the order of.
    """
    return [part.encode("utf-8", "surrogateescape") for part in entry.path.split("/")] if entry.path else []


class TreeTests(SynchronousTestCase):
    """
    From entries to a tree.
    """

    def refused(self, entries: Iterable[Entry]) -> str:
        """
        Why they are no tree.
        """
        return str(self.assertRaises(BadTree, Tree.of, entries))

    def paths(self, *entries: Entry) -> list[str]:
        """
        The paths of their tree.
        """
        return [entry.path for entry in Tree.of(entries).entries]

    def test_order(self) -> None:
        """
        Whatever order they come in: the root first, parents before children, names by their bytes.
        """
        entries = [directory("b"), file("a!"), directory("a"), file("a/z"), file("a.b"), file("a/b"), ROOT]
        expected = ["", "a", "a/b", "a/z", "a!", "a.b", "b"]
        self.assertEqual(expected, self.paths(*entries))
        self.assertEqual(expected, self.paths(*reversed(entries)))

    def test_bytes(self) -> None:
        """
        Names that are no UTF-8 are where their bytes are.
        """
        self.assertEqual(
            ["", "x", "\udc80", "é", "€", "\U0001f600", "\udcff"],
            self.paths(*map(file, ["\udcff", "\U0001f600", "€", "é", "x", "\udc80"])),
        )

    def test_implied(self) -> None:
        """
        Directories that are missing are added: of root, 0755, from the epoch.
        """
        found = Tree.of([file("usr/share/doc/x"), file("usr/lib/y"), directory("usr/lib", 0o700)])
        self.assertEqual(
            [
                ROOT,
                directory("usr"),
                directory("usr/lib", 0o700),
                file("usr/lib/y"),
                directory("usr/share"),
                directory("usr/share/doc"),
                file("usr/share/doc/x"),
            ],
            found.entries,
        )

    def test_nothing(self) -> None:
        """
        Of no entries there is an empty root file system.
        """
        self.assertEqual([ROOT], Tree.of([]).entries)

    def test_given_root(self) -> None:
        """
        The root is as it is given, and can only be a directory.
        """
        self.assertEqual([directory("", 0o700)], Tree.of([directory("", 0o700)]).entries)
        self.assertEqual("'/': expected the root to be a directory", self.refused([file("")]))

    def test_twice(self) -> None:
        """
        A path that is there twice is refused, unless it is the same directory.
        """
        self.assertEqual(
            ["", "a", "a/b"], self.paths(directory("a"), directory("a"), file("a/b"), directory("a"), ROOT, ROOT)
        )
        for first, second in (
            (file("a"), file("a")),
            (file("a"), file("a", 2)),
            (directory("a"), file("a")),
            (directory("a"), directory("a", 0o700)),
            (file("a"), Entry("a", Kind.SYMLINK, target="b")),
        ):
            self.assertEqual("'/a': expected every path once", self.refused([first, file("a.b"), second]))

    def test_below_others(self) -> None:
        """
        Nothing is below what is no directory, whichever comes first.
        """
        for above, name in (
            (Entry("x/a", Kind.SYMLINK, target="/etc"), "symlink"),
            (file("x/a"), "file"),
            (Entry("x/a", Kind.BLOCK, device=(8, 0)), "device"),
            (Entry("x/a", Kind.SOCKET), "socket"),
            (Entry("x/a", Kind.FIFO), "fifo"),
        ):
            for below in (file("x/a/passwd"), directory("x/a/b/c/d")):
                for entries in ([above, below], [below, above], [below, file("x/a!"), above]):
                    self.assertEqual(
                        f"'/x/a': expected a directory, since there are entries below, got a {name}",
                        self.refused(entries),
                    )

    def test_contents(self) -> None:
        """
        The contents of a tree are those of its regular files, each once with its size.
        """
        found = Tree.of([file("a", 1), file("b", 1), file("c", 2), Entry("d", Kind.SYMLINK, target="a")])
        self.assertEqual({f"{1:064x}": 1, f"{2:064x}": 2}, found.contents())

    def test_sizes_of_a_hash(self) -> None:
        """
        One content has one size.
        """
        self.assertEqual(
            "'/b': expected 1 bytes, as of another file with this hash, got 2",
            self.refused([file("a", 1, "f" * 64), file("b", 2, "f" * 64)]),
        )

    def test_find(self) -> None:
        """
        An entry is found by its path, and none where there is none.
        """
        entries = [file(f"{name}/x") for name in "abcé\udcff"]
        found = Tree.of(entries)
        for entry in found.entries:
            self.assertIs(entry, found.find(entry.path))
        for path in ("a/y", "z", "a/x/y", "\udcfe", "x"):
            self.assertIsNone(found.find(path))

    @given(st.lists(ENTRIES, max_size=8))
    def test_any_entries(self, entries: list[Entry]) -> None:
        """
        Any entries make a tree in order, in which every parent is a directory, or none.
        """
        try:
            found = Tree.of(entries).entries
        except BadTree:
            return
        self.assertEqual(sorted(found, key=place), found)
        kinds = {entry.path: entry.kind for entry in found}
        self.assertEqual(len(kinds), len(found))
        self.assertLessEqual(set(entries), set(found))
        for path in kinds:
            self.assertIs(Kind.DIRECTORY, kinds[path.rpartition("/")[0]] if path else Kind.DIRECTORY)

    @given(st.lists(ENTRIES, max_size=6).flatmap(lambda given: st.tuples(st.just(given), st.permutations(given))))
    def test_any_order(self, both: tuple[list[Entry], list[Entry]]) -> None:
        """
        The order in which entries come makes no difference.
        """
        results = []
        for entries in both:
            try:
                results.append(Tree.of(entries).entries)
            except BadTree:
                results.append([])
        self.assertEqual(*results)


class LimitTests(SynchronousTestCase):
    """
    How large a tree may be.
    """

    def refused(self, entries: Iterator[Entry], words: str) -> None:
        """
        They are too much, which is found out before all of them have been made.
        """
        error = self.assertRaises(BadTree, Tree.of, entries)
        self.assertIn(words, str(error))
        self.assertIsNotNone(next(entries, None))

    def test_entries(self) -> None:
        """
        There are a million entries at most.
        """
        entry = file("a")
        self.refused((entry for _ in range(tree.MAX_ENTRIES + 2)), "expected at most 1000000 entries")

    def test_size(self) -> None:
        """
        All files together have a TiB at most.
        """
        self.refused((file(str(number), 1 << 39) for number in range(5)), "expected files of at most")

    def test_names(self) -> None:
        """
        A million entries with names as long as they may be are refused.
        """
        name = "/".join(["x" * 255] * 15)
        self.refused((file(f"{number}/{name}") for number in range(tree.MAX_ENTRIES)), "paths and targets of at most")

    def test_implied(self) -> None:
        """
        Deep paths that imply more directories than there may be are refused.
        """
        entries = (file(f"{number}/" + "x/" * 500 + "y") for number in range(2500))
        self.assertIn("with paths of at most", str(self.assertRaises(BadTree, Tree.of, entries)))


class OwnersTests(SynchronousTestCase):
    """
    Owners by name.
    """

    PASSWD = (
        b"root:x:0:0:root:/root:/bin/sh\ngit:x:100:101::/:\n\nodd\nbad:x:-1:\n"
        b"bad2:x:4294967295:\ngit:x:7:7\n\xff:x:9:\n"
    )
    GROUP = b"root:x:0:\nwheel:x:10:git"

    def owned(self, user: int | str, group: int | str) -> Tree:
        """
        A tree with a file of somebody.
        """
        return Tree.of([Entry("f", Kind.REGULAR, hash="0" * 64, user=user, group=group)])

    def test_names(self) -> None:
        """
        Names are looked up in the tables of the root file system itself; the first of a name counts.
        """
        found = owners(self.owned("git", "wheel"), self.PASSWD, self.GROUP)
        self.assertEqual((100, 10), (found.entries[1].user, found.entries[1].group))
        self.assertFalse(found.named())
        self.assertEqual({"0" * 64: 0}, found.contents())
        edited = b"\xef\xbb\xbf" + self.PASSWD.replace(b"\n", b"\r\n")
        again = owners(self.owned("git", "wheel"), edited, b"wheel:x:7\r\n" + self.GROUP)
        self.assertEqual((found.entries[-1].user, 7), (again.entries[-1].user, again.entries[-1].group))
        found = owners(self.owned("\udcff", 5), self.PASSWD, self.GROUP)
        self.assertEqual((9, 5), (found.entries[1].user, found.entries[1].group))

    def test_numbers(self) -> None:
        """
        Numbers need no tables.
        """
        found = self.owned(1, 2)
        self.assertFalse(found.named())
        self.assertEqual(found.entries, owners(found, b"", b"").entries)

    def test_root(self) -> None:
        """
        root is 0 if there is no table, and what the table says if there is one.
        """
        found = owners(self.owned("root", "root"), b"root:x:5:5", b"")
        self.assertEqual((5, 0), (found.entries[1].user, found.entries[1].group))

    def test_unknown(self) -> None:
        """
        A name that is in no table is refused, with the file that has it.
        """
        for user, group, where in (
            ("bad", 0, "passwd"),
            ("bad2", 0, "passwd"),
            ("odd", 0, "passwd"),
            (0, "git", "group"),
        ):
            found = self.owned(user, group)
            self.assertTrue(found.named())
            error = self.assertRaises(BadTree, owners, found, self.PASSWD, self.GROUP)
            name = user or group
            self.assertEqual(
                f"'/f': expected its owner in /etc/{where} of the root file system, got {name!r}", str(error)
            )

    @given(st.binary(max_size=80), st.binary(max_size=80))
    def test_any_tables(self, passwd: bytes, group: bytes) -> None:
        """
        Whatever the tables have, there are numbers, or it is refused.
        """
        try:
            found = owners(self.owned("a", "b"), passwd, group)
        except BadTree:
            return
        self.assertFalse(found.named())
