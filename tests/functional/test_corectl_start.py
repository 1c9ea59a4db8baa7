"""
Starting corectl: it finds core0, or says why it does not.
"""

import os
import signal
import subprocess
import sys

from tests.daemon import PATIENCE, ROOT
from tests.functional.apart import NOBODY, Apart, apart
from tests.functional.corectl_shared import CORECTL, CorectlTestCase
from tests.functional.shared import GENEROUS, need_root


class FindTests(CorectlTestCase):
    """
    Finding core0, and failing to.
    """

    def test_options(self) -> None:
        """
        The options that say where core0 is may stand before or behind the command.
        """
        elsewhere = self.environment(CORE0_URL="/nowhere")
        for option in (
            ("--socket", self.daemon.socket),
            ("--url", f"redis+unix://{self.daemon.socket}"),
            ("--config", str(self.daemon.config)),
            ("--socket", self.daemon.socket, "--node", "1:1"),
        ):
            self.assert_done(self.corectl(*option, "ping", env=elsewhere), 0, b"pong\n")
            self.assert_done(self.corectl("ping", *option, env=elsewhere), 0, b"pong\n")

    def test_not_there(self) -> None:
        """
        If core0 is not there, it is said where it was looked for.
        """
        self.assert_failed(self.corectl("--socket", "/nowhere", "ping"), 1, "corectl: cannot reach core0 at /nowhere")
        self.assert_failed(self.corectl("--url", "redis://127.0.0.1:1", "ping"), 1, "is core0 running there?")

    def test_not_running(self) -> None:
        """
        If core0 does not answer, corectl does not wait for ever, and takes back what it has sent.
        """
        self.daemon.signal(signal.SIGSTOP)
        try:
            self.assert_failed(self.corectl("ping", "--timeout", "0.2"), 124, "is core0 running")
            self.assertEqual(0, self.waiting("core:default"))
        finally:
            self.daemon.signal(signal.SIGCONT)

    def waiting(self, queue: str) -> int:
        """
        How many commands are in a queue.
        """
        with self.daemon.redis() as client:
            return int(client.llen(queue))

    def test_no_such_node(self) -> None:
        """
        A node that no core0 serves is told, whatever the command, and nothing is left there that would run later.
        """
        commands: tuple[tuple[str, ...], ...] = (
            ("run", "true"),
            ("run", "--detach", "true"),
            ("raw", '{"command": "core.ping"}'),
            ("bridge", "list"),
        )
        for command in commands:
            done = self.corectl("--node", "1:2", *command)
            self.assert_failed(done, 1, "no core0 has answered as node 1:2")
            self.assertEqual(0, self.waiting("core:default:1:2"))

    def test_not_a_node(self) -> None:
        """
        What is no address of one node is refused at once.
        """
        for node in ("3:*", "3", "3:", ":7", "a:b", "1:2:3", "core-1", ""):
            self.assert_failed(self.corectl("--node", node, "ping"), 2, "expected one node")

    def test_forbidden(self) -> None:
        """
        Whoever may not talk to core0 is told to be somebody else.
        """
        need_root()
        for path in (self.daemon.folder, self.daemon.run):
            path.chmod(0o755)  # so that only the folder of the socket is in the way
        done = self.corectl_of_nobody("ping", env=self.environment())
        self.assert_failed(done, 1, "permission denied; be the user that core0 runs as")

    def test_own(self) -> None:
        """
        A core0 that somebody runs who is not root is found by them without a word.
        """
        need_root()
        with OwnDaemon() as daemon:
            env = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), "XDG_RUNTIME_DIR": str(daemon.run.parent)}
            self.assert_done(self.corectl_of_nobody("ping", env=env), 0, b"pong\n")

    def corectl_of_nobody(self, *words: str, env: dict[str, str]) -> "subprocess.CompletedProcess[bytes]":
        """
        Run it as somebody who is not root.
        """
        command = [*apart(NOBODY, self.folder() / "shown"), *CORECTL, *words]
        return subprocess.run(command, env=env, capture_output=True, timeout=PATIENCE)


class OwnDaemon(Apart):
    """
    A core0 of somebody who is not root, where it is without any configuration.
    """

    def __init__(self) -> None:
        super().__init__(user=NOBODY)
        self.run = self.folder / "xdg" / "core0"
        self.run.parent.mkdir()
        os.chown(self.run.parent, NOBODY, NOBODY)
        self.write_config("")


class StartTests(CorectlTestCase):
    """
    Starting corectl itself.
    """

    def python(self, script: str) -> "subprocess.CompletedProcess[bytes]":
        """
        Run a script that starts corectl.
        """
        command = [sys.executable, "-c", script]
        return subprocess.run(command, env=self.environment(), capture_output=True, timeout=GENEROUS, cwd=ROOT)

    def test_help(self) -> None:
        """
        Help comes without loading what only commands need.
        """
        script = (
            "import sys; sys.argv = ['corectl', 'run', '--help']\n"
            "from core0.client.cli import main\n"
            "try: main()\n"
            "except SystemExit: print([name for name in ('twisted', 'msgspec', 'rich') if name in sys.modules])\n"
        )
        out = self.python(script).stdout.decode()
        self.assertIn("Usage: corectl run", out)
        self.assertTrue(out.endswith("[]\n"), out)

    def test_tables_only_for_tables(self) -> None:
        """
        What prints tables is not needed to run a program.
        """
        script = (
            "import sys; sys.modules['rich'] = None; sys.argv = ['corectl', 'run', 'echo', 'hi']\n"
            "from core0.client.cli import main\n"
            "main()\n"
        )
        self.assert_done(self.python(script), 0, b"hi\n")

    def test_missing_packages(self) -> None:
        """
        Without the packages of the extra, corectl says how to get them.
        """
        for missing in ("click", "rich"):
            script = (
                f"import sys; sys.modules[{missing!r}] = None; sys.argv = ['corectl', 'state']\n"
                "from core0.client.cli import main\n"
                "main()\n"
            )
            self.assert_failed(self.python(script), 1, f"{missing} is missing: pip install 'core0[cli]'")
