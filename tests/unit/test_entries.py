"""
What the hashes of a node hold, also where clients have written there.
"""

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from core0.messages import Mark, encode
from core0.redis.entries import numbers, read_marks

MARK = Mark(runs=2, started=1)
ODD = (b"abc", b"", b"-1", b"1.5", b" 1", "\u0663".encode(), b"9" * 5000)


class EntriesTests(SynchronousTestCase):
    """
    Answers of a server.
    """

    def test_numbers(self) -> None:
        """
        Numbers come in their order; what is none is left out.
        """
        self.assertEqual([2, 10, 1_700_000_000_000_000], numbers([b"10", *ODD, b"1700000000000000", b"2"]))

    def test_marks(self) -> None:
        """
        Marks go by their numbers; what cannot be read is none, and neither is one without a number.
        """
        good = [b"7", encode(MARK)]
        odd = [word for field in ODD for word in (field, encode(MARK))]
        broken = [b"8", b"{", b"9", b"[]", b"10", b"\xff", b"11", b'{"runs": "many"}']
        self.assertEqual({7: MARK}, read_marks([*odd, *good, *broken]))

    @given(st.lists(st.tuples(st.binary(max_size=30), st.binary(max_size=100)), max_size=5))
    def test_anything(self, pairs: list[tuple[bytes, bytes]]) -> None:
        """
        Nothing that stands there raises anything.
        """
        read_marks([word for pair in pairs for word in pair])
        self.assertEqual(sorted(numbers([field for field, _ in pairs])), numbers([field for field, _ in pairs]))
