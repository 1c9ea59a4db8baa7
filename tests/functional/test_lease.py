"""
Two nodes cannot have one address on a server that they share; and what is left at an address that a node has given up
is named.
"""

import json
import shutil
import signal
from pathlib import Path
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from tests.daemon import STARTED, eventually
from tests.functional.shared import Gate, lines, sh
from tests.valkey import ServedDaemon, Valkey

LEASE = "core0:node:1:1"
HELD = "1:1 is held by"


class LeaseTests(SynchronousTestCase):
    """
    Each with a server of its own, and a core0.
    """

    def setUp(self) -> None:
        """
        Start both.
        """
        self.valkey = Valkey().start()
        self.addCleanup(self.valkey.close)
        self.first = self.daemon()
        self.first.start()
        self.file = self.first.folder / "ran"
        self.gate = Gate(self.first.folder / "gate")
        self.addCleanup(self.gate.close)

    def daemon(self) -> ServedDaemon:
        """
        One of the same address.
        """
        daemon = ServedDaemon(self.valkey)
        self.addCleanup(daemon.close)
        return daemon

    def push(self, count: int, prefix: str = "job") -> list[str]:
        """
        Push jobs that wait at the gate and leave a line.
        """
        ids = [f"{prefix}-{number}" for number in range(count)]
        for id in ids:
            self.first.push("core.system", sh(f"{self.gate.wait}; echo {id} >> '{self.file}'"), id=id)
        return ids

    def taken(self, count: int) -> None:
        """
        Wait until so many are taken and marked.
        """
        with self.valkey.client() as client:
            eventually(lambda: client.hlen("core0:job:1:1") == count, "they run")

    def holder(self) -> dict[str, Any]:
        """
        Who holds the address.
        """
        with self.valkey.client() as client:
            text = client.get(LEASE)
        assert isinstance(text, bytes)
        found: dict[str, Any] = json.loads(text.decode().partition(" ")[2])
        return found

    def test_second(self) -> None:
        """
        A second core0 takes nothing, says who holds the address, and leaves the jobs of the first alone; once the first
        has stopped it takes over.
        """
        ids = self.push(5)
        self.taken(5)
        second = self.daemon()
        second.start(wait=False)
        eventually(lambda: HELD in second.output(), "it says so")
        self.assertIn(f"process {self.first.pid}, boot ", second.output())
        more = self.push(5, "more")
        self.taken(10)
        self.gate.open(10)
        results = [self.first.result(id) for id in ids + more]
        self.assertEqual({("SUCCESS", 1)}, {(result["state"], result["runs"]) for result in results})
        self.assertEqual(sorted(ids + more), sorted(lines(self.file)))
        self.assertNotIn(STARTED, second.output())
        self.first.stop()
        eventually(lambda: STARTED in second.output(), "it takes over")
        self.assertEqual(second.pid, self.holder()["process"])
        self.assertEqual("SUCCESS", second.run_command("core.ping")["state"])
        self.assertEqual(1, second.output().count(HELD))

    def test_restarted(self) -> None:
        """
        After a crash the same core0 takes over at once.
        """
        self.first.crash()
        before = self.holder()["process"]
        self.first.start()
        self.assertNotIn(HELD, self.first.output())
        self.assertNotEqual(before, self.holder()["process"])

    def test_copied(self) -> None:
        """
        A core0 with a copy of the state directory is another one.
        """
        second = self.daemon()
        shutil.copytree(
            self.first.state, second.state, ignore=lambda folder, names: [n for n in names if n != "core0.lock"]
        )
        second.start(wait=False)
        eventually(lambda: HELD in second.output(), "it says so")

    def test_taken_away(self) -> None:
        """
        A core0 whose address another one holds stops taking, and says so; jobs go on, and once it is free again so
        does the taking.
        """
        ids = self.push(2)
        self.taken(2)
        with self.valkey.client() as client:
            client.set(LEASE, "x" * 32 + ' {"host":"other","process":7,"boot":"b","since":0}')
            eventually(lambda: HELD in self.first.output(), "it notices")
            self.assertIn("held by other, process 7, boot b, since 1970-01-01 00:00:00 UTC", self.first.output())
            self.first.push("core.ping", id="ping")
            self.gate.open(2)
            for id in ids:
                self.assertEqual("SUCCESS", self.first.result(id)["state"])
            self.assertEqual((1, 0), (client.llen("core:default"), client.exists("result:ping")))
            client.delete(LEASE)
        self.assertEqual("SUCCESS", self.first.result("ping")["state"])
        self.assertEqual(self.first.pid, self.holder()["process"])
        self.assertEqual(1, self.first.output().count(HELD))

    def test_lives(self) -> None:
        """
        The lease ends by itself unless it is renewed, and is given up when core0 stops.
        """
        with self.valkey.client() as client:
            self.assertTrue(0 < client.ttl(LEASE) <= 15)
            client.expire(LEASE, 7)
            eventually(lambda: client.ttl(LEASE) > 7, "it is renewed")
            self.first.stop()
            self.assertEqual(0, client.exists(LEASE))


class AddressTests(SynchronousTestCase):
    """
    The address of a node is changed.
    """

    def test_changed(self) -> None:
        """
        What is left at the old address is named at each start, until it is answered.
        """
        with Valkey() as valkey:
            daemon = ServedDaemon(valkey)
            self.addCleanup(daemon.close)
            own = Path(daemon.config).read_text()
            daemon.start()
            daemon.push("core.system", {"name": "sleep", "args": ["1000"]}, id="runs", max_restart=1)
            with valkey.client() as client:
                eventually(lambda: client.hlen("core0:job:1:1") == 1, "it runs")
            daemon.crash()
            daemon.push_raw('{"id": "waits", "command": "core.ping"}', queue="core:default:1:1")
            daemon.config.write_text(own.replace("[core]", "[core]\nnid = 5", 1))
            left = "1 commands that wait in core:default:1:1, 1 that were taken"
            text = f"has served 1:1 before, and there it has left {left}"
            for count in (1, 2):
                daemon.start()
                self.assertEqual(count, daemon.output().count(text))
                daemon.stop()
            daemon.config.write_text(own)
            daemon.start()
            self.assertEqual("SUCCESS", daemon.result("waits")["state"])
            self.assertEqual("true", daemon.run_command("core.kill", {"id": "runs"})["data"])
            self.assertEqual("KILLED", daemon.result("runs")["state"])
            daemon.settle()
            daemon.stop()
            daemon.config.write_text(own.replace("[core]", "[core]\nnid = 5", 1))
            for _ in range(2):
                daemon.start()
                self.assertEqual(2, daemon.output().count("has served 1:1"))
                daemon.signal(signal.SIGTERM)
                daemon.wait()
            self.assertEqual([], json.loads((daemon.state / "address.json").read_text())["before"])
