"""
core0 is killed and started again: nothing that was taken is lost, and nothing runs twice that may not.
"""

import json
import os
from pathlib import Path
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from tests.daemon import Daemon, eventually
from tests.functional.apart import NOBODY, Apart
from tests.functional.served import RestartTestCase, state_of, until
from tests.functional.shared import Gate, answer_of, lines, lives, python, sh
from tests.valkey import ServedDaemon, exactly_one

INTERRUPTED = ("INTERRUPTED", 137, 1)
SUCCESS = ("SUCCESS", 0, 1)
ONE_AT_A_TIME = "[jobs]\nmax = 1"
LEFT = """
import os, signal, sys

def stay():
    with open(sys.argv[1], "a") as file:
        file.write(f"{os.getpid()}\\n")
    while True:
        signal.pause()

def again():
    if os.fork():
        os._exit(0)

for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT):
    signal.signal(number, signal.SIG_IGN)
for steps in ((), (os.setsid,), (again,), (os.setsid, again), (again, os.setsid, again)):
    if os.fork() == 0:
        for step in steps:
            step()
        stay()
stay()
"""


def writing(file: Path, word: object, rest: str = "") -> dict[str, Any]:
    """
    The arguments of a program that leaves a line in a file, and then does something.
    """
    return sh(f"echo {word} >> '{file}'\n{rest}")


