"""
What clients send is read strictly, and explained well.
"""

import json
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from msgspec import Raw
from twisted.trial.unittest import SynchronousTestCase

from core0.errors import Refusal, Undecodable
from core0.messages import (
    MAX_ID,
    Command,
    State,
    encode,
    refusal,
    rejection,
    usable_id,
)
from core0.reading import decode, digest, read_arguments
from tests.work import Stamp, raw

SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5)
ANYTHING = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner)
)


def undecodable(case: SynchronousTestCase, payload: bytes) -> Undecodable:
    """
    Why a payload is no command.
    """
    error: Undecodable = case.assertRaises(Undecodable, decode, payload)
    return error


class DecodeTests(SynchronousTestCase):
    """
    Reading a command.
    """

    def test_full(self) -> None:
        """
        A command with all its fields is read as it was sent.
        """
        content = {
            "id": "a",
            "command": "core.system",
            "arguments": {"name": "x"},
            "queue": "q",
            "stats_interval": 1,
            "max_time": 2.5,
            "max_restart": 3,
            "recurring_period": 4,
            "log_levels": [1, 2],
            "stream": True,
            "tags": ["x"],
        }
        command = decode(encode(content))
        found = {name: getattr(command, name) for name in content}
        self.assertEqual(content, {**found, "arguments": json.loads(bytes(found["arguments"]))})

    def test_least(self) -> None:
        """
        A name is enough; whatever is missing and whatever is null is the default, and unknown fields do not matter.
        """
        nulls = {name: None for name in Command.__struct_fields__ if name not in ("command", "arguments")}
        for content in ({}, nulls, {"unknown": [1, {}], "Command": 5}):
            command = decode(encode({"command": "x", **content}))
            for name in nulls:
                self.assertIsNone(getattr(command, name))

    def test_null_arguments(self) -> None:
        """
        Arguments that are null or missing are none.
        """
        for payload in (
            b'{"command": "x"}',
            b'{"command": "x", "arguments": null}',
            b'{"command": "x", "arguments": {}}',
        ):
            self.assertEqual({}, json.loads(bytes(decode(payload).arguments)) or {})

    def test_empty_id(self) -> None:
        """
        An empty id is none.
        """
        self.assertFalse(decode(b'{"command": "x", "id": ""}').id)

    def test_wrong_fields(self) -> None:
        """
        A wrong field is named, with what is expected and what was there, and whoever gave an id is answered there.
        """
        for field, value, expected in (
            ("command", 5, "command: expected `str`, got `int`: 5"),
            ("command", None, "command: expected `str`, got `null`: null"),
            ("queue", ["q"], 'queue: expected `str | null`, got `array`: ["q"]'),
            ("max_time", "5", 'max_time: expected `float | null`, got `str`: "5"'),
            ("max_time", 1e10, "max_time: expected `float` <= 315360000.0: 10000000000.0"),
            ("max_restart", -1, "max_restart: expected `int` >= 0: -1"),
            ("max_restart", 1.5, "max_restart: expected `int | null`, got `float`: 1.5"),
            ("recurring_period", -1, "recurring_period: expected `float` >= 0.0: -1"),
            ("log_levels", [1, "x"], 'log_levels[1]: expected `int`, got `str`: "x"'),
            ("log_levels", 5, "log_levels: expected `array | null`, got `int`: 5"),
            ("stream", 1, "stream: expected `bool | null`, got `int`: 1"),
            ("tags", [1], "tags[0]: expected `str`, got `int`: 1"),
        ):
            error = undecodable(self, encode({"id": "a", "command": "x", field: value}))
            self.assertEqual((expected, "a"), (str(error), error.id))

    def test_missing_command(self) -> None:
        """
        Without a command it says so.
        """
        error = undecodable(self, b'{"id": "a"}')
        self.assertEqual(("command: required, but missing", "a"), (str(error), error.id))

    def test_no_object(self) -> None:
        """
        JSON that is no object is no command.
        """
        for payload in (b"[]", b"5", b'"x"', b"null", b"true"):
            error = undecodable(self, payload)
            self.assertIn("expected `object`", str(error))
            self.assertIsNone(error.id)

    def test_no_json(self) -> None:
        """
        What is no JSON in UTF-8 is no command.
        """
        for payload in (
            b"",
            b" ",
            b"x",
            b"{",
            b'{"command": "x"',
            b'{"command": "x"}}',
            b"\xff\xfe",
            b'{"command": "\xff"}',
        ):
            self.assertTrue(str(undecodable(self, payload)))

    def test_id_of_what_is_no_command(self) -> None:
        """
        An id is found in what is not JSON to the letter, too, so that its sender can be answered.
        """
        for payload in (
            b'{"id": "a", "command": "x", "max_time": NaN}',
            b'{"id": "a", "command": "x", "arguments": {"name": "\\ud800"}}',
            b'{"command": 5, "id": "a"}',
        ):
            try:
                command = decode(payload)
            except Undecodable as error:
                self.assertEqual("a", error.id, payload)
            else:
                self.assertEqual("a", command.id)

    def test_no_usable_id(self) -> None:
        """
        An id that cannot be one is not answered to.
        """
        for id in (5, None, "", ["a"], "x" * (MAX_ID + 1)):
            self.assertIsNone(undecodable(self, encode({"id": id, "command": 5})).id)
        self.assertIsNone(undecodable(self, b'{"id": "\\ud800", "command": "x"}').id)

    def test_length_of_an_id(self) -> None:
        """
        An id has at most 1,024 bytes, not characters, and the error says how many it had.
        """
        for id in ("x" * MAX_ID, "é" * (MAX_ID // 2)):
            self.assertEqual(id, decode(encode({"id": id, "command": "x"})).id)
        for id in ("x" * (MAX_ID + 1), "é" * (MAX_ID // 2) + "x"):
            error = undecodable(self, encode({"id": id, "command": "x"}))
            self.assertIn("got 1025", str(error))
            self.assertIsNone(error.id)

    def test_deep(self) -> None:
        """
        However deep a payload is nested, wherever that is, it is a command or is refused.
        """
        for depth in (10, *range(900, 1100, 7), 100_000):
            for begin, end in ((b"[", b"]"), (b'{"a":', b"}")):
                deep = begin * depth + b"1" + end * depth
                for payload in (
                    deep,
                    b'{"id":"a","command":' + deep + b"}",
                    b'{"id":"a","command":"x","arguments":' + deep + b"}",
                    b'{"id":"a","command":"x","tags":' + deep + b"}",
                    b'{"id":"a","command":"x","unknown":' + deep + b"}",
                ):
                    self.decode_anything(payload)
                    self.decode_anything(payload[:-1])

    def test_long_value_is_cut(self) -> None:
        """
        Of a long wrong value the beginning is shown.
        """
        error = undecodable(self, encode({"command": ["x" * 10_000]}))
        self.assertLess(len(str(error)), 200)
        self.assertTrue(str(error).endswith("…"))

    def test_huge_numbers(self) -> None:
        """
        Numbers of any size are read or refused.
        """
        for number in (
            b"1e999",
            b"-1e999",
            b"9" * 5000,
            b"-" + b"9" * 25,
            b"1." + b"0" * 5000,
            b"18446744073709551616",
        ):
            for field in (b"command", b"max_time", b"max_restart", b"log_levels", b"unknown", b"arguments"):
                self.decode_anything(b'{"id":"a","command":"x",%s:%s}' % (b'"' + field + b'"', number))
            self.decode_anything(b'{"command":"x","log_levels":[%s]}' % number)

    def decode_anything(self, payload: bytes) -> None:
        """
        It is a command whose digest can be had, or undecodable; nothing else comes of it.
        """
        try:
            command = decode(payload)
        except Undecodable as error:
            self.assertTrue(str(error))
            self.assertTrue(error.id is None or usable_id(error.id))
            encode(rejection("1:1", error.id, State.ERROR, str(error), payload, 0.0))
            return
        self.assertEqual(64, len(digest(command, None)))
        self.assertTrue(not command.id or usable_id(command.id))
        try:
            read_arguments(command.arguments, Stamp)
        except Refusal as error:
            self.assertEqual(400, error.code)
            self.assertTrue(str(error).startswith("arguments"))
            refusal(400, str(error))

    @given(st.binary())
    def test_any_bytes(self, payload: bytes) -> None:
        """
        Any bytes are a command or undecodable.
        """
        self.decode_anything(payload)

    @given(ANYTHING)
    def test_any_json(self, value: Any) -> None:
        """
        So is any JSON, and what Python takes for it.
        """
        self.decode_anything(json.dumps(value).encode())
        self.decode_anything(json.dumps(value, ensure_ascii=False).encode("utf-8", "surrogatepass"))

    @given(st.dictionaries(st.sampled_from([*Command.__struct_fields__, "x"]), ANYTHING, min_size=1))
    def test_any_fields(self, content: dict[str, Any]) -> None:
        """
        So is any value in any field.
        """
        self.decode_anything(json.dumps(content).encode())
        self.decode_anything(json.dumps({"id": "a", "command": "x", **content}).encode())


class ArgumentsTests(SynchronousTestCase):
    """
    The arguments of a command.
    """

    def refused(self, value: Any) -> str:
        """
        Why these cannot be.
        """
        error = self.assertRaises(Refusal, read_arguments, value if isinstance(value, Raw) else raw(value), Stamp)
        self.assertEqual(400, error.code)
        return str(error)

    def test_typed(self) -> None:
        """
        They are typed, with defaults filled in.
        """
        self.assertEqual(Stamp("x"), read_arguments(raw({"name": "x"}), Stamp))
        self.assertEqual(
            Stamp("x", 2, {"A": "1"}), read_arguments(raw({"env": {"A": "1"}, "count": 2, "name": "x"}), Stamp)
        )

    def test_null(self) -> None:
        """
        Null is none at all.
        """
        self.assertEqual("arguments.name: required, but missing", self.refused(Raw(b"null")))

    def test_refused(self) -> None:
        """
        The field is named, what is expected, and what was there.
        """
        for value, expected in (
            ([], "arguments: expected `object`, got `array`: []"),
            ({}, "arguments.name: required, but missing"),
            ({"name": 5}, "arguments.name: expected `str`, got `int`: 5"),
            ({"name": "x", "count": "5"}, 'arguments.count: expected `int`, got `str`: "5"'),
            ({"name": "x", "count": True}, "arguments.count: expected `int`, got `bool`: true"),
        ):
            self.assertEqual(expected, self.refused(value))
        found = self.refused({"name": "x", "env": {"A": 1}})
        self.assertTrue(
            found.startswith("arguments.env") and "expected `str`, got `int`" in found and '{"A":1}' in found
        )

    def test_surrogates(self) -> None:
        """
        A lone surrogate is no text.
        """
        self.assertTrue(self.refused(Raw(b'{"name": "\\ud800"}')).startswith("arguments"))
