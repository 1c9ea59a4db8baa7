"""
The master of the clients' store goes away, and another one takes its place that does not know the latest. What has run
is counted by what it has written.
"""

import json
import signal
from collections.abc import Sequence
from typing import Any

from tests.daemon import eventually
from tests.functional.shared import Gate, lines, sh
from tests.sentinels import CLIENT, SENTINEL, SERVER, SentinelCase

COUNT = 60
QUEUE = "core:default:1:1"
SILENT = "no answer from"


class FailoverTests(SentinelCase):
    """
    Commands of all kinds meanwhile.
    """

    def setUp(self) -> None:
        """
        Programs leave lines in a file, once a gate is open.
        """
        super().setUp()
        self.file = self.daemon.folder / "ran"
        self.gate = Gate(self.daemon.folder / "gate")
        self.addCleanup(self.gate.close)
        self.master = self.store.master()

    def push(self, port: int, *commands: dict[str, Any]) -> list[str]:
        """
        Push commands to a server; gives their ids.
        """
        with self.store.client(port) as client:
            client.rpush(QUEUE, *map(json.dumps, commands))
        return [command["id"] for command in commands]

    def job(self, id: str, **fields: Any) -> dict[str, Any]:
        """
        A command that waits at the gate and then leaves a line.
        """
        return {
            "id": id,
            "command": "core.system",
            "arguments": sh(f"{self.gate.wait}; echo {id} >> '{self.file}'"),
        } | fields

    def started(self, count: int = COUNT, prefix: str = "job") -> list[str]:
        """
        Have some run up to the gate, and copied to the replicas.
        """
        ids = self.push(self.master, *(self.job(f"{prefix}-{number}") for number in range(count)))
        eventually(lambda: self.marks(self.master) >= count, "they are marked")
        self.store.copied()
        return ids

    def marks(self, port: int) -> int:
        """
        How many are marked as begun with a process.
        """
        with self.store.client(port) as client:
            marks = map(json.loads, client.hvals("core0:job:1:1"))
            return sum("pid" in mark for mark in marks)

    def results(self, port: int, ids: Sequence[str]) -> dict[str, Any]:
        """
        Those that a server has, by their ids.
        """
        with self.store.client(port) as client:
            look = client.pipeline(transaction=False)
            for id in ids:
                look.lindex(f"result:{id}", 0)
            found = zip(ids, look.execute(), strict=True)
        return {id: json.loads(text) for id, text in found if text is not None}

    def answered(self, port: int, ids: Sequence[str]) -> None:
        """
        Wait until a server has all results.
        """
        eventually(lambda: len(self.results(port, ids)) == len(ids), "all are answered")

    def settled(self, port: int) -> None:
        """
        Wait until nothing is unfinished.
        """
        with self.store.client(port) as client:
            eventually(lambda: not client.hlen("core0:unfinished:1:1") and not client.llen(QUEUE), "all is finished")

    def assert_once(self, port: int, ids: Sequence[str]) -> None:
        """
        Each has run once, and has its result at this server; nothing is left there.
        """
        self.answered(port, ids)
        self.settled(port)
        results = self.results(port, ids)
        self.assertEqual({("SUCCESS", 1)}, {(result["state"], result["runs"]) for result in results.values()})
        self.assertEqual(sorted(ids), sorted(lines(self.file)))
        with self.store.client(port) as client:
            self.assertEqual(0, client.hlen("core0:job:1:1"))
            self.assertEqual([], [key for key in client.keys("core0:id:*") if client.ttl(key) < 0])

    def ping(self, port: int, id: str) -> None:
        """
        Have a server's queue served.
        """
        self.push(port, {"id": id, "command": "core.ping"})
        self.answered(port, [id])

    def test_killed_with_lag(self) -> None:
        """
        What was answered only by the old master is answered again by the new one, and does not run again; nor does what
        is pushed again to it. A command without an id is among them.
        """
        ids = self.started()
        nameless = {"command": "core.system", "arguments": sh(f"{self.gate.wait}; echo nameless >> '{self.file}'")}
        with self.store.client(self.master) as client:
            client.rpush(QUEUE, json.dumps(nameless))
        eventually(lambda: self.marks(self.master) == COUNT + 1, "it is marked")
        self.store.copied()
        self.store.cut(self.master, SERVER)
        late = self.push(self.master, *(self.job(f"late-{number}") for number in range(20)))
        eventually(lambda: self.marks(self.master) == COUNT + 21, "they run")
        self.gate.open(COUNT + 21)
        self.answered(self.master, ids + late)
        self.settled(self.master)
        self.store.signal(self.master, signal.SIGKILL)
        port = self.store.another(self.master)
        # a client that was not sure
        self.push(port, *(self.job(id) for id in ids + late))
        self.ping(port, "ping")
        self.settled(port)
        self.assertEqual(1, lines(self.file).count("nameless"))
        self.file.write_text("".join(f"{line}\n" for line in lines(self.file) if line != "nameless"))
        self.assert_once(port, ids + late)

    def test_forgotten_while_they_run(self) -> None:
        """
        What the new master does not know of running and recurring jobs it is told: a repeat shares them, and after a
        crash of core0 they are answered.
        """
        self.store.copied()
        self.store.cut(self.master, SERVER)
        ids = self.push(self.master, *(self.job(f"job-{number}") for number in range(20)))
        recurring = {"id": "again", "command": "core.ping", "recurring_period": 1000}
        self.push(self.master, recurring)
        eventually(lambda: self.marks(self.master) == 20, "they run")
        self.answered(self.master, ["again"])
        self.store.signal(self.master, signal.SIGKILL)
        port = self.store.another(self.master)
        with self.store.client(port) as client:
            eventually(lambda: client.hlen("core0:unfinished:1:1") == 21, "all are put back")
            eventually(lambda: self.marks(port) == 20, "their marks, too")
        self.push(port, *(self.job(id) for id in ids), recurring, self.job(ids[0], tags="other"))
        with self.store.client(port) as client:
            eventually(lambda: client.llen("core:rejected") == 1, "other content is rejected")
        self.gate.open(10)
        eventually(lambda: len(lines(self.file)) == 10, "some end")
        eventually(lambda: len(self.results(port, ids)) == 10, "they are answered")
        self.daemon.crash()
        self.daemon.start()
        self.answered(port, ids)
        states = [result["state"] for result in self.results(port, ids).values()]
        self.assertEqual([10, 10], [states.count("SUCCESS"), states.count("INTERRUPTED")])
        self.assertEqual(10, len(set(lines(self.file))))
        with self.store.client(port) as client:
            self.assertEqual(1, client.hlen("core0:unfinished:1:1"))

    def test_stopped(self) -> None:
        """
        A master that does not answer any more, and closes nothing, is given up before it wakes; nothing runs twice.
        """
        ids = self.started()
        self.store.signal(self.master, signal.SIGSTOP)
        port = self.store.another(self.master)
        self.ping(port, "meanwhile")
        self.assertEqual(1, self.daemon.output().count(SILENT))
        self.assertEqual(1, self.daemon.output().count("taking commands: connected to"))
        self.gate.open(COUNT // 2)
        eventually(lambda: len(lines(self.file)) == COUNT // 2, "half of them end")
        self.store.signal(self.master, signal.SIGCONT)
        self.gate.open(COUNT - COUNT // 2)
        self.assert_once(port, ids)
        self.ping(port, "afterwards")
        self.assertEqual(1, self.daemon.output().count(SILENT))

    def test_silent(self) -> None:
        """
        So is one whose packets are all dropped.
        """
        ids = self.started()
        self.store.cut(self.master, CLIENT, SERVER, SENTINEL)
        port = self.store.another(self.master)
        self.ping(port, "meanwhile")
        self.assertEqual(1, self.daemon.output().count(SILENT))
        self.gate.open(COUNT)
        self.assert_once(port, ids)

    def test_split(self) -> None:
        """
        What was taken and answered by a master that had been replaced already is not run again at the new one.
        """
        ids = self.started()
        self.store.cut(self.master, SERVER, SENTINEL)
        port = self.store.another(self.master)
        late = self.push(self.master, *(self.job(f"late-{number}") for number in range(20)))
        self.gate.open(COUNT + 20)
        self.answered(self.master, ids + late)
        self.store.heal()
        self.ping(port, "healed")
        self.push(port, *(self.job(id) for id in ids + late))
        self.assert_once(port, ids + late)
