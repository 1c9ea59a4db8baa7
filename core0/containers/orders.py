"""
What core0, its zygote and the guests say to each other, as lines of JSON.
"""

from typing import Literal

from msgspec import Struct

from core0.containers.rootfs import Setup
from core0.corex_settings import Settings


class Request(Struct, frozen=True, kw_only=True):
    """
    For the zygote: fork a guest, which reads its :class:`Order` lines from a pipe, descriptor ``orders`` of process
    ``parent``.
    """

    number: int
    parent: int
    orders: int


class Prepare(Struct, frozen=True, tag="prepare"):
    """
    For a guest: mount the container's root file system where none but it sees it.
    """

    setup: Setup


class Join(Struct, frozen=True, tag="join"):
    """
    For a guest: become the CoreX of a container that the runtime has started.

    :ivar init: its first process.
    :ivar bundle: folder of its bundle.
    :ivar cgroups: folders of the cgroups that it is in.
    :ivar socket: of Redis, on the host.
    """

    init: int
    bundle: str
    cgroups: list[str]
    socket: str
    settings: Settings


Order = Prepare | Join


class Answer(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """
    Of a guest, or of the zygote (number 0).

    :ivar pid: of the process that answers; once joined, that of the CoreX, as the host sees it.
    """

    number: int
    state: Literal["ready", "prepared", "joined", "failed"]
    pid: int = 0
    text: str = ""
