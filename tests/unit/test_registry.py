"""
The commands that there are, and finding them.
"""

from typing import Any

from msgspec import Struct
from msgspec.structs import FieldInfo, fields
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import Interface, alsoProvides, implementer
from zope.interface.verify import verifyClass, verifyObject

from core0 import commands
from core0.commands.core import Ping
from core0.commands.registry import Registry
from core0.interfaces import BaseCommand, IAgent, ICommand, IHost, IJob
from core0.messages import Outcome

FAMILIES = ("core.", "info.", "process.", "corex.", "bridge.", "bash")
COMMANDS: tuple[Any, ...] = commands.COMMANDS
OF_A_HOST = {"core.reboot"}


class Parts:
    """
    As much of an agent as commands take hold of when they are made.
    """

    jobs = processes = containers = networks = None


def some(interface: type[Interface]) -> Any:
    """
    Something that says that it is of this kind.
    """
    parts = Parts()
    alsoProvides(parts, interface)
    return parts


class CommandsTests(SynchronousTestCase):
    """
    Each of the commands.
    """

    def test_interface(self) -> None:
        """
        Each command is what the agent expects, with all that it says of itself.
        """
        for command in COMMANDS:
            verifyClass(ICommand, command)
            verifyObject(ICommand, command(some(IHost)))
            for name in ICommand:
                self.assertTrue(hasattr(command, name), (command, name))

    def test_names(self) -> None:
        """
        Names are of one of the families, and each is there once.
        """
        names = [command.name for command in COMMANDS]
        self.assertEqual(sorted(set(names)), sorted(names))
        for name in names:
            self.assertTrue(name.startswith(FAMILIES), name)

    def test_specified(self) -> None:
        """
        Those of the specification's basic and info families are there, and what clients of the family send besides.
        """
        names = {command.name for command in COMMANDS}
        basic = {f"core.{name}" for name in ("ping", "system", "kill", "killall", "state", "reboot")}
        info = {f"info.{name}" for name in ("cpu", "disk", "mem", "nic", "os")}
        self.assertLessEqual(basic | info | {"bash", "process.list", "process.kill"}, names)

    def test_documented(self) -> None:
        """
        Each command, and the arguments of each that takes some, has a text of its own for the reference.
        """
        for command in COMMANDS:
            self.assertTrue((command.__dict__.get("__doc__") or "").strip(), command)
            arguments: type[Struct] = command.arguments
            self.assertTrue(issubclass(arguments, Struct), command)
            self.assertTrue(arguments.__struct_config__.frozen, arguments)
            for field in fields(arguments):
                self.assert_explained(arguments, field)

    def assert_explained(self, arguments: type[Struct], field: FieldInfo) -> None:
        """
        An argument is named in the text of its command's arguments.
        """
        self.assertIn(f"``{field.name}``", arguments.__doc__ or "", arguments)

    def test_urgent(self) -> None:
        """
        What looks at core0 and what ends jobs may not wait, and nothing else.
        """
        expected = ["core.kill", "core.killall", "core.ping", "core.state", "process.kill"]
        self.assertEqual(expected, Registry(COMMANDS).urgent())

    def test_repeatable(self) -> None:
        """
        Only what changes nothing may run twice; and a dispatch, for what it sends never does.
        """
        repeatable = {command.name for command in COMMANDS if command.repeatable}
        self.assertEqual(
            set(),
            repeatable
            - {"core.ping", "core.state", "process.list", "corex.list", "corex.dispatch", "bridge.list"}
            - {f"info.{name}" for name in ("cpu", "disk", "mem", "nic", "os")},
        )


class RegistryTests(SynchronousTestCase):
    """
    Finding them.
    """

    def setUp(self) -> None:
        """
        All of them.
        """
        self.registry = Registry(COMMANDS)

    def test_host(self) -> None:
        """
        A host has all commands.
        """
        host = some(IHost)
        for command in COMMANDS:
            self.assertIsInstance(self.registry.find(host, command.name), command)

    def test_agent(self) -> None:
        """
        A Core that is no host has those that need no host.
        """
        agent = some(IAgent)
        missing = {command.name for command in COMMANDS if self.registry.find(agent, command.name) is None}
        self.assertLessEqual(OF_A_HOST, missing)
        for name in missing:
            self.assertTrue(name in OF_A_HOST or name.startswith(("corex.", "bridge.")), name)

    def test_exact(self) -> None:
        """
        Names are exact.
        """
        for name in ("core.Ping", "core.ping ", "ping", "core.", "", "core.ping\0", "é"):
            self.assertIsNone(self.registry.find(some(IHost), name))

    def test_anew(self) -> None:
        """
        A command is made anew for each call.
        """
        host = some(IHost)
        first, second = (self.registry.find(host, "core.system") for _ in range(2))
        self.assertIsNot(first, second)

    def test_replaced(self) -> None:
        """
        A later command replaces an earlier one of the same name.
        """

        @implementer(ICommand)
        class Other(BaseCommand):
            name = "core.ping"
            agent = IAgent

            def __init__(self, agent: IAgent) -> None:
                pass

            async def run(self, job: IJob) -> Outcome:
                return Outcome()

        registry = Registry([Ping, Other])
        self.assertIsInstance(registry.find(some(IAgent), "core.ping"), Other)
        self.assertEqual([], registry.urgent())
