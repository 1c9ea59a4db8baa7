"""
Tests of the facts of a container that may not use all that its host has.
"""

from twisted.trial.unittest import SynchronousTestCase

from core0.facts import limited
from core0.facts.mem import Memory, Swap

GIB = 1 << 30
HOST = Memory(
    total=8 * GIB,
    available=6 * GIB,
    used=2 * GIB,
    used_percent=25.0,
    free=5 * GIB,
    active=GIB,
    inactive=GIB,
    buffers=1,
    cached=2,
    shared=3,
    swap=Swap(GIB, 0, GIB),
)


class LimitedTests(SynchronousTestCase):
    """
    What ``info.mem`` and ``info.cpu`` tell inside.
    """

    def test_memory(self) -> None:
        """
        The memory is what the limit allows, less what the container uses; swap is none.
        """
        facts = limited.memory(HOST, GIB, GIB // 4)
        self.assertEqual((GIB, GIB // 4, 25.0), (facts.total, facts.used, facts.used_percent))
        self.assertEqual((GIB * 3 // 4,) * 2, (facts.free, facts.available))
        self.assertEqual(Swap(0, 0, 0), facts.swap)

    def test_full(self) -> None:
        """
        A container that uses all, caches included, has nothing free; never less than nothing.
        """
        facts = limited.memory(HOST, GIB, 2 * GIB)
        self.assertEqual((0, GIB, 100.0), (facts.free, facts.used, facts.used_percent))

    def test_more_than_there_is(self) -> None:
        """
        A limit beyond the machine's memory limits nothing.
        """
        self.assertEqual(HOST, limited.memory(HOST, 9 * GIB, 0))

    def test_processors(self) -> None:
        """
        There are as many processors as may be used at once, rounded up.
        """
        cpus = [{"cpu": number} for number in range(4)]
        for cores, expected in ((None, 4), (0.1, 1), (1.0, 1), (1.5, 2), (9.0, 4)):
            self.assertEqual(expected, len(limited.processors(cpus, cores)))
