"""
The file that says what core0 makes of the host's network: TOML, read once, into frozen values.
"""

import os
import stat
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Interface, IPv6Address, IPv6Interface, ip_address, ip_interface
from typing import Annotated, Literal

from msgspec import Meta, Struct

from core0.config_reader import Found, Key, Rule, as_table, bare, parse_toml, read_section, shown
from core0.errors import ConfigError
from core0.messages import nearest

Ip = IPv4Address | IPv6Address
IpInterface = IPv4Interface | IPv6Interface
Protocol = Literal["static", "dhcp", "none"]

MAX_FILE = 256 * 1024  # bytes
MAX_LINKS = 64
MAX_NAME = 15  # bytes; the kernel's limit for the name of a link
MAX_ADDRESSES = 16  # of a link
MAX_SERVERS = 3  # that the C library asks
MIN_MTU = 68  # what every link of IPv4 carries
MIN_MTU6 = 1280  # without which a link has no IPv6
SECTIONS = ("network", "interface", "static")


@dataclass(frozen=True, slots=True)
class LinkSettings:
    """
    What becomes of one link. ``mtu`` 0: it stays as it is. ``gateways``: at most one of IPv4 and one of IPv6.
    """

    name: str
    protocol: Protocol
    mtu: int = 0
    addresses: tuple[IpInterface, ...] = ()
    gateways: tuple[Ip, ...] = ()
    dns: tuple[Ip, ...] = ()


@dataclass(frozen=True, slots=True)
class HostSettings:
    """
    The whole file: ``links`` are in its order. ``auto``: links that are not named get their address by DHCP.
    """

    path: str
    auto: bool = False
    links: tuple[LinkSettings, ...] = ()


def _listed(value: str | tuple[str, ...]) -> tuple[str, ...]:
    return (value,) if isinstance(value, str) else value


def _addresses(value: str | tuple[str, ...]) -> tuple[IpInterface, ...]:
    """
    :raises ValueError: one is none that a link can have.
    """
    found: list[IpInterface] = []
    for text in _limited(value, MAX_ADDRESSES):
        if "/" not in text:
            raise ValueError(f"{shown(text)} has no length, such as /24")
        address = ip_interface(text)
        _usable(address.ip)
        network = address.network
        if address.version == 6 and address.is_link_local:
            raise ValueError(f"{address.ip} is one that the kernel gives a link itself")
        if network.prefixlen == 0:
            raise ValueError(f"the network of {shown(text)} would be everything")
        if network.prefixlen < network.max_prefixlen - 1 and address.ip == network.network_address:
            raise ValueError(f"{address.ip} is the network itself, not an address in it")
        if network.version == 4 and network.prefixlen < 31 and address.ip == network.broadcast_address:
            raise ValueError(f"{address.ip} is the broadcast address of its network")
        if address.ip in [other.ip for other in found]:
            raise ValueError(f"{address.ip} is there twice")
        found.append(address)
    return tuple(found)


def _ips(value: str | tuple[str, ...], most: int) -> tuple[Ip, ...]:
    found = tuple(ip_address(text) for text in _limited(value, most))
    for ip in found:
        _usable(ip, loopback=True)
    return found


def _limited(value: str | tuple[str, ...], most: int) -> tuple[str, ...]:
    texts = _listed(value)
    if not 1 <= len(texts) <= most:
        raise ValueError(f"there are {len(texts)}")
    return texts


def _usable(ip: Ip, *, loopback: bool = False) -> None:
    everyone = ip == IPv4Address("255.255.255.255")
    if ip.is_multicast or ip.is_unspecified or everyone or (ip.is_loopback and not loopback):
        raise ValueError(f"{ip} is no address of one machine")
    if isinstance(ip, IPv6Address) and ip.scope_id:
        raise ValueError(f"{shown(str(ip))}: the part behind % is not needed here")


