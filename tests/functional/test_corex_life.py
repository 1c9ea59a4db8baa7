"""
The life of containers, from corex.create to corex.terminate, with each runtime.
"""

import json
import time
from pathlib import Path
from typing import Any

from tests.daemon import eventually
from tests.functional.containers import QUICK, ContainerTestCase, image, kill
from tests.functional.shared import answer_of, lives, sh
from tests.web import Web

GRACE = 1.0  # seconds of [jobs] kill_grace
LISTED = {"cpu", "rss", "vms", "swap", "oom_kills", "hostname", "plist", "pid", "started", "network", "port", "mount"}
STUBBORN = "trap '' TERM; touch $ready; while :; do sleep 1; done"
POLITE = "trap 'echo bye; exit 0' TERM; touch $ready; while :; do sleep 0.01; done"


class OnCrunTests(ContainerTestCase):
    """
    With crun.
    """

    runtime = "crun"

    def test_number(self) -> None:
        """
        The answer of corex.create is a number, higher than any before, and never given again.
        """
        first, second = self.create(), self.create()
        self.assertGreater(second, first)
        self.terminate(second)
        third = self.create()
        self.assertGreater(third, second)
        for number in (first, third):
            self.assertEqual("pong", answer_of(self.inside(number, "core.ping")))
        self.assertEqual({str(first), str(third)}, set(self.listed()))

    def test_listed(self) -> None:
        """
        A container is listed with what it uses, what was asked for and its first process.
        """
        before = time.time()
        mount = {str(self.folder()): "/host:ro"}
        number = self.create(hostname="box.example", mount=mount)
        found = self.listed()[str(number)]
        self.assertEqual(LISTED, set(found))
        self.assertEqual("box.example", found["hostname"])
        self.assertEqual(image().plist, found["plist"])
        self.assertEqual(mount, found["mount"])
        self.assertEqual(([], {}), (found["network"], found["port"]))
        self.assertEqual("core0-init", Path(f"/proc/{found['pid']}/comm").read_text().strip())
        self.assertTrue(before - 1 < found["started"] / 1000 < time.time() + 1, found)
        for field in ("rss", "vms"):
            self.assertGreater(found[field], 1 << 20)

    def test_terminate(self) -> None:
        """
        corex.terminate sends TERM to the jobs and KILL after the grace, hands their results over, and says true when
        everything of the container is gone.
        """
        number = self.create()
        polite = self.running_inside(number, POLITE)
        stubborn = self.running_inside(number, STUBBORN)
        init, corex = self.listed()[str(number)]["pid"], self.corex_of(number)
        before = time.monotonic()
        self.terminate(number)
        took = time.monotonic() - before
        self.assertFalse(lives(init) or lives(corex))
        self.assert_nothing_left()
        self.assertGreaterEqual(took, GRACE)
        self.assert_ended(self.daemon.result(polite), "bye\n")
        self.assert_ended(self.daemon.result(stubborn), "")
        for command, more in (("corex.terminate", {}), ("corex.dispatch", {"command": {"command": "core.ping"}})):
            result = self.daemon.run_command(command, {"container": number, **more})
            self.assert_refused(404, f"no container {number}", result)

    def assert_ended(self, result: dict[str, Any], printed: str) -> None:
        """
        A job that was ended with its container, or by itself before that.
        """
        self.assertIn(result["state"], ("INTERRUPTED", "KILLED"), result)
        self.assertEqual(printed, result["streams"][0])

    def test_terminate_twice(self) -> None:
        """
        Whoever terminates a container that is being removed waits for the same end; a dispatch to it is refused.
        """
        number = self.create()
        job = self.running_inside(number, STUBBORN)
        ids = [self.daemon.push("corex.terminate", {"container": number}) for _ in range(2)]
        eventually(lambda: str(number) not in self.listed(), "it is being removed")
        command = {"container": number, "command": {"command": "core.ping"}}
        self.assert_refused(409, "being removed", self.daemon.run_command("corex.dispatch", command))
        for id in ids:
            self.assert_success(self.daemon.result(id), "true")
        self.assert_nothing_left()
        self.assertNotEqual("SUCCESS", self.daemon.result(job)["state"])

    def test_init_killed(self) -> None:
        """
        A container whose first process is killed is removed, says so in the log, and its commands are answered.
        """
        number = self.create()
        job = self.running_inside(number, STUBBORN)
        kill(self.listed()[str(number)]["pid"])
        self.assert_gone(self.daemon.result(job), f"container {number}", "gone")
        self.assert_removed(number)

    def test_corex_killed(self) -> None:
        """
        A container whose CoreX is killed is removed, says so in the log, and its commands are answered.
        """
        number = self.create()
        job = self.running_inside(number, STUBBORN)
        kill(self.corex_of(number))
        self.assert_gone(self.daemon.result(job), f"container {number}", "its CoreX has ended")
        self.assert_removed(number)

    def assert_removed(self, number: int) -> None:
        """
        It went by itself; its number is not used again.
        """
        eventually(lambda: not self.traces.left(), "it is removed")
        self.assertRegex(self.daemon.output(), f"container {number} is removed: its ")
        self.assertGreater(self.create(), number)

    def test_at_once(self) -> None:
        """
        Ten containers of one plist are made at once, share what it names, and all answer.
        """
        with self.daemon.redis() as client:
            ids = [f"{self.id()}-{place}" for place in range(10)]
            arguments = {"plist": image().plist}
            commands = [{"id": id, "command": "corex.create", "arguments": arguments} for id in ids]
            client.rpush("core:default", *map(json.dumps, commands))
        numbers = [answer_of(self.daemon.result(id)) for id in ids]
        self.assertEqual(10, len(set(numbers)))
        self.assertEqual(set(map(str, numbers)), set(self.listed()))
        pings = {number: self.dispatch(number, "core.ping") for number in numbers}
        for number, id in pings.items():
            self.assertEqual(
                ("SUCCESS", number), tuple(self.daemon.result(id)[name] for name in ("state", "container"))
            )
        self.assertEqual(1, len(list((self.daemon.state / "images" / "roots").glob("[0-9a-f]*"))))
        ends = [self.daemon.push("corex.terminate", {"container": number}) for number in numbers]
        for id in ends:
            self.assert_success(self.daemon.result(id), "true")

    def test_repeated(self) -> None:
        """
        The same corex.create, pushed twice, makes one container.
        """
        id = f"{self.id()} once"
        first, second = (self.daemon.run_command("corex.create", {"plist": image().plist}, id=id) for _ in range(2))
        self.assertEqual(first, second)
        self.assertEqual([first["data"]], list(self.listed()))

    def test_killall_outside(self) -> None:
        """
        core.killall on the host ends no container, and no job in one.
        """
        number = self.create()
        job = self.running_inside(number, POLITE)
        self.assertEqual([], answer_of(self.daemon.run_command("core.killall")))
        self.assertEqual("running", answer_of(self.inside(number, "process.list", {"id": job}))[0]["state"])


