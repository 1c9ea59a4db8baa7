"""
Log records of a running core0: which there are, in which two places, and what happens when there are too many.
"""

import json
import os
import re
import signal
import time
from typing import Any

from tests.daemon import eventually
from tests.functional.records import RecordsTestCase
from tests.functional.shared import lives

MIB = 1 << 20
LEVELS = [*range(1, 12), 20, 21, 22, 23, 30]
DROPPED = re.compile(r"(\d+) records dropped")


class LevelTests(RecordsTestCase):
    """
    Which messages become records, and what these look like.
    """

    config = "gid = 7\nnid = 42\n[logging]\nmax_bytes = 1048576"
    talk = "echo plain; echo error >&2; " + "; ".join(f"echo {level}::{level} >&2" for level in LEVELS)

    def levels(self, **fields: Any) -> list[int]:
        """
        The levels of the records of a program that uses all of them.
        """
        return sorted(level for level, _ in self.messages(self.run_sh(self.talk, **fields)["id"]))

    def test_default(self) -> None:
        """
        Without ``log_levels`` those are kept that the configuration says: by default everything but plain output,
        statistics, debugging and results.
        """
        self.assertEqual([2, 2, 3, 4, 5, 6, 7, 8, 9], self.levels())
        self.assertEqual([2, 2, 3, 4, 5, 6, 7, 8, 9], self.levels(log_levels=None))

    def test_none(self) -> None:
        """
        With an empty list nothing is kept.
        """
        self.assertEqual([], self.levels(log_levels=[]))

    def test_explicit(self) -> None:
        """
        With a list exactly these are.
        """
        self.assertEqual([1, 1, 10, 20], self.levels(log_levels=[1, 10, 20]))

    def test_shape(self) -> None:
        """
        A record tells the node, the command, the level, the text and the time in nanoseconds, in both places.
        """
        before = time.time_ns()
        id = self.run_sh("{ echo 'ü \"x\"'; printf '6:::two\nlines\n:::\n'; } >&2", id="a job ü")["id"]
        messages = [(2, 'ü "x"'), (6, "two\nlines")]
        self.assertEqual(messages, self.messages(id))
        for record, (level, text) in zip(self.logs(id), messages, strict=True):
            epoch = record["message"].pop("epoch")
            self.assertTrue(before <= epoch <= time.time_ns(), epoch)
            message = {"level": level, "message": text}
            self.assertEqual({"core": 0, "node": "7:42", "command": id, "message": message}, record)
        eventually(lambda: self.logs(id) == self.filed(id), "both places have the same")

    def test_lines(self) -> None:
        """
        Plain output is kept line by line, in order, the last line with or without a newline; long lines in pieces.
        """
        id = self.run_sh(f"printf '1\n\n2' >&2; printf '\n%s' {'x' * 100_000} >&2")["id"]
        found = [text for _, text in self.messages(id)]
        self.assertEqual(["1", "", "2"], found[:3])
        self.assertEqual("x" * 100_000, "".join(found[3:]))
        self.assertEqual(4, len(found[3:]))

    def test_while_it_runs(self) -> None:
        """
        Records are there while the job still runs.
        """
        gate = self.gate()
        with self.running(f"echo now >&2; touch $ready; {gate.wait}") as id:
            eventually(lambda: self.logs(id), "its record")
            gate.open()
            self.daemon.result(id)

    def test_rotation(self) -> None:
        """
        The files are cut into a number of them, of which the oldest go, so that all together stay below the limit.
        """
        id = self.run_sh(f"yes {'x' * 999} | head -n 3000 >&2; echo last >&2")["id"]
        eventually(lambda: self.filed(id)[-1:] and self.filed(id)[-1]["message"]["message"] == "last", "the last one")
        self.assertLessEqual(sum(path.stat().st_size for path in self.files()), MIB)
        self.assertEqual(["jobs.log", *(f"jobs.log.{n}" for n in range(1, 16))], [path.name for path in self.files()])
        self.assertGreater(len(self.filed(id)), 700)
        self.assertEqual(0o600, self.files()[0].stat().st_mode & 0o777)


class BoundTests(RecordsTestCase):
    """
    Floods.
    """

    config = "[logging]\nredis_records = 50"

    def test_bounded(self) -> None:
        """
        ``core.logs`` holds so many records as the configuration says, the newest.
        """
        id = self.run_sh("seq 500 >&2")["id"]
        expected = [str(number) for number in range(451, 501)]
        eventually(lambda: [record["message"]["message"] for record in self.logs(id)] == expected, "the newest")
        self.assertEqual(
            [str(number) for number in range(1, 501)], [each["message"]["message"] for each in self.filed(id)]
        )

    def test_flood(self) -> None:
        """
        A job that floods its stderr goes on at its own pace, and others are answered meanwhile.
        """
        id = self.push_sh("yes a line as long as lines may be in a log of a program | head -n 300000 >&2; echo done")
        answers = 0
        with self.daemon.redis() as client:
            while not client.exists(f"result:{id}"):
                self.assert_success(self.daemon.run_command("core.ping"), '"pong"')
                answers += 1
            self.assertLessEqual(client.llen("core.logs"), 50)
        self.assertGreater(answers, 1)
        self.assert_success(self.daemon.result(id))


class StalledTests(RecordsTestCase):
    """
    A server that does not answer.
    """

    config = "[logging]\nredis_records = 1000000"

    def test_stalled(self) -> None:
        """
        A job that prints is not held up while the server is stalled; its result comes later, and what could not be kept
        of its output is counted: no line is missing without a word.
        """
        gate, pid_file, count = self.gate(), self.folder() / "pid", 50_000
        with self.running(f"echo $$ > {pid_file}; touch $ready; {gate.wait}; seq {count} >&2; echo done") as id:
            pid, server = pid_file.read_text().strip(), self.server()
            self.addCleanup(os.kill, server, signal.SIGCONT)
            os.kill(server, signal.SIGSTOP)
            gate.open()
            eventually(lambda: not lives(pid), "the job ends")
            os.kill(server, signal.SIGCONT)
            result = self.daemon.result(id)
            self.assertEqual("done\n", result["streams"][0])
        eventually(lambda: len(self.logs(id)) + self.dropped() >= count, "all lines are accounted for")
        kept = [int(record["message"]["message"]) for record in self.logs(id)]
        self.assertEqual(sorted(set(kept)), kept)
        self.assertGreater(self.dropped(), 0)
        self.assertEqual(count, len(kept) + self.dropped())
        eventually(lambda: self.filed(id), "the files have them all the same")

    def dropped(self) -> int:
        """
        How many records are said to be missing.
        """
        texts = [record["message"]["message"] for record in self.logs("")]
        return sum(int(found[1]) for text in texts if (found := DROPPED.match(text)))

    def server(self) -> int:
        """
        The process of the server.
        """
        return int(json.loads((self.daemon.run / "redis" / "server.json").read_text())["pid"])


class LargeTests(RecordsTestCase):
    """
    A server with little memory.
    """

    config = f"[logging]\nredis_records = 20000\n[redis]\nmax_memory = {96 * MIB}"

    def test_large_records(self) -> None:
        """
        Log records may fill a part of the server's memory only, however large they are: commands are still taken, and
        results are complete.
        """
        for _ in range(2):
            result = self.run_sh(f"yes {'x' * 29_999} | head -n 2000 >&2; seq 2000")
            self.assertEqual("".join(f"{number}\n" for number in range(1, 2001)), result["streams"][0])
        self.barrier()
        with self.daemon.redis() as client:
            self.assertLess(sum(map(len, client.lrange("core.logs", 0, -1))), 32 * MIB)