def _gateways(value: str | tuple[str, ...]) -> tuple[Ip, ...]:
    found = _ips(value, 2)
    if len({ip.version for ip in found}) < len(found):
        raise ValueError("there are two of one kind")
    if any(ip.is_loopback for ip in found):
        raise ValueError("it is this machine itself")
    return found


def _dns(value: str | tuple[str, ...]) -> tuple[Ip, ...]:
    return _ips(value, MAX_SERVERS)


def _mtu(value: int) -> None:
    if 0 < value < MIN_MTU:
        raise ValueError("no packet would fit")


_Text = Annotated[str, Meta(min_length=1)]
Mtu = Annotated[int, Meta(ge=0, le=65_535), Rule("0, or a whole number from 68 to 65535", _mtu)]
Addresses = Annotated[
    _Text | tuple[_Text, ...],
    Rule(f'an address such as "10.0.0.5/24", or a list of at most {MAX_ADDRESSES}', _addresses),
]
Gateway = Annotated[
    _Text | tuple[_Text, ...],
    Rule('an address such as "10.0.0.1", or a list of one of IPv4 and one of IPv6', _gateways),
]
Servers = Annotated[
    _Text | tuple[_Text, ...],
    Rule(f'an address such as "10.0.0.1", or a list of at most {MAX_SERVERS}', _dns),
]


class NetworkTable(Struct, frozen=True, kw_only=True):
    """
    All links.
    """

    auto: Annotated[
        bool,
        Key("Whether a network card that has no `[interface.NAME]` gets its address by DHCP."),
    ] = False


class InterfaceTable(Struct, frozen=True, kw_only=True):
    """
    A link. `NAME` is its name, as `ip link` shows it.
    """

    protocol: Annotated[
        Protocol,
        Rule('"static", "dhcp" or "none"'),
        Key("`static`: it has the addresses of `[static.NAME]`. `dhcp`: it asks for one. `none`: it is only set up."),
    ]
    mtu: Annotated[Mtu, Key("The largest packet. Missing, or 0: as it is.", "bytes")] = 0


class StaticTable(Struct, frozen=True, kw_only=True):
    """
    The addresses of a link of protocol `static`.
    """

    ip: Annotated[Addresses, Key("Its address, IPv4 or IPv6, with the length of the network; or a list.")]
    gateway: Annotated[Gateway, Key("Where everything goes that is not near; one of IPv4, of IPv6, or both.")] = ()
    dns: Annotated[Servers, Key("Servers that know names, written to `/etc/resolv.conf`; the first 3 of all.")] = ()


def read_settings(path: str) -> HostSettings:
    """
    Read the file. It blocks as long as the disk does.

    :raises ConfigError: it cannot be used; the text names the file, the table and the key.
    """
    return parse_settings(_read(path), path)


def parse_settings(data: bytes, path: str) -> HostSettings:
    """
    :param path: named in errors.
    :raises ConfigError: it cannot be used.
    """
    tables = {name: Found(table, path) for name, table in parse_toml(data, path, MAX_FILE).items()}
    for name, table in tables.items():
        if name not in SECTIONS:
            place = f"[{bare(name)}]" if isinstance(table.value, dict) else bare(name)
            raise ConfigError(f"{path}: {place}: no such section; {nearest(name, SECTIONS, '[{}]')}")
    found = {name: as_table(tables[name], f"[{name}]") if name in tables else {} for name in SECTIONS}
    network = read_section(NetworkTable, found["network"], "network")
    links = tuple(_links(found["interface"], found["static"], path))
    _no_address_twice(links, path)
    return HostSettings(path, network.auto, links)


