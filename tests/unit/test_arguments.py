"""
Arguments that a command cannot use are refused before anything starts, naming the field.
"""

import signal
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from msgspec import Struct
from twisted.trial.unittest import SynchronousTestCase

from core0.commands.bash import BashArguments
from core0.commands.core import KillArguments, SystemArguments, signal_number
from core0.errors import Refusal
from core0.reading import read_arguments
from tests.work import raw


class ArgumentsCase(SynchronousTestCase):
    """
    Arguments as clients send them.
    """

    def refused(self, shape: type[Struct], value: Any) -> str:
        """
        Why they are.
        """
        error = self.assertRaises(Refusal, read_arguments, raw(value), shape)
        self.assertEqual(400, error.code)
        return str(error)


class SystemTests(ArgumentsCase):
    """
    ``core.system``.
    """

    def test_least(self) -> None:
        """
        The name of a program is enough, and null is the same as nothing.
        """
        self.assertEqual(SystemArguments("ls"), read_arguments(raw({"name": "ls"}), SystemArguments))
        nulls = {"name": "ls", "dir": None, "args": None, "env": None, "stdin": None}
        self.assertEqual(SystemArguments("ls"), read_arguments(raw(nulls), SystemArguments))

    def test_full(self) -> None:
        """
        All of them are taken as they are.
        """
        sent = {"name": "ls", "dir": "/", "args": ["", "é"], "env": {"A": "", "B": "x=y"}, "stdin": "a\0b"}
        self.assertEqual(SystemArguments(**sent), read_arguments(raw(sent), SystemArguments))  # type: ignore[arg-type] # of each its own

    def test_refused(self) -> None:
        """
        What the kernel would not take is refused, with the field and what was there.
        """
        for sent, expected in (
            ({}, "arguments.name: required, but missing"),
            ({"name": ""}, 'arguments.name: expected a program, got ""'),
            ({"name": "a\0b"}, "arguments.name: expected text without a NUL character, got 'a\\x00b'"),
            ({"dir": "\0"}, "arguments.dir: expected text without a NUL character, got '\\x00'"),
            ({"args": ["x", "\0"]}, "arguments.args[1]: expected text without a NUL character, got '\\x00'"),
            ({"env": {"A": "\0"}}, "arguments.env['A']: expected text without a NUL character, got '\\x00'"),
            ({"env": {"\0": ""}}, "arguments.env: expected text without a NUL character, got '\\x00'"),
            ({"env": {"": "x"}}, "arguments.env: expected the name of a variable, without '=', got ''"),
            ({"env": {"A=B": "x"}}, "arguments.env: expected the name of a variable, without '=', got 'A=B'"),
            ({"args": "x"}, 'arguments.args: expected `array | null`, got `str`: "x"'),
            ({"args": [5]}, "arguments.args[0]: expected `str`, got `int`: 5"),
        ):
            whole = {"name": "ls", **sent} if sent else {}
            self.assertEqual(expected, self.refused(SystemArguments, whole))


class BashTests(ArgumentsCase):
    """
    ``bash``.
    """

    def test_script(self) -> None:
        """
        There is a script, in one of the two places; the other may hold what it reads.
        """
        for sent in ({"script": "ls"}, {"stdin": "ls"}, {"script": "cat", "stdin": ""}, {"script": "", "stdin": "ls"}):
            self.assertEqual(BashArguments(**sent), read_arguments(raw(sent), BashArguments))

    def test_refused(self) -> None:
        """
        Without a script there is nothing to run, and one with a NUL cannot be.
        """
        for sent in ({}, {"script": ""}, {"script": None, "stdin": ""}):
            self.assertEqual("arguments.script: required, but missing", self.refused(BashArguments, sent))
        self.assertIn("arguments.script: expected text without a NUL", self.refused(BashArguments, {"script": "\0"}))


class KillTests(ArgumentsCase):
    """
    ``core.kill``.
    """

    def test_signals(self) -> None:
        """
        A signal is a number or a name, in small or large letters, with and without SIG.
        """
        for sent, expected in (
            (15, 15),
            ("TERM", 15),
            ("SIGTERM", 15),
            ("sigterm", 15),
            ("kill", 9),
            ("Usr1", signal.SIGUSR1),
            (64, 64),
            ("RTMIN", signal.SIGRTMIN),
        ):
            self.assertEqual(expected, signal_number(sent))

    def test_none(self) -> None:
        """
        No signal, 0 and the empty name are none.
        """
        for sent in (None, 0, ""):
            self.assertIsNone(signal_number(sent))

    def test_refused(self) -> None:
        """
        What is no signal is refused, with what was there.
        """
        for sent in (-1, 65, 1000, 2**70, "TERMINATE", "15", "SIG", "_IGN", "SIG_DFL", "SIGNAL", "\0", "é"):
            found = self.refused(KillArguments, {"id": "a", "signal": sent})
            self.assertTrue(found.startswith("arguments.signal: expected "), found)
        self.assertEqual("arguments.id: required, but missing", self.refused(KillArguments, {}))

    @given(st.integers() | st.text(max_size=8))
    def test_any_signal(self, sent: int | str) -> None:
        """
        Anything is one that the kernel has, none, or refused.
        """
        try:
            found = signal_number(sent)
        except ValueError as error:
            self.assertTrue(str(error).startswith("@signal: "))
        else:
            self.assertTrue(found is None or found in signal.valid_signals())
