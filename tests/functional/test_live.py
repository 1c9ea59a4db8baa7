"""
Live output and statistics of jobs on a running core0.
"""

import json
import time
from typing import Any

from tests.daemon import eventually
from tests.functional.records import RecordsTestCase
from tests.functional.shared import answer_of, python

MIB = 1 << 20
SUCCEEDED, FAILED = 2, 4  # in the meta of the last piece of live output
LIFE = 300  # seconds that a result is kept


class StreamTests(RecordsTestCase):
    """
    Live output.
    """

    def stream(self, id: str) -> list[dict[str, Any]]:
        """
        What there is of it.
        """
        with self.daemon.redis() as client:
            return [json.loads(text) for text in client.lrange(f"stream:{id}", 0, -1)]

    def ended(self, id: str) -> list[dict[str, Any]]:
        """
        The whole of it.
        """

        def look() -> list[dict[str, Any]] | None:
            found = self.stream(id)
            return found if found and found[-1]["message"]["meta"] & (SUCCEEDED | FAILED) else None

        found: list[dict[str, Any]] = eventually(look, "the end of live output")
        return found

    def test_order(self) -> None:
        """
        With ``stream`` everything that a job prints is there as it comes, level by level, and the end says how it went.
        """
        for script, flag in (("true", SUCCEEDED), ("exit 3", FAILED), ("kill -9 $$", FAILED)):
            id = self.push_sh(f"for n in $(seq 300); do echo $n; done; echo 4::four; echo 20::1; {script}", stream=True)
            self.daemon.result(id)
            *pieces, last = self.ended(id)
            messages = [(piece["message"]["level"], piece["message"]["message"]) for piece in pieces]
            self.assertEqual([*((1, str(n)) for n in range(1, 301)), (4, "four"), (20, "1")], messages)
            self.assertEqual([level << 16 for level, _ in messages], [piece["message"]["meta"] for piece in pieces])
            self.assertEqual((1 << 16 | flag, ""), (last["message"]["meta"], last["message"]["message"]))
            epochs = [piece["message"]["epoch"] for piece in [*pieces, last]]
            self.assertEqual(sorted(epochs), epochs)
            self.assertEqual({(0, "1:1", id)}, {(piece["core"], piece["node"], piece["command"]) for piece in pieces})
            with self.daemon.redis() as client:
                self.assertTrue(0 < client.ttl(f"stream:{id}") <= LIFE)

    def test_while_it_runs(self) -> None:
        """
        It is there while the job still runs.
        """
        gate = self.gate()
        with self.running(f"echo now; touch $ready; {gate.wait}", stream=True) as id:
            found = eventually(lambda: self.stream(id), "its first line")
            self.assertEqual(
                (1, "now", 1 << 16), tuple(found[0]["message"][key] for key in ("level", "message", "meta"))
            )
            gate.open()
            self.assertEqual(2, len(self.ended(id)))

    def test_not_asked_for(self) -> None:
        """
        Without ``stream`` there is none.
        """
        for fields in ({}, {"stream": False}, {"stream": None}):
            id = self.run_sh("echo x; echo 3::y", **fields)["id"]
            self.barrier()
            self.assertEqual([], self.stream(id))

    def test_never_started(self) -> None:
        """
        A job that cannot be started has an end of live output, too.
        """
        id = self.daemon.push("core.system", {"name": "no-such-program"}, stream=True)
        (last,) = self.ended(id)
        self.assertEqual(1 << 16 | FAILED, last["message"]["meta"])


