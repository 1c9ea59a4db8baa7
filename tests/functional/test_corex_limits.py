"""
Containers that use up what they may have: they can still be asked, killed from and used again.
"""

import os
import subprocess
from pathlib import Path

from tests.daemon import PATIENCE, ROOT, eventually
from tests.functional.containers import ContainerTestCase, descendants
from tests.functional.corectl_shared import CORECTL
from tests.functional.shared import answer_of, parse_status, sh

MIB = 1 << 20
CAP_SYS_RESOURCE = 24
SPARING = int(parse_status(Path("/proc/self/status").read_text())["CapEff"], 16) >> CAP_SYS_RESOURCE & 1
HUNGRY = "x=a; while :; do x=$x$x$x$x; done"


class ProcessesTests(ContainerTestCase):
    """
    As many processes as there may be.
    """

    def full(self) -> tuple[int, list[str]]:
        """
        A container whose processes are all taken by jobs; gives its number, and the jobs.
        """
        number = self.create(limits={"pids": 12})
        jobs = [self.dispatch(number, "core.system", {"name": "sleep", "args": ["600"]}) for _ in range(20)]
        refused: list[str] = []
        eventually(lambda: self.ended(jobs, refused) + len(self.sleeping(number)) == 20, "it is full")
        self.assertTrue(0 < len(refused) < 20, refused)
        return number, [id for id in jobs if id not in refused]

    def ended(self, jobs: list[str], refused: list[str]) -> int:
        """
        Take the results that there are: of those that could not be started. Gives their number.
        """
        with self.daemon.redis(decode_responses=True) as client:
            for id in jobs:
                if id not in refused and client.llen(f"result:{id}"):
                    self.assert_refused(503, "sleep", self.daemon.result(id))
                    refused.append(id)
        return len(refused)

    def sleeping(self, number: int) -> list[int]:
        """
        The programs that a container runs.
        """
        return list(descendants(self.corex_of(number)))

    def assert_usable(self, number: int) -> None:
        """
        Nothing is left of its jobs, and it takes others.
        """
        eventually(lambda: not self.sleeping(number), "all programs have ended")
        self.assertEqual("ok\n", self.inside_sh(number, "echo ok"))

    def test_killall(self) -> None:
        """
        All jobs of a container that is full of processes can be killed, and it can be used again.
        """
        number, jobs = self.full()
        self.assertEqual(sorted(jobs), answer_of(self.inside(number, "core.killall")))
        for id in jobs:
            result = self.daemon.result(id)
            self.assertEqual(("KILLED", 143), (result["state"], result["code"]), result)
        self.assert_usable(number)

    def test_asked(self) -> None:
        """
        A container that is full of processes can be asked for whatever it can be asked for otherwise, and each of its
        jobs can be signalled and killed.
        """
        number, jobs = self.full()
        for command in ("core.ping", "core.state", "process.list", "info.mem", "info.cpu", "info.disk", "info.os"):
            self.assertEqual("SUCCESS", self.inside(number, command)["state"], command)
        for place, id in enumerate(jobs):
            signal = {"signal": 9} if place % 2 else {}
            self.assert_success(self.inside(number, "core.kill", {"id": id, **signal}), "true")
            self.assertEqual("KILLED", self.daemon.result(id)["state"])
        self.assert_usable(number)


