"""
What tests of corectl have in common: it is run as somebody uses it in a shell, against a real core0.
"""

import os
import subprocess
import sys
from typing import Any

from tests.daemon import PATIENCE, ROOT
from tests.functional.shared import DaemonTestCase

CORECTL = (sys.executable, "-m", "core0.client")


class CorectlTestCase(DaemonTestCase):
    """
    Tests that share a core0.
    """

    config = "[jobs]\nkill_grace = 0.5"

    def environment(self, **more: str) -> dict[str, str]:
        """
        Of corectl: it finds this core0.
        """
        return {**os.environ, "PYTHONPATH": str(ROOT), "CORE0_URL": self.daemon.socket, **more}

    def corectl(self, *words: str, stdin: bytes = b"", **more: Any) -> "subprocess.CompletedProcess[bytes]":
        """
        Run it to its end.
        """
        env = more.pop("env", None) or self.environment()
        return subprocess.run([*CORECTL, *words], input=stdin, env=env, capture_output=True, timeout=PATIENCE, **more)

    def begin(self, *words: str) -> "subprocess.Popen[bytes]":
        """
        Have it run meanwhile.
        """
        process = subprocess.Popen(
            [*CORECTL, *words], env=self.environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
        self.addCleanup(self.end, process)
        return process

    def end(self, process: "subprocess.Popen[bytes]") -> None:
        """
        It shall not be left.
        """
        process.kill()
        process.communicate()

    def assert_done(self, done: Any, code: int = 0, out: bytes = b"", err: bytes = b"") -> None:
        """
        It ended so, and printed this and nothing else.
        """
        self.assertEqual((code, out, err), (done.returncode, done.stdout, done.stderr))

    def assert_failed(self, done: Any, code: int, about: str) -> None:
        """
        It ended so, printed nothing on stdout, and one sentence on stderr that speaks of this.
        """
        self.assertEqual((code, b""), (done.returncode, done.stdout), done.stderr)
        self.assertIn(about, done.stderr.decode())
        self.assertNotIn("Traceback", done.stderr.decode())
