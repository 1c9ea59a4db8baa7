"""
How many of the newest records of a list are kept.
"""

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from core0.redis.window import Window


class WindowTests(SynchronousTestCase):
    """
    Windows.
    """

    def test_number(self) -> None:
        """
        As long as they are small, as many are kept as may be.
        """
        window = Window(100, 10_000)
        self.assertEqual([100] * 50, [window.add(10, 100) for _ in range(50)])

    def test_size(self) -> None:
        """
        When the newest are too large together, fewer are kept: those of the newest writes that fit.
        """
        window = Window(100, 1000)
        self.assertEqual([100, 100, 20, 20], [window.add(10, 400) for _ in range(4)])

    def test_one_too_large(self) -> None:
        """
        The newest write is always kept, however large it is.
        """
        window = Window(100, 1000)
        window.add(10, 400)
        self.assertEqual(3, window.add(3, 5000))

    @given(st.lists(st.tuples(st.integers(1, 30), st.integers(1, 300)), max_size=40), st.integers(1, 50))
    def test_any_writes(self, writes: list[tuple[int, int]], most: int) -> None:
        """
        What is kept is never more than may be, is within its room unless it is a single write, and never nothing.
        """
        window = Window(most, 500)
        done: list[tuple[int, int]] = []
        for count, size in writes:
            kept = window.add(count, size)
            done.append((count, size))
            self.assertTrue(0 < kept <= most)
            total, number = 0, 0
            for each, bytes_ in reversed(done):
                if number + each > kept:
                    break
                number += each
                total += bytes_
            self.assertTrue(total <= 500 or number == done[-1][0], (done, kept))
