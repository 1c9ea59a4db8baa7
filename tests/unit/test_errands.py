"""
A CoreX answers for its own errands, each once, and its records are those of its own jobs.
"""

import json

from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from core0 import corex_messages as wire
from core0.containers.errands import Errands, Numbers
from core0.corex_messages import Ready
from core0.messages import State, encode
from core0.values import Final
from tests.unit.errands_shared import DIGEST, NUMBER, ErrandsCase, errand, result


class ResultTests(ErrandsCase):
    """
    Results.
    """

    def test_answer(self) -> None:
        """
        An answer is that of the CoreX, to what core0 itself has asked: id, command, tags, digest, container.
        """
        self.errands.add(errand(5, "a", tags=["x"]))
        found = self.final(5, result("a", code=3, state=State.ERROR, streams=("out", "")), traces=True)
        self.assertEqual((5, "a", DIGEST, False, 0.0, True), (found.seq, found.id, found.digest, *_of(found)))
        body = found.result
        self.assertEqual(("a", "core.system", ["x"], NUMBER), (body.id, body.command, body.tags, body.container))
        self.assertEqual((3, State.ERROR, ("out", ""), "1"), (body.code, body.state, body.streams, body.data))
        self.assertEqual((0, False), (len(self.errands), 5 in self.errands))

    def test_once(self) -> None:
        """
        It is answered once.
        """
        self.errands.add(errand(5))
        self.final(5, result("5"))
        self.assert_ignored(5, result("5"))

    def test_forged(self) -> None:
        """
        What was not dispatched there cannot be answered there, whichever of number and id is right.
        """
        self.errands.add(errand(5, "a"))
        self.errands.add(errand(6, "b"))
        self.assert_ignored(4, result("a"))
        self.assert_ignored(5, result("b"))
        self.assert_ignored(5, result("result of somebody else"))
        self.assert_ignored(0, result("a"))
        self.assert_ignored(2**63, result("a"))
        self.final(5, result("a"))
        self.final(6, result("b"))

    def test_without_an_id(self) -> None:
        """
        A CoreX that could not read the id of an order answers without one.
        """
        self.errands.add(errand(5, "a"))
        self.assertEqual("a", self.final(5, result("")).result.id)

    def test_recurring(self) -> None:
        """
        A command that recurs has many results, each living as long as core0 itself would have it; another has one.
        """
        self.errands.add(errand(5, recurring_period=10.0))
        self.errands.add(errand(6))
        for life in (1.0, 1e300, -1.0):
            found = self.final(5, result("5"), keep=True, life=life)
            self.assertTrue(found.keep)
            self.assertTrue(0 <= found.life <= 10 + 86400.0)
        self.assert_ignored(6, result("6"), keep=True)
        self.assertFalse(self.final(5, result("5"), life=5.0).keep)
        self.assert_ignored(5, result("5"), keep=True)

    def test_nonsense(self) -> None:
        """
        An answer with the right number that is none ends the errand with an error that says so.
        """
        bodies = (
            b"[]",
            b'{"id": "1"}',
            encode(result("1", code=-1)),
            encode(result("1", code=600)),
            encode(result("1", level=7)),
            encode(result("1", time=-1)),
            encode(result("1", runs=2**60)),
            encode(result("1", truncated=(0, -5))),
            encode(result("1")).replace(b"SUCCESS", b"FINE"),
        )
        for seq, body in enumerate(bodies, 1):
            self.errands.add(errand(seq))
            found = self.final(seq, body)
            self.assertEqual(
                (State.ERROR, 500, NUMBER), (found.result.state, found.result.code, found.result.container)
            )
            self.assertIn("CoreX 7 has sent nonsense", json.loads(found.result.data))
        self.assertEqual((0, 0), (len(self.errands), self.errands.ignored))

    def test_nonsense_around_it(self) -> None:
        """
        The same if the message around it cannot be read, or is of another version; without a number it is ignored.
        """
        for seq, line in enumerate(
            (b'{"v":1,"kind":"result","seq":1,"keep":7}', b'{"v":2,"kind":"result","seq":2}'), 1
        ):
            self.errands.add(errand(seq))
            found = self.errands.read(line)
            assert isinstance(found, Final)
            self.assertEqual((seq, 500), (found.seq, found.result.code))
        self.assertIsNone(self.errands.read(b"\xff"))
        self.assertIsNone(self.errands.read(b'{"v":1,"kind":"result","seq":77,"keep":7}'))
        self.assertEqual(2, self.errands.ignored)

    def test_ready(self) -> None:
        """
        That a CoreX is ready is no result.
        """
        self.assertEqual(Ready(1, 3), self.errands.read(wire.ready_line(3)))

    def test_orphaned(self) -> None:
        """
        When a container ends everything that it has not answered is answered by the reason.
        """
        for seq in (2, 1):
            self.errands.add(errand(seq, tags="t"))
        finals = self.errands.orphaned("container 7 has ended")
        self.assertEqual({1, 2}, {final.seq for final in finals})
        for final in finals:
            body = final.result
            self.assertEqual((State.ERROR, 503, "t", NUMBER), (body.state, body.code, body.tags, body.container))
            self.assertEqual("container 7 has ended", json.loads(body.data))
        self.assertEqual(([], []), (self.errands.orphaned("again"), self.errands.again()))

    def test_again(self) -> None:
        """
        What is unanswered can be sent again, in the order of its numbers.
        """
        sent = {seq: errand(seq) for seq in (3, 1, 2)}
        for each in sent.values():
            self.errands.add(each)
        self.final(2, result("2"))
        self.assertEqual([sent[1].line, sent[3].line], self.errands.again())

    @given(
        st.lists(st.tuples(st.integers(0, 4), st.sampled_from(["1", "2", "3", "x", ""]), st.booleans(), st.booleans()))
    )
    def test_any_sequence(self, answers: list[tuple[int, str, bool, bool]]) -> None:
        """
        Whatever a CoreX says, each errand has at most one last result, and none after that.
        """
        errands = Errands(self.clock, NUMBER)
        for seq in (1, 2, 3):
            errands.add(errand(seq, recurring_period=1.0 if seq == 3 else None))
        over: set[int] = set()
        for seq, id, keep, sound in answers:
            body = encode(result(id)) if sound else b"{}"
            found = errands.read(wire.result_line(seq, body, keep=keep))
            if isinstance(found, Final):
                self.assertNotIn(found.seq, over)
                self.assertEqual((str(found.seq), NUMBER), (found.result.id, found.result.container))
                self.assertTrue(found.seq == 3 or not found.keep)
                if not found.keep:
                    over.add(found.seq)
        self.assertEqual({1, 2, 3} - over, {final.seq for final in errands.orphaned("over")})


def _of(final: Final) -> tuple[bool, float, bool]:
    return final.keep, final.life, final.traces


class NumbersTests(SynchronousTestCase):
    """
    The numbers of errands.
    """

    def test_rising(self) -> None:
        """
        They are µs since the epoch, and rise although the clock stands still or was set back.
        """
        clock = Clock()
        clock.advance(5)
        numbers = Numbers(clock)
        self.assertEqual([5_000_000, 5_000_001], [numbers.next(), numbers.next()])
        numbers.after(6_000_000)
        self.assertEqual(6_000_001, numbers.next())
        clock.advance(5)
        numbers.after(3)
        self.assertEqual(10_000_000, numbers.next())
