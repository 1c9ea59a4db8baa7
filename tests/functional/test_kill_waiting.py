"""
Ending jobs on a running core0 that have no process yet, or not any more; and ending them impatiently.
"""

from typing import Any

from tests.daemon import eventually
from tests.functional.shared import DaemonTestCase, lines, lives

PATIENT = """
[jobs]
kill_grace = 600.0
max = 2
"""


class NothingToKillTests(DaemonTestCase):
    """
    Jobs that have no process yet, or not any more, and impatience. Two jobs may be live at once; the grace is endless.
    """

    config = PATIENT

    def assert_waited(self, result: dict[str, Any], runs: int) -> None:
        """
        It was killed while it waited.
        """
        self.assertEqual(("KILLED", 137, runs), (result["state"], result["code"], result["runs"]), result)
        self.assert_refused(404, result["id"], self.daemon.run_command("core.kill", {"id": result["id"]}))
        with self.daemon.redis() as client:
            self.assertEqual(1, client.llen(f"result:{result['id']}"))

    def test_waiting_for_room(self) -> None:
        """
        A job that waits until fewer are live is killed without having run.
        """
        gate, file = self.gate(), self.folder() / "file"
        blockers = [self.push_sh(gate.wait) for _ in range(2)]
        id = self.push_sh(f"touch {file}")
        self.assert_waited(self.kill(id), 0)
        gate.open(2)
        for blocker in blockers:
            self.assert_success(self.daemon.result(blocker))
        self.assert_success(self.run_sh("true"))
        self.assertFalse(file.exists())

    def test_queued(self) -> None:
        """
        A job that waits for its queue is killed without having run, and those behind it move up.
        """
        gate, log = self.gate(), self.folder() / "log"
        first, second, third = (self.push_sh(f"{gate.wait}; echo {n} >> {log}", queue="q") for n in range(3))
        self.assert_waited(self.kill(second), 0)
        gate.open(2)
        self.assert_success(self.daemon.result(first))
        self.assert_success(self.daemon.result(third))
        self.assertEqual(["0", "2"], lines(log))

    def test_first_of_queue(self) -> None:
        """
        When the job that has the turn is killed, the next one has it.
        """
        with self.running("touch $ready; exec sleep 1000", queue="q") as id:
            following = self.push_sh("echo on", queue="q")
            self.assertEqual("KILLED", self.kill(id)["state"])
            self.assertEqual(["on\n", ""], self.daemon.result(following)["streams"])

    def test_retrying(self) -> None:
        """
        A job that waits to be restarted is killed, with the runs that it had.
        """
        id = self.push_sh("exit 3", max_restart=9)
        self.until(id, "retrying")
        self.assert_waited(self.kill(id), 1)

    def test_sleeping(self) -> None:
        """
        A recurring job is killed between its runs; that is its last result.
        """
        id = self.push_sh("echo hi", recurring_period=1000)
        self.until(id, "sleeping")
        self.assert_success(self.daemon.result(id))
        self.assert_success(self.daemon.run_command("core.kill", {"id": id}), "true")
        result = eventually(lambda: (found := self.daemon.result(id))["state"] == "KILLED" and found, "it is killed")
        self.assert_waited(result, 0)

    def test_signal_to_no_process(self) -> None:
        """
        A job that has no process is killed by TERM as a signal, and other signals to it are 409.
        """
        id = self.push_sh("true", recurring_period=1000)
        self.until(id, "sleeping")
        self.assert_refused(409, "sleeping", self.daemon.run_command("core.kill", {"id": id, "signal": "HUP"}))
        self.assert_success(self.daemon.run_command("core.kill", {"id": id, "signal": "TERM"}), "true")
        self.assert_refused(404, id, self.daemon.run_command("core.kill", {"id": id}))

    def test_twice(self) -> None:
        """
        Killing a job again cuts its grace short.
        """
        with self.running("trap 'touch $ready.term' TERM; touch $ready; while :; do sleep 0.01; done") as id:
            self.assert_success(self.daemon.run_command("core.kill", {"id": id}), "true")
            self.assertEqual("running", (self.known(id) or {})["state"])
            result = self.kill(id)
        self.assertEqual(("KILLED", 137), (result["state"], result["code"]))

    def test_what_it_left(self) -> None:
        """
        A recurring job whose program has ended is killed while the processes that it left have their grace.
        """
        folder = self.folder()
        up, counter = folder / "up", folder / "counter"
        left = f"trap '' TERM; touch {up}; while :; do sleep 0.01; done"
        script = f"({left}) & while [ ! -e {up} ]; do sleep 0.01; done; echo hi; echo $$ >> {counter}"
        id = self.push_sh(script, recurring_period=0.01)
        eventually(lambda: lines(counter) and not lives(lines(counter)[0]), "it has run")
        result = self.kill(id)
        self.assertEqual(("KILLED", ["hi\n", ""]), (result["state"], result["streams"]))
        self.assert_refused(404, id, self.daemon.run_command("core.kill", {"id": id}))
        self.assertEqual(1, len(lines(counter)))
