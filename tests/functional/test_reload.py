"""
What SIGHUP has a running core0 do.
"""

import signal

from tests.daemon import Daemon, eventually
from tests.functional.records import RecordsTestCase


class ReloadTests(RecordsTestCase):
    """
    SIGHUP.
    """

    @classmethod
    def make_daemon(cls) -> Daemon:
        """
        One with a service.
        """
        daemon = Daemon()
        daemon.write_config(cls.written("first", "[2]"))
        return daemon

    @staticmethod
    def written(service: str, levels: str) -> str:
        """
        A configuration with one service.
        """
        call = 'command = "core.system"\narguments = { name = "sleep", args = ["1000"] }'
        return f"[logging]\nlevels = {levels}\n[startup.{service}]\n{call}"

    def hang_up(self, said: str) -> None:
        """
        Send SIGHUP, and wait until it was dealt with.
        """
        times = self.daemon.output().count(said)
        self.daemon.signal(signal.SIGHUP)
        eventually(lambda: self.daemon.output().count(said) > times, said)

    def test_killed(self) -> None:
        """
        At SIGHUP core0 starts a service again that was killed by a client or died, and none of those that run.
        """
        self.daemon.write_config(self.written("third", "[2]"))
        self.hang_up("configuration reloaded")
        started = self.until("third", "running")["starttime"]
        self.hang_up("configuration reloaded")
        self.assertEqual(started, (self.known("third") or {})["starttime"])
        for arguments in ({"id": "third"}, {"id": "third", "signal": "SEGV"}):
            self.assertEqual("true", self.daemon.run_command("core.kill", arguments)["data"])
            eventually(lambda: self.known("third") is None, "it is over")
            self.hang_up("configuration reloaded")
            again = self.until("third", "running")["starttime"]
            self.assertGreater(again, started)
            started = again

    def test_reload(self) -> None:
        """
        At SIGHUP core0 takes over the levels and starts the services that its configuration has by then, stops nothing,
        and opens its log file again; a configuration that cannot be used changes nothing.
        """
        talk = "echo out; echo err >&2"
        self.assertEqual([(2, "err")], self.messages(self.run_sh(talk)["id"]))
        running = self.known("first") or {}

        log = self.daemon.state / "logs" / "jobs.log"
        moved = log.rename(log.with_name("moved.log"))
        self.daemon.write_config(self.written("second", "[1]"))
        self.hang_up("configuration reloaded")
        self.assertEqual("running", self.until("second", "running")["state"])
        self.assertEqual(running["starttime"], (self.known("first") or {})["starttime"])
        id = self.run_sh(talk)["id"]
        self.assertEqual([(1, "out")], self.messages(id))
        eventually(lambda: self.filed(id), "a new log file")
        self.assertNotIn(id, moved.read_text())

        self.daemon.write_config("[logging]\nlevels = [99]")
        self.hang_up("configuration is not reloaded")
        self.assertEqual([(1, "out")], self.messages(self.run_sh(talk)["id"]))
        self.assertEqual("running", (self.known("second") or {})["state"])