class OnRuncTests(OnCrunTests):
    """
    The same with runc.
    """

    runtime = "runc"


class IdleTests(ContainerTestCase):
    """
    A grace that no test waits for.
    """

    config = "[jobs]\nkill_grace = 600.0\n"

    def test_terminate_idle(self) -> None:
        """
        A container without jobs does not wait for any grace to end.
        """
        self.terminate(self.create())


class FewTests(ContainerTestCase):
    """
    ``[containers] max``.
    """

    config = f"{QUICK}[containers]\nmax = 2\n"

    def test_max(self) -> None:
        """
        There are never more containers than are allowed, however many are asked for at once; one that goes makes room.
        """
        ids = [self.daemon.push("corex.create", {"plist": image().plist}) for _ in range(6)]
        results = [self.daemon.result(id) for id in ids]
        self.assertEqual([0, 0, 503, 503, 503, 503], sorted(result["code"] for result in results))
        refused = next(result for result in results if result["code"])
        self.assertIn("[containers] max", answer_of(refused))
        self.terminate(int(min(self.listed())))
        self.create()


class FormsTests(ContainerTestCase):
    """
    What a container can be made from.
    """

    def test_forms(self) -> None:
        """
        The root file system of a container comes from a path, a file URL, an http URL or an archive, and is the same.
        """
        web = Web()
        self.addCleanup(web.close)
        web.pages["/image.plist"] = Path(image().plist).read_bytes()
        for path in image().store.rglob("*"):
            if path.is_file():
                web.pages[f"/store/{path.name}"] = path.read_bytes()
        forms: list[dict[str, Any]] = [
            {"plist": image().plist},
            {"plist": f"file://{image().plist}"},
            {"plist": web.url("/image.plist")},
            {"plist": image().plist, "storage": web.url("/store")},
            {"plist": image().tar},
            {"plist": None, "root": image().plist},
        ]
        seen = set()
        for arguments in forms:
            number = self.create(**arguments)
            seen.add(
                self.inside_sh(
                    number, "cat /etc/passwd; stat -c '%n %u %g %a %s' /data/* /bin/busybox; readlink /bin/ls"
                )
            )
            self.terminate(number)
        self.assertEqual(1, len(seen), seen)
        self.assertLessEqual(max(web.asked.values()), 1, web.asked)


