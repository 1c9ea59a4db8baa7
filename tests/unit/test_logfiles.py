"""
Log records end up in files, in order, rotated, within a cap; what does not is counted.
"""

import os
import shutil
import tempfile
import threading
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from core0.jobs import logfiles
from core0.jobs.logfiles import FILE_NAME, PIECES, LogFiles
from tests.daemon import eventually

TOTAL = 16 * 4096


class CountingFiles(LogFiles):
    """
    Counts how often a file was to be opened.
    """

    tries = 0

    def _open(self) -> None:
        self.tries += 1
        super()._open()


class LogFilesTests(SynchronousTestCase):
    """
    Log files in a folder of their own.
    """

    def setUp(self) -> None:
        """
        A folder that is gone afterwards.
        """
        self.folder = Path(tempfile.mkdtemp(prefix="core0-logs-"))
        self.addCleanup(shutil.rmtree, self.folder, True)

    def make(self, total: int = TOTAL) -> "CountingFiles":
        """
        Log files that write what was dropped as a number.
        """
        files = CountingFiles(str(self.folder), total)
        files.tell_dropped = lambda count, where: b"%d dropped by %s" % (count, where.encode())
        self.addCleanup(files.stop)
        return files

    def begin(self, total: int = TOTAL) -> "CountingFiles":
        """
        Start them.
        """
        files = self.make(total)
        files.start()
        return files

    def end(self, files: LogFiles) -> list[bytes]:
        """
        Stop them: all lines there are, oldest first.
        """
        files.stop()
        assert files._thread is not None
        self.assertFalse(files._thread.is_alive())
        return self.lines()

    def lines(self) -> list[bytes]:
        """
        All lines there are, oldest first.
        """
        lines = []
        for number in range(PIECES - 1, -1, -1):
            path = self.folder / (f"{FILE_NAME}.{number}" if number else FILE_NAME)
            try:
                lines += path.read_bytes().splitlines(keepends=True)
            except FileNotFoundError:
                pass  # or just being moved
        return [line.removesuffix(b"\n") for line in lines]

    def eventually(self, line: bytes) -> None:
        """
        Wait for a line that another thread writes.
        """
        eventually(lambda: line in self.lines(), f"{line!r} is written")

    def test_order(self) -> None:
        """
        Records are written line by line in the order in which they came.
        """
        files = self.begin(16 << 20)
        expected = [b'{"number": %d}' % number for number in range(1000)]
        for line in expected:
            files.log(line)
        self.assertEqual(expected, self.end(files))

    def test_private(self) -> None:
        """
        Nobody else may read them.
        """
        folder = self.folder / "deep" / "logs"
        files = LogFiles(str(folder), TOTAL)
        files.start()
        files.log(b"x")
        files.stop()
        self.assertEqual(0o700, folder.stat().st_mode & 0o777)
        self.assertEqual(0o600, (folder / FILE_NAME).stat().st_mode & 0o777)

    def test_folder_in_the_way(self) -> None:
        """
        Where a folder cannot be made, that is told at the start.
        """
        (self.folder / "file").write_text("x")
        self.assertRaises(OSError, LogFiles(str(self.folder / "file" / "logs"), TOTAL).start)

    def test_appends(self) -> None:
        """
        What was there before stays.
        """
        for number in range(3):
            files = self.begin()
            files.log(b"start %d" % number)
            self.end(files)
        self.assertEqual([b"start 0", b"start 1", b"start 2"], self.lines())

    def test_cap(self) -> None:
        """
        All files together never take more than the cap; the oldest records go first.
        """
        expected = [b"%06d %s" % (number, b"x" * (number % 300)) for number in range(3000)]
        files = self.begin()
        for start in range(0, 3000, 100):
            for line in expected[start : start + 100]:
                files.log(line)
            self.eventually(expected[start + 99])
            self.assertLessEqual(sum(path.stat().st_size for path in self.folder.iterdir()), TOTAL)
        found = self.end(files)
        self.assertEqual(expected[-len(found) :], found)
        self.assertGreater(sum(map(len, found)), TOTAL * 3 // 4)
        self.assertEqual(PIECES, len(list(self.folder.iterdir())))

    def test_exactly_full(self) -> None:
        """
        A file may be filled to the last byte; the next record begins another one.
        """
        files = self.begin()
        files.log(b"x" * 4095)
        files.log(b"y")
        self.end(files)
        self.assertEqual(4096, (self.folder / f"{FILE_NAME}.1").stat().st_size)
        self.assertEqual(b"y\n", (self.folder / FILE_NAME).read_bytes())

    def test_too_long(self) -> None:
        """
        A record that is larger than a file may be is dropped and counted.
        """
        files = self.begin()
        files.log(b"before")
        files.log(b"x" * 4096)
        files.log(b"after")
        self.assertEqual({b"before", b"after", b"1 dropped by the disk"}, set(self.end(files)))

    def test_too_long_alone(self) -> None:
        """
        That is told even if nothing else is to be written.
        """
        files = self.begin()
        files.log(b"x" * 4096)
        self.eventually(b"1 dropped by the disk")

    def test_too_many(self) -> None:
        """
        What comes faster than it can be written is dropped and counted, by number and by size.
        """
        for count, line in ((logfiles.MAX_LINES + 7, b"x"), (logfiles.MAX_BYTES // (1 << 20) + 7, b"x" * (1 << 20))):
            files = self.make(1 << 30)
            for _ in range(count):
                files.log(line)
            files.start()
            found = self.end(files)
            self.assertEqual([line] * (count - 7), found[:-1])
            self.assertEqual(b"7 dropped by the disk", found[-1])
            (self.folder / FILE_NAME).unlink()

    def test_reopen(self) -> None:
        """
        When somebody else has moved the file away, a new one is begun on demand.
        """
        files = self.begin()
        files.log(b"first")
        self.eventually(b"first")
        moved = self.folder / "moved"
        os.rename(self.folder / FILE_NAME, moved)
        files.log(b"second")
        eventually(lambda: moved.read_bytes() == b"first\nsecond\n", "the second line is written")
        files.reopen()
        files.log(b"third")
        self.eventually(b"third")
        self.assertEqual(b"first\nsecond\n", moved.read_bytes())
        self.assertEqual([b"third"], self.end(files))

    def test_folder_removed(self) -> None:
        """
        A folder that was removed is made again.
        """
        files = self.begin()
        files.log(b"first")
        self.eventually(b"first")
        shutil.rmtree(self.folder)
        files.reopen()
        files.log(b"second")
        self.eventually(b"second")

    def test_not_writable(self) -> None:
        """
        What cannot be written is kept and tried again, and no other file is written to meanwhile.
        """
        self.patch(logfiles, "RETRY", 0.01)
        files = self.begin()
        files.log(b"first")
        self.eventually(b"first")
        shutil.rmtree(self.folder)
        self.folder.write_text("a file in the way")
        files.reopen()
        for number in range(10):
            files.log(b"%d" % number)
        # whoever opens a file now may get the number that the log had
        others = [os.open(self.folder, os.O_RDWR | os.O_APPEND) for _ in range(20)]
        for other in others:
            self.addCleanup(os.close, other)
        tries = files.tries
        eventually(lambda: files.tries > tries + 5, "it is tried again")
        self.assertEqual("a file in the way", self.folder.read_text())
        self.folder.unlink()
        self.eventually(b"9")
        self.assertEqual([b"%d" % number for number in range(10)], self.end(files))

    def test_stop_while_not_writable(self) -> None:
        """
        Stopping does not wait for a disk that takes nothing.
        """
        files = self.begin()
        shutil.rmtree(self.folder)
        self.folder.write_text("a file in the way")
        files.log(b"lost")
        files.stop()
        self.folder.unlink()

    def test_half_a_record(self) -> None:
        """
        A record of which only a part could be written, on a full disk, is taken back, and written once there is room.
        """
        self.patch(logfiles, "RETRY", 0.01)
        real, full = os.write, [1]

        def write(fd: int, data: bytes) -> int:
            if threading.current_thread().name != "core0-logs" or not full[0]:
                return real(fd, data)
            if len(data) > 4:
                return real(fd, data[:4])
            full[0] += 1
            raise OSError(28, "No space left on device")

        self.patch(os, "write", write)
        files = self.begin()
        files.log(b"0123456789")
        eventually(lambda: full[0] > 5, "it is tried again")
        full[0] = 0
        self.eventually(b"0123456789")
        self.assertEqual([b"0123456789"], self.end(files))

    def test_stop_twice(self) -> None:
        """
        They stop, also twice, and also before they were started.
        """
        files = self.make()
        files.stop()
        files = self.begin()
        files.log(b"x")
        self.assertEqual([b"x"], self.end(files))
        files.stop()
