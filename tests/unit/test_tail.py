"""
The end of a stream is kept, whatever its length and its pieces.
"""

import tracemalloc

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from core0.jobs.tail import Tail

KIB = 1 << 10
MIB = 1 << 20


class TailTests(SynchronousTestCase):
    """
    Tails.
    """

    @settings(max_examples=1000, deadline=None)
    @given(st.integers(0, 40), st.lists(st.binary(max_size=50), max_size=20))
    def test_any_pieces(self, limit: int, pieces: list[bytes]) -> None:
        """
        What is kept is the end of all that came, and what came before it is counted, after every piece.
        """
        tail = Tail(limit)
        whole = b""
        for piece in [b"", *pieces]:
            tail.append(piece)
            whole += piece
            kept = whole[max(len(whole) - limit, 0) :]
            self.assertEqual((kept, len(whole) - len(kept)), (tail.getvalue(), tail.dropped))
            self.assertEqual(len(kept), len(tail))

    def test_nothing(self) -> None:
        """
        Before anything came, nothing is kept and nothing was dropped.
        """
        tail = Tail(MIB)
        self.assertEqual((b"", 0, 0), (tail.getvalue(), tail.dropped, len(tail)))

    def test_memory(self) -> None:
        """
        A tail takes little more than its limit, whatever the sizes of the pieces.
        """
        for size, count in ((1, 150 * KIB), (100, 3000), (4097, 100), (64 * KIB, 20), (3 * MIB, 2)):
            piece = b"x" * size
            tracemalloc.start()
            tail = Tail(100 * KIB)
            for _ in range(count):
                tail.append(piece)
            settled, peak = tracemalloc.get_traced_memory()
            tracemalloc.stop()
            self.assertEqual(100 * KIB, len(tail))
            self.assertLess(settled, 102 * KIB)
            self.assertLess(peak, 264 * KIB)

    def test_idle_memory(self) -> None:
        """
        Ten thousand tails that nothing was appended to take less than two megabytes.
        """
        tracemalloc.start()
        tails = [Tail(MIB) for _ in range(10_000)]
        settled, _ = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        self.assertEqual(10_000, len(tails))
        self.assertLess(settled, 2_000_000)
