"""
How long, how often and in which order jobs run on a running core0: ``max_time``, ``max_restart``, ``recurring_period``
and ``queue``.
"""

import json
import time
from pathlib import Path
from typing import Any

from tests.daemon import eventually
from tests.functional.shared import DaemonTestCase, lines, lives

GRACE = 0.3  # seconds
FIRST_WAIT = 0.9  # seconds at least from the end of a failed run to the next
SECOND_WAIT = 1.8


class LimitsTestCase(DaemonTestCase):
    """
    Counts runs.
    """

    config = f"[jobs]\nkill_grace = {GRACE}"

    def counter(self) -> Path:
        """
        A file that has a line for each run.
        """
        return self.folder() / "counter"

    def results(self, id: str) -> list[dict[str, Any]]:
        """
        What is kept as the result of a command: one, however often it ran.
        """
        with self.daemon.redis() as client:
            return [json.loads(text) for text in client.lrange(f"result:{id}", 0, -1)]

    def until_result(self, id: str, look: Any, what: str) -> dict[str, Any]:
        """
        Wait for a result that is as it should be; there is never more than one.
        """

        def found() -> dict[str, Any] | None:
            results = self.results(id)
            self.assertLessEqual(len(results), 1)
            return results[0] if results and look(results[0]) else None

        result: dict[str, Any] = eventually(found, what)
        return result


class MaxTimeTests(LimitsTestCase):
    """
    ``max_time``.
    """

    def test_timeout(self) -> None:
        """
        A job that takes longer gets TERM, and its result is TIMEOUT with what it had printed.
        """
        result = self.run_sh("echo out; echo err >&2; echo 20::4; exec sleep 1000", max_time=0.3)
        self.assertEqual(("TIMEOUT", 143, ["out\n", "err\n"]), (result["state"], result["code"], result["streams"]))
        self.assertEqual(("4", 20), (result["data"], result["level"]))
        self.assertGreaterEqual(result["time"], 300)

    def test_ignores_term(self) -> None:
        """
        One that ignores TERM gets KILL after the grace.
        """
        result = self.run_sh("trap 'echo late' TERM; while :; do sleep 0.01; done", max_time=0.3)
        self.assertEqual(("TIMEOUT", 137, "late\n"), (result["state"], result["code"], result["streams"][0]))
        self.assertGreaterEqual(result["time"], 300 + GRACE * 1000)

    def test_whole_tree(self) -> None:
        """
        The processes that it started are ended, too.
        """
        pids = self.folder() / "pids"
        script = f"setsid sh -c 'echo $$ >> {pids}; exec sleep 1000' & wait"
        self.assertEqual("TIMEOUT", self.run_sh(script, max_time=0.5)["state"])
        (pid,) = lines(pids)
        self.assertFalse(lives(pid))

    def test_in_time(self) -> None:
        """
        A job that ends in time is not concerned, and neither is one without a limit.
        """
        for limit in (30, 0, None, -1):
            self.assert_success(self.run_sh("sleep 0.05", max_time=limit))

    def test_each_run(self) -> None:
        """
        The time is counted for each run: a run that takes too long is one that failed.
        """
        counter = self.counter()
        result = self.run_sh(f"echo run >> {counter}; exec sleep 1000", max_time=0.6, max_restart=1)
        self.assertEqual(("TIMEOUT", 143, 2), (result["state"], result["code"], result["runs"]))
        self.assertGreaterEqual(result["time"], 600)
        self.assertEqual(["run"] * 2, lines(counter))


