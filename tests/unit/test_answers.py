"""
What was answered is remembered within bounds.
"""

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from core0.redis.answers import OVERHEAD, Answers
from core0.redis.outbox import Words

LIFE = 300


def answer(number: int, id: str = "a", *, kind: str = "f", size: int = 10) -> Words:
    """
    As it is written.
    """
    return kind, str(number), id, "d" * 64, "0", b"x" * size


class AnswersTests(SynchronousTestCase):
    """
    A memory of two answers, or of some bytes, on a clock.
    """

    def setUp(self) -> None:
        """
        Nothing is remembered yet.
        """
        self.clock = Clock()
        self.answers = Answers(self.clock, LIFE, most=2, most_bytes=3 * OVERHEAD)

    def test_found(self) -> None:
        """
        An answer is found by its number and by its id, with the time that is left.
        """
        self.answers.add(answer(1))
        self.clock.advance(100)
        self.assertEqual(answer(1), self.answers.get(1))
        self.assertEqual((answer(1), LIFE - 100), self.answers.of_id("a"))
        self.assertIsNone(self.answers.get(2))
        self.assertIsNone(self.answers.of_id("b"))

    def test_latest(self) -> None:
        """
        An id stands for its latest answer.
        """
        self.answers.add(answer(1))
        self.answers.add(answer(2, size=20))
        self.assertEqual((answer(2, size=20), LIFE), self.answers.of_id("a"))
        self.assertEqual({1, 2}, self.answers.numbers())

    def test_count(self) -> None:
        """
        The oldest goes when there are too many; the highest number is remembered all the same.
        """
        for number in (3, 2, 1):
            self.answers.add(answer(number, f"id {number}"))
        self.assertEqual(({1, 2}, ["id 2", "id 1"]), (self.answers.numbers(), self.answers.ids()))
        self.assertEqual((None, 3), (self.answers.of_id("id 3"), self.answers.highest))

    def test_bytes(self) -> None:
        """
        It goes, too, when they are too large; so does one that is too large by itself.
        """
        self.answers.add(answer(1))
        self.answers.add(answer(2, size=2 * OVERHEAD - 5))
        self.assertEqual({2}, self.answers.numbers())
        self.answers.add(answer(3, size=3 * OVERHEAD))
        self.assertEqual((set(), []), (self.answers.numbers(), self.answers.ids()))

    def test_life(self) -> None:
        """
        No answer is remembered for longer than the server keeps it.
        """
        self.answers.add(answer(1))
        self.clock.advance(LIFE)
        self.assertIsNone(self.answers.of_id("a"))
        self.assertEqual((set(), []), (self.answers.numbers(), self.answers.ids()))

    def test_not_kept(self) -> None:
        """
        Results of jobs that go on, and of startup services, are not remembered; rejections are, by their number.
        """
        self.answers.add(answer(1, kind="kt"))
        self.answers.add(answer(0))
        self.answers.add(("r", "2", "", "", "0", b"{}"))
        self.assertEqual(({2}, []), (self.answers.numbers(), self.answers.ids()))
