"""
The server's memory is nearly full, or full: results are cut short, nothing more is taken, and nothing is lost.
"""

import json
from typing import Any

import redis
from twisted.trial.unittest import SynchronousTestCase

from tests.daemon import Daemon, eventually
from tests.functional.served import RestartTestCase
from tests.functional.shared import lines, sh
from tests.valkey import ServedDaemon, Valkey, exactly_one

MIB = 1 << 20
MEMORY = 24 * MIB
PRINTED = 300_000  # bytes
LARGE = 250_000  # bytes
SHORT = 4096  # bytes of a stream that was cut


class MemoryTests(RestartTestCase):
    """
    A server that has 24 MiB.
    """

    @classmethod
    def setUpClass(cls) -> None:
        """
        Start it.
        """
        cls.valkey = Valkey("--maxmemory", str(MEMORY), "--maxmemory-policy", "noeviction").start()

    def fill(self, part: float) -> None:
        """
        Have so much of the memory used: 1.0 for all of it.
        """
        with self.valkey.client() as client:
            client.delete("ballast")
            used = client.info("memory")["used_memory"]
            for piece in range(int((part * MEMORY - used) / 65536)):
                try:
                    client.setrange("ballast", piece * 65536, b"x" * 65536)
                except redis.exceptions.OutOfMemoryError:
                    break
            if part < 1:
                self.assertGreater(client.info("memory")["used_memory"], (part - 0.02) * MEMORY)

    def empty(self) -> None:
        """
        Give the memory back.
        """
        with self.valkey.client() as client:
            client.delete("ballast")

    def printing(self, daemon: ServedDaemon) -> dict[str, Any]:
        """
        The result of a program that prints much: what is kept of it and what is said to be dropped is everything.
        """
        result = daemon.run_command("core.system", sh(f"head -c {PRINTED} /dev/zero | tr '\\0' x; echo no >&2"))
        self.assertEqual("SUCCESS", result["state"])
        self.assertEqual(
            [PRINTED, 3], [len(s) + n for s, n in zip(result["streams"], result["truncated"], strict=True)]
        )
        self.assertEqual("no\n", result["streams"][1])
        with daemon.redis() as client:
            client.delete(f"result:{result['id']}")
        return result

    def test_short(self) -> None:
        """
        Above 80 % the ends of the streams are stored, and ``truncated`` says how much is not; below, all of them are.
        """
        daemon = self.daemon()
        self.assertEqual([0, 0], self.printing(daemon)["truncated"])
        self.fill(0.88)
        eventually(lambda: self.printing(daemon)["truncated"] == [PRINTED - SHORT, 0], "they are cut")
        self.empty()
        eventually(lambda: self.printing(daemon)["truncated"] == [0, 0], "they are not cut any more")

    def test_stops(self) -> None:
        """
        Above 95 % core0 takes next to nothing while something runs, but what may not wait; it goes on when there is
        room.
        """
        daemon = self.daemon()
        gate = self.gate(daemon)
        ids = [daemon.push("core.system", sh(gate.wait))]
        eventually(lambda: daemon.redis().hlen("core0:unfinished:1:1") == 1, "it is taken")
        self.fill(0.97)

        def stopped() -> bool:
            ids.append(daemon.push("core.system", {"name": "true"}))
            daemon.run_command("core.ping")
            return bool(daemon.redis().llen("core:default"))

        eventually(stopped, "nothing is taken")
        waiting = daemon.redis().llen("core:default")
        ids += [daemon.push("core.system", {"name": "true"}) for _ in range(5)]
        self.assertEqual("SUCCESS", daemon.run_command("core.state")["state"])
        self.assertGreaterEqual(daemon.redis().llen("core:default"), waiting + 4)  # one goes every five seconds
        self.empty()
        eventually(lambda: not daemon.redis().llen("core:default"), "the rest is taken")
        gate.open()
        daemon.settle()
        exactly_one(daemon.results(), ids)

    def test_full(self) -> None:
        """
        With no memory left at all what runs is answered, and what was taken is started.
        """
        daemon = self.daemon("[jobs]\nmax = 1")
        gate, file = self.gate(daemon), daemon.folder / "written"
        script = sh(f"echo ran >> '{file}'; {gate.wait}")
        ids = [daemon.push("core.system", script) for _ in range(4)]
        ids.append(daemon.push("core.system", sh(f"echo ran >> '{file}'; exit 1"), max_restart=1))
        eventually(lambda: daemon.redis().hlen("core0:unfinished:1:1") == 5, "all are taken")
        self.fill(1.1)
        with daemon.redis() as client, self.assertRaises(redis.exceptions.OutOfMemoryError):
            while True:
                client.rpush("core:default:9:9", "x" * 10_000)
        gate.open(4)
        daemon.settle()
        exactly_one(daemon.results(), ids)
        self.assertEqual(6, len(lines(file)))
        self.empty()

    def test_full_of_commands(self) -> None:
        """
        What fills the memory may be the commands themselves: they are run nevertheless, and nothing is lost.
        """
        daemon = self.daemon()
        daemon.stop()
        ids: list[str] = []
        with self.assertRaises(redis.exceptions.OutOfMemoryError):
            while True:
                ids.append(f"large-{len(ids)}")
                arguments = {"name": "wc", "args": ["-c"], "stdin": "x" * LARGE}
                daemon.push_raw(json.dumps({"id": ids[-1], "command": "core.system", "arguments": arguments}))
        ids.pop()
        daemon.start()
        daemon.settle()
        results = exactly_one(daemon.results(), ids)
        self.assertEqual({f"{LARGE}\n"}, {result["streams"][0] for result in results.values()})

    def test_burst(self) -> None:
        """
        However quickly results come, they do not take more than there is.
        """
        daemon = self.daemon()
        printing = sh(f"head -c {PRINTED} /dev/zero | tr '\\0' x")
        ids = [f"burst-{number}" for number in range(200)]
        daemon.push_raw(*(json.dumps({"id": id, "command": "core.system", "arguments": printing}) for id in ids))
        daemon.settle()
        with daemon.redis() as client:
            self.assertLess(client.info("memory")["used_memory"], MEMORY)
        results = exactly_one(daemon.results(), ids)
        sizes = [len(result["streams"][0]) for result in results.values()]
        self.assertLessEqual(set(sizes), {PRINTED, SHORT})
        self.assertGreater(sizes.count(PRINTED), 10)
        for result in results.values():
            self.assertEqual(
                ("SUCCESS", PRINTED), (result["state"], len(result["streams"][0]) + result["truncated"][0])
            )


class OwnServerTests(SynchronousTestCase):
    """
    The server that core0 starts.
    """

    def test_limit(self) -> None:
        """
        ``max_memory`` is the limit; a client that exceeds it is told, and core0 goes on.
        """
        with Daemon(f"[redis]\nmax_memory = {16 * MIB}") as daemon, daemon.redis() as client:
            count = 0
            with self.assertRaises(redis.exceptions.OutOfMemoryError):
                while True:
                    client.rpush("stream:ballast", "x" * 100_000)
                    count += 1
            self.assertGreater(count, 100)
            self.assertLess(count, 170)
            client.delete("stream:ballast")
            self.assertEqual("SUCCESS", daemon.run_command("core.ping")["state"])
