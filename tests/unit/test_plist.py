"""
Plists: text to entries, and back.
"""

import io
from collections.abc import Iterable

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from core0.images import plist
from core0.images.entry import Entry, Kind
from core0.images.names import FIRST_TIME, LAST_TIME, MAX_ID, MAX_MAJOR, MAX_MINOR, MAX_SIZE

SHA256 = "0123456789abcdef" * 4
MD5 = "0123456789abcdef" * 2
FIELDS = {
    "path": "/bin/true",
    "hash": SHA256,
    "size": "7",
    "uname": "root",
    "gname": "0",
    "permissions": "755",
    "filetype": "2",
    "ctime": "2",
    "mtime": "1",
    "extended": "",
}
# all bytes, those of the format itself more often than others
ODD = st.lists(st.sampled_from([b"|", b"\\", b"\n", b"n", b"\xff", "é".encode(), b" "]) | st.binary(max_size=2))
TEXTS = ODD.map(lambda pieces: b"".join(pieces).replace(b"\0", b"").decode("utf-8", "surrogateescape")).filter(bool)
PARTS = TEXTS.map(lambda text: text.replace("/", "_")[:60]).filter(lambda part: part not in ("", ".", ".."))
PATHS = st.lists(PARTS, max_size=4).map("/".join)
OWNERS = st.integers(0, MAX_ID - 1) | st.from_regex(r"[a-z_|\\][a-z0-9_|\\.-]{0,20}", fullmatch=True)
TIMES = st.integers(FIRST_TIME, LAST_TIME)
HASHES = st.text("0123456789abcdef", min_size=64, max_size=64) | st.text("0123456789abcdef", min_size=32, max_size=32)


@st.composite
def entries(draw: st.DrawFn) -> Entry:
    """
    Any entry that there can be.
    """
    kind = draw(st.sampled_from(Kind))
    device = kind in (Kind.BLOCK, Kind.CHARACTER)
    return Entry(
        path=draw(PATHS),
        kind=kind,
        hash=draw(HASHES) if kind is Kind.REGULAR else "",
        size=draw(st.integers(0, MAX_SIZE - 1)) if kind is Kind.REGULAR else 0,
        user=draw(OWNERS),
        group=draw(OWNERS),
        mode=draw(st.integers(0, 0o7777)),
        ctime=draw(TIMES),
        mtime=draw(TIMES),
        target=draw(TEXTS) if kind is Kind.SYMLINK else "",
        device=draw(st.tuples(st.integers(0, MAX_MAJOR - 1), st.integers(0, MAX_MINOR - 1))) if device else (0, 0),
    )


def line(**fields: str) -> bytes:
    """
    A line with some fields as given, and all others right.
    """
    return "|".join({**FIELDS, **fields}.values()).encode("utf-8", "surrogateescape")


def symlink(**fields: str) -> bytes:
    """
    A line of a symlink.
    """
    return line(**{"filetype": "1", "hash": "", "extended": "target", **fields})


def device(extended: str) -> bytes:
    """
    A line of a device.
    """
    return line(filetype="5", hash="", extended=extended)


class PlistTestCase(SynchronousTestCase):
    """
    Reads plists.
    """

    def one(self, content: bytes) -> Entry:
        """
        The entry of a plist of one line.
        """
        (found,) = plist.parse([content])
        return found

    def refused(self, lines: Iterable[bytes]) -> str:
        """
        Why they are no plist.
        """
        return str(self.assertRaises(plist.BadPlist, list, plist.parse(lines)))


