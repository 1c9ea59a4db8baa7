"""
How commands come in: from which lists, in which order, and what is left of them afterwards.
"""

import json
import uuid
from pathlib import Path

from tests.daemon import eventually
from tests.functional.served import ServedTestCase
from tests.functional.shared import sh
from tests.valkey import QUEUES, exactly_one

SHARED, OWN = QUEUES


class TakingTests(ServedTestCase):
    """
    A core0 that serves both lists of a Valkey.
    """

    def writing(self, file: Path, number: int) -> str:
        """
        A command that adds its number to a file; of those for one file only one runs at a time.
        """
        arguments = sh(f"echo {number} >> {file}")
        return json.dumps(
            {"id": str(uuid.uuid4()), "command": "core.system", "arguments": arguments, "queue": str(file)}
        )

    def written(self, queue: str, count: int) -> list[str]:
        """
        The order in which commands ran that were pushed to a list in one step.
        """
        file = self.folder() / "order"
        self.daemon.push_raw(*(self.writing(file, number) for number in range(count)), queue=queue)
        self.daemon.settle()
        return file.read_text().split()

    def test_order(self) -> None:
        """
        Commands are taken in the order in which they were pushed, many in one push included.
        """
        self.assertEqual([str(number) for number in range(50)], self.written(SHARED, 50))

    def test_order_of_own_list(self) -> None:
        """
        The list that is addressed to this node is served in order, too.
        """
        self.assertEqual([str(number) for number in range(50)], self.written(OWN, 50))

    def test_left_first(self) -> None:
        """
        core0 takes from the left of a list, so what is pushed there overtakes.
        """
        file = self.folder() / "order"
        with self.daemon.redis() as client:
            push = client.pipeline(transaction=True)
            push.rpush(SHARED, self.writing(file, 1)).lpush(SHARED, self.writing(file, 2)).execute()
        self.daemon.settle()
        self.assertEqual(["2", "1"], file.read_text().split())

    def test_both_are_served(self) -> None:
        """
        A flood in one list does not keep the other one waiting.
        """
        ids = [f"flood-{number}" for number in range(3000)]
        flood = [json.dumps({"id": id, "command": "core.ping"}) for id in ids]
        single = json.dumps({"id": "single", "command": "core.ping"})
        for busy, quiet in (QUEUES, QUEUES[::-1]):
            with self.daemon.redis() as client:
                client.pipeline(transaction=True).rpush(busy, *flood).rpush(quiet, single).execute()
            self.daemon.settle()
            results = exactly_one(self.daemon.results(), [*ids, "single"])
            self.assertLess(results["single"]["starttime"], results[ids[-1]]["starttime"])
            self.daemon.forget()

    def test_other_nodes(self) -> None:
        """
        What is addressed to another node, or to a container, is left where it is.
        """
        others = ("core:default:1:2", "core:default:2:1", "core:default:core-1", "core:default:")
        for queue in others:
            self.daemon.push_raw(json.dumps({"id": f"of {queue}", "command": "core.ping"}), queue=queue)
        self.daemon.run_command("core.ping")
        with self.daemon.redis() as client:
            self.assertEqual([1] * len(others), [client.llen(queue) for queue in others])

    def test_result(self) -> None:
        """
        A result is a list of one that expires after five minutes, and has all fields of the protocol.
        """
        id = self.daemon.push("core.system", {"name": "echo", "args": ["hi"]}, tags=["a", "b"])
        result = self.daemon.result(id)
        with self.daemon.redis() as client:
            self.assertEqual((1, b"list"), (client.llen(f"result:{id}"), client.type(f"result:{id}")))
            self.assertLess(200, client.ttl(f"result:{id}"))
            self.assertGreaterEqual(300, client.ttl(f"result:{id}"))
        self.assertGreater(result.pop("starttime"), 1_000_000_000_000)
        self.assertGreaterEqual(result.pop("time"), 0)
        expected = {
            "id": id,
            "command": "core.system",
            "data": "",
            "level": 0,
            "streams": ["hi\n", ""],
            "critical": "",
            "state": "SUCCESS",
            "code": 0,
            "tags": ["a", "b"],
            "container": 0,
            "runs": 1,
            "truncated": [0, 0],
        }
        self.assertEqual(expected, result)

    def test_nothing_is_left(self) -> None:
        """
        Once a command is answered nothing of it is left but keys that expire.
        """
        self.daemon.run_command("core.system", {"name": "true"}, stream=True)
        self.daemon.run_command("core.ping")
        self.daemon.settle()
        with self.daemon.redis() as client:
            lasting = {key.decode() for key in client.keys("*") if client.ttl(key) < 0}
        self.assertEqual(set(), {key for key in lasting if not key.startswith(("core:default:", "core0:clock:"))})

    def test_no_id(self) -> None:
        """
        A command without an id, or with an empty one, runs under a new UUID.
        """
        self.daemon.settle()
        for given in ({}, {"id": ""}, {"id": None}):
            before = set(self.daemon.results())
            self.daemon.push_raw(json.dumps({**given, "command": "core.system", "arguments": {"name": "true"}}))
            (id,) = eventually(lambda before=before: set(self.daemon.results()) - before, "a result")
            self.assertEqual(id, str(uuid.UUID(id)))
            self.assertEqual([id], [result["id"] for result in self.daemon.results()[id]])
        self.daemon.settle()

    def test_many_values(self) -> None:
        """
        Thousands of commands in one push are all answered.
        """
        ids = [f"many-{number}" for number in range(3000)]
        self.daemon.push_raw(*(json.dumps({"id": id, "command": "core.ping"}) for id in ids))
        self.daemon.settle()
        results = exactly_one(self.daemon.results(), ids)
        self.assertEqual({'"pong"'}, {result["data"] for result in results.values()})
        self.assertEqual(ids, [result["id"] for result in results.values()])
        self.daemon.forget()
