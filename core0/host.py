"""
The agent of a whole machine.
"""

from collections.abc import Callable
from typing import Any

from zope.interface import implementer

from core0.agent import Agent
from core0.errors import Refusal
from core0.host_interfaces import IContainers, INetworks
from core0.interfaces import IHost


@implementer(IHost)
class Host(Agent):
    """
    :param containers: of this host.
    :param networks: of this host.
    :param down: brings the machine down, in order.
    :param obstacle: says why that cannot be; empty if it can.
    """

    def __init__(
        self,
        *arguments: Any,
        containers: IContainers,
        networks: INetworks,
        down: Callable[[], None],
        obstacle: Callable[[], str],
        **keywords: Any,
    ) -> None:
        super().__init__(*arguments, **keywords)
        self.containers = containers
        self.networks = networks
        self._down = down
        self._obstacle = obstacle

    def reboot(self) -> None:
        """
        Begin; whatever is being answered is answered first.
        """
        obstacle = self._obstacle()
        if obstacle:
            raise Refusal(503, f"cannot reboot: {obstacle}")
        self._down()
