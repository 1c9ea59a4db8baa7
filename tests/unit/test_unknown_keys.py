"""
A key that a command does not know is refused, with the nearest that it knows.
"""

from typing import Any

from msgspec import Struct
from twisted.trial.unittest import SynchronousTestCase

from core0.commands import COMMANDS
from core0.commands.core import Ping, System
from core0.commands.corex import Create
from core0.errors import Refusal
from core0.messages import encode
from core0.reading import SECOND_LOOK, read_arguments
from core0.values import Arguments
from tests.work import Stamp, raw


class Inner(Struct):
    """
    Something of another package, in something else of it.
    """

    size: int = 0


class Outer(Struct, frozen=True, rename="camel", tag=True):
    """
    What another package takes.
    """

    one_thing: Inner | None = None
    many: list[Inner] = []
    named: dict[str, Inner | int] = {}
    free: dict[str, Any] = {}
    text: str = ""


class UnknownKeysTests(SynchronousTestCase):
    """
    Arguments with a key too many.
    """

    def refused(self, shape: type[Struct], content: Any) -> str:
        """
        Why they are refused.
        """
        error: Refusal = self.assertRaises(Refusal, read_arguments, raw(content), shape)
        self.assertEqual(400, error.code)
        return str(error)

    def test_nearest(self) -> None:
        """
        The key is named with its place, and the one that may have been meant; or else all that there are.
        """
        for command, content, expected in (
            (System, {"name": "id", "arg": ["x"]}, 'arguments.arg: no such argument; did you mean "args"?'),
            (System, {"Name": "id"}, 'arguments.Name: no such argument; did you mean "name"?'),
            (
                System,
                {"name": "id", "user": "nobody"},
                'arguments.user: no such argument; there are "name", "dir", "args", "env", "stdin"',
            ),
            (Ping, {"x": 1}, "arguments.x: no such argument; there are none"),
            (Create, {"plist": "/x", "limit": {}}, 'arguments.limit: no such argument; did you mean "limits"?'),
            (
                Create,
                {"plist": "/x", "limits": {"memry": 1}},
                'arguments.limits.memry: no such argument; did you mean "memory"?',
            ),
            (
                Create,
                {"plist": "/x", "network": {"bridges": []}},
                'arguments.network.bridges: no such argument; did you mean "bridge"?',
            ),
        ):
            self.assertEqual(expected, self.refused(command.arguments, content))

    def test_odd_keys(self) -> None:
        """
        Whatever a key is, the refusal is short, and names it.
        """
        for key in ("", "a b", "x` - at `$.limits", "\n", "é", "\0", "x" * 100_000, "name.x", "a" * 60):
            reason = self.refused(System.arguments, {"name": "id", key: 1})
            self.assertIn("no such argument", reason)
            self.assertLess(len(reason), 300)

    def test_every_command(self) -> None:
        """
        No command takes a key that it does not know, however large the rest is.
        """
        commands: Any = COMMANDS
        for command in commands:
            self.assertTrue(issubclass(command.arguments, Arguments), command.name)
            self.assertIn("no such argument", self.refused(command.arguments, {"no_such": "x" * 2 * SECOND_LOOK}))

    def test_missing_too(self) -> None:
        """
        A required key that is misspelt is told as that.
        """
        self.assertEqual(
            'arguments.nam: no such argument; did you mean "name"?', self.refused(System.arguments, {"nam": "id"})
        )

    def test_other_packages(self) -> None:
        """
        The commands of other packages do not either, and need not say so.
        """
        self.assertIn('did you mean "count"?', self.refused(Stamp, {"name": "x", "cuont": 1}))
        self.assertIn("no such argument", self.refused(Stamp, {"name": "x" * 2 * SECOND_LOOK, "cuont": 1}))
        for content, place in (
            ({"one_thing": {}}, "arguments.one_thing"),
            ({"oneThing": {"sise": 1}}, "arguments.oneThing.sise"),
            ({"many": [{"size": 1}, {"sise": 1}]}, "arguments.many[1].sise"),
            ({"named": {"a": 1, "b": {"sise": 1}}}, "arguments.named['b'].sise"),
        ):
            self.assertEqual(f"{place}: no such argument", self.refused(Outer, content).partition(";")[0])

    def test_known(self) -> None:
        """
        What is known stays as it is, and so does what may be anything.
        """
        outer = read_arguments(
            raw({"type": "Outer", "oneThing": {"size": 1}, "named": {"a": 1, "b": {}}, "free": {"x": {"y": 1}}}), Outer
        )
        self.assertEqual(Outer(Inner(1), [], {"a": 1, "b": Inner()}, {"x": {"y": 1}}), outer)
        large = "x" * 2 * SECOND_LOOK
        self.assertEqual(Stamp(large), read_arguments(raw({"name": large}), Stamp))
        self.assertEqual(b'{"name":"x"}', encode({"name": read_arguments(raw({"name": "x"}), Stamp).name}))
