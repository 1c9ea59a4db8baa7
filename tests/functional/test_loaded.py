"""
What core0 loads when it starts.
"""

import subprocess
import sys

from twisted.trial.unittest import SynchronousTestCase

from tests.daemon import ROOT
from tests.functional.shared import GENEROUS

LATER = ("click", "pycurl", "pyroute2", "rich", "valkey", "zstandard")


class LoadedTests(SynchronousTestCase):
    """
    Memory and time for what may never be needed.
    """

    def test_later(self) -> None:
        """
        What only some commands need is not loaded by a core0 that starts, nor with the server that it starts.
        """
        script = (
            "import sys, core0.service\n"
            "from core0.redis.server_settings import find_program\n"
            "find_program('')\n"
            f"print([name for name in {LATER} if name in sys.modules])\n"
        )
        done = subprocess.run([sys.executable, "-c", script], capture_output=True, timeout=GENEROUS, cwd=ROOT)
        self.assertEqual((b"[]\n", b""), (done.stdout, done.stderr))
