"""
In which order answers are written.
"""

from twisted.trial.unittest import SynchronousTestCase

from core0.messages import Command, Outcome, State, rejection, result_of
from core0.redis.outbox import BATCH_BYTES, SMALL, Outbox, Rejected
from core0.values import Claim, Final

DIGEST = "a" * 64


def final(seq: int, size: int = 0, *, keep: bool = False) -> Final:
    """
    A result of some size; its id is its number.
    """
    outcome = Outcome(data="x" * size)
    result = result_of(Command(command="x"), str(seq), outcome, container=0, starttime=1, time=2, runs=1)
    return Final(seq, str(seq), DIGEST, result, keep)


class OutboxTests(SynchronousTestCase):
    """
    Small before large, the latest of a recurring job.
    """

    def setUp(self) -> None:
        """
        An empty one.
        """
        self.box = Outbox()

    def written(self, most: int = 256) -> list[int]:
        """
        Write a batch.
        """
        batch = self.box.batch(self.box.last, most)
        for item in batch:
            self.box.done(item)
        return [item.content.seq for item in batch]

    def add(self, *finals: Final) -> None:
        """
        Have these written.
        """
        for each in finals:
            self.box.add(each)

    def test_small_first(self) -> None:
        """
        A small answer is written before large ones that came earlier.
        """
        self.add(final(1, SMALL + 1), final(2, SMALL + 1), final(3))
        self.box.add(Rejected(4, rejection("1:1", None, State.ERROR, "no", b"", 1.0)))
        self.assertEqual([3, 4, 1, 2], self.written())
        self.assertEqual((0, 0), (len(self.box), self.box.size))

    def test_large_in_their_turn(self) -> None:
        """
        Small ones without end do not keep a large one waiting.
        """
        self.add(final(1, BATCH_BYTES + 1), final(2), final(3))
        self.assertEqual([2], self.written(1))
        self.assertEqual([1], self.written(1))
        self.assertEqual([3], self.written(1))

    def test_bytes(self) -> None:
        """
        A batch is not larger than a batch may be, unless one alone is.
        """
        self.add(*(final(seq, BATCH_BYTES // 2) for seq in range(1, 4)), final(4, 2 * BATCH_BYTES))
        self.assertEqual([[1, 2], [3], [4], []], [self.written() for _ in range(4)])

    def test_latest_of_a_recurring_job(self) -> None:
        """
        Of the results of a recurring job only the latest is written, and the last one in the place of them all.
        """
        self.add(final(1, 5, keep=True), final(2, keep=True), final(1, 6, keep=True))
        self.assertEqual((2, 6), (len(self.box), self.box.size))
        self.assertEqual([2, 1], self.written())
        self.add(final(1, keep=True), final(1), final(1))
        self.assertEqual([1, 1], self.written())

    def test_replaced_meanwhile(self) -> None:
        """
        A result that comes while the one before is being written is written after it.
        """
        self.add(final(1, keep=True))
        batch = self.box.batch(self.box.last, 9)
        self.add(final(1, 5, keep=True))
        for item in batch:
            self.box.done(item)
        self.assertEqual((1, 5), (len(self.box), self.box.size))
        self.add(final(1))
        self.assertEqual([[1], []], [self.written(), self.written()])

    def test_later(self) -> None:
        """
        What came after the moment that is asked for is not among them.
        """
        self.add(final(1), final(2))
        last = self.box.last
        self.add(final(3))
        self.assertEqual([1, 2], [item.content.seq for item in self.box.batch(last, 9)])

    def test_put_off(self) -> None:
        """
        What is put off comes last.
        """
        self.add(final(1), final(2))
        self.box.put_off(self.box.batch(self.box.last, 1)[0])
        self.assertEqual([2, 1], self.written())

    def test_before(self) -> None:
        """
        Answers of earlier entries to the same id come before a claim.
        """
        self.add(final(1), final(2))
        found = self.box.before([Claim(9, "1", DIGEST), Claim(2, "2", DIGEST), Claim(10, "3", DIGEST)])
        self.assertEqual({9: [1]}, {seq: [item.content.seq for item in items] for seq, items in found.items()})
