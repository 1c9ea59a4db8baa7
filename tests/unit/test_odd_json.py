"""
A second look at what is not quite JSON.
"""

import json
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from core0 import odd_json

ODD = st.floats() | st.text(st.characters(), max_size=3) | st.sampled_from(["\ud800", "a\udfff"]) | st.integers()
VALUES = st.recursive(ODD, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(ODD.map(str), inner, max_size=3))


class OddJsonTests(SynchronousTestCase):
    """
    What Python reads.
    """

    def test_explained(self) -> None:
        """
        The first value that JSON cannot express is named with its place.
        """
        for payload, expected in (
            (b'{"max_time": NaN}', "max_time: expected a finite number, got nan"),
            (b'{"a": {"b": [1, -Infinity]}}', "a.b[1]: expected a finite number, got -inf"),
            (b'{"max_time": 1e999}', "max_time: expected a finite number, got inf"),
            (b'{"a": "\\ud800"}', "a: expected text without lone surrogates, got '\\ud800'"),
            (b'{"a": {"\\udfff": 1}}', "a: expected names without lone surrogates, got '\\udfff'"),
            (b"NaN", "command: expected a finite number, got nan"),
        ):
            self.assertEqual(expected, odd_json.explain(odd_json.load(payload)), payload)

    def test_nothing_odd(self) -> None:
        """
        In what JSON can express there is nothing to explain.
        """
        values: list[Any] = [None, 1, 1.5, "é", [], {}, {"a": [{"b": "c"}]}, True]
        for value in values:
            self.assertIsNone(odd_json.explain(value))

    def test_unreadable(self) -> None:
        """
        What is no JSON at all, too deep, or too long for a second look is nothing.
        """
        for payload in (b"", b"{", b"\xff", b"[" * 100_000, b"9" * 5000, b'"' + b"x" * odd_json.LARGEST + b'"'):
            self.assertIsNone(odd_json.load(payload))

    @given(VALUES)
    def test_any_value(self, value: object) -> None:
        """
        Something is explained exactly if strict JSON in UTF-8 could not have said it, in words that it can.
        """
        found = odd_json.explain(value)
        try:
            json.dumps(value, allow_nan=False, ensure_ascii=False).encode()
        except ValueError:
            assert found is not None
            found.encode()
        else:
            self.assertIsNone(found)


class FindIdTests(SynchronousTestCase):
    """
    The id in the beginning of a payload.
    """

    def test_found(self) -> None:
        """
        An id at the top level is found wherever it is, spelled as JSON allows, though the rest is cut off or broken.
        """
        for payload, expected in (
            (b'{"id": "a", "command": "x', "a"),
            (b'{"command": "core.system", "arguments": {"args": ["{", "}"]}, "id": "a", "x": [', "a"),
            (b' {\n "\\u0069d" : "\\u00e9\\"" ,', 'é"'),
            ('{"id":"é😀"'.encode(), "é😀"),
            (b'{"a": -1.5e3, "b": null, "c": [[], {}], "id": "a"', "a"),
            (b'{"id": "a"}}}', "a"),
            (b'{"id": "a" "b"', "a"),
            (b'{"id": "a", "id": "b", ', "b"),
            (b'{"id": "a", "x": "\xff', "a"),
            (b'{"id": "a", "x": "\xe2\x82', "a"),
        ):
            self.assertEqual(expected, odd_json.find_id(payload), payload)

    def test_none(self) -> None:
        """
        Ids that are not at the top level, not whole, or no text are none.
        """
        for payload in (
            b"",
            b"{",
            b"[",
            b'"id"',
            b'["id", "a"]',
            b'{"id": "a',
            b'{"id": "a\\"',
            b'{"id":',
            b'{"id"',
            b'{"arguments": {"id": "a"}, "x": "',
            b'{"arguments": {"stdin": "\\", \\"id\\": \\"a\\"", "x": "',
            b'{"x": "\\"", "y": "{\\"id\\": \\"a\\"}", "z": "',
            b'[{"id": "a"}, ',
            b'{"x": [{"id": "a", ',
            b'{"id": 5, ',
            b'{"id": null, ',
            b'{"id": {"id": "a"}, ',
            b'{"id": ' + b"[" * 1500 + b"]" * 1500 + b", ",
            b'{"id": ' + b'{"a":' * 600 + b"1" + b"}" * 600 + b", ",
            b'{"id": "a", "id": 5, ',
            b'{"id" "a"',
            b'{"x": ], "id": "a"',
            b'x{"id": "a"',
            b"[" * 5000,
            b'{"a":' * 1000,
            b'{"x": "' + b"x" * 5000 + b'", "id": "a"',
        ):
            self.assertIsNone(odd_json.find_id(payload), payload)

    @given(st.dictionaries(st.sampled_from(["id", "a", 'i"d']), VALUES, max_size=4), st.integers(0, 200), st.booleans())
    def test_any(self, content: dict[str, Any], cut: int, ascii: bool) -> None:
        """
        Of any object, wherever it is cut, the id is found or none; of a whole one it is always found.
        """
        text = json.dumps(content, ensure_ascii=ascii).encode("utf-8", "surrogatepass")
        id = content.get("id")
        if isinstance(id, str) and (ascii or not any("\ud800" <= each <= "\udfff" for each in id)):
            self.assertEqual(id, odd_json.find_id(text))
            self.assertIn(odd_json.find_id(text[:cut]), (id, None))
        elif not isinstance(id, str):
            self.assertIsNone(odd_json.find_id(text[:cut]))
