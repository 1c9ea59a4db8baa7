"""
``make run``, as it is typed.
"""

import os
import pty
import shutil
import signal
import subprocess
import tempfile
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from tests.daemon import PATIENCE, ROOT, STARTED, eventually
from tests.functional.shared import lives, missing


class RunTests(SynchronousTestCase):
    """
    On a terminal of its own, with a folder of its own for what core0 keeps.
    """

    def setUp(self) -> None:
        """
        Start it.
        """
        if subprocess.run(["make", "-q", "setup"], cwd=ROOT, check=False).returncode:
            raise missing("needs an installation: make setup")
        self.folder = Path(tempfile.mkdtemp(prefix="core0-make-"))
        self.addCleanup(shutil.rmtree, self.folder, ignore_errors=True)
        self.said, self.pid = b"", 0
        self.terminal, end = pty.openpty()
        self.addCleanup(os.close, self.terminal)
        os.set_blocking(self.terminal, False)
        command = ["setsid", "--ctty", "make", "run", f"VAR={self.folder / 'kept here'}"]
        self.make = subprocess.Popen(command, cwd=ROOT, stdin=end, stdout=end, stderr=end)
        os.close(end)
        self.addCleanup(self.end)
        eventually(lambda: STARTED in self.output(), "it takes commands")
        self.pid = int((self.folder / "kept here" / "state" / "core0.lock").read_text().split()[1].rstrip(","))

    def end(self) -> None:
        """
        It may be there still.
        """
        if self.make.poll() is None:
            self.make.kill()
            self.make.wait(PATIENCE)
        eventually(lambda: not lives(self.pid), "core0 has ended")

    def output(self) -> str:
        """
        All that it has printed.
        """
        try:
            self.said += os.read(self.terminal, 1 << 16)
        except OSError:
            pass  # nothing new, or all have closed it
        return self.said.decode(errors="replace")

    def test_interrupt(self) -> None:
        """
        With Ctrl-C core0 stops in order, and make says nothing of an error.
        """
        os.write(self.terminal, b"\x03")
        self.assertEqual(-signal.SIGINT, self.make.wait(PATIENCE))
        self.assertFalse(lives(self.pid))
        self.assertNotIn("***", self.output())

    def test_terminated(self) -> None:
        """
        core0 stops with it when it is terminated.
        """
        self.make.terminate()
        self.make.wait(PATIENCE)
        eventually(lambda: not lives(self.pid), "core0 has ended")
        eventually(lambda: "Server Shut Down" in self.output(), "it has stopped in order")
