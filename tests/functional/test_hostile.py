"""
What a hostile client tries: each of these once stopped, deceived or filled a process manager.
"""

import json
import uuid
from typing import Any

import redis

from tests.daemon import Daemon, eventually
from tests.functional.shared import DaemonTestCase, answer_of, kilobytes, sh

SLEEP = {"name": "sleep", "args": ["1000"]}


class HostileTests(DaemonTestCase):
    """
    One core0, and clients that mean it no good.
    """

    def push_raw(self, payload: bytes) -> None:
        with self.daemon.redis() as client:
            client.rpush("core:default", payload)

    def test_names_of_everything(self) -> None:
        """
        A payload with an odd value behind a long name and many elements costs no more memory than its own size.
        """
        id = str(uuid.uuid4())
        before = kilobytes(self.daemon.pid, "VmRSS")
        arguments = {"k" * 300_000: [*[0] * 200_000, float("nan")]}
        self.push_raw(json.dumps({"id": id, "command": "core.ping", "arguments": arguments}).encode())
        self.assertEqual(400, self.daemon.result(id)["code"])
        self.assertLess(kilobytes(self.daemon.pid, "VmRSS") - before, 80_000)

    def test_long_names_are_not_echoed(self) -> None:
        """
        A refusal quotes a few words of what a client sent, however much that was.
        """
        long = "\x7f" * 1_000_000
        for command, arguments in ((long, {}), ("core.system", {"name": long}), ("core.kill", {"id": long})):
            result = self.daemon.run_command(command, arguments)
            self.assertEqual("ERROR" if command != long else "UNKNOWN_CMD", result["state"])
            self.assertLess(len(result["data"]), 10_000)

    def test_id_of_a_command_without_id(self) -> None:
        """
        The id that a command got which came without one is taken while it runs.
        """
        self.push_raw(json.dumps({"command": "core.system", "arguments": SLEEP}).encode())

        def found() -> list[dict[str, Any]]:
            jobs: list[dict[str, Any]] = answer_of(self.daemon.run_command("process.list"))
            return [job for job in jobs if job["cmd"]["command"] == "core.system"]

        (job,) = eventually(found, "it runs")
        id = job["cmd"]["id"]
        self.daemon.push("core.system", SLEEP, id=id)
        eventually(lambda: any(each["id"] == id for each in self.daemon.rejected()), "it is rejected")
        self.assertEqual("true", self.daemon.run_command("core.kill", {"id": id})["data"])
        eventually(lambda: not found(), "it is gone")

    def test_empty_arguments(self) -> None:
        """
        Empty arguments and missing ones are the same content.
        """
        id = self.daemon.push("core.system", sh("echo once"))
        self.assertEqual("once\n", self.daemon.result(id)["streams"][0])
        self.daemon.push("core.system", {**sh("echo once"), "env": {}, "dir": "", "stdin": ""}, id=id)
        self.daemon.run_command("core.ping")
        self.assertEqual([], [each for each in self.daemon.rejected() if each["id"] == id])

    def test_tags_as_they_came(self) -> None:
        """
        Tags are handed back as they came, an empty text too.
        """
        self.assertEqual("", self.daemon.run_command("core.ping", tags="")["tags"])
        self.assertEqual([], self.daemon.run_command("core.ping")["tags"])


class RebootTests(DaemonTestCase):
    """
    A machine that would never come up again.
    """

    config = '[reboot]\ncommand = ["/no/such/program"]'

    def test_again_and_again(self) -> None:
        """
        A reboot that recurs is refused.
        """
        for fields in ({"recurring_period": 1}, {"max_restart": 1}):
            self.assertEqual(400, self.daemon.run_command("core.reboot", **fields)["code"])

    def test_no_program(self) -> None:
        """
        A reboot is refused while the program for it is not there; core0 goes on.
        """
        result = self.daemon.run_command("core.reboot")
        self.assertEqual(503, result["code"])
        self.assertIn("/no/such/program", result["data"])
        self.assertEqual('"pong"', self.daemon.run_command("core.ping")["data"])


class FullTests(DaemonTestCase):
    """
    A server that is full when core0 starts, and a service that never ends.
    """

    def test_full_behind_a_service(self) -> None:
        """
        Commands that fill the server are worked off although a startup service is running all the time.
        """
        service = '[startup.web]\ncommand = "core.system"\narguments = {name = "sleep", args = ["1000"]}'
        daemon = Daemon(f"[redis]\nmax_memory = {16 << 20}\n{service}")
        self.addCleanup(daemon.close)
        daemon.start()
        daemon.crash()
        ids = self.fill(daemon)
        daemon.start()
        with daemon.redis() as client:
            # not BRPOPLPUSH: a full server refuses that as well
            for id in ids:
                eventually(lambda id=id: client.lrange(f"result:{id}", 0, -1), "it is answered")

    def fill(self, daemon: Daemon) -> list[str]:
        ids: list[str] = []
        full = False
        while not full:
            try:
                ids += [daemon.push("core.system", {"name": "true", "stdin": "x" * 100_000})]
            except redis.exceptions.ResponseError:
                full = True
        self.assertGreater(len(ids), 20)
        return ids
