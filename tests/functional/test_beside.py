"""
The tests beside a core0 that looks after the networks of the machine.
"""

import os
import subprocess
import sys

from twisted.trial.unittest import SynchronousTestCase

from tests.daemon import PATIENCE, ROOT, eventually
from tests.functional.network_shared import Host

# one that was there before, until its standard input ends; and what it has written
HOLDER = """
import sys
from core0.network.claim import Claim, path
claim = Claim("/somewhere")
claim.take()
print(path(), flush=True)
sys.stdin.read()
print(open(path()).read().strip())
claim.drop()
"""
# what a core0 that a test starts hears then
OTHER = """
from core0.network.claim import Claim, NotOurs
try:
    Claim("/elsewhere").take()
except NotOurs as error:
    print(error)
"""


class BesideTests(SynchronousTestCase):
    """
    ``pytest`` on a host of its own.
    """

    def setUp(self) -> None:
        """
        Have the host.
        """
        self.host = Host()
        self.addCleanup(self.host.close)

    def begin(self, *words: str) -> "subprocess.Popen[str]":
        """
        Start Python there.
        """
        pipe = subprocess.PIPE
        command = [*self.host.inside(), sys.executable, *words]
        env = {**os.environ, "PYTHONPATH": str(ROOT)}
        process = subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=subprocess.STDOUT, text=True, env=env)
        self.addCleanup(process.communicate)
        self.addCleanup(process.kill)
        return process

    def test_passes(self) -> None:
        """
        Tests run beside it, and what it says of itself in the file of the lock stays.
        """
        holder = self.begin("-c", HOLDER)
        assert holder.stdout is not None
        holder.stdout.readline()
        tests = self.begin("-m", "pytest", str(ROOT / "tests" / "unit" / "test_bucket.py"))
        said, _ = tests.communicate(timeout=PATIENCE)
        self.assertIn(" passed", said)
        self.assertIn(f"pid {holder.pid}, which keeps its state in /somewhere", holder.communicate()[0])

    def test_goes(self) -> None:
        """
        Once it has ended the tests keep everybody else from the networks.
        """
        holder = self.begin("-c", HOLDER)
        assert holder.stdout is not None
        holder.stdout.readline()
        script = "import tests.conftest as each; each.keep_network(); print('kept', flush=True); input()"
        tests = self.begin("-c", script)
        assert tests.stdout is not None
        self.assertEqual("kept\n", tests.stdout.readline())
        self.assertIn(f"pid {holder.pid}", self.refused())
        holder.communicate()
        eventually(lambda: "the tests, which leave it alone" in self.refused(), "they keep it")

    def refused(self) -> str:
        """
        What another core0 hears.
        """
        return self.begin("-c", OTHER).communicate(timeout=PATIENCE)[0]
