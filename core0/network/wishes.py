"""
What a container is to have of the network, as a client asked for it; it is kept with the container.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from core0.network.desired import Transport

GIVEN = "dhcp"  # an address that the bridge, or a server behind it, hands out


@dataclass(frozen=True, slots=True)
class Wish:
    """
    A link to a bridge.

    :ivar address: with the length of the prefix; ``dhcp``; empty for none; None: one if the bridge hands out some.
    :ivar free: whichever nobody has, even if the bridge hands out none.
    """

    bridge: str
    address: str | None = None
    free: bool = False


@dataclass(frozen=True, slots=True)
class Port:
    """
    A port of the host that leads to it.

    :ivar host_address: one of the host; empty: every one.
    :ivar port: of the container.
    """

    host_port: int
    port: int
    host_address: str = ""
    protocol: Transport = "tcp"

    @property
    def host(self) -> str:
        """
        The side of the host, as clients write it.
        """
        address = f"[{self.host_address}]" if ":" in self.host_address else self.host_address
        port = f"{self.host_port}/udp" if self.protocol == "udp" else str(self.host_port)
        return f"{address}:{port}" if address else port


@dataclass(frozen=True, slots=True)
class Wishes:
    """
    All of it.

    :ivar hostname: under which its neighbours find it.
    :ivar zerotier: the id of a ZeroTier network; empty: none.
    :ivar mtu: of its links, in bytes; 0: as is usual.
    """

    links: Sequence[Wish] = ()
    ports: Sequence[Port] = ()
    hostname: str = ""
    zerotier: str = ""
    mtu: int = 0

    @property
    def uplink(self) -> bool:
        """
        Whether it takes a link that it does not name.
        """
        return bool(self.ports or self.zerotier) and not self.links
