"""
What containers are made with.
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Protocol

from core0.containers.nursery import Nursery
from core0.containers.runtime import Runner, Runtime
from core0.containers.shelf import Shelf
from core0.corex_messages import Receiver
from core0.corex_settings import Settings
from core0.file_systems import FileSystems
from core0.images.images import Images
from core0.interfaces import IDispatched, ThreadRunner
from core0.network.attachments import Attachments
from core0.records import RecordSink


class Channels(Protocol):
    """
    The ways to and from all CoreX.
    """

    def open(self, n: int, receiver: Receiver) -> None:
        """
        Listen to a container from now on.
        """
        ...

    async def close(self, n: int) -> None:
        """
        Listen no more, if it is listened to, and forget what was said.
        """
        ...

    async def drained(self, n: int) -> None:
        """
        Wait until all is heard that was said so far.
        """
        ...

    def room(self, n: int) -> bool:
        """
        Whether an order can be sent.
        """
        ...

    def send(self, n: int, line: bytes) -> None:
        """
        Send an order.
        """
        ...


class Users(Protocol):
    """
    What CoreX are at their server.
    """

    def name(self, number: int) -> str:
        """
        What the CoreX of a container logs in as.
        """
        ...

    def hashed(self, password: str) -> str:
        """
        A password as it is kept.
        """
        ...

    async def admit(self, number: int, secret: str) -> None:
        """
        One may log in, now and after each start of the server.

        :param secret: its password, hashed.
        """
        ...

    async def dismiss(self, number: int) -> None:
        """
        Not any more; if it is logged in, it is thrown out.
        """
        ...


@dataclass(frozen=True, slots=True)
class House:
    """
    :ivar networks: links and ports of containers.
    :ivar journal: where records go.
    :ivar run: folder of what the runtime keeps.
    :ivar family: the name that all cgroups of this core0's containers are below.
    :ivar socket: of the server that CoreX speak to.
    :ivar open: has that server started; it raises :class:`core0.errors.ServerFailed`.
    :ivar private: folders of the host that no container may see, see :func:`core0.containers.sources.resolved`.
    :ivar file_systems: of the host, whether they answer.
    :ivar storage: of contents, where a container does not say; empty: beside its plist.
    :ivar settings: of each CoreX, but for what is its own.
    """

    reactor: Any
    shelf: Shelf
    images: Images
    runner: Callable[[Runtime], Runner]
    nursery: Nursery
    channels: Channels
    users: Users
    dispatched: IDispatched
    in_thread: ThreadRunner
    networks: Attachments
    journal: RecordSink
    run: str
    family: str
    socket: str
    open: Callable[[], Awaitable[None]]
    private: tuple[str, ...]
    file_systems: FileSystems
    storage: str
    settings: Settings
