"""
More is asked of core0 than it may do at once: it goes on answering, and loses nothing.
"""

import json
import resource
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from tests.daemon import eventually
from tests.functional.served import ServedTestCase
from tests.functional.shared import answer_of, lines, sh
from tests.valkey import ServedDaemon, Valkey, exactly_one

MAX, WAITING = 2, 3
FILES = 300  # descriptors
FITTING = 14  # jobs that they are enough for


class BackpressureTests(ServedTestCase):
    """
    Two jobs at once, three more inside core0.
    """

    config = f"[jobs]\nmax = {MAX}\nwaiting = {WAITING}\nkill_grace = 0.5"

    def setUp(self) -> None:
        """
        Begin with nothing.
        """
        self.daemon.settle()
        self.daemon.forget()

    def fill(self, count: int = 40, **fields: Any) -> list[str]:
        """
        Push jobs that wait at a gate; returns once core0 has taken as many as it may.
        """
        self.entrance = self.gate()
        ids = [f"full-{number}" for number in range(count)]
        arguments = sh(self.entrance.wait)
        self.daemon.push_raw(
            *(json.dumps({"id": id, "command": "core.system", "arguments": arguments, **fields}) for id in ids)
        )
        eventually(lambda: self.left() == count - MAX - WAITING, "core0 is full")
        return ids

    def left(self) -> int:
        """
        How many commands lie in Redis.
        """
        with self.daemon.redis() as client:
            return int(client.llen("core:default"))

    def empty(self, ids: list[str]) -> None:
        """
        Let all go on; all of them are answered.
        """
        self.entrance.open(len(ids))
        self.daemon.settle()
        results = exactly_one(self.daemon.results(), ids)
        self.assertEqual({("SUCCESS", 1)}, {(result["state"], result["runs"]) for result in results.values()})

    def test_those_that_may_not_wait(self) -> None:
        """
        A full core0 answers ping, state and kill, also those that lie behind everything else in Redis.
        """
        ids = self.fill()
        for _ in range(3):
            self.assertEqual('"pong"', self.daemon.run_command("core.ping")["data"])
        state = answer_of(self.daemon.run_command("core.state"))
        self.assertEqual(MAX + WAITING, state["jobs"])
        self.assertEqual("true", self.daemon.run_command("core.kill", {"id": ids[0]})["data"])
        self.assertEqual("KILLED", self.daemon.result(ids[0])["state"])
        refused = self.daemon.run_command("core.kill", {"id": ids[-1]})
        self.assert_refused(404, ids[-1], refused)
        self.empty(ids[1:])

    def test_too_large(self) -> None:
        """
        A full core0 refuses what is too large all the same, and tells its sender, one after another.
        """
        ids = self.fill()
        for number in range(3):
            self.daemon.push_raw(f'{{"id": "large-{number}", "tags": "{"x" * (17 << 20)}')
        for number in range(3):
            result = self.daemon.result(f"large-{number}")
            self.assertEqual(("ERROR", 413, 0), (result["state"], result["code"], result["runs"]))
        self.assertEqual(40 - MAX - WAITING, self.left())
        self.empty(ids)

    def test_waits_where_it_is(self) -> None:
        """
        Beyond the three everything stays in Redis, in its order, until there is room.
        """
        ids = self.fill()
        self.daemon.run_command("core.ping")
        with self.daemon.redis() as client:
            waiting = [json.loads(payload)["id"] for payload in client.lrange("core:default", 0, -1)]
        self.assertEqual(ids[MAX + WAITING :], waiting)
        self.assertEqual({}, {id: result for id, result in self.daemon.results().items() if id in ids})
        self.empty(ids)

    def test_kill_one_that_waits(self) -> None:
        """
        A job that waits inside core0 can be killed, and makes room.
        """
        ids = self.fill()
        self.assertEqual("true", self.daemon.run_command("core.kill", {"id": ids[MAX]})["data"])
        result = self.daemon.result(ids[MAX])
        self.assertEqual(("KILLED", 137, 0), (result["state"], result["code"], result["runs"]))
        eventually(lambda: self.left() == 40 - MAX - WAITING - 1, "the next one is taken")
        self.empty([id for id in ids if id != ids[MAX]])

    def test_killall(self) -> None:
        """
        Whoever ends everything is heard, ends what core0 has taken, and the rest goes on.
        """
        ids = self.fill()
        killed = answer_of(self.daemon.run_command("core.killall"))
        self.assertEqual(sorted(ids[: MAX + WAITING]), killed)
        for id in killed:
            self.assertEqual("KILLED", self.daemon.result(id)["state"])
        self.empty(ids[MAX + WAITING :])

    def test_many_killalls(self) -> None:
        """
        Ending everything often enough ends everything.
        """
        ids = self.fill()

        def end() -> bool:
            self.daemon.run_command("core.killall")
            return self.daemon.unfinished() == 0

        eventually(end, "everything has ended")
        self.assertEqual({"KILLED"}, {result["state"] for result in exactly_one(self.daemon.results(), ids).values()})

    def test_urgent_in_a_queue(self) -> None:
        """
        A command that may not wait does so nevertheless if it names a queue: it is taken in its order and has its turn.
        """
        ids = self.fill(queue="q")
        kill = self.daemon.push("core.kill", {"id": "nobody"}, queue="q")
        ping = self.daemon.push("core.ping", queue="other")
        self.assertEqual('"pong"', self.daemon.run_command("core.ping", queue="")["data"])
        self.assertEqual('"pong"', self.daemon.run_command("core.ping", queue=None)["data"])
        self.assertEqual(set(), {kill, ping} & set(self.daemon.results()))
        self.empty(ids)
        results = exactly_one(self.daemon.results(), [kill, ping, *ids])
        self.assertEqual(404, results[kill]["code"])
        self.assertGreaterEqual(results[kill]["starttime"], max(results[id]["starttime"] for id in ids))

    def test_urgent_among_jobs(self) -> None:
        """
        With room inside, a command that may not wait and names no queue does not wait for those that run.
        """
        gate = self.gate()
        blockers = [self.daemon.push("core.system", sh(gate.wait), queue="q") for _ in range(MAX + 1)]
        queued = self.daemon.push("core.state", queue="q")
        self.assertEqual("SUCCESS", self.daemon.run_command("core.state")["state"])
        self.assertNotIn(queued, self.daemon.results())
        gate.open(len(blockers))
        self.daemon.settle()
        exactly_one(self.daemon.results(), [*blockers, queued])

    def test_recurring(self) -> None:
        """
        Jobs that recur and leave no room for others do not keep core0 from answering, or from going on.
        """
        ids = [self.daemon.push("core.system", {"name": "true"}, recurring_period=0.02) for _ in range(MAX + WAITING)]
        for id in ids:
            self.daemon.result(id)
        other = self.daemon.push("core.system", {"name": "true"})
        self.assertEqual('"pong"', self.daemon.run_command("core.ping")["data"])
        self.assertEqual(sorted(ids), sorted(set(answer_of(self.daemon.run_command("core.killall"))) - {other}))
        self.daemon.settle()
        exactly_one(self.daemon.results(), [*ids, other])

    def test_deep(self) -> None:
        """
        It looks through the first 1,000 entries of each list, and comes to those further back as it goes on.
        """
        ids = self.fill(1500)
        far, near = (
            json.dumps({"id": "far", "command": "core.ping"}),
            json.dumps({"id": "near", "command": "core.ping"}),
        )
        with self.daemon.redis() as client:
            client.rpush("core:default", far)
            client.linsert("core:default", "AFTER", client.lindex("core:default", 900), near)
        self.assertEqual('"pong"', self.daemon.result("near")["data"])
        self.assertNotIn("far", self.daemon.results())
        with self.daemon.redis() as client:
            client.ltrim("core:default", 1400, -1)
        self.assertEqual('"pong"', self.daemon.result("far")["data"])
        self.empty(ids[: MAX + WAITING] + ids[MAX + WAITING + 1400 :])

    def test_no_deadlock(self) -> None:
        """
        Jobs of one queue that take all the room do not stand in each other's way, and the order stays.
        """
        file = self.folder() / "order"
        pushed = [
            {
                "id": f"{queue}-{number}",
                "command": "core.system",
                "arguments": sh(f"echo {queue}{number} >> {file}"),
                "queue": queue,
            }
            for queue in "ab"
            for number in range(20)
        ]
        self.daemon.push_raw(*map(json.dumps, pushed))
        self.daemon.settle()
        exactly_one(self.daemon.results(), [str(command["id"]) for command in pushed])
        for queue in "ab":
            written = [line for line in lines(file) if line.startswith(queue)]
            self.assertEqual([f"{queue}{number}" for number in range(20)], written)


class FewFilesTests(SynchronousTestCase):
    """
    The system lets core0 open few files.
    """

    def test_fewer_jobs(self) -> None:
        """
        core0 says that it runs fewer jobs than it is configured to, and answers all nevertheless.
        """
        with Valkey() as valkey, ServedDaemon(valkey, limits={resource.RLIMIT_NOFILE: (100, FILES)}) as daemon:
            self.assertIn(f"[jobs] max is {FITTING} instead of 5000", daemon.output())
            arguments = {"name": "sh", "args": ["-c", "sleep 0.05; cat"], "stdin": "hi"}
            ids = [f"few-{number}" for number in range(150)]
            daemon.push_raw(*(json.dumps({"id": id, "command": "core.system", "arguments": arguments}) for id in ids))
            self.assertEqual('"pong"', daemon.run_command("core.ping")["data"])
            daemon.settle()
            results = exactly_one(daemon.results(), ids)
            self.assertEqual(
                {("SUCCESS", "hi")}, {(result["state"], result["streams"][0]) for result in results.values()}
            )
            self.assertNotIn("Traceback", daemon.output())