class MaxRestartTests(LimitsTestCase):
    """
    ``max_restart``.
    """

    def test_gives_up(self) -> None:
        """
        A job that fails is run N times more, with growing waits in between, and has one result: the last.
        """
        counter = self.counter()
        script = f"date +%s.%N >> {counter}; echo $(wc -l < {counter}); exit 3"
        id = self.push_sh(script, max_restart=2)
        self.until(id, "retrying")
        self.assertEqual([], self.results(id))
        result = self.daemon.result(id)
        self.assertEqual(
            ("ERROR", 3, 3, "3\n"), (result["state"], result["code"], result["runs"], result["streams"][0])
        )
        first, second, third = map(float, lines(counter))
        self.assertGreaterEqual(second - first, FIRST_WAIT)
        self.assertGreaterEqual(third - second, SECOND_WAIT)
        # of its last run only
        self.assertLess(result["time"], (time.time() - second) * 1000)
        self.assertEqual(1, len(self.results(id)))

    def test_success(self) -> None:
        """
        Success ends it.
        """
        counter = self.counter()
        result = self.run_sh(f"echo run >> {counter}; test $(wc -l < {counter}) = 2", max_restart=5)
        self.assert_success(result)
        self.assertEqual((2, 2), (result["runs"], len(lines(counter))))

    def test_killed_by_itself(self) -> None:
        """
        A job that dies by a signal which core0 did not send has failed.
        """
        counter = self.counter()
        result = self.run_sh(f"echo run >> {counter}; kill -9 $$", max_restart=1)
        self.assertEqual(("ERROR", 137, 2), (result["state"], result["code"], result["runs"]))

    def test_first_success(self) -> None:
        """
        A job that succeeds at once runs once.
        """
        self.assertEqual(1, self.run_sh("true", max_restart=5)["runs"])

    def test_not_started(self) -> None:
        """
        What cannot be started, or is refused, is not tried again.
        """
        for arguments, code in (
            ({"name": "no-such-program"}, 127),
            ({"name": "/"}, 126),
            ({"name": "true", "dir": "/no/such"}, 400),
            ({}, 400),
        ):
            result = self.daemon.run_command("core.system", arguments, max_restart=1000)
            self.assertEqual(("ERROR", code), (result["state"], result["code"]))
            self.assertLessEqual(result["runs"], 1)
        self.assertEqual(404, self.daemon.run_command("core.kill", {"id": "no such job"}, max_restart=1000)["code"])


class RecurringTests(LimitsTestCase):
    """
    ``recurring_period``.
    """

    def test_again_and_again(self) -> None:
        """
        A recurring job runs again and again, never twice at a time, and its result is that of the last run; when it is
        killed, it is over.
        """
        counter, here = self.counter(), self.folder() / "here"
        script = f"mkdir {here} && echo run >> {counter} && wc -l < {counter} && sleep 0.02 && rmdir {here}"
        id = self.push_sh(script, recurring_period=0.01)
        for count in (1, 3, 6):
            result = self.until_result(id, lambda found, least=count: self.count(found) >= least, f"{count} runs")
            self.assertEqual(("SUCCESS", 1, ""), (result["state"], result["runs"], result["streams"][1]), result)
        self.assert_success(self.daemon.run_command("core.kill", {"id": id}), "true")
        self.until_result(id, lambda found: found["state"] == "KILLED", "the end")
        runs = len(lines(counter))
        self.assertIsNone(self.known(id))
        self.run_sh("sleep 0.2")
        self.assertEqual(runs, len(lines(counter)))

    def count(self, result: dict[str, Any]) -> int:
        """
        The number that a run printed.
        """
        return int(result["streams"][0] or 0)

    def test_failing(self) -> None:
        """
        A run that fails or takes too long is followed by the next one like any other.
        """
        counter = self.counter()
        script = f"echo run >> {counter}; case $(wc -l < {counter}) in 1) exit 3;; 2) sleep 1000;; *) exit 0; esac"
        id = self.push_sh(script, recurring_period=0.2, max_time=0.4)
        for state in ("ERROR", "TIMEOUT", "SUCCESS"):
            self.until_result(id, lambda found, state=state: found["state"] == state, state)
        self.kill(id)

    def test_retries(self) -> None:
        """
        With ``max_restart`` the retries belong to one run: its result is there when they are used up.
        """
        counter = self.counter()
        id = self.push_sh(f"echo run >> {counter}; wc -l < {counter}; exit 3", recurring_period=0.05, max_restart=1)
        for count in (2, 4):
            result = self.until_result(id, lambda found, count=count: self.count(found) == count, f"{count} runs")
            self.assertEqual(("ERROR", 2), (result["state"], result["runs"]))
        self.kill(id)

    def test_lives_on(self) -> None:
        """
        The result of a run stays at least until the next one is due, and so long after the last one as any other.
        """
        id = self.push_sh("true", recurring_period=10_000)
        self.daemon.result(id)
        with self.daemon.redis() as client:
            self.assertGreater(client.ttl(f"result:{id}"), 10_000)
            self.until(id, "sleeping")
            self.kill(id)
            eventually(lambda: 0 < client.ttl(f"result:{id}") <= 300, "it expires")

    def test_command_of_core0(self) -> None:
        """
        Commands that core0 answers itself may recur, too.
        """
        id = self.daemon.push("core.ping", recurring_period=0.01)
        first = self.daemon.result(id)
        self.assert_success(first, '"pong"')
        self.until_result(id, lambda found: found["starttime"] > first["starttime"], "another one")
        self.kill(id)