class CommandsTests(ContainerTestCase):
    """
    The commands of a container are those of the host that need no host.
    """

    def setUp(self) -> None:
        """
        A container.
        """
        super().setUp()
        self.number = self.create()

    def test_answered(self) -> None:
        """
        A CoreX answers what a Core answers.
        """
        number = self.number
        self.assertEqual("pong", answer_of(self.inside(number, "core.ping")))
        state = answer_of(self.inside(number, "core.state"))
        self.assertEqual({"cpu", "rss", "vms", "swap", "jobs", "core0"}, set(state))
        for name in ("cpu", "disk", "mem", "nic", "os"):
            result = self.inside(number, f"info.{name}")
            self.assertEqual(("SUCCESS", 20), (result["state"], result["level"]), result)
        facts = answer_of(self.inside(number, "info.os"))
        self.assertEqual(f"corex-{number}", facts["hostname"])
        self.assertEqual(["lo"], [link["name"] for link in answer_of(self.inside(number, "info.nic"))])
        result = self.inside(number, "bash", {"script": "read word; echo $word-$0", "stdin": "hello\n"})
        self.assertIn("hello", result["streams"][0] or result["streams"][1], result)

    def test_programs(self) -> None:
        """
        core.system inside takes all its arguments, and its programs are told and killed like those of the host.
        """
        number = self.number
        arguments = {
            "name": "sh",
            "args": ["-c", "pwd; echo $word; cat; echo oops >&2; exit 3"],
            "dir": "/data",
            "env": {"word": "variable"},
            "stdin": "stdin\n",
        }
        result = self.inside(number, "core.system", arguments)
        self.assertEqual(("ERROR", 3), (result["state"], result["code"]))
        self.assertEqual(["/data\nvariable\nstdin\n", "oops\n"], result["streams"])
        self.assert_refused(400, "dir", self.inside(number, "core.system", {"name": "true", "dir": "/nowhere"}))
        missing = self.inside(number, "core.system", {"name": "no-such-program"})
        self.assertEqual(("ERROR", 127), (missing["state"], missing["code"]))
        job = self.running_inside(number, STUBBORN)
        found = answer_of(self.inside(number, "process.list", {"id": job}))
        self.assertEqual(job, found[0]["cmd"]["id"])
        self.assert_success(self.inside(number, "process.kill", {"id": job, "signal": 9}), "true")
        self.assertEqual("KILLED", self.daemon.result(job)["state"])

    def test_killall(self) -> None:
        """
        core.killall inside ends the jobs of that container and no others.
        """
        other = self.create()
        mine, its = self.running_inside(self.number, POLITE), self.running_inside(other, POLITE)
        with self.running("touch $ready; exec sleep 60") as outside:
            self.assertEqual([mine], answer_of(self.inside(self.number, "core.killall")))
            self.assertEqual("KILLED", self.daemon.result(mine)["state"])
            self.assertIsNotNone(self.known(outside))
        self.assert_success(self.inside(other, "core.kill", {"id": its}), "true")
        result = self.daemon.result(its)
        self.assertEqual(("KILLED", "bye\n", other), (result["state"], result["streams"][0], result["container"]))
        self.assert_refused(404, "no-such-job", self.inside(other, "core.kill", {"id": "no-such-job"}))

    def test_host_only(self) -> None:
        """
        Commands that need a host are unknown inside.
        """
        names = ["core.reboot", "bridge.create", "bridge.list", "bridge.delete"]
        names += [f"corex.{name}" for name in ("create", "list", "dispatch", "terminate")]
        for name in names:
            self.assertEqual("UNKNOWN_CMD", self.inside(self.number, name)["state"], name)

    def test_outside_unseen(self) -> None:
        """
        A job in a container is no job of the host: core.kill and process.list outside do not know it.
        """
        job = self.running_inside(self.number, POLITE)
        self.assertIsNone(self.known(job))
        self.assert_refused(404, job, self.daemon.run_command("core.kill", {"id": job}))
        self.assertEqual("SUCCESS", self.inside(self.number, "core.system", sh("true"))["state"])
