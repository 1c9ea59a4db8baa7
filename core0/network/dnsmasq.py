"""
What ``dnsmasq`` is told for a bridge: addresses to hand out, and names of containers. A function of what is desired.
"""

import os
from collections.abc import Iterator
from ipaddress import ip_address

from core0.network.desired import Bridge, Desired, Ip, Link

USER = "nobody"
LEASE = "12h"
MOST_LEASES = 65536
LEASES, PID = "leases", "pid"  # files
LARGEST = 16 << 20  # bytes of leases that are read


def hands_out(bridge: Bridge) -> bool:
    """
    Whether it takes a program that does.
    """
    return bridge.subnet is not None and bool(bridge.subnet.start)


def arguments(program: str, bridge: Bridge, desired: Desired, folder: str) -> list[str]:
    """
    The command line, all that there is: no file of settings is read.

    :param bridge: one that hands out addresses.
    :param folder: in which it keeps who has which address.
    """
    subnet = bridge.subnet
    assert subnet is not None
    network = subnet.network
    size = int(ip_address(subnet.end)) - int(ip_address(subnet.start)) + 1
    length = network.netmask if network.version == 4 else network.prefixlen
    return [
        program,
        "--keep-in-foreground",
        "--conf-file=/dev/null",
        f"--user={USER}",
        f"--pid-file={os.path.join(folder, PID)}",
        # this bridge alone; dynamic, since an address of IPv6 may take its time
        f"--interface={bridge.name}",
        "--except-interface=lo",
        "--bind-dynamic",
        # names: those of containers, and what the host's own resolver knows; but not what the host calls itself
        "--no-hosts",
        "--domain-needed",
        "--bogus-priv",
        f"--dhcp-leasefile={os.path.join(folder, LEASES)}",
        f"--dhcp-lease-max={min(size, MOST_LEASES)}",
        "--dhcp-authoritative",
        # asking around first takes three seconds; nobody takes an address here without being given it
        "--no-ping",
        *("--quiet-dhcp", "--quiet-dhcp6", "--quiet-ra"),
        *(["--enable-ra"] if network.version == 6 else []),
        f"--dhcp-range={subnet.start},{subnet.end},{length},{LEASE}",
        *_known(desired.on(bridge.name)),
    ]


def _known(links: tuple[Link, ...]) -> Iterator[str]:
    """
    Addresses that are taken, and the names of those who have them.
    """
    for link in links:
        ip = link.ip
        if ip is None:
            continue
        yield f"--dhcp-host={link.hwaddr},{_bracketed(ip)}"
        if link.hostname:
            yield f"--host-record={link.hostname},{ip}"


def _bracketed(ip: Ip) -> str:
    return str(ip) if ip.version == 4 else f"[{ip}]"


def leased(text: str) -> dict[Ip, str]:
    """
    Who has which address: MAC addresses, empty where they are not known.

    :param text: of its file.
    """
    found = {}
    for line in text.splitlines():
        words = line.split()
        if len(words) >= 4:
            try:
                ip = ip_address(words[2])
            except ValueError:
                continue  # "duid …": its own identity
            found[ip] = words[1].lower() if ip.version == 4 else ""
    return found