class MemoryTests(ContainerTestCase):
    """
    As much memory as there may be.
    """

    def assert_alive(self, number: int, corex: int) -> None:
        """
        The container lives, with the same CoreX, and answers.
        """
        self.assertEqual(corex, self.corex_of(number))
        for command in ("core.ping", "core.state", "info.mem"):
            self.assertEqual("SUCCESS", self.inside(number, command)["state"], command)
        self.assertEqual("ok\n", self.inside_sh(number, "echo ok"))

    def test_hungry(self) -> None:
        """
        Processes that need more memory than their container may have end; their CoreX does not, however little that is.
        """
        for limit in (16 * MIB, 64 * MIB) if SPARING else (64 * MIB,):
            number = self.create(limits={"memory": limit})
            corex = self.corex_of(number)
            facts = answer_of(self.inside(number, "info.mem"))
            self.assertEqual(limit, facts["total"])
            self.assertLess(facts["free"], limit)
            for _ in range(3):
                result = self.inside(number, "core.system", sh(HUNGRY))
                self.assertEqual(("ERROR", 137), (result["state"], result["code"]), result)
            jobs = [self.dispatch(number, "core.system", sh(HUNGRY)) for _ in range(5)]
            for id in jobs:
                self.assertEqual("ERROR", self.daemon.result(id)["state"])
            self.assert_alive(number, corex)

    def test_told(self) -> None:
        """
        Who has run out of memory is told so: in the result, by corectl, in the list and in the log; jobs that fail
        otherwise are not.
        """
        number, other = (self.create(limits={"memory": 64 * MIB}) for _ in range(2))
        self.assertEqual(0, self.listed()[str(number)]["oom_kills"])
        for _ in range(3):
            result = self.inside(number, "core.system", sh(HUNGRY))
            self.assertEqual(("ERROR", 137), (result["state"], result["code"]), result)
            self.assertIn("out of memory: the limit of the container, 64 MiB, was reached", result["critical"])
        caught = self.inside(number, "core.system", sh(f"({HUNGRY}) || exit 3"))
        self.assertIn(caught["code"], (3, 137))  # the kernel may end the shell, too
        self.assertIn("out of memory", caught["critical"])
        for container in (number, other):
            failed = self.inside(container, "core.system", sh("echo 9::mine; exit 3"))
            self.assertEqual((3, "mine"), (failed["code"], failed["critical"]))
        words = ("run", "--container", str(number), "--", "sh", "-c", HUNGRY)
        env = {**os.environ, "PYTHONPATH": str(ROOT), "CORE0_URL": self.daemon.socket}
        done = subprocess.run([*CORECTL, *words], env=env, capture_output=True, timeout=PATIENCE)
        self.assertEqual(137, done.returncode, done.stderr)
        self.assertIn(b"corectl: out of memory", done.stderr)
        kills = {place: each["oom_kills"] for place, each in self.listed().items()}
        self.assertGreaterEqual(kills[str(number)], 5)
        self.assertEqual(0, kills[str(other)])
        said = [line for line in self.daemon.output().splitlines() if f"container {number}: out of memory" in line]
        self.assertEqual(1, len(said), said)

    def test_files(self) -> None:
        """
        Files in memory end where there is no room for them, before they end processes; they take half of the memory
        at most, all of them together.
        """
        number = self.create(limits={"memory": 64 * MIB})
        corex = self.corex_of(number)
        for folder in ("/tmp", "/dev/shm", "/dev"):
            result = self.inside(number, "core.system", sh(f"dd if=/dev/zero of={folder}/full bs=1M count=200"))
            self.assertEqual(("ERROR", 1), (result["state"], result["code"]), result)
            self.assertIn("No space left on device", result["streams"][1])
        sizes = self.inside_sh(number, "cd /; stat -c %s tmp/full dev/shm/full dev/full")
        self.assertLessEqual(sum(map(int, sizes.split())), 32 * MIB)
        result = self.inside(number, "core.system", sh("i=0; while : > /tmp/$i; do i=$((i + 1)); done"))
        self.assertIn("No space left on device", result["streams"][1])
        self.assert_alive(number, corex)

    def test_scores(self) -> None:
        """
        The first process and the CoreX of a container with limited memory are never ended for want of it, and its jobs
        cannot have that for themselves. Where core0 lacks the right to that, the jobs are ended first.
        """
        number = self.create(limits={"memory": 64 * MIB})
        lowest, usual = ("-1000\n", "0\n") if SPARING else ("0\n", "1000\n")
        for pid in (self.corex_of(number), self.listed()[str(number)]["pid"]):
            self.assertEqual(lowest, Path(f"/proc/{pid}/oom_score_adj").read_text())
        self.assertEqual(usual, self.inside_sh(number, "sleep 0.1; cat /proc/self/oom_score_adj"))
        result = self.inside(number, "core.system", sh("echo -1 > /proc/self/oom_score_adj"))
        self.assertNotEqual(0, result["code"], result)
