"""
What ``dnsmasq`` is told for a bridge: addresses to hand out, and names of containers. Functions of what is desired.
"""

import os
from collections.abc import Collection, Iterator
from ipaddress import ip_address

from core0.network.desired import Bridge, Desired, Ip, Subnet
from core0.network.names import short_name

USER = "nobody"
LEASE = "12h"
MOST_LEASES = 4096
LEASES, PID, NAMES, HOSTS = "leases", "pid", "names", "hosts"  # files
# where it sees its folder: it reads files anew as a user who cannot go where that really is
SEEN = "/mnt"
LARGEST = 1 << 20  # bytes of leases that are read


def hands_out(bridge: Bridge) -> bool:
    """
    Whether it takes a program that does.
    """
    return bridge.subnet is not None and bool(bridge.subnet.start)


def asked_for(subnet: Subnet) -> tuple[Ip, Ip]:
    """
    The first and the last address for those who ask by DHCP: the upper half of those that the bridge hands out. core0
    gives containers the lower ones itself, which are there even if somebody on the bridge asks for all there are.
    """
    first, last = ip_address(subnet.start), ip_address(subnet.end)
    return first + (int(last) - int(first) + 1) // 2, last


def around(unshare: str, folder: str) -> list[str]:
    """
    The words before the command line, of what becomes it: its folder is at :data:`SEEN`, for it alone.
    """
    script = f'mount --bind -- "$0" {SEEN} && exec "$@"'
    # what the host unmounts later goes here, too, so that it is not kept busy
    return [unshare, "--mount", "--propagation", "slave", "--", "/bin/sh", "-c", script, folder]


def arguments(program: str, bridge: Bridge, folder: str) -> list[str]:
    """
    The command line: no file of settings is read.

    :param bridge: one that hands out addresses.
    :param folder: in which it keeps who has which address, and is told of containers.
    """
    subnet = bridge.subnet
    assert subnet is not None
    network = subnet.network
    first, last = asked_for(subnet)
    size = int(last) - int(first) + 1
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
        # of several addresses of a name those on the bridge
        "--localise-queries",
        f"--dhcp-leasefile={os.path.join(folder, LEASES)}",
        f"--dhcp-lease-max={min(size, MOST_LEASES)}",
        "--dhcp-authoritative",
        # who asks for an address says what he is called: he could be called like somebody else
        "--dhcp-ignore-names",
        # asking around first takes three seconds; nobody takes an address here without being given it
        "--no-ping",
        *("--quiet-dhcp", "--quiet-dhcp6", "--quiet-ra"),
        *(["--enable-ra"] if network.version == 6 else []),
        f"--dhcp-range={first},{last},{length},{LEASE}",
        f"--addn-hosts={SEEN}/{NAMES}",
        f"--dhcp-hostsfile={SEEN}/{HOSTS}",
    ]


def files(desired: Desired, name: str) -> dict[str, str]:
    """
    What it is told of containers, by the names of the files: names, and whose the addresses of the bridge are. It reads
    them when it starts, and on ``HUP``.

    A container asks one server only. So that it finds all its neighbours each server knows those on all bridges of the
    containers that it serves.

    :param name: of the bridge.
    """
    own = desired.on(name)
    served = {link.container for link in own}
    bridges = {name, *(link.bridge for link in desired.links if link.container in served)}
    known = [link for link in desired.links if link.bridge in bridges and link.hostname and link.ip is not None]
    whole = {link.hostname.lower() for link in known}
    names = "".join(f"{link.ip} {' '.join(_names(link.hostname, whole))}\n" for link in known)
    taken = ((link.hwaddr, link.ip) for link in own)
    return {NAMES: names, HOSTS: "".join(f"{hwaddr},{_bracketed(ip)}\n" for hwaddr, ip in taken if ip is not None)}


def _names(hostname: str, whole: Collection[str]) -> Iterator[str]:
    """
    :param whole: those that others have: none of them is a short name of this one.
    """
    yield hostname
    short = short_name(hostname)
    if short and short.lower() not in whole:
        yield short


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
