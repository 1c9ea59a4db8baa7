"""
The agent of a whole machine.
"""

from collections.abc import Callable
from typing import Any

from zope.interface import implementer

from core0.agent import Agent
from core0.errors import Refusal
from core0.interfaces import IHost


@implementer(IHost)
class Host(Agent):
    """
    :param down: brings the machine down, in order.
    :param can_go_down: whether it could.
    """

    def __init__(self, *arguments: Any, down: Callable[[], None], can_go_down: bool, **keywords: Any) -> None:
        super().__init__(*arguments, **keywords)
        self._down = down
        self._can_go_down = can_go_down

    def reboot(self) -> None:
        """
        Begin; whatever is being answered is answered first.
        """
        if not self._can_go_down:
            raise Refusal(503, "cannot reboot: core0 is not root; set [reboot] command to a program that can")
        self._down()
