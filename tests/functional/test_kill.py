"""
Ending jobs on a running core0: whole trees of processes, whatever they do to stay.
"""

import signal
from pathlib import Path
from typing import Any

from tests.daemon import Daemon, eventually
from tests.functional.apart import NOBODY, Apart
from tests.functional.shared import (
    DaemonTestCase,
    Mark,
    answer_of,
    lines,
    lives,
    missing,
    need_root,
    python,
    sh,
    zombies,
)
from tests.functional.trees import CROWD, LISTEN, MANY, NAMES, REFORK, RUNAWAY, RUNAWAYS, SPREAD

GRACE = 0.3  # seconds
CONFIG = f"""
[jobs]
kill_grace = {GRACE}
[startup.guard]
command = "core.system"
protected = true
arguments = {{ name = "sleep", args = ["1000"] }}
"""


class KillTests(DaemonTestCase):
    """
    Jobs with processes, which core0 follows in the best way that this host lets this user have.
    """

    config = CONFIG

    def test_means(self) -> None:
        """
        root has them followed by cgroup, where there is a cgroup v2 hierarchy.
        """
        need_root()
        if not any(line.split()[2] == "cgroup2" for line in Path("/proc/self/mounts").read_text().splitlines()):
            raise missing("needs a cgroup v2 hierarchy")
        self.assertTrue((self.daemon.state / "cgroup").exists(), self.daemon.output())

    def tearDown(self) -> None:
        """
        Whatever was done, nothing is left unreaped.
        """
        eventually(lambda: not zombies(self.daemon.pid), f"no zombies: {zombies(self.daemon.pid)}")

    def assert_killed(self, result: dict[str, Any], code: int, said: str = "") -> None:
        """
        A client asked for its end, and this is how it went.
        """
        self.assertEqual(("KILLED", code), (result["state"], result["code"]), result)
        self.assertEqual(said, result["streams"][0])

    def signal(self, id: str, number: int | str) -> None:
        """
        Send a signal to a job.
        """
        self.assert_success(self.daemon.run_command("core.kill", {"id": id, "signal": number}), "true")

    def test_term(self) -> None:
        """
        A job that is killed ends by TERM, and keeps what it has printed.
        """
        with self.running("echo out; touch $ready; exec sleep 1000") as id:
            self.assert_killed(self.kill(id), 143, "out\n")

    def test_process_kill(self) -> None:
        """
        ``process.kill`` does the same.
        """
        with self.running("touch $ready; exec sleep 1000") as id:
            self.assert_success(self.daemon.run_command("process.kill", {"id": id}), "true")
            self.assert_killed(self.daemon.result(id), 143)

    def test_ignores_term(self) -> None:
        """
        One that ignores TERM is ended by KILL after the grace.
        """
        with self.running("trap '' TERM; touch $ready; while :; do sleep 1; done") as id:
            result = self.kill(id)
        self.assert_killed(result, 137)
        self.assertGreaterEqual(result["time"], GRACE * 1000)

    def test_handler(self) -> None:
        """
        It is KILLED whatever its handler exits with, and the handler's last words are kept.
        """
        for status, code in ((0, 137), (5, 5)):
            script = f"trap 'echo bye; exit {status}' TERM; touch $ready; while :; do sleep 0.01; done"
            with self.running(script) as id:
                self.assert_killed(self.kill(id), code, "bye\n")

    def spread(self, end: str) -> tuple[str, Mark, Path]:
        """
        Start processes of all kinds, and wait until they are there.
        """
        mark, folder = Mark(), self.folder()
        id = self.daemon.push("core.system", {**python(SPREAD, folder, end), "env": mark.env})
        names = {*NAMES, "main"} if end == "stay" else NAMES
        eventually(lambda: names == {path.name for path in folder.iterdir()}, "all processes are there")
        return id, mark, folder

    def assert_nobody(self, mark: Mark, folder: Path) -> None:
        """
        None of those processes lives.
        """
        self.assertEqual([], mark.processes())
        self.assertEqual([], [path.name for path in folder.iterdir() if lives(path.read_text().strip())])

    def test_whole_tree(self) -> None:
        """
        All processes that come of a job are gone when its result is there, whatever session, group or parent they have.
        """
        id, mark, folder = self.spread("stay")
        self.assertGreaterEqual(len(mark.processes()), len(NAMES))
        self.assert_killed(self.kill(id), 137)
        self.assert_nobody(mark, folder)

    def test_left_behind(self) -> None:
        """
        Processes that a program leaves behind are ended, and its result is its own.
        """
        id, mark, folder = self.spread("leave")
        result = self.daemon.result(id)
        self.assert_success(result)
        self.assertEqual(["done\n", ""], result["streams"])
        self.assert_nobody(mark, folder)

    def test_left_behind_by_handler(self) -> None:
        """
        Those that they start when they are told to end are ended, too, and what they print meanwhile is kept.
        """
        mark, up = Mark(), self.folder() / "up"
        left = f"trap 'setsid sleep 1000 & echo late' TERM; touch {up}; while :; do sleep 0.01; done"
        script = f"({left}) & while [ ! -e {up} ]; do sleep 0.01; done; echo done"
        result = self.daemon.run_command("core.system", {**sh(script), "env": mark.env})
        self.assert_success(result)
        self.assertEqual("done\nlate\n", result["streams"][0])
        self.assertEqual([], mark.processes())

    def test_refork(self) -> None:
        """
        Processes that fork when they are told to end do not outrun it.
        """
        mark, log = Mark(), self.folder() / "log"
        id = self.daemon.push("core.system", {**python(REFORK, log), "env": mark.env})
        eventually(lambda: log.exists() and log.read_text().count("r") == 4, "all processes are there")
        self.assert_killed(self.kill(id), 137)
        self.assertEqual([], mark.processes())
        self.assertGreater(log.read_text().count("."), 10)

    def test_runaway(self) -> None:
        """
        Neither does one that is another process at every look.
        """
        mark, log = Mark(), self.folder() / "log"
        result = self.daemon.run_command("core.system", {**python(RUNAWAY, log), "env": mark.env})
        self.assert_success(result)
        size = log.stat().st_size
        self.assertLess(size, RUNAWAYS, "it ended by itself before it could be killed")
        self.run_sh("sleep 0.1")
        self.assertEqual(([], size), (mark.processes(), log.stat().st_size))

    def test_signal(self) -> None:
        """
        Any other signal, by number or name, reaches all processes once, and what they make of it is up to them.
        """
        log = self.folder() / "log"
        id = self.daemon.push("core.system", python(LISTEN, log))
        eventually(lambda: lines(log).count("up") == 4, "all processes are there")
        names: tuple[int | str, ...] = ("USR1", "SIGUSR1", "usr1", int(signal.SIGUSR1))
        for times, name in enumerate(names, 1):
            self.signal(id, name)
            eventually(lambda times=times: len(lines(log)) == 4 + 4 * times, "all have got it")
        self.assertEqual([4, 4, 4, 4], sorted(lines(log).count(pid) for pid in {*lines(log)} - {"up"}))
        self.assertEqual("running", (self.known(id) or {})["state"])
        self.signal(id, "USR2")
        result = self.daemon.result(id)
        self.assertEqual(("ERROR", 128 + signal.SIGUSR2), (result["state"], result["code"]))

    def test_signal_to_many(self) -> None:
        """
        It reaches all of them when they are many.
        """
        log = self.folder() / "log"
        id = self.daemon.push("core.system", python(MANY, log))
        eventually(lambda: log.exists() and log.read_text() == "u" * CROWD, "all processes are there")
        self.signal(id, "USR1")
        eventually(lambda: log.read_text().count(".") == CROWD, "all have got it")
        self.assert_killed(self.kill(id), 143)

    def test_deadly_signal(self) -> None:
        """
        TERM or KILL as a signal are sent once and make the end KILLED, whenever and however it comes.
        """
        with self.running("touch $ready; exec sleep 1000", max_restart=3) as id:
            self.signal(id, "KILL")
            self.assert_killed(self.daemon.result(id), 137)
        gate = self.gate()
        script = f"trap 'touch $ready.term' TERM; touch $ready; {gate.wait} || {gate.wait}; exit 0"
        with self.running(script, max_restart=3) as id:
            self.signal(id, 15)
            self.assertEqual("running", self.until(id, "running")["state"])
            gate.open(2)
            result = self.daemon.result(id)
            self.assertEqual(("KILLED", 1), (result["state"], result["runs"]))

    def test_never_again(self) -> None:
        """
        A killed job is not started again, though it was to be restarted.
        """
        counter = self.folder() / "counter"
        with self.running(f"echo run >> {counter}; touch $ready; exec sleep 1000", max_restart=5) as id:
            result = self.kill(id)
        self.assert_killed(result, 143)
        self.assertEqual((1, None, ["run"]), (result["runs"], self.known(id), lines(counter)))

    def test_unknown(self) -> None:
        """
        A job that is not there, or not any more, is 404.
        """
        for id in ("no such job", self.run_sh("true")["id"]):
            for fields in ({}, {"signal": "USR1"}, {"signal": 9}):
                answer = self.daemon.run_command("core.kill", {"id": id, **fields})
                self.assert_refused(404, id, answer)

    def test_bad_signal(self) -> None:
        """
        What is no signal is 400, and the job goes on.
        """
        with self.running("touch $ready; exec sleep 1000") as id:
            for number in (999, -1, 1.5, "NOPE", "SIG_IGN", "SIGSIGTERM", True, [9]):
                answer = self.daemon.run_command("core.kill", {"id": id, "signal": number})
                self.assert_refused(400, "arguments.signal", answer)
            self.assert_refused(400, "arguments.id", self.daemon.run_command("core.kill", {}))
            self.assertEqual("running", (self.known(id) or {})["state"])

    def test_killall(self) -> None:
        """
        ``core.killall`` ends all jobs but itself and protected services, and tells their ids, sorted.
        """
        ids = [f"{letter}-{self.id()}" for letter in "cab"]
        mark = Mark()
        arguments = {**sh("sleep 1000 & setsid sleep 1000"), "env": mark.env}
        for id in ids[:2]:
            self.daemon.push("core.system", arguments, id=id)
        self.daemon.push("core.system", arguments, id=ids[2], recurring_period=1000, queue="q")
        waiting = self.daemon.push("core.system", arguments, id=f"d-{self.id()}", queue="q")
        for id in ids:
            self.until(id, "running")
        answer = self.daemon.run_command("core.killall", id=f"b2-{self.id()}")
        self.assertEqual(("SUCCESS", sorted([*ids, waiting])), (answer["state"], answer_of(answer)))
        for id in ids:
            self.assert_killed(self.daemon.result(id), 143)
        self.assert_killed(self.daemon.result(waiting), 137)
        self.assertEqual([], mark.processes())
        self.assertEqual("running", (self.known("guard") or {})["state"])

    def test_orphans(self) -> None:
        """
        Orphans that end while their job goes on are reaped.
        """
        gate = self.gate()
        with self.running(f"(setsid sh -c 'sleep 0.01; exit 3' &) & (true &) & touch $ready; {gate.wait}") as id:
            eventually(lambda: not zombies(self.daemon.pid), "orphans are reaped")
            gate.open()
            self.assert_success(self.daemon.result(id))


class TaggedKillTests(KillTests):
    """
    The same without cgroups, as root.
    """

    @classmethod
    def make_daemon(cls) -> Daemon:
        """
        One that finds no cgroups.
        """
        return Apart(cls.config)

    def test_means(self) -> None:
        """
        Without cgroups core0 works, too.
        """
        self.assertFalse((self.daemon.state / "cgroup").exists())
        self.assertEqual(["0\n", ""], self.run_sh("id -u")["streams"])


class OrdinaryKillTests(TaggedKillTests):
    """
    The same without cgroups, as an ordinary user.
    """

    @classmethod
    def make_daemon(cls) -> Daemon:
        """
        One that belongs to nobody.
        """
        return Apart(cls.config, user=NOBODY)

    def test_means(self) -> None:
        """
        core0 works for an ordinary user, too.
        """
        self.assertFalse((self.daemon.state / "cgroup").exists())
        self.assertEqual([f"{NOBODY}\n", ""], self.run_sh("id -u")["streams"])
