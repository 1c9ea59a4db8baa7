"""
The commands by which a running core0 tells of itself, and the one that brings the machine down.
"""

import os
from pathlib import Path
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from tests.daemon import Daemon, eventually
from tests.functional.apart import NOBODY, Apart
from tests.functional.shared import DaemonTestCase, answer_of, kilobytes, lines, lives, python, sh

MIB = 1 << 20
FIGURES = {"cpu", "rss", "vms", "swap"}
COMMAND = {
    "queue": "",
    "stats_interval": 0,
    "max_time": 0,
    "max_restart": 0,
    "recurring_period": 0,
    "log_levels": None,
    "stream": False,
    "tags": [],
}
HOG = f"""
import os, signal, sys
memory = b"x" * {60 * MIB}
if os.fork() == 0:
    os.setsid()
    while True:
        pass
open(sys.argv[1], "w").close()
while True:
    signal.pause()
"""


class TellingTests(DaemonTestCase):
    """
    ``core.ping``, ``core.state``, ``process.list``.
    """

    def ask(self, command: str, **arguments: Any) -> Any:
        """
        The answer of a command.
        """
        result = self.daemon.run_command(command, arguments)
        self.assertEqual(
            ("SUCCESS", 0, 20, ["", ""]), tuple(result[key] for key in ("state", "code", "level", "streams"))
        )
        return answer_of(result)

    def hog(self) -> str:
        """
        A job that has much memory and, in a child of its own session, uses a processor.
        """
        ready = self.folder() / "ready"
        id = self.daemon.push("core.system", python(HOG, ready))
        eventually(ready.exists, "it is ready")
        return id

    def test_ping(self) -> None:
        """
        ``core.ping`` is answered by "pong"; it has no arguments.
        """
        self.assert_success(self.daemon.run_command("core.ping", {}), '"pong"')
        self.assert_success(self.daemon.run_command("core.ping"), '"pong"')
        refused = self.daemon.run_command("core.ping", {"unknown": 1})
        self.assert_refused(400, "arguments.unknown: no such argument", refused)

    def test_idle(self) -> None:
        """
        Without jobs ``core.state`` is what core0 itself consumes.
        """
        state = self.ask("core.state")
        self.assertEqual({*FIGURES, "jobs", "core0"}, set(state))
        self.assertEqual({*FIGURES, "uptime"}, set(state["core0"]))
        self.assertEqual(0, state["jobs"])
        self.assertEqual([state["core0"][key] for key in sorted(FIGURES)], [state[key] for key in sorted(FIGURES)])
        for key, field in (("rss", "VmRSS"), ("vms", "VmSize")):
            expected = kilobytes(self.daemon.pid, field) * 1024
            self.assertLess(abs(state[key] - expected), 16 * MIB, key)
        eventually(lambda: self.ask("core.state")["core0"]["uptime"] > 0, "time passes")

    def test_sum(self) -> None:
        """
        With jobs it is the sum of core0 and of all processes of all jobs.
        """
        ids = [self.hog() for _ in range(2)]
        self.ask("core.state")
        self.run_sh("sleep 0.3")
        state = self.ask("core.state")
        own = state["core0"]
        self.assertEqual(2, state["jobs"])
        # a child shares its parent's memory and is counted like any other process
        self.assertTrue(2 * 60 * MIB < state["rss"] - own["rss"] < 2 * 200 * MIB, state)
        self.assertGreater(state["vms"] - own["vms"], state["rss"] - own["rss"])
        self.assertGreater(state["cpu"] - own["cpu"], 20.0)
        self.assertLess(state["cpu"], 100.0 * (os.cpu_count() or 1) * 1.5)
        for id in ids:
            self.kill(id)
        self.assertEqual(0, self.ask("core.state")["jobs"])

    def test_list(self) -> None:
        """
        ``process.list`` tells of each job what was asked for, what it does, and what it consumes.
        """
        hog = self.hog()
        sent = {"name": "sleep", "args": ["1000"]}
        waiting = self.daemon.push("core.system", sent, queue="q", recurring_period=7, max_restart=1, tags="t")
        behind = self.daemon.push("core.ping", queue="q", max_time=5, log_levels=[1, 2])
        self.until(waiting, "running")
        answer = self.ask("process.list")
        self.assertEqual([hog, waiting, behind], [entry["cmd"]["id"] for entry in answer[:-1]])
        self.assertEqual("process.list", answer[-1]["cmd"]["command"])
        for entry in answer:
            self.assertEqual({*FIGURES, "cmd", "starttime", "state", "runs"}, set(entry))
        self.assertGreater(answer[0]["rss"], 60 * MIB)
        self.assertEqual(["running", "running", "waiting", "running"], [entry["state"] for entry in answer])
        self.assertEqual([1, 1, 0, 1], [entry["runs"] for entry in answer])
        self.assertTrue(0 < answer[0]["starttime"] <= answer[1]["starttime"])
        self.assertEqual(0, answer[2]["starttime"])
        fields = {"id": waiting, "command": "core.system", "arguments": sent}
        self.assertEqual(
            {**COMMAND, **fields, "queue": "q", "recurring_period": 7, "max_restart": 1, "tags": "t"}, answer[1]["cmd"]
        )
        self.assertEqual(answer[1]["cmd"], self.ask("process.list", id=waiting)[0]["cmd"])
        self.assertEqual(
            {"log_levels": [1, 2], "max_time": 5}, {key: answer[2]["cmd"][key] for key in ("log_levels", "max_time")}
        )
        self.kill(hog)
        self.daemon.run_command("core.kill", {"id": waiting})
        self.assert_success(self.daemon.result(behind), '"pong"')

    def test_list_of_unknown(self) -> None:
        """
        A job that is not there is 404.
        """
        self.assert_refused(404, "no such job", self.daemon.run_command("process.list", {"id": "no such job"}))


