"""
The id of a command is an idempotency key: pushed again it shares the first one's result, and never runs a second time.
"""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.daemon import eventually
from tests.functional.served import ServedTestCase
from tests.functional.shared import lines, sh
from tests.valkey import NODE, exactly_one

OTHER = {"tags": "other content"}


class Once:
    """
    A command that leaves a line in a file whenever it runs.
    """

    def __init__(self, id: str, file: Path, rest: str = "", **fields: Any) -> None:
        self.id = id
        self.file = file
        self.content = {"id": id, "command": "core.system", "arguments": sh(f"echo ran >> {file}; {rest}"), **fields}

    def payload(self, **others: Any) -> str:
        """
        As it is pushed; with fields of other content.
        """
        return json.dumps({**self.content, **others})

    def runs(self) -> int:
        """
        How often it ran.
        """
        return len(lines(self.file))


class IdempotenceCase(ServedTestCase):
    """
    A core0 with a startup service.
    """

    config = """
        [startup.resident]
        command = "core.system"
        arguments = {name = "sleep", args = ["1000"]}
        """

    def tearDown(self) -> None:
        """
        Leave nothing for the next test.
        """
        self.daemon.forget()

    def once(self, rest: str = "", **fields: Any) -> Once:
        """
        A new one.
        """
        folder = self.folder()
        return Once(folder.name, folder / "runs", rest, **fields)

    def taken(self) -> None:
        """
        Wait until core0 has looked at everything that was pushed, and told what it found to be repeats.
        """
        self.assertEqual("SUCCESS", self.daemon.run_command("core.system", {"name": "true"})["state"])

    def assert_once(self, command: Once, runs: int = 1) -> dict[str, Any]:
        """
        It has run so often, and has one result.
        """
        self.daemon.settle()
        self.assertEqual(runs, command.runs())
        result = exactly_one(self.daemon.results(), [command.id])[command.id]
        self.assertEqual(("SUCCESS", 1, []), (result["state"], result["runs"], result["tags"]))
        return result

    def assert_duplicate(self, command: Once) -> None:
        """
        Something of other content was rejected, once, and shown.
        """
        entries = self.daemon.rejected()
        self.assertEqual([("DUPLICATE_ID", command.id)], [(entry["state"], entry["id"]) for entry in entries])
        self.assertEqual(OTHER["tags"], json.loads(entries[0]["payload"])["tags"])
        self.assertIn(command.id, entries[0]["reason"])


class SameContentTests(IdempotenceCase):
    """
    The same once more.
    """

    def test_while_running(self) -> None:
        """
        Pushed again while it runs, a command runs once and has one result.
        """
        gate = self.gate()
        command = self.once(gate.wait)
        self.daemon.push_raw(command.payload())
        eventually(command.runs, "it runs")
        self.daemon.push_raw(command.payload(), command.payload())
        self.taken()
        gate.open(3)
        self.assert_once(command)

    def test_while_waiting(self) -> None:
        """
        Pushed again while it waits in a queue, a command runs once.
        """
        gate = self.gate()
        self.daemon.push("core.system", sh(gate.wait), queue="waiting")
        command = self.once(queue="waiting")
        self.daemon.push_raw(command.payload(), command.payload())
        self.daemon.push_raw(command.payload())
        self.taken()
        self.assertEqual(0, command.runs())
        gate.open()
        self.assert_once(command)

    def test_after_its_end(self) -> None:
        """
        Pushed again while its result stands, a command does not run; the first one's result stands, and lives on.
        """
        command = self.once()
        self.daemon.push_raw(command.payload())
        first = self.assert_once(command)
        keys = (f"result:{command.id}", f"core0:id:{command.id}")
        with self.daemon.redis() as client:
            for key in keys:
                client.expire(key, 100)
            self.daemon.push_raw(command.payload())
            eventually(lambda: all(client.ttl(key) > 290 for key in keys), "both live longer")
        self.assertEqual(first, self.assert_once(command))

    def test_after_its_result_was_taken(self) -> None:
        """
        Pushed again after somebody has popped its result, a command runs again.
        """
        command = self.once()
        for runs in (1, 2):
            self.daemon.push_raw(command.payload())
            self.assert_once(command, runs)
            with self.daemon.redis() as client:
                self.assertIsNotNone(client.blpop([f"result:{command.id}"], 1))
        with self.daemon.redis() as client:
            self.daemon.push_raw(command.payload(**OTHER))
            self.daemon.settle()
            self.assertEqual(3, command.runs())
            self.assertEqual(1, client.llen(f"result:{command.id}"))
        self.assertEqual([], self.daemon.rejected())

    def test_in_one_push(self) -> None:
        """
        Of several in one push one runs.
        """
        command = self.once()
        self.daemon.push_raw(*[command.payload()] * 300)
        self.assert_once(command)

    def test_spelling(self) -> None:
        """
        Content is what a command means: neither the order of keys, nor spaces, nor defaults and nulls that are spelled
        out, nor fields that core0 does not know make another one of it.
        """
        gate = self.gate()
        command = self.once(gate.wait)
        arguments = command.content["arguments"]
        self.daemon.push_raw(command.payload())
        nothing = {
            "queue": "",
            "stats_interval": 0,
            "max_time": 0,
            "max_restart": 0,
            "recurring_period": 0,
            "stream": False,
        }
        spellings: tuple[dict[str, Any], ...] = (
            nothing,
            dict.fromkeys((*nothing, "log_levels", "tags")),
            {"tags": []},
            {"max_time": -1, "stats_interval": 0.0},
            {"arguments": {**arguments, "dir": None, "env": None, "stdin": None}},
            {"arguments": dict(reversed(arguments.items())), "unknown": {"a": 1}},
        )
        for fields in spellings:
            self.daemon.push_raw(json.dumps({**fields, **command.content, **fields}))
        reordered = dict(reversed(command.content.items()))
        self.daemon.push_raw(json.dumps(reordered), json.dumps(command.content, indent=3, ensure_ascii=False))
        self.taken()
        self.assertEqual([], self.daemon.rejected())
        gate.open(10)
        self.assert_once(command)

    def test_answered_at_once(self) -> None:
        """
        A command that core0 answers from memory keeps the same rules.
        """
        ping = {"id": "ping", "command": "core.ping"}
        other = {**ping, **OTHER}
        for content in (ping, ping, other):
            self.daemon.push_raw(json.dumps(content), json.dumps(content))
            self.daemon.settle()
        self.assertEqual([], exactly_one(self.daemon.results(), ["ping"])["ping"]["tags"])
        self.assertEqual(["DUPLICATE_ID"] * 2, [entry["state"] for entry in self.daemon.rejected()])
        with self.daemon.redis() as client:
            client.blpop(["result:ping"], 1)
        self.daemon.push_raw(json.dumps(other))
        self.assertEqual("other content", self.daemon.result("ping")["tags"])

    def test_refused(self) -> None:
        """
        What cannot be run keeps the same rules, too.
        """
        for content in ({"command": "core.nothing"}, {"command": "core.system"}, {"command": 5}):
            payload = json.dumps({"id": "refused", **content})
            self.daemon.push_raw(payload, payload)
            self.daemon.settle()
            self.daemon.push_raw(payload, json.dumps({"id": "refused", "command": "core.ping"}))
            self.daemon.settle()
            self.assertNotEqual("SUCCESS", exactly_one(self.daemon.results(), ["refused"])["refused"]["state"])
            self.assertEqual(["DUPLICATE_ID"], [entry["state"] for entry in self.daemon.rejected()])
            self.daemon.forget()

    def test_recurring(self) -> None:
        """
        A recurring command that is pushed again goes on as it was.
        """
        command = self.once(recurring_period=1000)
        self.daemon.push_raw(command.payload())
        self.daemon.result(command.id)
        self.daemon.push_raw(command.payload(), command.payload())
        self.taken()
        self.daemon.push_raw(command.payload(**OTHER))
        eventually(self.daemon.rejected, "an entry")
        self.assert_duplicate(command)
        self.assertEqual("KILLED", self.kill(command.id)["state"])
        self.daemon.settle()
        self.assertEqual(1, command.runs())