class ReadingTests(PlistTestCase):
    """
    What is a plist.
    """

    def test_line(self) -> None:
        """
        A line has ten fields, each with its meaning.
        """
        expected = Entry("bin/true", Kind.REGULAR, SHA256, 7, "root", 0, 0o755, 2, 1)
        self.assertEqual(expected, self.one(line()))
        self.assertEqual(expected, self.one(line() + b"\n"))

    def test_blank_lines(self) -> None:
        """
        Blank lines do not count, except for the numbers of others.
        """
        self.assertEqual(1, len(list(plist.parse([b"\n", b"", b"  \n", line()]))))
        self.assertTrue(self.refused([b"\n", b"\n", b"x"]).startswith("line 3: "))

    def test_kinds(self) -> None:
        """
        Each number of a file type is read; devices have numbers, symlinks targets.
        """
        for kind in Kind:
            extended = {1: "../to", 3: "8,1", 5: "8,1"}.get(int(kind), "")
            found = self.one(line(filetype=str(int(kind)), extended=extended))
            self.assertIs(kind, found.kind)
            self.assertEqual("../to" if kind is Kind.SYMLINK else "", found.target)
            self.assertEqual((8, 1) if kind in (Kind.BLOCK, Kind.CHARACTER) else (0, 0), found.device)
            self.assertEqual(SHA256 if kind is Kind.REGULAR else "", found.hash)

    def test_paths(self) -> None:
        """
        A path is from the root with or without a slash before it; slashes too many and dots mean nothing.
        """
        for path, expected in (
            ("/a/b", "a/b"),
            ("a/b", "a/b"),
            ("//a//./b/", "a/b"),
            ("/", ""),
            (".", ""),
            ("/...", "..."),
            ("/..a/b..", "..a/b.."),
            ("/" + "/".join(["x" * 255] * 15), "/".join(["x" * 255] * 15)),
        ):
            self.assertEqual(expected, self.one(line(path=path)).path)

    def test_escapes(self) -> None:
        r"""
        ``\|``, ``\n`` and ``\\`` stand for one character; any other backslash for itself, as in old plists.
        """
        for path, expected in (
            (r"a\|b", "a|b"),
            (r"a\nb", "a\nb"),
            (r"a\\b", r"a\b"),
            (r"a\\nb", r"a\nb"),
            (r"a\b", r"a\b"),
            (r"a\x\y", r"a\x\y"),
            ("a\\\\", "a\\"),
            (r"a\\\|b", r"a\|b"),
        ):
            self.assertEqual(expected, self.one(line(path=path)).path, path)

    def test_other_bytes(self) -> None:
        """
        Names need not be UTF-8.
        """
        found = self.one(line().replace(b"true", b"\xff\xfe"))
        self.assertEqual(b"bin/\xff\xfe", found.path.encode("utf-8", "surrogateescape"))

    def test_old_plists(self) -> None:
        """
        Old plists are read: hashes of 32 digits, times that are missing or have fractions, the type among permissions.
        """
        found = self.one(line(hash=MD5, ctime="", mtime="1425986525.75", permissions="0100644"))
        self.assertEqual((MD5, 0, 1425986525, 0o644), (found.hash, found.ctime, found.mtime, found.mode))
        found = self.one(line(filetype="4", hash="", size="4096", mtime="-1.5", permissions="41777"))
        self.assertEqual(("", 0, -1, 0o1777), (found.hash, found.size, found.mtime, found.mode))

    def test_times_that_no_file_has(self) -> None:
        """
        A time that no file can have becomes the nearest one that it can have.
        """
        found = self.one(line(ctime="99999999999999999999", mtime="-99999999999999999999"))
        self.assertEqual((LAST_TIME, FIRST_TIME), (found.ctime, found.mtime))

    def test_file(self) -> None:
        """
        A file is read line by line, and never a whole line that is too long.
        """
        file = io.BytesIO(line() + b"\n" + b"x" * (1 << 20))
        lines = plist.lines(file)
        self.assertEqual(line() + b"\n", next(lines))
        self.assertIn("line 1: expected at most", self.refused(lines))
        self.assertLess(file.tell(), 1 << 18)


