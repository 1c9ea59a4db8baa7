"""
core0 is killed again and again among hundreds of commands.
"""

import json
from pathlib import Path
from typing import Any

from tests.daemon import chance, eventually
from tests.functional.served import RestartTestCase
from tests.functional.shared import lines, sh
from tests.valkey import ServedDaemon, exactly_one

ROUNDS = 9
BATCH = 40  # commands pushed in each round
RESTARTS = 3


class KilledOftenTests(RestartTestCase):
    """
    KILL at moments that nobody chose.
    """

    def test_once(self) -> None:
        """
        In the end each command has exactly one result; what may not run twice has not, and what ended well has run.
        """
        self.chosen = chance(self.id())
        daemon = self.daemon("[jobs]\nmax = 8")
        file = daemon.folder / "written"
        pushed: dict[str, dict[str, Any]] = {}
        for number in range(ROUNDS):
            fresh = [self.command(f"{number}-{index}", file) for index in range(BATCH)]
            pushed |= {command["id"]: command for command in fresh}
            daemon.push_raw(*(json.dumps(command) for command in fresh))
            self.kill_some_time(daemon, file)
        daemon.settle()
        results = exactly_one(daemon.results(), list(pushed))
        self.assertEqual([], daemon.rejected())
        written = lines(file)
        for id, result in results.items():
            self.check(pushed[id], result, written.count(id))

    def command(self, id: str, file: Path) -> dict[str, Any]:
        """
        One that leaves a line in the file, of one kind or another.
        """
        fields = self.chosen.choice(({}, {}, {"queue": "a"}, {"queue": "b"}, {"max_restart": RESTARTS}, {"ping": True}))
        if "ping" in fields:
            return {"id": id, "command": "core.ping"}
        return {"id": id, "command": "core.system", "arguments": sh(f"echo {id} >> '{file}'; sleep 0.005"), **fields}

    def kill_some_time(self, daemon: ServedDaemon, file: Path) -> None:
        """
        Kill it once a few more have run, and sometimes again while it starts.
        """
        count = len(lines(file)) + self.chosen.randrange(30)
        eventually(lambda: len(lines(file)) >= count or not daemon.unfinished(), "some have run")
        daemon.crash()
        if self.chosen.random() < 0.3:
            moment = self.chosen.choice(("starting up", "reactor class", "a server is left", "ended", "takes commands"))
            size = len(daemon.output())
            daemon.start(wait=False)
            eventually(lambda: moment in daemon.output()[size:] or "takes" in daemon.output()[size:], moment)
            daemon.crash()
        daemon.start()

    def check(self, command: dict[str, Any], result: dict[str, Any], count: int) -> None:
        """
        It ran as often as it may, and its result says so.
        """
        if command["command"] == "core.ping":
            self.assertEqual(("SUCCESS", '"pong"'), (result["state"], result["data"]))
            return
        most = 1 + command.get("max_restart", 0)
        self.assertIn(result["state"], ("SUCCESS", "INTERRUPTED"), result)
        self.assertLessEqual(count, result["runs"], result)
        self.assertLessEqual(result["runs"], most, result)
        if result["state"] == "SUCCESS":
            self.assertGreaterEqual(count, 1, result)
        else:
            self.assertEqual(most, result["runs"])