class OtherContentTests(IdempotenceCase):
    """
    The same id for something else.
    """

    def assert_unharmed(self, command: Once, go_on: Callable[[], object]) -> None:
        """
        Another command of the same id is rejected at once, and the first one ends as if nothing had been.
        """
        self.daemon.push_raw(command.payload(**OTHER))
        eventually(self.daemon.rejected, "an entry")
        self.assert_duplicate(command)
        go_on()
        self.assert_once(command)
        self.assert_duplicate(command)

    def test_while_running(self) -> None:
        """
        It is rejected while the first runs.
        """
        gate = self.gate()
        command = self.once(gate.wait)
        self.daemon.push_raw(command.payload())
        eventually(command.runs, "it runs")
        self.assert_unharmed(command, gate.open)

    def test_while_waiting(self) -> None:
        """
        It is rejected while the first waits in a queue.
        """
        gate = self.gate()
        self.daemon.push("core.system", sh(gate.wait), queue="others")
        command = self.once(queue="others")
        self.daemon.push_raw(command.payload())
        self.assert_unharmed(command, gate.open)

    def test_after_its_end(self) -> None:
        """
        It is rejected while the first one's result stands.
        """
        command = self.once()
        self.daemon.push_raw(command.payload())
        self.assert_once(command)
        self.assert_unharmed(command, lambda: None)

    def test_in_one_push(self) -> None:
        """
        It is rejected right behind the first, which is the one that counts.
        """
        command = self.once()
        self.daemon.push_raw(command.payload(), command.payload(**OTHER))
        self.assert_once(command)
        self.assert_duplicate(command)

    def test_behind_an_answer(self) -> None:
        """
        It is rejected right behind a command that was answered from memory.
        """
        for number in range(20):
            command = self.once()
            ping = json.dumps({"id": command.id, "command": "core.ping"})
            self.daemon.push_raw(ping, command.payload(**OTHER))
            self.daemon.settle()
            self.assertEqual("core.ping", exactly_one(self.daemon.results(), [command.id])[command.id]["command"])
            self.assertEqual(0, command.runs(), number)
            self.assert_duplicate(command)
            self.daemon.forget()

    def test_before_an_answer(self) -> None:
        """
        A command that could be answered from memory is rejected behind one of its id that runs.
        """
        command = self.once()
        self.daemon.push_raw(command.payload(), json.dumps({"id": command.id, "command": "core.ping", **OTHER}))
        self.assert_once(command)
        self.assert_duplicate(command)

    def test_resident(self) -> None:
        """
        The name of a startup service is taken, whatever the content, and the service goes on.
        """
        before = self.known("resident")
        assert before is not None
        for command in ("core.system", "core.ping"):
            self.daemon.push_raw(json.dumps({**before["cmd"], "command": command}))
            self.daemon.settle()
            self.assertEqual(
                [("DUPLICATE_ID", "resident")], [(entry["state"], entry["id"]) for entry in self.daemon.rejected()]
            )
            self.daemon.forget()
        after = self.known("resident")
        self.assertEqual(("running", before["starttime"]), after and (after["state"], after["starttime"]))
        with self.daemon.redis() as client:
            self.assertEqual(0, client.exists("result:resident") + client.hlen(f"core0:unfinished:{NODE}"))