class RebootTests(SynchronousTestCase):
    """
    ``core.reboot``, with a command that only says that it ran.
    """

    def start(self, grace: float) -> tuple[Daemon, Path]:
        """
        A core0 that notes its reboots in a file.
        """
        daemon = Daemon()
        self.addCleanup(daemon.close)
        log = daemon.folder / "reboots"
        script = f"echo down >> {log}"
        daemon.write_config(f"[jobs]\nkill_grace = {grace}\n[reboot]\ncommand = {['/bin/sh', '-c', script]!r}")
        return daemon.start(), log

    def test_reboot(self) -> None:
        """
        The answer is there before the machine goes down; jobs are ended in order, the command runs, and the next core0
        does not do it again.
        """
        daemon, log = self.start(1.0)
        folder = daemon.folder
        patient = f"trap 'echo told' TERM; echo up; echo $$ > {folder}/pid; while :; do sleep 0.01; done"
        quick = f"trap 'exit 7' TERM; echo up; touch {folder}/quick; while :; do sleep 0.01; done"
        ids = [daemon.push("core.system", sh(script)) for script in (patient, quick)]
        recurring = daemon.push("core.system", sh(f"echo run >> {folder}/runs"), recurring_period=1000)
        eventually(lambda: (folder / "quick").exists() and lines(folder / "pid") and lines(folder / "runs"), "jobs run")
        reboot = daemon.push("core.reboot")
        self.assert_rebooted(daemon.result(reboot))
        self.assertTrue(lives(lines(folder / "pid")[0]), "the answer came before jobs were ended")
        self.assertEqual(0, daemon.wait())
        self.assertFalse(lives(lines(folder / "pid")[0]))
        eventually(lambda: lines(log), "the machine goes down")

        daemon.start()
        self.assert_rebooted(daemon.result(reboot))
        results = [daemon.result(id) for id in ids]
        self.assertEqual(
            [("INTERRUPTED", 137), ("INTERRUPTED", 7)], [(each["state"], each["code"]) for each in results]
        )
        self.assertEqual(["up\ntold\n", "up\n"], [each["streams"][0] for each in results])
        (found,) = answer_of(daemon.run_command("process.list", {"id": recurring}))
        self.assertEqual("sleeping", found["state"])
        self.assertEqual("pong", answer_of(daemon.run_command("core.ping")))
        self.assertEqual((1, 1), (len(lines(log)), len(lines(folder / "runs"))))

    def assert_rebooted(self, result: dict[str, Any]) -> None:
        """
        This is the answer to it.
        """
        self.assertEqual(("SUCCESS", 0, "true"), (result["state"], result["code"], result["data"]))

    def test_killed_meanwhile(self) -> None:
        """
        A core0 that is killed on its way down does not reboot after its next start either.
        """
        daemon, log = self.start(100.0)
        daemon.push("core.system", sh(f"trap '' TERM; touch {daemon.folder}/up; while :; do sleep 0.01; done"))
        eventually((daemon.folder / "up").exists, "the job runs")
        reboot = daemon.push("core.reboot")
        self.assert_rebooted(daemon.result(reboot))
        daemon.crash()
        daemon.start()
        self.assert_rebooted(daemon.result(reboot))
        self.assertEqual("pong", answer_of(daemon.run_command("core.ping")))
        self.assertEqual([], lines(log))


class NotAllowedTests(DaemonTestCase):
    """
    A core0 that may not bring the machine down.
    """

    @classmethod
    def make_daemon(cls) -> Daemon:
        """
        One of an ordinary user.
        """
        return Apart(user=NOBODY) if os.geteuid() == 0 else Daemon()

    def test_refused(self) -> None:
        """
        It says so, and goes on.
        """
        result = self.daemon.run_command("core.reboot")
        self.assert_refused(503, "[reboot] command", result)
        self.assertEqual("ERROR", result["state"])
        self.assert_success(self.run_sh("true"))

    def test_folder_not_to_enter(self) -> None:
        """
        A ``dir`` that its user may not enter is 400, and a program that he may not run 126.
        """
        closed = self.folder()
        closed.chmod(0)
        self.addCleanup(closed.chmod, 0o700)
        result = self.daemon.run_command("core.system", {"name": "true", "dir": str(closed)})
        self.assert_refused(400, str(closed), result)
        program = self.folder() / "program"
        program.write_text("#!/bin/sh\n")
        program.chmod(0o700)
        if os.geteuid() == 0:
            result = self.daemon.run_command("core.system", {"name": str(program)})
            self.assert_refused(126, str(program), result)
