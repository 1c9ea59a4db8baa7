"""
What core0 and its clients say to each other: read strictly, explained well, and the same content is always the same.
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
from core0.reading import decode, digest, read_arguments
from tests.fakes import Stamp, raw

SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5)
ANYTHING = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner)
)
FIELDS: dict[str, st.SearchStrategy[Any]] = {
    "queue": st.sampled_from(["", "q"]),
    "stats_interval": st.sampled_from([0, 1, 2.5]),
    "max_time": st.sampled_from([0, 1, 2.5]),
    "max_restart": st.integers(0, 3),
    "recurring_period": st.sampled_from([0, 1, 2.5]),
    "log_levels": st.lists(st.integers(1, 3), max_size=2),
    "stream": st.booleans(),
    "tags": st.sampled_from(["", "x", ["x"], ["x", "y"]]),
    "arguments": st.fixed_dictionaries(
        {"name": st.sampled_from(["a", "b"])},
        optional={"count": st.integers(0, 2), "env": st.dictionaries(st.sampled_from("xy"), st.just("1"))},
    ),
}
CONTENTS = st.fixed_dictionaries(
    {"command": st.sampled_from(["a", "b"]), "arguments": FIELDS["arguments"]},
    optional={name: field for name, field in FIELDS.items() if name != "arguments"},
)
DEFAULTS = {
    "queue": "",
    "stats_interval": 0,
    "max_time": -1,
    "max_restart": 0,
    "recurring_period": 0.0,
    "stream": False,
    "tags": [],
}


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
        They are typed, with defaults filled in; unknown ones do not matter.
        """
        self.assertEqual(Stamp("x"), read_arguments(raw({"name": "x"}), Stamp))
        self.assertEqual(
            Stamp("x", 2, {"A": "1"}), read_arguments(raw({"env": {"A": "1"}, "count": 2, "name": "x", "y": 1}), Stamp)
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


class DigestTests(SynchronousTestCase):
    """
    The same content is the same command.
    """

    def digest(self, content: dict[str, Any]) -> str:
        """
        Of a command as a client sends it.
        """
        command = decode(json.dumps(content).encode())
        return digest(command, read_arguments(command.arguments, Stamp))

    @given(CONTENTS, st.randoms(), st.sets(st.sampled_from(sorted(DEFAULTS))))
    def test_same(self, content: dict[str, Any], random: Any, explicit: set[str]) -> None:
        """
        The order of keys, the id, unknown fields, and whether defaults are missing, null or said, make no difference.
        """
        expected = self.digest(content)
        names = list(content)
        random.shuffle(names)
        other = {name: content[name] for name in names}
        for name in explicit - set(content):
            other[name] = random.choice([None, DEFAULTS[name]])
        arguments = dict(reversed(list(content["arguments"].items())))
        for name, default in (("count", 0), ("env", None)):
            if random.random() < 0.5:
                arguments.setdefault(name, default)
        self.assertEqual(expected, self.digest({**other, "arguments": arguments, "id": "x", "unknown": 1}))

    @given(CONTENTS, CONTENTS)
    def test_different(self, one: dict[str, Any], other: dict[str, Any]) -> None:
        """
        Everything else makes one.
        """
        self.assertEqual(self.filled(one) == self.filled(other), self.digest(one) == self.digest(other))

    @staticmethod
    def filled(content: dict[str, Any]) -> dict[str, Any]:
        """
        With defaults.
        """
        arguments = {"count": 0, "env": None, **content["arguments"]}
        found = {**DEFAULTS, "max_time": 0, "log_levels": None, **content, "arguments": arguments}
        return {**found, "tags": found["tags"] or []}

    def test_no_levels(self) -> None:
        """
        No log levels at all are something else than the default ones.
        """
        levels: tuple[list[int] | None, ...] = ([], None)
        one, other = ({"command": "a", "arguments": {"name": "x"}, "log_levels": each} for each in levels)
        self.assertNotEqual(self.digest(one), self.digest(other))

    def test_unreadable_arguments(self) -> None:
        """
        Arguments that nobody can read count as they were written.
        """
        one, two, three = (
            decode(b'{"command": "x", "arguments": ' + text + b"}") for text in (b"[1]", b" [1] ", b"[1, 2]")
        )
        self.assertEqual(digest(one, None), digest(two, None))
        self.assertNotEqual(digest(one, None), digest(three, None))

    def test_integers_and_numbers(self) -> None:
        """
        A number is the same with and without a point.
        """
        one, other = ({"command": "a", "arguments": {"name": "x"}, "max_time": time} for time in (5, 5.0))
        self.assertEqual(self.digest(one), self.digest(other))


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
