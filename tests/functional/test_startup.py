"""
Services that core0 starts by itself: in which order, and what they have that a client's commands do not.
"""

import json
import os
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from tests.daemon import Daemon, eventually
from tests.functional.shared import DaemonTestCase, Mark, answer_of, lines, lives, sh

DELAY = 0.6  # seconds


def service(name: str, script: str, **keys: object) -> str:
    """
    The configuration of a service that runs a script.
    """
    fields = {"command": "core.system", **keys}
    arguments = sh(script)
    table = f'arguments = {{ name = "sh", args = {json.dumps(arguments["args"])}, env = {{ log = "{{log}}" }} }}'
    return "\n".join(
        [f"[startup.{name}]", table, *(f"{key} = {json.dumps(value)}" for key, value in fields.items()), ""]
    )


def started(name: str, then: str = "exec sleep 1000") -> str:
    """
    A script that notes its start and goes on.
    """
    return f"echo {name} $(date +%s.%N) >> $log; {then}"


FIRST = "sleep 0.1; echo ready $(date +%s.%N) >> $log; echo I am ready; exec sleep 1000"
OTHERS = """
[startup.unknown]
command = "no.such.command"
[startup.after-unknown]
command = "core.ping"
after = ["unknown"]
[startup.wrong]
command = "core.system"
arguments = { dir = "/" }
[startup.ping]
command = "core.ping"
recurring_period = 1000
"""
SERVICES = (
    service("second", started("second"), after=["first"]),  # before what it waits for
    service("first", started("first", FIRST), running_match="^I am rea.y$", running_delay=0.01),
    service("once", started("once", "sleep 0.2; echo once-done 0 >> $log"), running_delay=-1),
    service("after-once", started("after-once"), after=["once"]),
    service("delayed", started("delayed"), running_delay=DELAY),
    service("after-delayed", started("after-delayed"), after=["delayed"]),
    service("quick", started("quick", "true"), running_delay=1000),
    service("after-quick", started("after-quick"), after=["quick"]),
    service("failing", started("failing", "exit 3"), running_delay=1000),
    service("after-failing", started("after-failing"), after=["failing", "first"]),
    service("after-that", started("after-that"), after=["after-failing"]),
    service("failing-late", started("failing-late", "sleep 0.1; exit 3"), running_delay=-1),
    service("after-failing-late", started("after-failing-late"), after=["failing-late"]),
    service("silent", started("silent", "echo nothing"), running_match="I am ready"),
    service("after-silent", started("after-silent"), after=["silent"]),
    service("all", started("all"), after=["second", "after-once", "after-delayed", "boot"], running_delay=0.01),
    service("phases", started("phases"), after=["init", "net", "boot"]),
    service("tick", started("tick", "true"), recurring_period=0.05),
    service("guard", started("guard"), protected=True),
    service("tagged", started("tagged", "echo out; echo err >&2; exit 3"), tags=["a", "b"], log_levels=[1]),
    OTHERS,
)
NEVER = ("after-failing", "after-that", "after-failing-late", "after-silent", "after-unknown", "wrong", "unknown")


def written(daemon: Daemon, *services: str) -> str:
    """
    The configuration of a daemon with these services.
    """
    return "[jobs]\nkill_grace = 0.3\n" + "".join(services).replace("{log}", str(daemon.folder / "services"))