class HostileTests(PlistTestCase):
    """
    What is no plist, each told with its line, the field, what there is and what was expected.
    """

    def test_fields(self) -> None:
        """
        Each wrong field is named, with what it has and what was expected.
        """
        for content, expected in (
            (line(size="x"), "line 1: size: expected a whole number, got 'x'"),
            (line(size="-1"), "line 1: size: expected a whole number, got '-1'"),
            (line(size="1_0"), "line 1: size: expected a whole number, got '1_0'"),
            (line(size="٣"), "line 1: size: expected a whole number, got '٣'"),
            (line(size=""), "line 1: size: expected a whole number, got ''"),
            (line(size=str(MAX_SIZE)), f"line 1: size: expected a number below {MAX_SIZE}, got '{MAX_SIZE}'"),
            (line(size="9" * 5000), f"line 1: size: expected a number below {MAX_SIZE}, got '{'9' * 80}…'"),
            (line(uname=str(MAX_ID)), f"line 1: uname: expected a number below {MAX_ID}, got '{MAX_ID}'"),
            (line(gname="-1"), "line 1: gname: expected a number or a name, got '-1'"),
            (line(gname=""), "line 1: gname: expected a number or a name, got ''"),
            (line(uname="a:b"), "line 1: uname: expected a number or a name, got 'a:b'"),
            (line(uname="x" * 256), f"line 1: uname: expected a number or a name, got '{'x' * 80}…'"),
            (line(permissions="9"), "line 1: permissions: expected an octal number, got '9'"),
            (line(permissions="0o755"), "line 1: permissions: expected an octal number, got '0o755'"),
            (line(permissions="7" * 8), "line 1: permissions: expected an octal number, got '77777777'"),
            (line(filetype="7"), "line 1: filetype: expected a number from 0 to 6, got '7'"),
            (line(filetype="02"), "line 1: filetype: expected a number from 0 to 6, got '02'"),
            (line(ctime="nan"), "line 1: ctime: expected seconds since the epoch, got 'nan'"),
            (line(mtime="1e9"), "line 1: mtime: expected seconds since the epoch, got '1e9'"),
            (line(extended="x"), "line 1: extended: expected nothing for filetype 2, got 'x'"),
            (line(hash=""), "line 1: hash: expected 64 or 32 hexadecimal digits in lower case, got ''"),
            (line(hash="../../etc/shadow"), "line 1: hash: expected 64 or 32 hexadecimal digits"),
            (line(hash=SHA256.upper()), "line 1: hash: expected 64 or 32 hexadecimal digits"),
            (line(hash=MD5 + "0"), "line 1: hash: expected 64 or 32 hexadecimal digits"),
        ):
            self.assertTrue(self.refused([content]).startswith(expected), self.refused([content]))

    def test_paths(self) -> None:
        """
        A path that leads out, cannot be, or is nothing, is refused.
        """
        for path, expected in (
            ("..", "path: expected a path without '..'"),
            ("/a/../b", "path: expected a path without '..'"),
            ("/a/..", "path: expected a path without '..'"),
            ("", "path: expected a path, got nothing"),
            ("/a\0b", "path: expected a path without NUL bytes"),
            ("/" + "x" * 256, "path: expected names of at most 255 bytes"),
            ("/" + "é" * 128, "path: expected names of at most 255 bytes"),
            ("/" + "a/" * 2048, "path: expected at most 4096 bytes"),
        ):
            self.assertIn(expected, self.refused([line(path=path)]))

    def test_symlinks(self) -> None:
        """
        A symlink has a target that a symlink can have, and may lead anywhere: it is not followed here.
        """
        self.assertEqual("../../../etc/passwd", self.one(symlink(extended="../../../etc/passwd")).target)
        self.assertEqual("x" * 4095, self.one(symlink(extended="x" * 4095)).target)
        for target in ("", "a\0b"):
            self.assertIn("extended: expected the target of a symlink", self.refused([symlink(extended=target)]))
        for target in ("x" * 4096, "é" * 2048):
            self.assertIn("extended: expected a target of at most 4095", self.refused([symlink(extended=target)]))

    def test_devices(self) -> None:
        """
        A device has two numbers that the kernel has room for.
        """
        for extended in ("", "8", "8,", "8,1,2", "-8,1", "8, 1", f"{MAX_MAJOR},1", f"1,{MAX_MINOR}", "9" * 30 + ",1"):
            self.assertIn("extended: expected the device's major,minor", self.refused([device(extended)]))

    def test_number_of_fields(self) -> None:
        """
        A line with fewer fields, or more, is refused; an escaped separator separates nothing.
        """
        self.assertIn("expected 10 fields with | between them, got 11", self.refused([line() + b"|"]))
        self.assertIn("expected 10 fields with | between them, got 1", self.refused([b"what is this"]))
        self.assertIn("expected 10 fields with | between them, got 9", self.refused([line(path=r"a\|b", size="1\\")]))

    def test_too_much(self) -> None:
        """
        A line that is too long, or lines without end, are refused without reading on.
        """
        self.assertIn("expected at most 32768 bytes", self.refused([line(path="x" * plist.MAX_LINE)]))
        endless = (b"\n" for _ in range(plist.MAX_LINES + 1))
        self.assertIn(f"line {plist.MAX_LINES + 1}: expected at most", self.refused(endless))

    @given(st.lists(st.binary(max_size=60) | ODD.map(b"|".join) | st.just(line()), max_size=5))
    def test_any_bytes(self, lines: list[bytes]) -> None:
        """
        Whatever the bytes are, they are entries or refused in words that can be shown.
        """
        try:
            found = list(plist.parse(lines))
        except plist.BadPlist as error:
            str(error).encode()
        else:
            self.assertEqual(found, list(plist.parse(plist.write(found))))

    @given(st.sampled_from(sorted(FIELDS)), st.text(max_size=20) | st.integers().map(str))
    def test_any_field(self, name: str, value: str) -> None:
        """
        Whatever one field has, the line is an entry or refused.
        """
        content = "|".join({**FIELDS, name: value}.values()).encode("utf-8", "replace")
        try:
            self.one(content)
        except plist.BadPlist as error:
            str(error).encode()


