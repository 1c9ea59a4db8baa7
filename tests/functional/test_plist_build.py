"""
``corectl plist build``, on real directories and archives.
"""

import fcntl
import gzip
import hashlib
import os
import pty
import shutil
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import termios
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import zstandard
from twisted.trial.unittest import SynchronousTestCase

from core0.images import plist
from core0.images.archive import BadArchive
from core0.images.build import Built, CannotBuild, build
from core0.images.deposit import CHUNK
from core0.images.directory import BadSource
from core0.images.entry import Entry, Kind
from core0.images.tree import Tree
from tests.daemon import PATIENCE, ROOT, eventually
from tests.functional.apart import NOBODY, apart
from tests.functional.shared import status

CORECTL = (sys.executable, "-m", "core0.client")
LARGE = CHUNK + 10  # bytes


def nothing(files: int, bytes: int) -> None:
    """
    Progress that nobody looks at.
    """


def digest(content: bytes) -> str:
    """
    The name of a content.
    """
    return hashlib.sha256(content).hexdigest()


class BuildTestCase(SynchronousTestCase):
    """
    Tests with a folder of their own, and a directory in it that is to become a root file system.
    """

    def setUp(self) -> None:
        """
        Have them.
        """
        self.folder = Path(tempfile.mkdtemp(prefix="core0-plist-"))
        self.addCleanup(shutil.rmtree, self.folder, ignore_errors=True)
        self.source = self.folder / "source"
        self.store = self.folder / "store"
        self.plist = self.folder / "x.plist"
        self.source.mkdir(0o755)

    def fill(self) -> None:
        """
        Put in it what makes trouble.
        """
        source = os.fsencode(self.source)
        for name, content in (
            (b"plain", b"text\n"),
            (b"empty", b""),
            (b"large", b"x" * LARGE),
            (b"a|b\\n\nc \\", b"1"),
            (b"\xff\xfe", b"2"),
            ("é".encode(), b"text\n"),
            (b"x" * 255, b"3"),
        ):
            Path(os.fsdecode(source + b"/" + name)).write_bytes(content)
        deep = self.source.joinpath(*["d" * 100] * 8)
        deep.mkdir(parents=True)
        (deep / "f").write_bytes(b"4")
        os.link(self.source / "plain", deep / "same")
        os.link(self.source / "large", self.source / "a-large")
        for number, target in enumerate((b"/etc", b"../..", b"nowhere\n|", b"\xff")):
            os.symlink(target, source + b"/link%d" % number)
        os.mkfifo(self.source / "fifo", 0o600)
        (self.source / "plain").chmod(0o4711)
        deep.chmod(0o1770)
        os.utime(deep, ns=(0, -1_500_000_000))
        os.utime(self.source / "empty", ns=(0, 1_234_567_890_999_999_999))

    def build(self, source: Path | None = None, output: Path | None = None, store: Path | None = None) -> Built:
        """
        Make a plist.
        """
        return build(str(source or self.source), str(store or self.store), str(output or self.plist), nothing)

    def tree(self) -> dict[str, Entry]:
        """
        What the plist says, by paths.
        """
        with self.plist.open("rb") as file:
            tree = Tree.of(plist.parse(plist.lines(file)))
        return {entry.path: entry for entry in tree.entries}

    def tar(self, name: str, *options: str) -> Path:
        """
        An archive of the directory.
        """
        archive = self.folder / name
        subprocess.run(["tar", "-c", "-a", "-f", archive, *options, "-C", self.source, "."], check=True)
        return archive

    def assert_no_rest(self) -> None:
        """
        Nothing that was begun is left.
        """
        self.assertEqual([], [name for name in os.listdir(self.folder) if name.endswith(".new")])
        if self.store.exists():
            self.assertEqual([], [name for name in os.listdir(self.store) if len(name) != 64])


