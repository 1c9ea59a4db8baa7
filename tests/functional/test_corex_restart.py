"""
Containers and a core0 that is stopped, killed and started again.
"""

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.daemon import Daemon, eventually
from tests.functional.containers import ContainerTestCase, FirstProcess, image, kill, zygotes
from tests.functional.shared import answer_of, lives, sh
from tests.functional.test_corex_failures import FailingTestCase

STUBBORN = "trap '' TERM; touch $ready; while :; do sleep 1; done"
LATER = "touch $ready; while [ ! -e /data/go ]; do sleep 0.02; done; echo done; echo told >&2"


class RestartTestCase(ContainerTestCase):
    """
    Tests that restart their core0.
    """

    @classmethod
    def setUpClass(cls) -> None:
        """
        Start it, and what reaps its orphans.
        """
        super().setUpClass()
        cls.addClassCleanup(FirstProcess(lambda: cls.daemon.pid).close)

    def go(self, init: int) -> None:
        """
        Let what waits in a container go on, whether core0 is there or not.
        """
        Path(f"/proc/{init}/root/data/go").touch()

    def end(self) -> None:
        """
        Whatever became of it, there is a core0 to terminate them.
        """
        assert self.daemon.process is not None
        if self.daemon.process.poll() is not None:
            self.daemon.start()
        super().end()

    def server_pid(self, name: str) -> int:
        """
        Of a server that core0 has started: ``redis`` for clients, ``corex`` for CoreX.
        """
        pid: int = json.loads((self.daemon.run / name / "server.json").read_text())["pid"]
        return pid


class OnCrunTests(RestartTestCase):
    """
    With crun.
    """

    runtime = "crun"

    def test_stopped(self) -> None:
        """
        Containers and their jobs live on when core0 is stopped in order; what ends meanwhile is told after its start.
        """
        self.survives(self.daemon.stop)

    def test_killed(self) -> None:
        """
        Containers and their jobs live on when core0 is killed; what ends meanwhile is told after its start.
        """
        self.survives(self.daemon.crash)

    def survives(self, stop: Callable[[], None]) -> None:
        """
        Have a core0 end and begin with a container in which three commands run.
        """
        number = self.create(hostname="survivor")
        meanwhile = self.running_inside(number, LATER)
        afterwards = self.running_inside(
            number, "touch $ready; while [ ! -e /data/now ]; do sleep 0.02; done; echo now"
        )
        waiting = self.dispatch(number, "core.system", sh("echo third"), queue="line")
        self.daemon.result(waiting)
        before = self.listed()[str(number)]
        corex = self.corex_of(number)
        stop()
        self.assertTrue(lives(before["pid"]) and lives(corex))
        self.go(before["pid"])
        eventually(lambda: not self.runs(meanwhile), "a job ends meanwhile")
        self.daemon.start()
        after = self.listed()[str(number)]
        for field in ("hostname", "plist", "pid", "started", "mount"):
            self.assertEqual(before[field], after[field])
        self.assert_done(meanwhile, number, "done\n")
        self.assertIsNotNone(self.inside_known(number, afterwards))
        self.inside_sh(number, "touch /data/now")
        self.assert_done(afterwards, number, "now\n")
        eventually(lambda: self.logged(meanwhile), "what was printed meanwhile is logged")
        self.assertGreater(self.create(), number)

    def runs(self, id: str) -> bool:
        """
        Whether something of a job that was begun by :meth:`running_inside` lives; core0 need not be there.
        """
        found = (Path(f"/proc/{pid}/environ").read_bytes() for pid in self.traces.processes() if lives(pid))
        try:
            return any(id.encode() in environment for environment in found)
        except OSError:
            return True  # one has just ended: at the next look

    def inside_known(self, number: int, id: str) -> Any:
        """
        What a CoreX says of a job.
        """
        return answer_of(self.inside(number, "process.list", {"id": id}))

    def assert_done(self, id: str, number: int, printed: str) -> None:
        """
        It went well, once.
        """
        result = self.daemon.result(id)
        found = (result["state"], result["streams"][0], result["container"], result["runs"])
        self.assertEqual(("SUCCESS", printed, number, 1), found, result)

    def logged(self, id: str) -> bool:
        """
        Whether its record is in ``core.logs``.
        """
        with self.daemon.redis() as client:
            found = [json.loads(line) for line in client.lrange("core.logs", 0, -1)]
        return "told" in [each["message"]["message"] for each in found if each["command"] == id]

    def test_server_killed(self) -> None:
        """
        Servers that are killed while commands run inside lose none of them.
        """
        number = self.create()
        ids = [self.running_inside(number, LATER) for _ in range(3)]
        for name in ("redis", "corex"):
            kill(self.server_pid(name))
        self.go(self.init_of(number))
        eventually(self.answers, "the server is there again")
        for id in ids:
            self.assert_done(id, number, "done\n")
        self.assertEqual("pong", answer_of(self.inside(number, "core.ping")))

    def init_of(self, number: int) -> int:
        """
        The first process of a container, asked of nobody.
        """
        record = json.loads((self.daemon.state / "containers" / str(number) / "container.json").read_text())
        return int(record["init"]["pid"])

    def answers(self) -> bool:
        """
        Whether the server does.
        """
        try:
            with self.daemon.redis() as client:
                return bool(client.ping())
        except Exception:
            return False

    def test_killed_while_dispatching(self) -> None:
        """
        Commands that are on their way into a container when core0 is killed all run, and each of them once.
        """
        number = self.create()
        ids = [f"{self.id()} {place}" for place in range(60)]
        commands = [
            {"command": "corex.dispatch", "arguments": {"container": number, "command": self.noted(id)}} for id in ids
        ]
        for wait in (0.0, 0.03, 0.1):
            batch, commands = commands[:20], commands[20:]
            with self.daemon.redis() as client:
                client.rpush("core:default", *map(json.dumps, batch))
            time.sleep(wait)
            self.daemon.crash()
            self.daemon.start()
        for id in ids:
            self.assertEqual("SUCCESS", self.daemon.result(id)["state"])
        self.assertEqual(sorted(ids), sorted(self.inside_sh(number, "cat /data/runs").splitlines()))

    def noted(self, id: str) -> dict[str, Any]:
        """
        A command that notes that it runs.
        """
        return {"id": id, "command": "core.system", "arguments": sh(f"echo '{id}' >> /data/runs")}

    def test_died_meanwhile(self) -> None:
        """
        Of a container that dies while core0 is away nothing is left after its start, and its commands are answered.
        """
        for victim in (self.init_of, self.corex_of):
            number = self.create()
            job = self.running_inside(number, STUBBORN)
            self.daemon.crash()
            kill(victim(number))
            self.daemon.start()
            self.assert_gone(self.daemon.result(job), f"container {number}", "gone")
            eventually(lambda: not self.traces.left(), "it is removed")
            self.assertEqual({}, self.listed())
            self.assertGreater(self.create(), number)
            self.end()

    def test_rebooted(self) -> None:
        """
        Containers of an earlier run of the machine are gone after the start, whatever has their pids now.
        """
        number = self.create()
        job = self.dispatch(number, "core.system", sh("sleep 60"))
        init = self.init_of(number)
        self.daemon.crash()
        record = self.daemon.state / "containers" / str(number) / "container.json"
        content = json.loads(record.read_text())
        content["boot"] = "another run of the machine"
        record.write_text(json.dumps(content))
        self.daemon.start()
        self.assert_gone(self.daemon.result(job), f"container {number}", "gone")
        eventually(lambda: not self.traces.left(), "it is removed")
        self.assertFalse(lives(init))

    def test_while_terminating(self) -> None:
        """
        A core0 that is killed in the middle of a corex.terminate leaves nothing of the container after its next start.
        """
        number = self.create()
        job = self.running_inside(number, STUBBORN)
        terminate = self.daemon.push("corex.terminate", {"container": number})
        eventually(lambda: str(number) not in self.listed(), "it is being removed")
        self.daemon.crash()
        self.daemon.start()
        result = self.daemon.result(terminate)
        self.assertIn(result["state"], ("INTERRUPTED", "SUCCESS"), result)
        if str(number) in self.listed():
            self.terminate(number)
        self.assertNotEqual("SUCCESS", self.daemon.result(job)["state"])
        eventually(lambda: not self.traces.left(), "nothing is left")


