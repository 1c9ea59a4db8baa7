"""
What core0 and a CoreX say to each other is read strictly.
"""

import json
from collections.abc import Callable
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from core0 import corex_messages as wire
from core0.corex_messages import (
    DroppedMessage,
    Garbled,
    LogMessage,
    OtherVersion,
    OwnMessage,
    Ready,
    ResultMessage,
    SampleMessage,
    StreamMessage,
    decode_answer,
    decode_order,
    decode_record,
)

DECODERS: tuple[Callable[[bytes], Any], ...] = (decode_order, decode_answer, decode_record)
SCALARS = (
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=5)
)
ANYTHING = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner)
)
NAMES = ("v", "seq", "payload", "kind", "keep", "life", "traces", "result", "pid", "id", "body", "last")
KINDS = st.sampled_from(["result", "ready", "log", "stream", "sample", "own", "dropped"])
NEARLY = st.fixed_dictionaries(
    {}, optional={name: KINDS | ANYTHING if name == "kind" else st.just(1) | ANYTHING for name in NAMES}
)
NUMBERS = st.integers(1, wire.LARGEST_NUMBER)


class RoundTests(SynchronousTestCase):
    """
    What one side writes the other one reads.
    """

    @given(NUMBERS, ANYTHING)
    def test_order(self, seq: int, value: Any) -> None:
        """
        An order carries its number and the command's text as it is.
        """
        payload = json.dumps(value).encode()
        order = decode_order(wire.order_line(seq, payload))
        self.assertEqual((seq, payload), (order.seq, bytes(order.payload)))

    @given(NUMBERS, st.booleans(), st.booleans())
    def test_result(self, seq: int, keep: bool, traces: bool) -> None:
        """
        So does a result, with what core0 needs to write it.
        """
        answer = decode_answer(wire.result_line(seq, b'{"id": "a"}', keep=keep, life=2.5, traces=traces))
        assert isinstance(answer, ResultMessage)
        self.assertEqual((seq, keep, 2.5, traces), (answer.seq, answer.keep, answer.life, answer.traces))
        self.assertEqual(b'{"id": "a"}', bytes(answer.result))

    def test_others(self) -> None:
        """
        That it is ready, records of each kind and what was dropped are told from each other.
        """
        self.assertEqual(Ready(1, 7), decode_answer(wire.ready_line(7)))
        log, live = decode_record(wire.log_line(b"{}")), decode_record(wire.stream_line("a", b"[]", True))
        assert isinstance(log, LogMessage) and isinstance(live, StreamMessage)
        self.assertEqual((b"{}", b"[]", "a", True), (bytes(log.body), bytes(live.body), live.id, live.last))
        self.assertEqual(
            SampleMessage(1, "a", {"cpu": 1.5}, 2.0), decode_record(wire.sample_line("a", {"cpu": 1.5}, 2))
        )
        self.assertEqual(OwnMessage(1, "text"), decode_record(wire.own_line("text")))
        self.assertEqual(DroppedMessage(1, 3), decode_record(wire.dropped_line(3)))


class HostileTests(SynchronousTestCase):
    """
    What is no message.
    """

    def garbled(self, decode: Callable[[bytes], Any], line: bytes) -> Garbled:
        """
        Why it cannot be read.
        """
        error: Garbled = self.assertRaises(Garbled, decode, line)
        return error

    @given(st.binary(max_size=50) | ANYTHING.map(lambda value: json.dumps(value).encode()))
    def test_anything(self, line: bytes) -> None:
        """
        Whatever comes is a message or is told to be none; nothing else happens.
        """
        for decode in DECODERS:
            self.garbled(decode, line)

    @given(NEARLY)
    def test_nearly(self, content: dict[str, Any]) -> None:
        """
        The same holds for what looks like a message; one that is read has the version and numbers that are possible.
        """
        for decode in DECODERS:
            try:
                message = decode(json.dumps(content).encode())
            except Garbled as error:
                self.assertTrue(0 <= error.seq <= wire.LARGEST_NUMBER)
            else:
                self.assertEqual(1, message.v)

    def test_versions(self) -> None:
        """
        Another version is told from garbage, whatever else it holds, and its number is found.
        """
        for content in ({"v": 2, "seq": 5, "payload": {}}, {"v": 2, "seq": 5, "kind": "new"}, {"v": 0, "seq": 5}):
            for decode in DECODERS:
                error = self.garbled(decode, json.dumps(content).encode())
                self.assertIsInstance(error, OtherVersion)
                self.assertIn(f"version {content['v']}", str(error))
        self.assertEqual(5, self.garbled(decode_order, b'{"v": 2, "seq": 5}').seq)
        self.assertEqual(5, self.garbled(decode_answer, b'{"v": 2, "seq": 5, "kind": "result"}').seq)

    def test_number_of_garbage(self) -> None:
        """
        Of what cannot be read the number is found if it is there.
        """
        self.assertEqual(5, self.garbled(decode_order, b'{"v": 1, "seq": 5}').seq)
        self.assertEqual(5, self.garbled(decode_answer, b'{"v": 1, "seq": 5, "kind": "result", "keep": 3}').seq)
        for seq in (b"-1", b"0", b"1e3", b'"5"', b"9223372036854775808", b"1" * 30):
            self.assertEqual(0, self.garbled(decode_order, b'{"v": 1, "seq": %s, "payload": {}}' % seq).seq)

    def test_deep(self) -> None:
        """
        What is nested without end is no message.
        """
        deep = b'{"v":1,"seq":1,"payload":' + b"[" * 100_000 + b"]" * 100_000 + b"}"
        for decode in DECODERS:
            self.garbled(decode, deep)
