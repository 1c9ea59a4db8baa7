"""
One core0 looks after the networks of a network namespace, whatever becomes of files, and whatever root it is in.
"""

import subprocess
import sys

from twisted.trial.unittest import SynchronousTestCase

from tests.daemon import ROOT
from tests.functional.shared import need_root

# each line that it reads is run; an answer comes for each
SERVANT = """
import os, sys
from core0.network import claim
mine = claim.Claim(sys.argv[1])
for line in sys.stdin:
    try:
        answer = eval(line)
    except claim.NotOurs as error:
        answer = f"NotOurs: {error}"
    print(answer, flush=True)
"""
# its argument is how many may connect to it: none if it is empty, else one more than that
SQUAT = """
import os, socket, sys
os.setuid(65534)
name = socket.socket(socket.AF_UNIX)
name.bind("\\0core0-networks")
if sys.argv[1]:
    name.listen(int(sys.argv[1]))
full = socket.socket(socket.AF_UNIX)
if sys.argv[1] == "0":
    full.connect("\\0core0-networks")
print("taken", flush=True)
sys.stdin.read()
"""


class ClaimTests(SynchronousTestCase):
    """
    In network namespaces of their own.
    """

    def setUp(self) -> None:
        """
        A network namespace with one that has the claim.
        """
        need_root()
        self.first = self.servant("/first", "unshare", "--net")
        self.assertEqual("None", self.ask(self.first, "mine.take()"))

    def servant(self, state: str, *around: str, script: str = SERVANT) -> "subprocess.Popen[str]":
        """
        A process that does what it is told.
        """
        process = subprocess.Popen(
            [*around, sys.executable, "-c", script, state],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=ROOT,
        )
        assert process.stdin is not None and process.stdout is not None
        self.addCleanup(process.wait)
        self.addCleanup(process.stdin.close)
        self.addCleanup(process.stdout.close)
        return process

    def beside(self, state: str, *around: str, script: str = SERVANT) -> "subprocess.Popen[str]":
        """
        Another one in the same namespace.
        """
        return self.servant(state, "nsenter", f"--net=/proc/{self.first.pid}/ns/net", *around, script=script)

    @staticmethod
    def ask(process: "subprocess.Popen[str]", line: str) -> str:
        """
        Tell it, and hear its answer.
        """
        assert process.stdin is not None and process.stdout is not None
        print(line, file=process.stdin, flush=True)
        return process.stdout.readline().strip()

    def test_held(self) -> None:
        """
        The second one is refused, and told by whom; once it is free it is had.
        """
        second = self.beside("/second")
        self.assertRegex(self.ask(second, "mine.take()"), "NotOurs: .*pid [0-9]+, which keeps its state in /first")
        self.ask(self.first, "mine.drop()")
        self.assertEqual("None", self.ask(second, "mine.take()"))

    def test_file_removed(self) -> None:
        """
        It is also when the file of the lock was removed.
        """
        self.ask(self.first, "os.unlink(claim.path())")
        second = self.beside("/second")
        self.assertIn(
            "NotOurs: another core0 looks after the networks of this host: core0 runs already: pid",
            self.ask(second, "mine.take()"),
        )
        self.ask(self.first, "mine.drop()")
        self.assertEqual("None", self.ask(second, "mine.take()"))

    def test_other_root(self) -> None:
        """
        And where it is in another root, with another file.
        """
        second = self.beside(
            "/first", "unshare", "--mount", "sh", "-c", 'mount -t tmpfs core0-test /run && exec "$@"', "sh"
        )
        self.assertIn("NotOurs", self.ask(second, "mine.take()"))

    def test_killed(self) -> None:
        """
        One that was killed holds nothing.
        """
        second = self.beside("/second")
        self.assertEqual("2", self.ask(second, "1 + 1"))  # it is in the namespace by now
        self.first.kill()
        self.first.wait()
        self.assertEqual("None", self.ask(second, "mine.take()"))

    def test_other_user(self) -> None:
        """
        No ordinary user keeps core0 from it.
        """
        self.assert_not_kept("9")

    def test_other_user_silent(self) -> None:
        """
        Nor does one that does not listen there, or takes no connection.
        """
        self.assert_not_kept("")
        self.assert_not_kept("0")

    def assert_not_kept(self, backlog: str) -> None:
        """
        The claim is had all the same, by one core0 at a time.
        """
        self.ask(self.first, "mine.drop()")
        squatter = self.beside(backlog, script=SQUAT)
        assert squatter.stdin is not None and squatter.stdout is not None
        self.assertEqual("taken\n", squatter.stdout.readline())
        self.assertEqual("None", self.ask(self.first, "mine.take()"))
        self.assertIn("NotOurs", self.ask(self.beside("/second"), "mine.take()"))
        squatter.stdin.close()
        squatter.wait()
