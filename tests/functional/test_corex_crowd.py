"""
Many containers, at once and one after another.
"""

from tests.daemon import eventually
from tests.functional.containers import ContainerTestCase, image
from tests.functional.shared import answer_of, descriptors, kilobytes

AT_ONCE = 50
IN_ALL, BATCH = 60, 20
GROWTH = 5 << 10  # kB


class CrowdTests(ContainerTestCase):
    """
    More than a few.
    """

    def setUp(self) -> None:
        """
        Whatever is kept after the first container is there.
        """
        super().setUp()
        self.make_and_end(BATCH)

    def many(self, command: str, each: list[dict[str, object]]) -> list[object]:
        """
        The answers to commands that are pushed together.
        """
        ids = [self.daemon.push(command, arguments) for arguments in each]
        results = [self.daemon.result(id, 60) for id in ids]
        for result in results:
            self.assertEqual("SUCCESS", result["state"], result)
        return [answer_of(result) for result in results]

    def make(self, count: int) -> list[object]:
        """
        Make containers; gives their numbers.
        """
        numbers = self.many("corex.create", [{"plist": image().plist} for _ in range(count)])
        self.assertEqual(count, len(set(numbers)))
        return numbers

    def make_and_end(self, count: int) -> None:
        """
        Make containers, and terminate them.
        """
        self.many("corex.terminate", [{"container": number} for number in self.make(count)])

    def assert_swept(self) -> None:
        """
        Nothing is left of any container.
        """
        eventually(lambda: not self.traces.left(), "nothing is left")
        self.assertEqual({}, self.listed())

    def test_at_once(self) -> None:
        """
        Fifty containers are made at once; each of them answers, all can be terminated at once, and nothing is left.
        """
        fds = descriptors(self.daemon.pid)
        numbers = self.make(AT_ONCE)
        self.assertEqual(AT_ONCE, len(self.listed()))
        pings = [{"container": number, "command": {"command": "core.ping"}} for number in numbers]
        for number, id in zip(numbers, self.many("corex.dispatch", pings), strict=True):
            result = self.daemon.result(str(id))
            self.assertEqual((number, "pong"), (result["container"], answer_of(result)))
        self.many("corex.terminate", [{"container": number} for number in numbers])
        self.assert_swept()
        eventually(lambda: descriptors(self.daemon.pid) <= fds + 2, "descriptors are closed")

    def test_in_sequence(self) -> None:
        """
        Sixty containers come and go, and nothing is left of them, nor does core0 grow with them.
        """
        fds, memory = descriptors(self.daemon.pid), kilobytes(self.daemon.pid, "VmRSS")
        for _ in range(IN_ALL // BATCH):
            self.make_and_end(BATCH)
        self.assert_swept()
        eventually(lambda: descriptors(self.daemon.pid) <= fds + 2, "descriptors are closed")
        self.assertLess(kilobytes(self.daemon.pid, "VmRSS") - memory, GROWTH)
