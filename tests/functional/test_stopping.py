"""
core0 is stopped in order: what runs is ended and answered, what may go on later stays for the next start.
"""

import json
import os
import signal
from pathlib import Path
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from tests.daemon import Daemon, chance, eventually
from tests.functional.served import RestartTestCase, until
from tests.functional.shared import GENEROUS, Gate, lines, lives, sh
from tests.valkey import ServedDaemon, exactly_one

PATIENT = "[jobs]\nkill_grace = 600.0"
SUCCESS = ("SUCCESS", 0, 1)


class StoppingTests(RestartTestCase):
    """
    TERM, with jobs in every state.
    """

    def start(self, config: str = "") -> tuple[ServedDaemon, Path, Gate]:
        """
        A core0, a file for jobs to write into, and a gate for them to wait at.
        """
        daemon = self.daemon(config)
        return daemon, daemon.folder / "written", self.gate(daemon)

    def push(self, daemon: Daemon, file: Path, word: str, rest: str = "", **fields: Any) -> str:
        """
        Push a program that leaves a line in the file, and then does something.
        """
        return daemon.push("core.system", sh(f"echo {word} >> '{file}'\n{rest}"), **fields)

    def test_running(self) -> None:
        """
        What runs gets TERM, and its result is INTERRUPTED, with what it printed, last words included.
        """
        daemon, file, _ = self.start(PATIENT)
        script = "trap 'echo bye; echo oh >&2; exit 3' TERM; echo hi\nwhile :; do :; done"
        id = self.push(daemon, file, "ran", script)
        eventually(lambda: lines(file), "it runs")
        daemon.stop()
        self.assertEqual(-signal.SIGTERM, daemon.wait())
        result = exactly_one(daemon.results(), [id])[id]
        self.assert_ended(("INTERRUPTED", 3, 1), result)
        self.assertEqual(["hi\nbye\n", "oh\n"], result["streams"])
        self.assertEqual(0, daemon.unfinished())
        daemon.start()
        daemon.settle()
        self.assertEqual(result, exactly_one(daemon.results(), [id])[id])

    def test_stubborn(self) -> None:
        """
        What ignores TERM is killed after the grace, with everything that came of it.
        """
        daemon, file, _ = self.start("[jobs]\nkill_grace = 0.2")
        stay = f"trap '' TERM; echo $$ >> '{file}'; while :; do sleep 1; done"
        id = daemon.push("core.system", sh(f'setsid sh -c "$1" &\n{stay}') | {"env": {}}, tags="stubborn")
        other = daemon.push("core.system", {"name": "sh", "args": ["-c", 'setsid sh -c "$1" & sh -c "$1"', "sh", stay]})
        eventually(lambda: len(lines(file)) >= 3, "they run")
        daemon.stop()
        results = exactly_one(daemon.results(), [id, other])
        self.assert_ended(("INTERRUPTED", 137, 1), results[id])
        self.assert_ended(("INTERRUPTED", 143, 1), results[other])
        self.assertEqual([], [pid for pid in lines(file) if lives(pid)])

    def test_goes_on(self) -> None:
        """
        What waits, recurs or may be restarted stays unanswered, and goes on at the next start in its order.
        """
        daemon, file, gate = self.start("[jobs]\nmax = 3")
        running = self.push(daemon, file, "running", gate.wait)
        restarting = self.push(daemon, file, "restarting", gate.wait, max_restart=1, queue="q")
        recurring = self.push(daemon, file, "recurring", gate.wait, recurring_period=1000)
        eventually(lambda: len(lines(file)) == 3, "three run")
        queued = [self.push(daemon, file, f"queued-{number}", queue="q") for number in range(3)]
        waiting = [self.push(daemon, file, f"waiting-{number}") for number in range(3)]
        eventually(lambda: daemon.redis().hlen("core0:unfinished:1:1") == 9, "all are taken")
        daemon.stop()
        self.assertEqual({running}, set(daemon.results()))
        self.assertEqual(8, daemon.unfinished())
        self.assertEqual(3, len(lines(file)))
        gate.open(10)
        daemon.start()
        ids = [restarting, recurring, *queued, *waiting]
        results = {id: daemon.result(id) for id in ids}
        for id in (recurring, *queued, *waiting):
            self.assert_ended(SUCCESS, results[id])
        self.assertEqual(("SUCCESS", 0), (results[restarting]["state"], results[restarting]["code"]))
        words = lines(file)[3:]
        self.assertEqual([f"queued-{n}" for n in range(3)], [word for word in words if word.startswith("queued")])
        self.assertEqual((8, 1, 1), (len(words), words.count("restarting"), words.count("recurring")))
        self.assertLess(words.index("restarting"), words.index("queued-0"))

    def test_sleeping(self) -> None:
        """
        What recurs and sleeps, or waits for its next try, goes on doing so.
        """
        daemon, file, _ = self.start()
        recurring = self.push(daemon, file, "recurring", recurring_period=1000)
        before = daemon.result(recurring)
        retrying = self.push(daemon, file, "retrying", f"test $(grep -c retrying '{file}') -ge 2", max_restart=1)
        until(daemon, recurring, "sleeping")
        until(daemon, retrying, "retrying")
        daemon.stop()
        self.assertEqual(2, daemon.unfinished())
        daemon.start()
        self.assert_ended(("SUCCESS", 0, 2), daemon.result(retrying))
        until(daemon, recurring, "sleeping")
        self.assertEqual(before, daemon.result(recurring))
        self.assertEqual(["recurring", "retrying", "retrying"], lines(file))

    def test_natural_end(self) -> None:
        """
        A program that has ended before, and left others behind that are still being ended, keeps its own result.
        """
        daemon, file, _ = self.start(PATIENT)
        left = f"trap '' TERM; echo $$ >> '{file}'; while :; do sleep 1; done"
        script = f"echo $$ > '{file}-main'; (setsid sh -c \"$1\" &); until test -s '{file}'; do :; done; exit 7"
        id = daemon.push("core.system", {"name": "sh", "args": ["-c", script, "sh", left]})
        eventually(lambda: lines(file), "it has left something")
        (main,) = lines(Path(f"{file}-main"))
        eventually(lambda: not Path(f"/proc/{main}").exists(), "it has ended itself")
        daemon.stop()
        self.assert_ended(("ERROR", 7, 1), exactly_one(daemon.results(), [id])[id])
        self.assertEqual([False], [lives(pid) for pid in lines(file)])

    def test_hurry(self) -> None:
        """
        Told a second time to stop, core0 does not wait for the grace to end.
        """
        daemon, file, _ = self.start(PATIENT)
        id = self.push(daemon, file, "ran", "trap 'echo term' TERM\necho ready\nwhile :; do sleep 0.01; done")
        eventually(lambda: lines(file), "it runs")
        daemon.signal(signal.SIGTERM)
        eventually(lambda: "Received SIGTERM" in daemon.output() or "SIGTERM" in daemon.output(), "it stops")
        self.assertIsNone(daemon.process and daemon.process.poll())
        daemon.signal(signal.SIGINT)
        self.assertEqual(-signal.SIGTERM, daemon.wait(GENEROUS))
        self.assert_ended(("INTERRUPTED", 137, 1), exactly_one(daemon.results(), [id])[id])

    def test_many(self) -> None:
        """
        Stopped among hundreds of commands, core0 answers each of them exactly once in the end, and runs none twice.
        """
        daemon, file, _ = self.start("[jobs]\nmax = 20")
        ids = [f"many-{number}" for number in range(300)]
        pushed = [
            json.dumps({"id": id, "command": "core.system", "arguments": sh(f"echo {id} >> '{file}'")}) for id in ids
        ]
        daemon.push_raw(*pushed)
        chosen = chance(self.id())
        for _ in range(3):
            count = len(lines(file)) + chosen.randrange(1, 40)
            eventually(lambda count=count: len(lines(file)) >= count or not daemon.unfinished(), "some have run")
            daemon.stop()
            self.assertEqual(-signal.SIGTERM, daemon.wait())
            answered = daemon.results()
            self.assertEqual(300, daemon.unfinished() + len(answered))
            self.assertEqual([], [line for line in lines(file) if line not in answered])
            daemon.start()
        daemon.settle()
        results = exactly_one(daemon.results(), ids)
        self.assertLessEqual({result["state"] for result in results.values()}, {"SUCCESS", "INTERRUPTED"})
        self.assertEqual({1}, {result["runs"] for result in results.values()})
        self.assertEqual(sorted(set(lines(file))), sorted(lines(file)))
        self.assertEqual(set(), {id for id in ids if results[id]["state"] == "SUCCESS"} - set(lines(file)))

    def test_pushed_while_down(self) -> None:
        """
        A command that is pushed while core0 is down runs when it is back.
        """
        daemon, file, _ = self.start()
        for end in (daemon.stop, daemon.crash):
            end()
            id = self.push(daemon, file, "ran")
            self.assertEqual(1, daemon.unfinished())
            daemon.start()
            self.assert_ended(SUCCESS, daemon.result(id))
        self.assertEqual(["ran", "ran"], lines(file))


class EarlyTests(SynchronousTestCase):
    """
    TERM while core0 starts.
    """

    def test_nothing_is_left(self) -> None:
        """
        Whenever it comes, core0 ends, and so does the server that it was about to start.
        """
        with Daemon() as daemon:
            daemon.stop()
            moments = ("reactor class", "server.json", "redis.sock")
            for moment in moments:
                record = daemon.run / "redis" / "server.json"
                size = len(daemon.output())
                daemon.start(wait=False)
                eventually(lambda m=moment, s=size: m in daemon.output()[s:] or m in _names(daemon.run), moment)
                pid = json.loads(record.read_text())["pid"] if record.exists() else 0
                daemon.signal(signal.SIGTERM)
                self.assertIn(daemon.wait(GENEROUS), (0, 1, -signal.SIGTERM), moment)
                self.assertFalse(pid and lives(pid), moment)
                self.assertEqual([], _servers(daemon), moment)


def _names(folder: Path) -> set[str]:
    return {name for _, _, files in os.walk(folder) for name in files}


def _servers(daemon: Daemon) -> list[str]:
    """
    Processes that have the daemon's folder in their command line.
    """
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            text = path.read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            continue
        if str(daemon.folder) in text:
            found.append(text)
    return found
