"""
What archives come to that have something several times, or below symlinks: what ``tar`` and ``docker import`` make of
them, but never outside of the root.
"""

import tarfile
from typing import Any

from core0.images import extraction
from core0.images.entry import Entry, Kind
from core0.images.tree import Tree
from tests.unit.archive_shared import END, ArchiveTestCase, header


def folder(name: str, **more: Any) -> bytes:
    """
    A member that is a folder.
    """
    return header(name, type=tarfile.DIRTYPE, **more)


def symlink(name: str, target: str) -> bytes:
    """
    A member that is a symlink.
    """
    return header(name, type=tarfile.SYMTYPE, linkname=target)


def hard_link(name: str, target: str) -> bytes:
    """
    A member that is a hard link.
    """
    return header(name, type=tarfile.LNKTYPE, linkname=target)


class UnpackedTestCase(ArchiveTestCase):
    """
    Reads archives into trees.
    """

    def tree(self, *members: bytes) -> dict[str, Entry]:
        """
        What is there in the end, by paths, without the root.
        """
        tree = Tree.of(self.entries(b"".join(members) + END))
        return {entry.path: entry for entry in tree.entries if entry.path}

    def kinds(self, *members: bytes) -> dict[str, Kind]:
        """
        The same, only what it is.
        """
        return {path: entry.kind for path, entry in self.tree(*members).items()}


class RepeatedTests(UnpackedTestCase):
    """
    The same path several times.
    """

    def test_last_file(self) -> None:
        """
        Of a file that is there several times the last one stays, whatever its name is written like.
        """
        found = self.tree(header("./bin/sh", b"old"), header("x"), header("bin//sh", b"newer", mode=0o700))
        self.assertEqual((5, 0o700), (found["bin/sh"].size, found["bin/sh"].mode))
        self.assertEqual(["bin", "bin/sh", "x"], sorted(found))

    def test_folders_merge(self) -> None:
        """
        A folder that is there several times has all that is in any of them, and owner and mode of the last.
        """
        first = (folder("./", mode=0o700), folder("./etc", mode=0o700), header("./etc/a", b"1"), header("./etc/b"))
        second = (folder("./", mode=0o755), folder("./etc", mode=0o750, uid=7), header("./etc/a", b"22"))
        tree = Tree.of(self.entries(b"".join((*first, *second)) + END))
        found = {entry.path: entry for entry in tree.entries}
        self.assertEqual(["", "etc", "etc/a", "etc/b"], sorted(found))
        self.assertEqual(
            (0o755, 0o750, 7, 2), (found[""].mode, found["etc"].mode, found["etc"].user, found["etc/a"].size)
        )

    def test_other_kinds(self) -> None:
        """
        What comes later takes the place of what is there: of a folder with all that is in it, too.
        """
        for first, second, kind in (
            (header("x"), folder("x"), Kind.DIRECTORY),
            (header("x"), symlink("x", "y"), Kind.SYMLINK),
            (symlink("x", "y"), header("x"), Kind.REGULAR),
            (symlink("x", "y"), folder("x"), Kind.DIRECTORY),
            (folder("x"), symlink("x", "y"), Kind.SYMLINK),
            (folder("x"), header("x", type=tarfile.FIFOTYPE), Kind.FIFO),
            (folder("x") + header("x/a/b") + symlink("x/l", "a"), header("x"), Kind.REGULAR),
        ):
            self.assertEqual({"x": kind}, self.kinds(first, second))
        again = (folder("x"), header("x/old"), header("x"), folder("x"), header("x/new"))
        self.assertEqual(["x", "x/new"], sorted(self.kinds(*again)))

    def test_links(self) -> None:
        """
        A hard link is the file that was there when it came; what takes that file's place is another one.
        """
        found = self.tree(header("a", b"old"), hard_link("b", "/a"), header("a", b"newer"), hard_link("c", "./a"))
        self.assertEqual([5, 3, 5], [found[name].size for name in "abc"])
        self.assert_refused("expected a hard link", header("d/a") + header("d") + folder("d") + hard_link("b", "d/a"))

    def test_file_above(self) -> None:
        """
        Entries below what is a file by then are refused; below what was one before they are not.
        """
        self.assert_refused("expected a directory at '/a'", header("a") + header("a/b") + END)
        self.assertEqual(["a"], sorted(self.kinds(header("a/b"), header("a"))))
        self.assert_refused("expected a directory at '/a'", header("a/b") + header("a") + header("a/c") + END)

    def test_root(self) -> None:
        """
        The root can be nothing but a folder.
        """
        self.assertEqual(["x"], sorted(self.kinds(header("x"), folder("./"))))
        self.assertEqual(["x"], sorted(self.kinds(header("x"), folder("/"))))