class OnRuncTests(OnCrunTests):
    """
    The same with runc.
    """

    runtime = "runc"


class HalfMadeTests(RestartTestCase, FailingTestCase):
    """
    A core0 that is killed while it makes a container.
    """

    def assert_swept(self, id: str) -> None:
        """
        After the next start the client is answered, and nothing is left.
        """
        self.daemon.start()
        self.assertEqual("INTERRUPTED", self.daemon.result(id)["state"])
        eventually(lambda: not self.traces.left(), "nothing is left")
        self.assertEqual({}, self.listed())

    def test_at_the_runtime(self) -> None:
        """
        Nothing is left of a container whose runtime was at work when core0 was killed.
        """
        id = self.halted()
        self.daemon.crash()
        self.go_on()
        (self.daemon.state / "containers" / "last.new").touch()  # as if it had just been giving a number
        self.assert_swept(id)

    def test_at_any_moment(self) -> None:
        """
        Nothing is left of a container that was being made, whenever core0 was killed.
        """
        for wait in (0.0, 0.01, 0.02, 0.04, 0.06, 0.09):
            id = self.daemon.push("corex.create", {"plist": image().plist})
            time.sleep(wait)
            self.daemon.crash()
            self.daemon.start()
            result = self.daemon.result(id)
            self.assertIn(result["state"], ("INTERRUPTED", "SUCCESS"), result)
            if result["state"] == "INTERRUPTED":  # then nobody knows of it, even if it had been finished
                eventually(lambda: not self.traces.left(), f"nothing is left after {wait} s")
            else:
                self.terminate(answer_of(result))


class Ending(Daemon):
    """
    A core0 that takes its containers with it.
    """

    def command(self) -> list[str]:
        """
        Its command line.
        """
        return [*super().command(), "--terminate-containers"]


class TerminateTests(RestartTestCase):
    """
    ``--terminate-containers``.
    """

    kind = Ending

    def test_ended(self) -> None:
        """
        A core0 that was told so ends its containers when it is stopped, TERM first, and leaves nothing.
        """
        numbers = [self.create() for _ in range(3)]
        job = self.running_inside(
            numbers[0], "trap 'echo bye; exit 0' TERM; touch $ready; while :; do sleep 0.02; done"
        )
        self.daemon.stop()
        self.assertEqual({}, self.traces.left(redis=False))
        self.daemon.start()
        self.assertEqual({}, self.listed())
        self.assertEqual("bye\n", self.daemon.result(job)["streams"][0])


class ZygoteTests(RestartTestCase):
    """
    What core0 starts for containers ends with it.
    """

    def test_none_left(self) -> None:
        """
        The zygote ends with core0, however that ends; those that have become a CoreX stay.
        """
        for stop in (self.daemon.stop, self.daemon.crash):
            number = self.create()
            (zygote,) = zygotes(self.daemon)
            stop()
            eventually(lambda zygote=zygote: not lives(zygote), "the zygote has ended")
            self.assertTrue(lives(self.corex_of(number)))
            self.daemon.start()
            self.assertEqual("pong", answer_of(self.inside(number, "core.ping")))
