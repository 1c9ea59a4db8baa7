"""
What a container shall be, as a client asked for it.
"""

from collections.abc import Mapping, Sequence

from msgspec import Struct

from core0.corex_settings import NO_LIMITS, Limits
from core0.network.wishes import Port, Wish, Wishes


class Mount(Struct, frozen=True):
    """
    A directory or file of the host, at an absolute path of the container.
    """

    source: str
    target: str
    read_only: bool = False

    @property
    def asked(self) -> str | dict[str, str | bool]:
        """
        The side of the container, as clients write it.
        """
        if ":" in self.target or "," in self.target:
            return {"path": self.target, "read_only": self.read_only}
        return f"{self.target}:ro" if self.read_only else self.target


class Request(Struct, frozen=True, kw_only=True):
    """
    Checked, defaults filled in; what it names on the host may still not be there.

    :ivar storage: of the contents; empty: ``store/`` beside the plist.
    :ivar hostname: empty for ``corex-<n>``.
    :ivar zerotier: the id of a ZeroTier network; may be empty.
    :ivar mtu: of its links, in bytes; 0: as is usual.
    :ivar shm: bytes of ``/dev/shm``; 0: as is usual.
    """

    plist: str
    storage: str = ""
    hostname: str = ""
    env: Mapping[str, str] = {}
    mounts: Sequence[Mount] = ()
    limits: Limits = NO_LIMITS
    privileged: bool = False
    host_network: bool = False
    links: tuple[Wish, ...] = ()
    ports: tuple[Port, ...] = ()
    zerotier: str = ""
    mtu: int = 0
    shm: int = 0

    def name(self, number: int) -> str:
        """
        The hostname of container ``number``.
        """
        return self.hostname or f"corex-{number}"

    def wishes(self, number: int) -> Wishes | None:
        """
        What container ``number`` is to have of the network; None for nothing.
        """
        if not (self.links or self.ports or self.zerotier):
            return None
        return Wishes(self.links, self.ports, self.name(number), self.zerotier, self.mtu)
