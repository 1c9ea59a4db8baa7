"""
Finding a command: named adapters of an agent.
"""

from collections.abc import Iterable
from importlib.metadata import entry_points
from typing import Any

from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface.exceptions import Invalid
from zope.interface.registry import Components
from zope.interface.verify import verifyClass

from core0.interfaces import IAgent, ICommand

GROUP = "core0.commands"


class Registry:
    """
    :param commands: classes that implement ICommand; a later one of the same name replaces an earlier one.
    """

    _log = Logger()

    def __init__(self, commands: Iterable[type]) -> None:
        self._components = Components("core0.commands")
        self._classes: dict[str, Any] = {}
        for command in commands:
            self.add(command)

    def add(self, command: Any) -> None:
        """
        Offer one more.
        """
        self._components.registerAdapter(command, (command.agent,), ICommand, name=command.name)
        self._classes[command.name] = command

    def find(self, agent: IAgent, name: str) -> ICommand | None:
        """
        The command, for this agent; None if there is none of that name, or not for such an agent.
        """
        command: ICommand | None = self._components.queryAdapter(agent, ICommand, name)
        return command

    def urgent(self) -> list[str]:
        """
        The names of those that may not wait.
        """
        return sorted(name for name, command in self._classes.items() if command.urgent)

    def add_installed(self) -> None:
        """
        Offer those of other packages (entry-point group ``core0.commands``). One that is broken is logged and left out;
        a name that is taken stays whose it was.
        """
        for point in entry_points(group=GROUP):
            try:
                command = point.load()
                verifyClass(ICommand, command)
                missing = [name for name in ICommand if not hasattr(command, name)]
                if missing:
                    raise Invalid(f"it has no {', '.join(missing)}")
                if command.name in self._classes:
                    raise Invalid(f"there is a command {command.name} already")
                self.add(command)
            except Exception:
                text = "cannot offer the command {name} of {value}"
                self._log.failure(text, Failure(), name=point.name, value=point.value)
            else:
                self._log.info("offering {name} of {value}", name=command.name, value=point.value)
