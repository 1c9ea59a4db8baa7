"""
Commands that are dispatched into a container: every field of them works as on the host.
"""

import json
import os
import signal
import uuid
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from core0.jobs.job import LARGE
from tests.daemon import eventually
from tests.functional.containers import ContainerTestCase
from tests.functional.shared import answer_of, sh

SLEEP = "touch $ready; exec sleep 60"


def ends(lines: list[str]) -> list[dict[str, Any]]:
    """
    The records of live output, if the last of them has come.
    """
    found = [json.loads(line) for line in lines]
    return found if found and found[-1]["message"]["meta"] & 6 else []


class OnCrunTests(ContainerTestCase):
    """
    With crun.
    """

    runtime = "crun"

    def setUp(self) -> None:
        """
        A container.
        """
        super().setUp()
        self.number = self.create()

    def raw(self, command: Any, **fields: Any) -> dict[str, Any]:
        """
        The result of a dispatch of whatever is given as the command.
        """
        return self.daemon.run_command("corex.dispatch", {"container": self.number, "command": command}, **fields)

    def test_id(self) -> None:
        """
        The answer is the id that the command runs under: its own, or a new one.
        """
        result = self.raw({"id": "mine of dispatch", "command": "core.ping"})
        self.assert_success(result, '"mine of dispatch"')
        self.assertEqual(0, result["container"])
        self.assertEqual(self.number, self.daemon.result("mine of dispatch")["container"])
        new = answer_of(self.raw({"command": "core.ping"}))
        self.assertNotEqual(new, answer_of(self.raw({"command": "core.ping"})))
        found = self.daemon.result(new)
        self.assertEqual((new, "core.ping", '"pong"'), (found["id"], found["command"], found["data"]))

    def test_refused(self) -> None:
        """
        A dispatch that makes no sense is refused, and says what is wrong.
        """
        unknown = self.daemon.run_command("corex.dispatch", {"container": 999_999, "command": {"command": "core.ping"}})
        self.assert_refused(404, "999999", unknown)
        same = self.raw({"id": "outer and inner", "command": "core.ping"}, id="outer and inner")
        self.assert_refused(400, "arguments.command.id", same)
        wrong: list[Any] = ["core.ping", 7, [], {}, None, {"command": 5}, {"command": "core.ping", "max_time": "x"}]
        for command in wrong:
            self.assert_refused(400, "arguments.command", self.raw(command))
        for number in (0, -1, "1", 1.5, None):
            arguments = {"container": number, "command": {"command": "core.ping"}}
            self.assert_refused(400, "arguments.container", self.daemon.run_command("corex.dispatch", arguments))
        self.assertEqual("UNKNOWN_CMD", self.inside(self.number, "no.such.command")["state"])
        self.assert_refused(400, "arguments.name", self.inside(self.number, "core.system", {"name": 5}))
        misspelt = self.inside(self.number, "core.system", {"name": "true", "arg": []})
        self.assert_refused(400, 'arguments.arg: no such argument; did you mean "args"?', misspelt)

    def test_large(self) -> None:
        """
        A command that is large is dispatched like any other.
        """
        text = "x" * 3 * LARGE
        result = self.inside(self.number, "core.system", {"name": "cat", "stdin": text})
        self.assertEqual([text, ""], result["streams"])

    def test_repeated(self) -> None:
        """
        The same id with the same content runs once; with another content it is rejected.
        """
        id = str(uuid.uuid4())
        for _ in range(3):
            self.dispatch(self.number, "core.system", sh("echo run >> /data/runs"), id=id)
        first = self.daemon.result(id)
        self.dispatch(self.number, "core.system", sh("echo run >> /data/runs"), id=id)
        self.assertEqual("run\n", self.inside_sh(self.number, "cat /data/runs"))
        self.assertEqual(first, self.daemon.result(id))
        self.dispatch(self.number, "core.system", sh("echo other >> /data/runs"), id=id)
        found = eventually(lambda: [each for each in self.daemon.rejected() if each["id"] == id], "it is rejected")
        self.assertEqual("DUPLICATE_ID", found[0]["state"])
        self.assertEqual("run\n", self.inside_sh(self.number, "cat /data/runs"))

    def test_max_time(self) -> None:
        """
        A job that takes longer than max_time ends as TIMEOUT, and is run again as often as max_restart says.
        """
        result = self.inside(self.number, "core.system", sh("exec sleep 60"), max_time=1)
        self.assertEqual("TIMEOUT", result["state"], result)
        result = self.inside(self.number, "core.system", sh("echo again; exit 5"), max_restart=1)
        self.assertEqual(("ERROR", 5, 2), (result["state"], result["code"], result["runs"]))

    def test_queue(self) -> None:
        """
        Commands of one queue run one after another; others go on meanwhile.
        """
        first = self.running_inside(self.number, SLEEP, queue="line")
        second = self.dispatch(self.number, "core.system", sh("echo second"), queue="line")
        self.assertEqual("SUCCESS", self.inside(self.number, "core.system", sh("true"), queue="other")["state"])
        found = answer_of(self.inside(self.number, "process.list", {"id": second}))
        self.assertEqual("waiting", found[0]["state"])
        self.assert_success(self.inside(self.number, "core.kill", {"id": first}), "true")
        self.assertEqual("KILLED", self.daemon.result(first)["state"])
        self.assertEqual("second\n", self.daemon.result(second)["streams"][0])

    def test_recurring(self) -> None:
        """
        A recurring command runs again and again until it is killed; its result is that of the latest run.
        """
        id = self.dispatch(
            self.number, "core.system", sh("echo . >> /tmp/rounds; wc -l < /tmp/rounds"), recurring_period=1
        )
        first = self.daemon.result(id)
        self.assertEqual("1\n", first["streams"][0])
        latest = eventually(
            lambda: (found := self.daemon.result(id))["streams"][0] != "1\n" and found, "it runs another time"
        )
        self.assertGreater(int(latest["streams"][0]), 1)
        self.assert_success(self.inside(self.number, "core.kill", {"id": id}), "true")
        eventually(lambda: self.daemon.result(id)["state"] == "KILLED", "it is killed")

    def test_records(self) -> None:
        """
        Log records of the levels that were asked for, samples and live output come to the host, with the container's
        number.
        """
        script = "echo out; echo err >&2; echo 20::'{\"a\": 1}'; until [ -e /tmp/sampled ]; do sleep 0.02; done"
        fields = {"log_levels": [2], "stats_interval": 1, "stream": True, "tags": ["red", "green"]}
        id = self.dispatch(self.number, "core.system", sh(script), **fields)
        with self.daemon.redis(decode_responses=True) as client:
            samples = eventually(lambda: client.xrange(f"stats:{id}"), "there are samples while it runs")
            self.assertLessEqual({"time", "cpu", "rss", "vms", "swap", "threads"}, set(samples[0][1]))
            self.inside_sh(self.number, "touch /tmp/sampled")
            result = self.daemon.result(id)
            self.assertEqual((["red", "green"], 20, {"a": 1}), (result["tags"], result["level"], answer_of(result)))
            logs = eventually(lambda: self.logged(id), "it is logged")
            self.assertEqual([(self.number, "1:1", 2, "err")], logs)
            self.assertGreater(client.ttl(f"stats:{id}"), 0)
            live = [json.loads(line) for line in client.lrange(f"stream:{id}", 0, -1)]
        self.assertEqual({self.number}, {record["core"] for record in live})
        self.assertLessEqual({"out", "err"}, {record["message"]["message"] for record in live})

    def test_live_output_ends(self) -> None:
        """
        Live output of a job that dies with its container, by a client or by itself, ends with a last piece, once.
        """
        for kill in (False, True):
            number = self.create()
            id = self.dispatch(number, "core.system", sh("echo begun; exec sleep 60"), stream=True)
            done = self.dispatch(number, "core.system", sh("echo done"), stream=True)
            with self.daemon.redis(decode_responses=True) as client:
                eventually(lambda id=id: client.llen(f"stream:{id}") == 1, "it has begun")
                self.daemon.result(done)
                if kill:
                    os.kill(self.listed()[str(number)]["pid"], signal.SIGKILL)
                else:
                    self.terminate(number)
                self.assertEqual("ERROR" if kill else "INTERRUPTED", self.daemon.result(id)["state"])
                for each, count, flag in ((id, 2, 4), (done, 2, 2)):
                    found = eventually(lambda each=each: ends(client.lrange(f"stream:{each}", 0, -1)), "it ends")
                    self.assertEqual(
                        (count, flag, number), (len(found), found[-1]["message"]["meta"] & 6, found[-1]["core"])
                    )

    def logged(self, id: str) -> list[tuple[int, str, int, str]]:
        """
        What ``core.logs`` holds of a command: core, node, level, message.
        """
        with self.daemon.redis() as client:
            found = [json.loads(line) for line in client.lrange("core.logs", 0, -1)]
        return [
            (each["core"], each["node"], each["message"]["level"], each["message"]["message"])
            for each in found
            if each["command"] == id
        ]

    def test_many(self) -> None:
        """
        Five containers at once each answer 100 commands, everyone its own.
        """
        numbers = [self.number, *(self.create() for _ in range(4))]

        def fill(number: int) -> list[dict[str, Any]]:
            ids = [f"many-{number}-{place}-{uuid.uuid4()}" for place in range(100)]
            commands = [
                {"command": "corex.dispatch", "arguments": {"container": number, "command": _echo(id, number)}}
                for id in ids
            ]
            with self.daemon.redis() as client:
                client.rpush("core:default", *map(json.dumps, commands))
            return [self.daemon.result(id, 60) for id in ids]

        with ThreadPoolExecutor(5) as pool:
            for number, results in zip(numbers, pool.map(fill, numbers), strict=True):
                found = {(each["state"], each["container"], each["streams"][0]) for each in results}
                self.assertEqual({("SUCCESS", number, f"corex-{number}\n")}, found)


def _echo(id: str, number: int) -> dict[str, Any]:
    return {"id": id, "command": "core.system", "arguments": {"name": "hostname"}}


class OnRuncTests(OnCrunTests):
    """
    The same with runc.
    """

    runtime = "runc"