class StatisticsTests(RecordsTestCase):
    """
    Samples of what jobs consume.
    """

    config = "[jobs]\nstats_interval = 1"

    def samples(self, id: str) -> list[dict[str, str]]:
        """
        The samples of a job, oldest first.
        """
        with self.daemon.redis() as client:
            entries: Any = client.xrange(f"stats:{id}")
        return [{key.decode(): value.decode() for key, value in fields.items()} for _, fields in entries]

    def test_samples(self) -> None:
        """
        Each interval there is a sample of CPU, memory and threads of the whole tree, whatever its sessions are.
        """
        size = 50 * MIB
        program = python(
            f"""
            import os, signal, threading
            if os.fork() == 0:
                os.setsid()
                memory = b"x" * {size}
                while True:
                    signal.pause()
            if os.fork() == 0:
                while True:
                    pass
            threading.Thread(target=signal.pause, daemon=True).start()
            while True:
                signal.pause()
            """
        )
        before = time.time() * 1000
        ids = [self.daemon.push("core.system", program, stats_interval=interval) for interval in (1, 0, 1000)]
        for id in ids[:2]:
            eventually(lambda id=id: len(self.samples(id)) >= 2, "two samples")
            for sample in self.samples(id):
                self.assertEqual({"time", "cpu", "rss", "vms", "swap", "threads"}, set(sample))
                self.assertTrue(before <= int(sample["time"]) <= time.time() * 1000, sample)
                self.assertGreater(int(sample["rss"]), size)
                self.assertGreater(int(sample["vms"]), int(sample["rss"]))
                self.assertEqual("4", sample["threads"])
            eventually(lambda id=id: float(self.samples(id)[-1]["cpu"]) > 0, "it uses the processor")
        self.assertEqual([], self.samples(ids[2]))
        self.check_state(size)
        for id in ids:
            self.kill(id)
        with self.daemon.redis() as client:
            eventually(lambda: 0 < client.ttl(f"stats:{ids[0]}") <= LIFE, "samples expire like the result")

    def test_short(self) -> None:
        """
        A run that is over before its first sample has one of its whole, if its command asks for samples; else none.
        """
        size = 30 * MIB
        program = python(f"import time\nmemory = b'x' * {size}\nwhile time.process_time() < 0.3: pass")
        asked = self.daemon.push("core.system", program, stats_interval=500)
        silent = self.daemon.push("core.system", program)
        failing = self.daemon.push("core.system", {"name": "/bin/false"}, stats_interval=500, max_restart=1)
        result = self.daemon.result(asked)
        (sample,) = eventually(lambda: self.samples(asked), "a sample")
        self.assertGreaterEqual(int(sample["time"]), result["starttime"])
        self.assertGreater(float(sample["cpu"]), 0.0)
        self.assertGreater(int(sample["rss"]), size)
        self.assertEqual(("0", "0", "0"), (sample["vms"], sample["swap"], sample["threads"]))
        self.daemon.result(failing)
        eventually(lambda: len(self.samples(failing)) == 2, "one of each run")
        self.daemon.result(silent)
        self.daemon.run_command("core.ping")
        self.assertEqual([], [each for each in self.samples(silent) if each["threads"] == "0"])

    def test_begins_with_the_job(self) -> None:
        """
        The first sample comes one interval after the start, wherever in a second that was.
        """
        ids = []
        for _ in range(8):
            ids.append(self.daemon.push("core.system", {"name": "sleep", "args": ["1.5"]}, stats_interval=1))
            time.sleep(0.13)
        for id in ids:
            started = self.daemon.result(id)["starttime"]
            first, *_ = eventually(lambda id=id: self.samples(id), "a sample")
            self.assertGreaterEqual(int(first["time"]) - started, 1000)

    def check_state(self, size: int) -> None:
        """
        ``core.state`` sums them up.
        """
        state = answer_of(self.daemon.run_command("core.state"))
        self.assertEqual({"cpu", "rss", "vms", "swap", "jobs", "core0"}, set(state))
        self.assertGreater(state["rss"], 3 * size + state["core0"]["rss"])
        self.assertEqual(3, state["jobs"])

    def test_reported(self) -> None:
        """
        What a program reports at level 10 is a sample, too; what does not say a key, a value and a type is none.
        """
        before = time.time() * 1000
        reports = [
            "10::requests:12|c",
            "10::temp.cpu:36.6|g|room=4,rack=2",
            "10::nonsense",
            "10::a:|g",
            "10:: :",
            "10::x:1",
        ]
        id = self.run_sh("".join(f"echo '{report}'\n" for report in reports))["id"]
        eventually(lambda: len(self.samples(id)) == 2, "two samples")
        found = self.samples(id)
        for sample in found:
            self.assertTrue(before <= int(sample.pop("time")) <= time.time() * 1000)
        self.assertEqual({"key": "requests", "value": "12", "type": "c", "tags": ""}, found[0])
        self.assertEqual({"key": "temp.cpu", "value": "36.6", "type": "g", "tags": "room=4,rack=2"}, found[1])
        with self.daemon.redis() as client:
            self.assertTrue(0 < client.ttl(f"stats:{id}") <= LIFE)

    def test_bounded(self) -> None:
        """
        At most a thousand samples of a job are kept, give or take some.
        """
        id = self.run_sh('for n in $(seq 3000); do echo "10::key:$n|c"; done')["id"]
        eventually(lambda: (found := self.samples(id)) and found[-1]["value"] == "3000", "the last sample")
        self.assertLess(len(self.samples(id)), 1200)