class EditedTests(PlistTestCase):
    """
    Plists that people have saved with an editor.
    """

    LINES = (b"/||0|0|0|755|4|0|0|", b"/l||0|0|0|777|1|0|0|target", b"/c||0|0|0|600|5|0|0|1,3")

    def test_read(self) -> None:
        """
        A byte order mark, lines as on Windows, and a last line without an end change nothing.
        """
        expected = list(plist.parse(self.LINES))
        for end in (b"\n", b"\r\n"):
            for mark in (b"", b"\xef\xbb\xbf"):
                for last in (b"", end, end * 3):
                    data = mark + end.join(self.LINES) + last
                    self.assertEqual(expected, list(plist.parse(plist.lines(io.BytesIO(data)))))

    def test_carriage_return(self) -> None:
        """
        Where lines end as elsewhere, a target may end in a carriage return.
        """
        data = self.LINES[0] + b"\n" + self.LINES[1] + b"\r\n"
        self.assertEqual("target\r", list(plist.parse(plist.lines(io.BytesIO(data))))[1].target)
        self.assertEqual("target\r", next(plist.parse([self.LINES[1] + b"\r\n"])).target)


class WritingTests(PlistTestCase):
    """
    Entries to text.
    """

    def test_line(self) -> None:
        """
        An entry is written as one line, from the root.
        """
        entry = Entry("a|b\n\\c", Kind.SYMLINK, mode=0o777, mtime=5, target="d|e", user="root")
        self.assertEqual([rb"/a\|b\n\\c||0|root|0|777|1|0|5|d\|e" + b"\n"], list(plist.write([entry])))
        self.assertEqual([b"/||0|0|0|755|4|0|0|\n"], list(plist.write([Entry("", Kind.DIRECTORY)])))
        self.assertEqual([b"/x||0|0|0|755|5|0|0|1,3\n"], list(plist.write([Entry("x", Kind.CHARACTER, device=(1, 3))])))

    @given(st.lists(entries(), max_size=5))
    def test_round_trip(self, given: list[Entry]) -> None:
        """
        What is written is one line an entry, and read as what it was.
        """
        written = b"".join(plist.write(given))
        self.assertEqual(len(given), written.count(b"\n"))
        self.assertEqual(given, list(plist.parse(plist.lines(io.BytesIO(written)))))