class RecoveryTests(RestartTestCase):
    """
    Killed while jobs are in every state.
    """

    def start(self, config: str = "") -> tuple[ServedDaemon, Path, Gate]:
        """
        A core0, a file for jobs to write into, and a gate for them to wait at.
        """
        daemon = self.daemon(config)
        return daemon, daemon.folder / "written", self.gate(daemon)

    def again(self, daemon: ServedDaemon) -> None:
        """
        Kill it and start it again.
        """
        daemon.crash()
        daemon.start()

    def test_not_started(self) -> None:
        """
        What had not been started runs, in its order; what had been is INTERRUPTED.
        """
        daemon, file, gate = self.start(ONE_AT_A_TIME)
        first = daemon.push("core.system", writing(file, "first", gate.wait))
        eventually(lambda: lines(file), "the first runs")
        others = [daemon.push("core.system", writing(file, number)) for number in range(10)]
        eventually(lambda: daemon.redis().hlen("core0:unfinished:1:1") == 11, "all are taken")
        self.again(daemon)
        daemon.settle()
        results = exactly_one(daemon.results(), [first, *others])
        self.assert_ended(INTERRUPTED, results.pop(first))
        for result in results.values():
            self.assert_ended(SUCCESS, result)
        self.assertEqual(["first", *map(str, range(10))], lines(file))

    def test_interrupted(self) -> None:
        """
        What was interrupted is answered once, with its tags and when it began, and does not run again.
        """
        daemon, file, gate = self.start()
        id = daemon.push("core.system", writing(file, "ran", gate.wait), tags=["a"])
        eventually(lambda: lines(file), "it runs")
        for _ in range(2):
            self.again(daemon)
            daemon.settle()
            result = exactly_one(daemon.results(), [id])[id]
            self.assert_ended(INTERRUPTED, result)
            self.assertEqual((id, "core.system", ["a"]), (result["id"], result["command"], result["tags"]))
            self.assertGreater(result["starttime"], 1_000_000_000_000)
        self.assertEqual(["ran"], lines(file))

    def test_restartable(self) -> None:
        """
        With ``max_restart`` it runs again, and the run that was interrupted counts: after the last it is INTERRUPTED.
        """
        daemon, file, gate = self.start()
        short = daemon.push("core.system", writing(file, "short", gate.wait), max_restart=1)
        long = daemon.push("core.system", writing(file, "long", gate.wait), max_restart=2)
        for count in (1, 2):
            eventually(lambda count=count: len(lines(file)) == 2 * count, "they run")
            self.again(daemon)
        eventually(lambda: len(lines(file)) == 5, "it runs for the last time")
        gate.open(3)
        daemon.settle()
        results = exactly_one(daemon.results(), [short, long])
        self.assert_ended(("INTERRUPTED", 137, 2), results[short])
        self.assert_ended(("SUCCESS", 0, 3), results[long])
        self.assertEqual(["long"] * 3 + ["short"] * 2, sorted(lines(file)))

    def test_waiting_for_a_retry(self) -> None:
        """
        What had failed and waits for its next try goes on waiting, and its tries count.
        """
        daemon, file, _ = self.start()
        id = daemon.push("core.system", writing(file, "ran", f"test $(wc -l < '{file}') -ge 2"), max_restart=1)
        until(daemon, id, "retrying")
        self.again(daemon)
        daemon.settle()
        self.assert_ended(("SUCCESS", 0, 2), exactly_one(daemon.results(), [id])[id])
        self.assertEqual(["ran"] * 2, lines(file))

    def test_recurring_and_running(self) -> None:
        """
        What recurs and was running runs again at once.
        """
        daemon, file, gate = self.start()
        id = daemon.push("core.system", writing(file, "ran", gate.wait), recurring_period=1000)
        eventually(lambda: lines(file), "it runs")
        self.again(daemon)
        eventually(lambda: len(lines(file)) == 2, "it runs again")
        gate.open(2)
        self.assert_ended(SUCCESS, daemon.result(id))
        until(daemon, id, "sleeping")

    def test_recurring_and_sleeping(self) -> None:
        """
        What recurs and was waiting for its next period goes on waiting, and its last result stands.
        """
        daemon, file, _ = self.start()
        long = daemon.push("core.system", writing(file, "long"), recurring_period=1000)
        short = daemon.push("core.system", writing(file, "short"), recurring_period=0.4)
        before = daemon.result(long)
        until(daemon, long, "sleeping")
        eventually(lambda: "short" in lines(file), "the other one has run")
        self.again(daemon)
        self.assertEqual("sleeping", state_of(daemon, long))
        count = lines(file).count("short")
        eventually(lambda: lines(file).count("short") > count + 1, "the other one goes on recurring")
        self.assertEqual(1, lines(file).count("long"))
        self.assertEqual(before, daemon.result(long))
        for id in (long, short):
            self.assertEqual("true", daemon.run_command("core.kill", {"id": id})["data"])
        daemon.settle()
        exactly_one(daemon.results(), [long, short])

    def test_killed(self) -> None:
        """
        What was being killed is KILLED, however often it could have run again.
        """
        daemon, file, gate = self.start("[jobs]\nkill_grace = 600.0")
        stubborn = f"trap '' TERM; echo ran >> '{file}'; {gate.wait}"
        ids = [
            daemon.push("core.system", sh(stubborn), max_restart=5),
            daemon.push("core.system", sh(stubborn), recurring_period=0.1),
            daemon.push("core.system", sh(stubborn)),
        ]
        eventually(lambda: len(lines(file)) == 3, "all run")
        self.assertEqual("true", daemon.run_command("core.kill", {"id": ids[0]})["data"])
        self.assertEqual("true", daemon.run_command("core.kill", {"id": ids[1], "signal": "TERM"})["data"])
        self.assertIn(ids[2], daemon.run_command("core.killall")["data"])
        self.again(daemon)
        daemon.settle()
        for result in exactly_one(daemon.results(), ids).values():
            self.assert_ended(("KILLED", 137, 1), result)
        self.assertEqual(3, len(lines(file)))

    def test_queue(self) -> None:
        """
        The order within a queue stays as it was; what may run again keeps its place at the head.
        """
        daemon, file, gate = self.start()
        for queue, restarts in (("plain", 0), ("again", 1)):
            daemon.push("core.system", writing(file, f"{queue}-0", gate.wait), queue=queue, max_restart=restarts)
            for number in (1, 2, 3):
                daemon.push("core.system", writing(file, f"{queue}-{number}"), queue=queue)
        eventually(lambda: len(lines(file)) == 2, "the first ones run")
        daemon.run_command("core.ping")
        self.again(daemon)
        gate.open(10)
        daemon.settle()
        for queue, first in (("plain", ["plain-0"]), ("again", ["again-0", "again-0"])):
            written = [line for line in lines(file) if line.startswith(queue)]
            self.assertEqual([*first, *(f"{queue}-{number}" for number in (1, 2, 3))], written)

    def test_less_room(self) -> None:
        """
        A core0 that may do less than the one before goes on nevertheless, and listens to whoever wants to end a job.
        """
        daemon, file, gate = self.start()
        ids = [daemon.push("core.system", writing(file, "ran", gate.wait), max_restart=1) for _ in range(20)]
        eventually(lambda: len(lines(file)) == 20, "all run")
        daemon.crash()
        daemon.config.write_text(daemon.config.read_text() + "[jobs]\nmax = 1\nwaiting = 2\nkill_grace = 0.5")
        daemon.start()
        eventually(lambda: len(lines(file)) == 21, "the first runs again")
        self.assertEqual("true", daemon.run_command("core.kill", {"id": ids[0]})["data"])
        gate.open(100)
        daemon.settle()
        states = [result["state"] for result in exactly_one(daemon.results(), ids).values()]
        self.assertEqual(["KILLED", *["SUCCESS"] * 19], states)


