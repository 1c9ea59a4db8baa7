"""
The same content is the same command, however it was written.
"""

import json
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from core0.reading import decode, digest, read_arguments
from tests.work import Stamp

FIELDS: dict[str, st.SearchStrategy[Any]] = {
    "queue": st.sampled_from(["", "q"]),
    "stats_interval": st.sampled_from([0, 1, 2.5]),
    "max_time": st.sampled_from([0, 1, 2.5]),
    "max_restart": st.integers(0, 3),
    "recurring_period": st.sampled_from([0, 1, 2.5]),
    "log_levels": st.lists(st.integers(1, 3), max_size=2),
    "stream": st.booleans(),
    "messages": st.booleans(),
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
    "messages": True,
    "tags": [],
}


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
        return found

    def test_lasting(self) -> None:
        """
        A field that is added later changes no digest where it has its default: those that are in a store still count.
        """
        before = "33470f0211fda49bcc506edd0711591e0873bb8b5891a8132ad91ba65b94526b"
        for more in ({}, {"messages": None}, {"messages": True}):
            self.assertEqual(before, self.digest({"command": "a", "arguments": {"name": "a"}, **more}))

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
