"""
Containers that use up what they may have: they can still be asked, killed from and used again.
"""

from tests.daemon import eventually
from tests.functional.containers import ContainerTestCase, descendants
from tests.functional.shared import answer_of


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
        eventually(lambda: self.ended(jobs, refused) or len(self.sleeping(number)) + len(refused) == 20, "it is full")
        self.assertTrue(0 < len(refused) < 20, refused)
        return number, [id for id in jobs if id not in refused]

    def ended(self, jobs: list[str], refused: list[str]) -> None:
        """
        Take the results that there are: of those that could not be started.
        """
        with self.daemon.redis(decode_responses=True) as client:
            for id in jobs:
                if id not in refused and client.llen(f"result:{id}"):
                    self.assert_refused(503, "sleep", self.daemon.result(id))
                    refused.append(id)

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