class LeftProcessesTests(SynchronousTestCase):
    """
    What jobs of a core0 that was killed have left running.
    """

    def check(self, daemon: Daemon) -> None:
        """
        They are dead before anything else runs.
        """
        self.addCleanup(daemon.close)
        daemon.start()
        pids = daemon.folder / "pids"
        pids.touch()
        pids.chmod(0o666)
        first = daemon.push("core.system", python(LEFT, pids))
        eventually(lambda: len(lines(pids)) == 6, "all processes of the job run")
        look = f"for pid in $(cat '{pids}'); do grep -Hs '^State:.[^ZX]' /proc/$pid/status; done; true"
        second = daemon.push("core.system", sh(look))
        eventually(lambda: answer_of(daemon.run_command("core.state"))["jobs"] == 2, "the other one is taken")
        daemon.crash()
        self.assertEqual([True] * 6, [lives(pid) for pid in lines(pids)])
        daemon.start()
        self.assertEqual(["", ""], daemon.result(second)["streams"])
        self.assertEqual("INTERRUPTED", daemon.result(first)["state"])
        self.assertEqual([False] * 6, [lives(pid) for pid in lines(pids)])

    def test_ended(self) -> None:
        """
        They are ended before anything runs again, whatever session they moved to and whatever they ignore.
        """
        self.check(Daemon(ONE_AT_A_TIME))

    def test_without_cgroups(self) -> None:
        """
        The same where there are no cgroups.
        """
        self.check(Apart(ONE_AT_A_TIME))

    def test_ordinary_user(self) -> None:
        """
        The same for an ordinary user.
        """
        self.check(Apart(ONE_AT_A_TIME, user=NOBODY))


class LeftServerTests(SynchronousTestCase):
    """
    The server of a core0 that was killed.
    """

    def server(self, daemon: Daemon) -> int:
        """
        Its process.
        """
        pid: int = json.loads((daemon.run / "redis" / "server.json").read_text())["pid"]
        return pid

    def test_cleared(self) -> None:
        """
        A server that was left is ended, and another one goes on with what it held, and with what was pushed meanwhile.
        """
        with Daemon() as daemon:
            before = daemon.run_command("core.system", {"name": "echo", "args": ["hi"]})
            left = self.server(daemon)
            daemon.crash()
            self.assertTrue(lives(left))
            pushed = [daemon.push("core.system", {"name": "true"}) for _ in range(20)]
            daemon.start()
            self.assertFalse(lives(left))
            self.assertNotEqual(left, self.server(daemon))
            self.assertEqual(before, daemon.result(before["id"]))
            self.assertEqual({"SUCCESS"}, {daemon.result(id)["state"] for id in pushed})

    def test_dead(self) -> None:
        """
        A server that was killed as well has lost nothing.
        """
        with Daemon(ONE_AT_A_TIME) as daemon:
            ids = [daemon.push("core.system", {"name": "sleep", "args": ["0.1"]}) for _ in range(5)]
            daemon.result(ids[0])
            daemon.crash()
            daemon.wait_until_written()
            os.kill(self.server(daemon), 9)
            daemon.start()
            states = [daemon.result(id)["state"] for id in ids]
            self.assertEqual(["SUCCESS"] * 3, [states[0], *states[3:]])
            self.assertLessEqual(set(states), {"SUCCESS", "INTERRUPTED"})
            self.assertLessEqual(states.count("INTERRUPTED"), 1)

    def test_somebody_else(self) -> None:
        """
        A process that got the number of the server that was left is not harmed.
        """
        with Daemon() as daemon:
            daemon.stop()
            record = daemon.run / "redis" / "server.json"
            for text in (json.dumps({"pid": os.getpid(), "started": 12345}), "{"):
                record.write_text(text)
                daemon.start()
                daemon.stop()