class QueueTests(LimitsTestCase):
    """
    ``queue``.
    """

    def test_order(self) -> None:
        """
        Commands of one queue run one after another, in the order in which they came.
        """
        log, here = self.folder() / "log", self.folder() / "here"
        script = "mkdir {0} && echo {1} >> {2} && rmdir {0}"
        ids = [self.push_sh(script.format(here, number, log), queue="q") for number in range(30)]
        for id in ids:
            self.assert_success(self.daemon.result(id))
        self.assertEqual([str(number) for number in range(30)], lines(log))

    def test_others_go_on(self) -> None:
        """
        Other queues, and commands without one, do not wait for it.
        """
        gate = self.gate()
        first = self.push_sh(gate.wait, queue="q")
        second = self.push_sh("echo second", queue="q")
        for queue in ("other", "", None):
            self.assert_success(self.run_sh("true", queue=queue))
        self.assertEqual(("running", "waiting"), (self.state(first), self.state(second)))
        gate.open()
        self.assertEqual("second\n", self.daemon.result(second)["streams"][0])
        self.assert_success(self.daemon.result(first))

    def state(self, id: str) -> str:
        """
        What a job is doing.
        """
        return str((self.known(id) or {})["state"])

    def test_failure(self) -> None:
        """
        A command that fails, or cannot even be started, gives the queue free.
        """
        for script, fields in (("exit 3", {}), ("kill -9 $$", {}), ("sleep 1000", {"max_time": 0.1})):
            self.push_sh(script, queue="q", **fields)
        self.daemon.push("core.system", {"name": "no-such-program"}, queue="q")
        self.daemon.push("core.system", {"wrong": True}, queue="q")
        self.daemon.push("no.such.command", queue="q")
        self.assert_success(self.run_sh("true", queue="q"))

    def test_retry_keeps_it(self) -> None:
        """
        A job that waits to be run again keeps the queue.
        """
        log = self.folder() / "log"
        first = self.push_sh(f"echo first >> {log}; test $(wc -l < {log}) = 2", queue="q", max_restart=3)
        second = self.push_sh(f"echo second >> {log}", queue="q")
        self.assert_success(self.daemon.result(second))
        self.assertEqual(2, self.daemon.result(first)["runs"])
        self.assertEqual(["first", "first", "second"], lines(log))

    def test_recurring_frees_it(self) -> None:
        """
        A recurring job has it only while it runs, and gets in line again for each run.
        """
        log, gate = self.folder() / "log", self.gate()
        recurring = self.push_sh(f"echo recurring >> {log}", queue="q", recurring_period=0.2)
        second = self.push_sh(f"{gate.wait}; echo second >> {log}", queue="q")
        self.until(recurring, "waiting")
        self.assertEqual(["recurring"], lines(log))
        gate.open()
        self.assert_success(self.daemon.result(second))
        eventually(lambda: lines(log) == ["recurring", "second", "recurring"], "its next run")
        self.kill(recurring)

    def test_commands_of_core0(self) -> None:
        """
        Commands that core0 answers itself take their turn like others.
        """
        gate = self.gate()
        first = self.push_sh(gate.wait, queue="q")
        names = ("core.ping", "info.mem", "core.state", "process.list", "core.kill")
        of_jobs = ("process.list", "core.kill")
        ids = [self.daemon.push(name, {"id": "no such job"} if name in of_jobs else {}, queue="q") for name in names]
        last = self.push_sh("true", queue="q")
        self.assertEqual(["waiting"] * 6, [self.state(id) for id in [*ids, last]])
        self.assert_success(self.daemon.run_command("core.ping"), '"pong"')
        gate.open()
        self.assert_success(self.daemon.result(last))
        self.assertEqual([0, 0, 0, 404, 404], [self.daemon.result(id)["code"] for id in ids])
        self.assert_success(self.daemon.result(first))
