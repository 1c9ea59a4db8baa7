"""
The ``bridge.*`` commands: the networks that containers are on.
"""

from zope.interface import implementer

from core0.commands.quantities import read_count
from core0.interfaces import BaseCommand, ICommand, IHost, IJob
from core0.messages import Outcome, answer, shown
from core0.network import subnets
from core0.network.desired import Subnet
from core0.network.mtu import LEAST, LEAST_IPV6, MOST
from core0.network.names import check_hwaddr, check_name, is_plain
from core0.values import Arguments

MODES = ("static", "dnsmasq")


class AddressArguments(Arguments, frozen=True):
    """
    ``cidr``: the address of the bridge with the length of the prefix, such as ``10.0.0.1/24``, IPv4 or IPv6; the
    address of the network stands for the first one in it. ``start``, ``end``: the first and the last address that is
    handed out, with ``dnsmasq`` only; without them all after the bridge's own.
    """

    cidr: str | None = None
    start: str | None = None
    end: str | None = None


class NetworkArguments(Arguments, frozen=True):
    """
    ``mode``: ``static``, the bridge has an address; ``dnsmasq``, it hands out others by DHCP, too, and answers DNS;
    without one it has no address. ``nat``: what leaves the network gets the address of the host. ``settings``: the
    addresses.
    """

    mode: str | None = None
    nat: bool | None = None
    settings: AddressArguments | None = None

    def subnet(self) -> Subnet | None:
        """
        What is asked for.

        :raises ValueError: it cannot be had; begins with ``@`` and the field.
        """
        given = self.settings or AddressArguments()
        if self.mode is None:
            for field in ("nat", "settings.cidr", "settings.start", "settings.end"):
                if getattr(self if field == "nat" else given, field.rpartition(".")[2]):
                    raise ValueError(f"@{field}: expected nothing without a mode ({', '.join(MODES)})")
            return None
        if self.mode not in MODES:
            raise ValueError(f"@mode: expected {', '.join(MODES)} or null, got {shown(self.mode)}")
        if not given.cidr:
            raise ValueError("@settings.cidr: required, but missing")
        try:
            if self.mode == "dnsmasq":
                return subnets.dnsmasq(given.cidr, given.start, given.end, nat=bool(self.nat))
            for field in ("start", "end"):
                if getattr(given, field):
                    raise ValueError(f"@{field}: expected nothing: only dnsmasq hands out addresses")
            return subnets.static(given.cidr, nat=bool(self.nat))
        except ValueError as error:
            raise ValueError(f"@settings.{str(error).removeprefix('@')}") from error


class CreateArguments(Arguments, frozen=True):
    """
    ``name``: 1 to 15 bytes, without blanks, control characters and ``/``, ``:``, ``%``; with a ``network``, only
    letters, digits and ``_.-``. ``hwaddr``: its MAC address; without it, one of its own that stays. ``mtu``: in bytes,
    of its links and its own; without it the least of its links, see ``network.mtu`` of ``corex.create``. ``network``:
    its addresses; without it, it has none.
    """

    name: str
    hwaddr: str | None = None
    mtu: int | float | str | None = None
    network: NetworkArguments | None = None

    def __post_init__(self) -> None:
        try:
            check_name(self.name)
        except ValueError as error:
            raise ValueError(f"@name: {error}") from error
        if self.hwaddr:
            try:
                check_hwaddr(self.hwaddr)
            except ValueError as error:
                raise ValueError(f"@hwaddr: {error}") from error
        self.size()
        # what is told of it to other programs must mean this link alone
        if self.subnet() is not None and not is_plain(self.name):
            text = "expected letters, digits and _.- only, for a bridge with a network"
            raise ValueError(f"@name: {text}, got {shown(self.name)}")

    def size(self) -> int:
        """
        The mtu that is asked for; 0 for none.
        """
        if self.mtu is None:
            return 0
        subnet = self.subnet()
        least = LEAST_IPV6 if subnet is not None and subnet.interface.version == 6 else LEAST
        try:
            return read_count(self.mtu, least, MOST)
        except ValueError as error:
            raise ValueError(f"@mtu: {error}") from error

    def subnet(self) -> Subnet | None:
        """
        The addresses that are asked for.
        """
        try:
            return self.network.subnet() if self.network is not None else None
        except ValueError as error:
            raise ValueError(f"@network.{str(error).removeprefix('@')}") from error


@implementer(ICommand)
class BridgeCreate(BaseCommand):
    """
    Make a bridge: ``true``. It is there again whenever core0 starts, with the same addresses, until it is deleted. If
    it fails nothing is left of it; if core0 dies meanwhile (``INTERRUPTED``) it may be there.
    """

    name = "bridge.create"
    agent = IHost
    arguments = CreateArguments

    def __init__(self, agent: IHost) -> None:
        self._host = agent

    async def run(self, job: IJob) -> Outcome:
        """
        Make it.
        """
        given: CreateArguments = job.arguments
        hwaddr = check_hwaddr(given.hwaddr) if given.hwaddr else ""
        await self._host.networks.create(given.name, hwaddr, given.subnet(), given.size())
        return answer(True)


@implementer(ICommand)
class BridgeList(BaseCommand):
    """
    The names of all bridges of the host, whoever has made them: a sorted list of strings.
    """

    name = "bridge.list"
    agent = IHost
    repeatable = True

    def __init__(self, agent: IHost) -> None:
        self._host = agent

    async def run(self, job: IJob) -> Outcome:
        """
        Ask the kernel.
        """
        return answer(await self._host.networks.listed())


class DeleteArguments(Arguments, frozen=True):
    """
    ``name``: as ``bridge.list`` has it.
    """

    name: str

    def __post_init__(self) -> None:
        if not self.name:
            raise ValueError("@name: expected the name of a bridge, got an empty string")


@implementer(ICommand)
class BridgeDelete(BaseCommand):
    """
    Remove a bridge, whoever has made it: ``true``. Links of others that are attached to it are left as they are; while
    a container of core0 is attached it stays.
    """

    name = "bridge.delete"
    agent = IHost
    arguments = DeleteArguments

    def __init__(self, agent: IHost) -> None:
        self._host = agent

    async def run(self, job: IJob) -> Outcome:
        """
        Remove it.
        """
        given: DeleteArguments = job.arguments
        await self._host.networks.delete(given.name)
        return answer(True)