class StartupTests(DaemonTestCase):
    """
    A core0 with many services.
    """

    @classmethod
    def make_daemon(cls) -> Daemon:
        """
        One that has them.
        """
        daemon = Daemon()
        daemon.write_config(written(daemon, *SERVICES))
        return daemon

    def starts(self) -> dict[str, list[float]]:
        """
        When each service was started, in the order of the first starts.
        """
        found: dict[str, list[float]] = {}
        for line in lines(self.daemon.folder / "services"):
            name, time = line.split()
            found.setdefault(name, []).append(float(time))
        return found

    def settled(self) -> dict[str, list[float]]:
        """
        The same, once the last service that is to be started was.
        """
        return dict(eventually(lambda: (found := self.starts()) and "all" in found and found, "all services"))

    def assert_order(self, *names: str) -> None:
        """
        These were started one after another.
        """
        found = list(self.settled())
        self.assertEqual(list(names), sorted(names, key=found.index))

    def test_match(self) -> None:
        """
        A service with ``running_match`` counts as running once a line of its output matches, whatever its delay.
        """
        self.assert_order("first", "ready", "second")

    def test_ended(self) -> None:
        """
        One with a delay below zero does once it ended well.
        """
        self.assert_order("once", "once-done", "after-once")

    def test_delay(self) -> None:
        """
        One with a delay does so long after its start.
        """
        found = self.settled()
        self.assertGreater(found["after-delayed"][0] - found["delayed"][0], DELAY - 0.05)

    def test_ended_before_delay(self) -> None:
        """
        One that ends well before that need not be waited for any longer.
        """
        self.assert_order("quick", "after-quick")

    def test_several(self) -> None:
        """
        A service that waits for several is started after the last of them; names of phases are nothing to wait for.
        """
        self.assert_order("second", "all")
        self.assert_order("after-once", "all")
        self.assert_order("after-delayed", "all")
        self.assertIn("phases", self.settled())

    def test_failed(self) -> None:
        """
        What waits for a service that fails, does not say that it runs, or cannot be started, is not started, and
        neither is what waits for that.
        """
        found = self.settled()
        self.assertEqual([], [name for name in NEVER if name in found])
        self.assertEqual([], [name for name in NEVER if self.known(name)])
        for name in NEVER:
            self.assertIn(f"service {name}", self.daemon.output())
        self.assertIn("no.such.command", self.daemon.output())

    def test_recurring(self) -> None:
        """
        A service may recur.
        """
        eventually(lambda: len(self.starts().get("tick", ())) >= 3, "three runs")
        self.assertEqual("SUCCESS", self.daemon.result("tick")["state"])
        self.assert_success(self.daemon.result("ping"), '"pong"')

    def test_result(self) -> None:
        """
        It has a result under its name, and whatever else a command may ask for.
        """
        result = self.daemon.result("tagged")
        self.assertEqual(("ERROR", 3, ["a", "b"]), (result["state"], result["code"], result["tags"]))
        self.assertEqual(["out\n", "err\n"], result["streams"])

        def logged() -> list[Any]:
            with self.daemon.redis() as client:
                records = [json.loads(text) for text in client.lrange("core.logs", 0, -1)]
            return [record["message"]["message"] for record in records if record["command"] == "tagged"]

        self.assertEqual(["out"], eventually(logged, "its log records"))

    def test_name_is_taken(self) -> None:
        """
        While it runs no client's command can have its name.
        """
        self.settled()
        mark = Mark()
        self.daemon.push("core.system", {"name": "sleep", "args": ["1000"], "env": mark.env}, id="second")
        (entry,) = eventually(
            lambda: [each for each in self.daemon.rejected() if each["id"] == "second"], "it is refused"
        )
        self.assertEqual("DUPLICATE_ID", entry["state"])
        self.assertEqual([], mark.processes())


class LifeTests(SynchronousTestCase):
    """
    Services from one start of core0 to the next.
    """

    def daemon(self, *services: str) -> Daemon:
        """
        A core0 with these services.
        """
        daemon = Daemon()
        self.addCleanup(daemon.close)
        daemon.write_config(written(daemon, *services))
        return daemon

    def test_started_again(self) -> None:
        """
        Each core0 starts them, after one that ended in order and after one that was killed; none runs twice at a time,
        and none outlives its core0 for long.
        """
        daemon = self.daemon(service("resident", started("resident $$")), service("ping", started("ping 0", "true")))
        log = daemon.folder / "services"

        def pids() -> list[str]:
            return [line.split()[1] for line in lines(log) if line.startswith("resident")]

        for count, end in enumerate((daemon.stop, daemon.crash, daemon.stop), 1):
            daemon.start()
            eventually(lambda count=count: len(lines(log)) == 2 * count, "both are started")
            alive = [pid for pid in pids() if lives(pid)]
            self.assertEqual(pids()[-1:], alive)
            self.assertEqual("SUCCESS", daemon.result("ping")["state"])
            end()

    def test_killed_by_client(self) -> None:
        """
        A client may end one, also a protected one by its name; ``core.killall`` ends those that are not protected.
        """
        daemon = self.daemon(
            service("guard", started("guard"), protected=True),
            service("plain", started("plain"), max_restart=5),
            service("other", started("other"), protected=True, recurring_period=0.01),
        ).start()
        log = daemon.folder / "services"
        eventually(lambda: len(lines(log)) == 3, "all are started")
        self.assertEqual(["plain"], answer_of(daemon.run_command("core.killall")))
        self.assertEqual("KILLED", daemon.result("plain")["state"])
        self.assertEqual("true", daemon.run_command("core.kill", {"id": "guard"})["data"])
        self.assertEqual("KILLED", daemon.result("guard")["state"])
        self.assertEqual("running", answer_of(daemon.run_command("process.list", {"id": "other"}))[0]["state"])
        self.assertEqual(3, len(lines(log)))

    def test_cycle(self) -> None:
        """
        Services that wait for each other are an error that names them, and core0 does not start.
        """
        daemon = self.daemon(
            service("one", "true", after=["three"]),
            service("two", "true", after=["one"]),
            service("three", "true", after=["two"]),
            service("innocent", "true", after=["one"]),
        )
        daemon.start(wait=False)
        self.assertEqual(1, daemon.wait())
        said = daemon.output()
        self.assertIn("wait for each other", said)
        self.assertRegex(said, r"(one -> three -> two -> one|three -> two -> one -> three|two -> one -> three -> two)")
        self.assertFalse(os.path.exists(daemon.folder / "services"))
        self.assertNotIn("Traceback", said)
