"""
corectl while the store of its core0 changes its master.
"""

import os
import signal
import subprocess

from tests.daemon import PATIENCE, ROOT
from tests.functional.corectl_shared import CORECTL
from tests.sentinels import SentinelCase


class FailoverTests(SentinelCase):
    """
    Its commands meanwhile.
    """

    def corectl(self, *words: str) -> "subprocess.CompletedProcess[bytes]":
        """
        Run it beside that core0.
        """
        env = {**os.environ, "PYTHONPATH": str(ROOT), "CORE0_URL": self.store.url}
        command = self.store.inside(*CORECTL, *words)
        return subprocess.run(command, env=env, capture_output=True, timeout=PATIENCE)

    def assert_pong(self) -> None:
        """
        It gets its answer.
        """
        done = self.corectl("ping", "--timeout", "30")
        self.assertEqual((0, b"pong\n"), (done.returncode, done.stdout), done.stderr)

    def test_killed(self) -> None:
        """
        A command that is sent right after the master was killed waits for the next one.
        """
        self.assert_pong()
        self.store.signal(self.store.master(), signal.SIGKILL)
        self.assert_pong()

    def test_silent(self) -> None:
        """
        So does one that is sent right after the master has become silent.
        """
        self.store.signal(self.store.master(), signal.SIGSTOP)
        self.assert_pong()

    def assert_survives(self, number: int) -> None:
        """
        A program that runs while the master gets a signal comes to its end here, with its output once.
        """
        env = {**os.environ, "PYTHONPATH": str(ROOT), "CORE0_URL": self.store.url}
        command = self.store.inside(*CORECTL, "run", "--", "sh", "-c", "echo begun; sleep 12; echo over")
        with subprocess.Popen(command, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
            assert process.stdout is not None
            self.assertEqual(b"begun\n", process.stdout.readline())
            self.store.signal(self.store.master(), number)
            out, err = process.communicate(timeout=PATIENCE)
        self.assertEqual((0, b"over\n"), (process.returncode, out), err)

    def test_killed_meanwhile(self) -> None:
        """
        A program that was begun before the master was killed is followed to its end.
        """
        self.assert_survives(signal.SIGKILL)

    def test_silent_meanwhile(self) -> None:
        """
        So is one that was begun before the master became silent.
        """
        self.assert_survives(signal.SIGSTOP)

    def test_output(self) -> None:
        """
        Output that a program prints meanwhile comes out exactly once, whatever the old master has taken with it.
        """
        env = {**os.environ, "PYTHONPATH": str(ROOT), "CORE0_URL": self.store.url}
        script = "for n in $(seq 200); do echo line $n; printf 'part '; sleep 0.05; done"
        command = self.store.inside(*CORECTL, "run", "--", "sh", "-c", script)
        with subprocess.Popen(command, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, bufsize=0) as process:
            assert process.stdout is not None
            first = process.stdout.read(100)
            self.store.signal(self.store.master(), signal.SIGKILL)
            rest, err = process.communicate(timeout=PATIENCE)
        expected = "".join(f"line {number}\npart " for number in range(1, 201)).encode()
        self.assertEqual((expected, b"", 0), (first + rest, err, process.returncode))