def _read(path: str) -> bytes:
    try:
        # a pipe or a terminal would have it wait for ever
        with open(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as file:
            if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                raise ConfigError(f"{path}: cannot be read: it is no file")
            data = file.read(MAX_FILE + 1)
    except (OSError, ValueError) as error:
        raise ConfigError(f"{path}: cannot be read: {getattr(error, 'strerror', None) or error}") from error
    return data


def _links(interfaces: Mapping[str, Found], statics: Mapping[str, Found], path: str) -> Iterable[LinkSettings]:
    if len(interfaces) > MAX_LINKS:
        raise ConfigError(f"{path}: [interface]: expected at most {MAX_LINKS} links, got {len(interfaces)}")
    for name in statics:
        if name not in interfaces:
            place = f"{path}: [static.{bare(name)}]"
            raise ConfigError(f'{place}: there is no [interface.{bare(name)}]; add it, with protocol = "static"')
    for name, found in interfaces.items():
        yield _link(name, found, statics.get(name))


def _link(name: str, found: Found, static: Found | None) -> LinkSettings:
    place = f"interface.{bare(name)}"
    reason = name_obstacle(name)
    if reason:
        raise ConfigError(f"{found.path}: [{place}]: expected the name of a link, got {shown(name)}: {reason}")
    table = read_section(InterfaceTable, as_table(found, f"[{place}]"), place, path=found.path)
    mtu = table.mtu
    if table.protocol != "static":
        if static is not None:
            where = f"{found.path}: [static.{bare(name)}]"
            raise ConfigError(f'{where}: expected protocol = "static" in [{place}], got {shown(table.protocol)}')
        return LinkSettings(name, table.protocol, mtu)
    if static is None:
        raise ConfigError(f'{found.path}: [{place}] protocol: "static" needs a table [static.{bare(name)}] with ip')
    return _static(name, mtu, static)


def _static(name: str, mtu: int, found: Found) -> LinkSettings:
    place = f"static.{bare(name)}"
    table = read_section(StaticTable, as_table(found, f"[{place}]"), place, path=found.path)
    addresses = _addresses(table.ip)
    gateways = _gateways(table.gateway) if table.gateway else ()
    for gateway in gateways:
        reason = _out_of_reach(gateway, addresses)
        if reason:
            raise ConfigError(f"{found.path}: [{place}] gateway: {gateway} cannot be reached: {reason}")
    if 0 < mtu < MIN_MTU6 and any(address.version == 6 for address in addresses):
        where = f"{found.path}: [interface.{bare(name)}] mtu"
        raise ConfigError(f"{where}: expected at least {MIN_MTU6}, since [{place}] has an IPv6 address; got {mtu}")
    return LinkSettings(name, "static", mtu, addresses, gateways, _dns(table.dns) if table.dns else ())


def _out_of_reach(gateway: Ip, addresses: tuple[IpInterface, ...]) -> str:
    same = [address for address in addresses if address.version == gateway.version]
    if gateway.is_link_local and gateway.version == 6:
        return ""
    if not same:
        return f"there is no address of IPv{gateway.version} in ip"
    if any(address.ip == gateway for address in same):
        return "it is the address of this machine; expected another one"
    # an address that is alone in its network is how some providers route a machine
    if any(gateway in address.network or address.network.num_addresses == 1 for address in same):
        return ""
    return f"expected an address in {' or '.join(str(address.network) for address in same)}"


def _no_address_twice(links: tuple[LinkSettings, ...], path: str) -> None:
    owners: dict[Ip, str] = {}
    for link in links:
        for address in link.addresses:
            other = owners.setdefault(address.ip, link.name)
            if other != link.name:
                place = f"{path}: [static.{bare(link.name)}] ip"
                raise ConfigError(f"{place}: {address.ip} is that of [static.{bare(other)}]; expected another one")


def name_obstacle(name: str) -> str:
    """
    What keeps a text from being the name of a link that may be configured; empty if nothing does.
    """
    if name == "lo":
        return "it is left alone"
    if not 1 <= len(name.encode()) <= MAX_NAME:
        return f"a name has 1 to {MAX_NAME} bytes"
    if name in (".", "..") or any(sign in "/:%" or sign.isspace() or not sign.isprintable() for sign in name):
        return "a name has no space, and none of / : %"
    return ""
