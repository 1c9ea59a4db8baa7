"""
What is held for a server that may forget it stays within bounds.
"""

from twisted.trial.unittest import SynchronousTestCase

from core0.redis.held import LARGE, Held
from core0.values import Claim


def claim(seq: int, size: int) -> Claim:
    """
    The claim of a command whose payload has that size.
    """
    return Claim(seq, f"id-{seq}", "d" * 64, b"x" * size)


class HeldTests(SynchronousTestCase):
    """
    Room for two large payloads.
    """

    def setUp(self) -> None:
        """
        Nothing is held yet.
        """
        self.size = LARGE + 1
        self.held = Held(2 * self.size)

    def sizes(self) -> list[int]:
        """
        Of the payloads that are held.
        """
        return [len(claim.payload) for claim in self.held]

    def test_large(self) -> None:
        """
        Of large payloads those that are too many are not kept; their claims are.
        """
        self.held.add([claim(seq, self.size) for seq in range(1, 5)])
        self.assertEqual([self.size, self.size, 0, 0], self.sizes())
        self.held.grant(claim(3, self.size))
        found = self.held.of_id("id-3")
        assert found is not None
        self.assertEqual(3, found.seq)

    def test_small(self) -> None:
        """
        Small ones are always kept: there are never more of them than jobs may hold.
        """
        self.held.add([claim(seq, LARGE) for seq in range(1, 9)])
        self.assertEqual([LARGE] * 8, self.sizes())

    def test_room_again(self) -> None:
        """
        What is answered makes room; to add or remove one a second time changes nothing.
        """
        self.held.add([claim(1, self.size), claim(1, self.size), claim(2, self.size)])
        self.held.remove(1)
        self.held.remove(1)
        self.held.remove(7)
        self.held.add([claim(3, self.size), claim(4, self.size)])
        self.assertEqual([self.size, self.size, 0], self.sizes())