class DirectoryTests(BuildTestCase):
    """
    A plist of a directory.
    """

    def test_entries(self) -> None:
        """
        Everything in a directory is in the plist as it is, and every content in the store.
        """
        self.fill()
        built = self.build()
        found = self.tree()
        self.assertEqual(
            {os.fsencode(os.path.relpath(path, self.source)) for path in self.source.rglob("*")},
            {path.encode("utf-8", "surrogateescape") for path in found if path},
        )
        for path, entry in found.items():
            state = os.lstat(self.source / path)
            self.assertEqual(
                (state.st_uid, state.st_gid, state.st_mode & 0o7777, state.st_mtime_ns // 10**9, entry.mtime),
                (entry.user, entry.group, entry.mode, entry.mtime, entry.ctime),
                path,
            )
            if entry.kind is Kind.REGULAR:
                content = (self.source / path).read_bytes()
                self.assertEqual((digest(content), len(content)), (entry.hash, entry.size))
                self.assertEqual(content, (self.store / entry.hash).read_bytes())
            elif entry.kind is Kind.SYMLINK:
                self.assertEqual(os.readlink(self.source / path), entry.target)
        files = [entry for entry in found.values() if entry.kind is Kind.REGULAR]
        contents = {file.hash for file in files}
        self.assertEqual(contents, set(os.listdir(self.store)))
        expected = Built(len(found), len(files), sum(file.size for file in files), len(contents), 0)
        self.assertEqual(expected, built)
        self.assertEqual((0o4711, -2), (found["plain"].mode, found["/".join(["d" * 100] * 8)].mtime))
        self.assertIs(Kind.FIFO, found["fifo"].kind)
        self.assert_no_rest()

    def test_deterministic(self) -> None:
        """
        The same files make the same plist, wherever they are and whenever they were copied there.
        """
        self.fill()
        self.build()
        first = self.plist.read_bytes()
        copy = self.folder / "copy"
        subprocess.run(["cp", "-a", self.source, copy], check=True)
        self.assertEqual(0, self.build(copy).new)
        self.assertEqual(first, self.plist.read_bytes())

    def test_compressed(self) -> None:
        """
        A plist whose name says so is compressed, with the same bytes each time.
        """
        self.fill()
        self.build()
        for ending, unpack in (
            (".gz", gzip.decompress),
            (".zst", lambda data: zstandard.ZstdDecompressor().decompressobj().decompress(data)),
        ):
            outputs = [self.folder / f"{number}.plist{ending}" for number in range(2)]
            for output in outputs:
                self.build(output=output)
            self.assertEqual(outputs[0].read_bytes(), outputs[1].read_bytes())
            self.assertEqual(self.plist.read_bytes(), unpack(outputs[0].read_bytes()))

    def test_left_out(self) -> None:
        """
        Sockets are left out, and counted.
        """
        with socket.socket(socket.AF_UNIX) as one:
            one.bind(str(self.source / "socket"))
            self.assertEqual(1, self.build().skipped)
        self.assertEqual([""], list(self.tree()))

    def test_half_a_content(self) -> None:
        """
        A content of which the store has only a half, as after a power failure, is written again; a whole one is not.
        """
        for content in (b"whole", b"y" * LARGE):
            (self.source / "f").write_bytes(content)
            self.assertEqual(1, self.build().new)
            stored = self.store / digest(content)
            state = stored.stat().st_ino
            self.assertEqual(0, self.build().new)
            self.assertEqual(state, stored.stat().st_ino)
            stored.write_bytes(content[:-1])
            self.assertEqual(1, self.build().new)
            self.assertEqual(content, stored.read_bytes())

    def test_through_a_symlink(self) -> None:
        """
        The directory itself may be a symlink, what is in it is never followed.
        """
        (self.source / "f").touch()
        (self.folder / "there").symlink_to("source")
        self.build(self.folder / "there")
        self.assertEqual(["", "f"], list(self.tree()))


class ChangingTests(BuildTestCase):
    """
    A directory in which somebody works meanwhile.
    """

    def assert_noticed(self, change: Callable[[], object], words: str) -> None:
        """
        A change while the first file is read is noticed, and nothing is left of it.
        """
        done: list[object] = []

        def progress(files: int, bytes: int) -> None:
            if not done:
                done.append(change())

        arguments = (str(self.source), str(self.store), str(self.plist), progress)
        error = self.assertRaises(BadSource, build, *arguments)
        self.assertIn(words, str(error))
        self.assertFalse(self.plist.exists())
        self.assert_no_rest()

    def test_file(self) -> None:
        """
        A file that grows, shrinks or is written over while it is read is an error that names it.
        """
        file = self.source / "a file"

        def grow() -> None:
            with file.open("ab") as more:
                more.write(b"more")

        for change in (
            grow,
            lambda: os.truncate(file, 5),
            lambda: file.write_bytes(b"y" * 3 * LARGE),
            lambda: file.chmod(0o600),
        ):
            file.write_bytes(b"x" * 3 * LARGE)
            file.chmod(0o644)
            self.assert_noticed(change, f"'{file}' changes while it is read")

    def test_directory(self) -> None:
        """
        A directory whose place a symlink takes is not left through it; that it changed is an error.
        """
        inside = self.source / "d"
        inside.mkdir()
        (inside / "f").touch()

        def swap() -> None:
            inside.rename(self.folder / "away")
            inside.symlink_to("/etc")

        self.assert_noticed(swap, "changes while it is read")

    def test_new_names(self) -> None:
        """
        A name that appears in a directory after that was listed is an error.
        """
        (self.source / "f").touch()
        self.assert_noticed((self.source / "g").touch, f"'{self.source}' changes while it is read")


class ArchiveTests(BuildTestCase):
    """
    A plist of an archive.
    """

    def test_same(self) -> None:
        """
        An archive of a directory, in every format and compression, makes the plist that the directory makes.
        """
        self.fill()
        self.build()
        expected = self.plist.read_bytes()
        for name in ("x.tar", "x.tar.gz", "x.tar.xz", "x.tar.zst"):
            for options in (["--format=gnu"], ["--format=pax"], ["--format=gnu", "--sort=name", "--numeric-owner"]):
                # only the POSIX format has times before 1970 with a fraction, and rounds them to the other side
                os.utime(self.source.joinpath(*["d" * 100] * 8), (0, -2))
                self.assertEqual(0, self.build(self.tar(name, *options)).new)
                self.assertEqual(expected, self.plist.read_bytes(), (name, options))

    def test_without_parents(self) -> None:
        """
        Directories that an archive does not have are implied.
        """
        (self.source / "usr/bin").mkdir(parents=True)
        (self.source / "usr/bin/f").write_bytes(b"text")
        archive = self.folder / "x.tar"
        subprocess.run(["tar", "-cf", archive, "-C", self.source, "usr/bin/f"], check=True)
        self.build(archive)
        self.assertEqual(["", "usr", "usr/bin", "usr/bin/f"], list(self.tree()))

    def test_damaged(self) -> None:
        """
        An archive that is cut off makes no plist, and leaves the old one.
        """
        self.fill()
        self.plist.write_bytes(b"old")
        archive = self.tar("x.tar")
        os.truncate(archive, LARGE // 2)
        error = self.assertRaises(BadArchive, self.build, archive)
        self.assertIn("cut off", str(error))
        self.assertEqual(b"old", self.plist.read_bytes())
        self.assert_no_rest()


class PlacesTests(BuildTestCase):
    """
    Where things go.
    """

    def test_in_the_way(self) -> None:
        """
        A store or a plist in the directory itself, or a plist with the name of an archive, is refused at once.
        """
        (self.folder / "there").symlink_to("source")
        for places in (
            {"store": self.source / "store"},
            {"store": self.folder / "there"},
            {"output": self.source / "x.plist"},
            {"output": self.folder / "x.tar"},
            {"output": self.folder / "missing" / "x.plist"},
            {"source": self.plist},
        ):
            self.plist.touch()
            self.assertRaises(CannotBuild, self.build, **places)
            self.assertEqual(([], False), (os.listdir(self.source), self.store.exists()))


class CorectlTests(BuildTestCase):
    """
    The command.
    """

    def corectl(
        self,
        *words: str | Path,
        before: Sequence[str] = (),
        environment: Mapping[str, str] | None = None,
        **more: Any,
    ) -> "subprocess.CompletedProcess[str]":
        """
        Run it to its end; neither it nor anything else needs a core0.

        :param before: words before the command line.
        :param environment: variables besides, or in the place of, those of the tests.
        """
        environment = {**os.environ, "PYTHONPATH": str(ROOT), "CORE0_URL": "/nowhere", **(environment or {})}
        command = [*before, *CORECTL, "plist", "build", *map(str, words)]
        more = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **more}
        return subprocess.run(command, env=environment, text=True, timeout=PATIENCE, cwd=self.folder, **more)

    def test_done(self) -> None:
        """
        It says what it made, and how to use that; the store is beside the plist unless it is told otherwise.
        """
        (self.source / "f").write_bytes(b"x" * 2048)
        with socket.socket(socket.AF_UNIX) as one:
            one.bind(str(self.source / "socket"))
            done = self.corectl("source", "-o", "x.plist")
        expected = (
            "x.plist: 2 entries, 1 files, 2.0 KiB; 1 new contents in store; 1 sockets and devices left out\n"
            f"Start a container: corectl container create {self.plist}\n"
        )
        self.assertEqual((0, expected, ""), (done.returncode, done.stdout, done.stderr))
        self.assertEqual([digest(b"x" * 2048)], os.listdir(self.store))

    def test_other_store(self) -> None:
        """
        A store that is elsewhere is named in what it says of the use.
        """
        done = self.corectl("source", "--store", "other/store", "-o", "x.plist")
        self.assertIn(f"--storage {self.folder}/other/store {self.plist}", done.stdout)

    def test_failed(self) -> None:
        """
        What cannot be built is said in a line, with status 1.
        """
        (self.source / "f").symlink_to("x")
        (self.folder / "x.tar").write_bytes(b"no archive" * 100)
        (self.folder / "y.tar").write_bytes(b"no archive\0" * 100)
        (self.folder / "x.zip").write_bytes(b"PK\x03\x04" + bytes(100))
        (self.folder / "empty").touch()
        (self.folder / "file").touch()
        for words, expected in (
            (("x.tar", "-o", "x.plist"), "expected a directory or a tar archive, got 'x.tar', which looks like plain"),
            (("y.tar", "-o", "x.plist"), "at byte 0: damaged, or no tar archive: invalid header"),
            (("x.zip", "-o", "x.plist"), "expected a directory or a tar archive, got 'x.zip', which looks like a zip"),
            (("empty", "-o", "x.plist"), "expected a directory or a tar archive, got 'empty', which is empty"),
            (("source", "-o", "source/x.plist"), "'source/store' is in 'source'"),
            (("source", "-o", "x.plist", "--store", "file/store"), "'file/store': Not a directory"),
        ):
            done = self.corectl(*words)
            self.assertEqual((1, ""), (done.returncode, done.stdout), words)
            self.assertIn(expected, done.stderr)
            self.assertEqual(1, done.stderr.count("\n"), done.stderr)

    def test_unreadable(self) -> None:
        """
        A file that may not be read is named.
        """
        (self.source / "secret").touch(0)
        self.folder.chmod(0o777)
        before = apart(NOBODY, self.folder / "shown") if os.geteuid() == 0 else ()
        done = self.corectl("source", "-o", "x.plist", before=before)
        self.assertEqual(
            (1, "corectl: cannot read 'source/secret': Permission denied\n"), (done.returncode, done.stderr)
        )

    def shown(self, kind: str) -> bytes:
        """
        What it shows on a terminal of this kind (``TERM``).
        """
        terminal, end = pty.openpty()
        self.addCleanup(os.close, terminal)
        done = self.corectl("source", "-o", "x.plist", stderr=end, environment={"TERM": kind})
        os.close(end)
        self.assertEqual(0, done.returncode)
        said = b""
        try:
            while piece := os.read(terminal, 1 << 16):
                said += piece
        except OSError:
            pass  # nobody has the other end any more
        return said

    def test_terminal(self) -> None:
        """
        On a terminal it shows how far it is, and leaves nothing of that there.
        """
        self.fill()
        self.assertIn(b"files", self.shown("xterm"))

    def test_dumb_terminal(self) -> None:
        """
        On a terminal that cannot move its cursor it shows no progress.
        """
        self.fill()
        for kind in ("dumb", "unknown"):
            self.assertEqual(b"", self.shown(kind))

    def waits(self, pid: int, pipe: int) -> bool:
        """
        Whether a process waits for more, with nothing left in a pipe.
        """
        left = struct.unpack("i", fcntl.ioctl(pipe, termios.FIONREAD, bytes(4)))[0]
        return left == 0 and status(pid).get("State", "").startswith("S")

    def test_ended(self) -> None:
        """
        Ended in the middle, it leaves nothing that it had begun.
        """
        os.mkfifo(self.folder / "x.tar")
        (self.source / "f").write_bytes(b"x" * 3 * LARGE)
        archive = self.tar("y.tar").read_bytes()
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            # whoever runs these tests in the background may ignore some, and that is inherited
            default = ["env", "--default-signal=INT,HUP,TERM"]
            command = [*default, *CORECTL, "plist", "build", "x.tar", "-o", "x.plist"]
            environment = {**os.environ, "PYTHONPATH": str(ROOT)}
            with (
                subprocess.Popen(command, env=environment, cwd=self.folder) as process,
                (self.folder / "x.tar").open("wb") as pipe,
            ):
                pipe.write(archive[: 2 * LARGE])
                pipe.flush()
                eventually(lambda: self.waits(process.pid, pipe.fileno()), "it has read all that there is")
                self.assertEqual([".new"], [name[-4:] for name in os.listdir(self.store)])
                process.send_signal(number)
                self.assertEqual(128 + number, process.wait(PATIENCE))
            self.assert_no_rest()
            self.assertFalse(self.plist.exists())