class NamesTests(UnpackedTestCase):
    """
    Names that programs take to pieces.
    """

    def test_absolute(self) -> None:
        """
        Names and targets of hard links may begin with slashes, as of ``tar -P``; targets of symlinks stay as they are.
        """
        found = self.tree(folder("/etc"), header("//etc/f", b"x"), hard_link("/g", "/etc/f"), symlink("/s", "/etc"))
        self.assertEqual(["etc", "etc/f", "g", "s"], sorted(found))
        self.assertEqual((1, "/etc"), (found["g"].size, found["s"].target))

    def test_label(self) -> None:
        """
        A volume has a label, which is no file.
        """
        self.assertEqual(["x"], sorted(self.kinds(header("Backup 1", type=b"V"), header("x"))))

    def test_dumped_folder(self) -> None:
        """
        A folder of an incremental archive has a list of names, which is no content.
        """
        found = self.kinds(header("d/", b"Yx\0\0" * 200, b"D"), header("d/x"))
        self.assertEqual({"d": Kind.DIRECTORY, "d/x": Kind.REGULAR}, found)


class BelowSymlinkTests(UnpackedTestCase):
    """
    Entries below symlinks.
    """

    def test_to_folder(self) -> None:
        """
        What is below a symlink to a folder is in that folder.
        """
        for target in ("usr/bin", "/usr/bin", "./usr/../usr/bin/", "../../usr/bin"):
            found = self.kinds(folder("usr/bin"), symlink("bin", target), header("bin/sh"), header("./bin/deep/er"))
            self.assertEqual(["bin", "usr", "usr/bin", "usr/bin/deep", "usr/bin/deep/er", "usr/bin/sh"], sorted(found))
            self.assertIs(Kind.SYMLINK, found["bin"])

    def test_hard_links(self) -> None:
        """
        The target of a hard link is found through symlinks, too.
        """
        found = self.tree(symlink("lib", "usr/lib"), header("usr/lib/a", b"text"), hard_link("b", "lib/a"))
        self.assertEqual(4, found["b"].size)

    def test_inside(self) -> None:
        """
        No symlink leads out of the root, whatever it says.
        """
        found = self.kinds(symlink("up", "../../../.."), header("up/etc/passwd"), symlink("a", "up/etc"), header("a/b"))
        self.assertEqual(["a", "etc", "etc/b", "etc/passwd", "up"], sorted(found))

    def test_parent_of_target(self) -> None:
        """
        ``..`` in a target is the folder above where the symlink before it leads to.
        """
        found = self.kinds(folder("x/y"), symlink("to", "x/y"), symlink("s", "to/../z"), header("s/f"))
        self.assertEqual(["s", "to", "x", "x/y", "x/z", "x/z/f"], sorted(found))

    def test_to_nothing(self) -> None:
        """
        A folder is made where a symlink leads to that nothing is at; a member may say later what that folder is like.
        """
        found = self.tree(symlink("lib", "usr/lib"), header("lib/a"), folder("usr", mode=0o711), folder("usr/lib"))
        self.assertEqual(["lib", "usr", "usr/lib", "usr/lib/a"], sorted(found))
        self.assertEqual(0o711, found["usr"].mode)

    def test_to_no_folder(self) -> None:
        """
        Symlinks to a file, or to each other, have nothing below.
        """
        self.assert_refused("expected a directory at '/f'", header("f") + symlink("s", "f") + header("s/x") + END)
        self.assert_refused(
            "symlinks that lead to each other", symlink("a", "b") + symlink("b", "a") + header("a/x") + END
        )
        self.assert_refused("symlinks that lead to each other", symlink("a", "a/b") + header("a/x") + END)

    def test_long(self) -> None:
        """
        A path that is too long where symlinks lead to is refused.
        """
        steps = b"".join(symlink(f"s{n}", f"s{n - 1}/{'d' * 90}") for n in range(1, 30))
        data = folder("s0") + steps + header("s29/" + "x/" * 40 + "f")
        self.assertEqual(1, len([entry for entry in self.entries(data + END) if entry.path.endswith("/x/f")]))
        data = (
            folder("s0")
            + symlink("s1", "s0/" + "d/" * 45)
            + b"".join(symlink(f"s{n}", f"s{n - 1}/{'d/' * 45}") for n in range(2, 40))
        )
        name = "s39/" + "/".join(["x" * 90] * 12)
        self.assert_refused("expected at most 4096 bytes", data + header(name, format=tarfile.GNU_FORMAT) + END)

    def test_too_many_steps(self) -> None:
        """
        An archive that has its symlinks followed for ever is refused.
        """
        self.patch(extraction, "MAX_STEPS", 1000)
        steps = folder("s0") + b"".join(symlink(f"s{n}", f"s{n - 1}") for n in range(1, 30))
        self.assertTrue(self.entries(steps + header("s29/x") * 10 + END))
        self.assert_refused("expected fewer symlinks", steps + header("s29/x") * 50 + END)

    def test_too_many_folders(self) -> None:
        """
        An archive whose members imply more folders than there may be is refused before they fill the memory.
        """
        self.patch(extraction, "MAX_ENTRIES", 1000)
        names = [f"{number}/{'d/' * 40}f" for number in range(100)]
        self.assert_refused("expected fewer folders", b"".join(map(header, names)) + END)
