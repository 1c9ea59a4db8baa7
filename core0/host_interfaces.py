"""
The ports of what a whole machine has besides jobs: containers and networks.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from zope.interface import Interface

from core0.messages import Command


class IContainers(Interface):
    """
    The containers of a host.
    """

    async def create(request: Any, entry: int, say: Callable[[str], None]) -> int:
        """
        Make one, a :class:`core0.containers.request.Request`; returns its number once its CoreX has answered.

        :param entry: the number of the command that asks for it.
        :param say: is told how far it is.
        :raises Refusal: 400, it is wrong; 404, there is no such plist; 503, something is missing, or it failed.
        """

    async def terminate(number: int) -> None:
        """
        End one, and remove all that there is of it.

        :raises Refusal: 404, there is none; 409, it is being created.
        """

    async def listed() -> Mapping[str, Any]:
        """
        The living ones, by their numbers.
        """

    async def dispatch(number: int, command: Command, id: str) -> None:
        """
        Have one run a command; its result appears under ``id``.

        :raises Refusal: 404, there is none; 409, it is being created or removed; 503, too much is on its way there.
        """


class INetworks(Interface):
    """
    The networks of a host.
    """

    async def create(name: str, hwaddr: str, subnet: Any, mtu: int = 0) -> None:
        """
        Make a bridge with a :class:`core0.network.desired.Subnet` or None.

        :param mtu: in bytes; 0: the least of its ports.
        :raises Refusal: 409, something is in its way; 503, something is missing, or it failed.
        """

    async def listed() -> Sequence[str]:
        """
        The names of all bridges, sorted.
        """

    async def delete(name: str) -> None:
        """
        :raises Refusal: 404, there is none; 400, it is no bridge; 409, a container is attached; 503, it failed.
        """
