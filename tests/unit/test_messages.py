"""
What core0 says to its clients, and notes for itself.
"""

import json
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from core0.messages import (
    MAX_SHOWN,
    Command,
    Level,
    Mark,
    Outcome,
    State,
    answer,
    decode_mark,
    decode_result,
    encode,
    refusal,
    rejection,
    result_of,
    usable_id,
)


class ResultTests(SynchronousTestCase):
    """
    What goes to the client.
    """

    def result(self, outcome: Outcome, **fields: Any) -> Any:
        """
        A result as a client reads it.
        """
        command = Command(id="a", command="x", **fields)
        return json.loads(encode(result_of(command, "a", outcome, container=2, starttime=1000, time=12, runs=3)))

    def test_fields(self) -> None:
        """
        A result has all fields of the protocol, whatever came of the command.
        """
        outcome = Outcome(
            state=State.ERROR,
            code=7,
            data="1",
            level=20,
            critical="bad",
            streams=(b"out", b"err"),
            truncated=(5, 0),
            refused=True,
            cut=True,
        )
        expected = {
            "id": "a",
            "command": "x",
            "data": "1",
            "level": 20,
            "streams": ["out", "err"],
            "critical": "bad",
            "state": "ERROR",
            "code": 7,
            "starttime": 1000,
            "time": 12,
            "tags": ["y"],
            "container": 2,
            "runs": 3,
            "truncated": [5, 0],
        }
        self.assertEqual(expected, self.result(outcome, tags=["y"]))
        empty = self.result(Outcome())
        self.assertEqual(
            ("", 0, ["", ""], "", "SUCCESS", 0),
            tuple(empty[n] for n in "data level streams critical state code".split()),
        )

    def test_tags(self) -> None:
        """
        Tags are handed back as they came; none are an empty list.
        """
        for tags, expected in (("x", "x"), (["x"], ["x"]), (None, []), ([], [])):
            self.assertEqual(expected, self.result(Outcome(), tags=tags)["tags"])

    def test_no_utf8(self) -> None:
        """
        What is no UTF-8 in a stream is U+FFFD.
        """
        streams = self.result(Outcome(streams=(b"a\xffb\xc3", "é".encode())))["streams"]
        self.assertEqual(["a\ufffdb\ufffd", "é"], streams)

    def test_cut_in_a_character(self) -> None:
        """
        A stream whose beginning was dropped does not begin with the rest of a character.
        """
        for character in ("é", "€", "😀"):
            data = character.encode()
            for dropped in range(1, len(data)):
                outcome = Outcome(streams=(data[dropped:] + b"x", b""), truncated=(dropped, 0))
                self.assertEqual("x", self.result(outcome)["streams"][0])

    def test_whole(self) -> None:
        """
        A stream of which nothing was dropped shows all that it has.
        """
        self.assertEqual("\ufffdx", self.result(Outcome(streams=(b"\xa9x", b"")))["streams"][0])

    @given(st.binary(max_size=40), st.integers(0, 40))
    def test_any_stream(self, data: bytes, dropped: int) -> None:
        """
        Any bytes can be shown, and of text that was cut anywhere no character is broken.
        """
        self.result(Outcome(streams=(data[dropped:], data), truncated=(dropped, 0)))
        text = data.decode("latin-1").encode()
        tail = text[dropped:]
        found = self.result(Outcome(streams=(tail, b""), truncated=(len(text) - len(tail), 0)))["streams"][0]
        self.assertTrue(text.decode().endswith(found))
        self.assertGreaterEqual(len(found.encode()), len(tail) - 3)

    def test_read_again(self) -> None:
        """
        A result can be read as it was written.
        """
        result = result_of(Command(command="x"), "a", answer([1]), container=0, starttime=1, time=2, runs=1)
        self.assertEqual(result, decode_result(encode(result)))

    def test_answer(self) -> None:
        """
        An answer of core0 itself is JSON text at level 20.
        """
        found = answer({"a": [1, None, "é"]})
        self.assertEqual(
            ({"a": [1, None, "é"]}, Level.RESULT_JSON, State.SUCCESS),
            (json.loads(found.data), found.level, found.state),
        )

    def test_refusal(self) -> None:
        """
        A refusal is its reason as a JSON string, whatever is in it, and nothing was started.
        """
        found = refusal(404, 'no "such"\n thing: \udcff')
        self.assertEqual(
            (State.ERROR, 404, Level.RESULT_JSON, True), (found.state, found.code, found.level, found.refused)
        )
        self.assertEqual('no "such"\n thing: ?', json.loads(found.data))


class RejectionTests(SynchronousTestCase):
    """
    What goes on ``core:rejected``.
    """

    def test_fields(self) -> None:
        """
        It says when, where, for whom, why and of what.
        """
        found = json.loads(encode(rejection("1:2", "a", State.DUPLICATE_ID, "taken", b"{}", 1.5)))
        expected = {"time": 1500, "node": "1:2", "id": "a", "state": "DUPLICATE_ID", "reason": "taken", "payload": "{}"}
        self.assertEqual(expected, found)

    def test_bounds(self) -> None:
        """
        Of the payload the first 4 KiB are shown, in UTF-8 whatever it was.
        """
        for payload in (b"x" * 100_000, "é".encode() * 100_000, b"\xff" * 100_000, b"x" + "é".encode() * 100_000):
            found = rejection("1:1", None, State.ERROR, "", payload, 0.0).payload
            self.assertLessEqual(len(found), MAX_SHOWN)
            self.assertEqual(found, payload[:MAX_SHOWN].decode("utf-8", "replace"))
            self.assertLessEqual(len(encode(found)), 3 * MAX_SHOWN + 2)

    @given(st.binary(max_size=50))
    def test_any_payload(self, payload: bytes) -> None:
        """
        Any payload can be shown.
        """
        json.loads(encode(rejection("1:1", None, State.ERROR, "", payload, 0.0)))


class MarkTests(SynchronousTestCase):
    """
    What core0 notes for itself.
    """

    @given(
        st.builds(Mark, runs=st.integers(0, 9), started=st.integers(0, 9), pid=st.integers(0, 9), due=st.integers(0, 9))
    )
    def test_read_again(self, mark: Mark) -> None:
        """
        A note is read as it was written, and is short.
        """
        self.assertEqual(mark, decode_mark(encode(mark)))
        self.assertEqual(b"{}", encode(Mark()))

    def test_of_another_version(self) -> None:
        """
        A note of a core0 that noted more can be read, too.
        """
        self.assertEqual(Mark(runs=2), decode_mark(b'{"runs":2,"later":[1]}'))


class IdTests(SynchronousTestCase):
    """
    Ids.
    """

    def test_usable(self) -> None:
        """
        An id has 1 to 1,024 bytes of UTF-8.
        """
        for id in ("x", "\0", "é" * 512, " ", "x" * 1024):
            self.assertTrue(usable_id(id))
        for id in ("", "x" * 1025, "é" * 513, "\ud800"):
            self.assertFalse(usable_id(id))
