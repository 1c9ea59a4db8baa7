"""
A container's own files in ``/etc``. What they say is a function of what it has of the network.
"""

import os
from collections.abc import Iterator, Sequence
from ipaddress import ip_address

from core0.network.attached import Attached
from core0.network.desired import Link
from core0.network.names import short_name

HOSTS, HOSTNAME, RESOLVER = NAMES = ("hosts", "hostname", "resolv.conf")
FOLDER = "etc"  # in that of the container
LARGEST = 64 << 10  # bytes of the host's file

MOST_RESOLVERS = 3  # the C library asks no more
UNCONNECTED = "# this container has no network but its own loopback\n"
KEPT = ("nameserver", "search", "domain", "options")  # lines of the host's file that mean something in a container


def hosts(name: str, links: Sequence[Link]) -> str:
    """
    ``/etc/hosts``: its name is its own first address.
    """
    own = [str(link.ip) for link in links if link.ip is not None] or ["127.0.1.1"]
    names = " ".join(filter(None, (name, short_name(name))))
    lines = ("127.0.0.1\tlocalhost", "::1\tlocalhost ip6-localhost ip6-loopback", *(f"{ip}\t{names}" for ip in own))
    return "".join(f"{line}\n" for line in lines)


def resolver(links: Sequence[Link], servers: Sequence[str], of_host: str) -> str:
    """
    ``/etc/resolv.conf``: the bridges that answer, or those whom a server of others has named; where there are none,
    those of the host.

    :param of_host: the host's own file.
    """
    if not links:
        return UNCONNECTED
    if not servers:
        return "".join(f"{line}\n" for line in _of_host(of_host))
    domains = dict.fromkeys(link.domain for link in links if link.domain)
    search = [f"search {' '.join(domains)}"] if domains else []
    return "".join(f"{line}\n" for line in (*search, *(f"nameserver {ip}" for ip in servers[:MOST_RESOLVERS])))


def _of_host(text: str) -> Iterator[str]:
    """
    Without those at the host's loopback: the container has another one.
    """
    for line in text.splitlines():
        words = line.split()
        if words and words[0] in KEPT and not (words[0] == "nameserver" and _is_loopback(words[1:])):
            yield " ".join(words)


def _is_loopback(words: list[str]) -> bool:
    try:
        return not words or ip_address(words[0].partition("%")[0]).is_loopback
    except ValueError:
        return True


def of_host() -> str:
    """
    What the host's own file says.
    """
    return _read("/etc/resolv.conf")


def _beyond_loopback() -> str:
    """
    The same; or what is behind it, where it names nobody but a resolver at the host's loopback.
    """
    text = of_host()
    names = any(line.startswith("nameserver") for line in _of_host(text))
    return text if names else _read("/run/systemd/resolve/resolv.conf") or text


def _read(path: str) -> str:
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return file.read(LARGEST)
    except OSError:
        return ""


def make(place: str, owner: int, name: str, resolved: str) -> None:
    """
    The files of a container that has no links yet.

    :param place: the container's folder.
    :param owner: its root, as the host sees it.
    :param resolved: what it is told about DNS.
    """
    os.mkdir(os.path.join(place, FOLDER), 0o755)
    for file, text in zip(NAMES, (hosts(name, ()), f"{name}\n", resolved), strict=True):
        path = os.path.join(place, FOLDER, file)
        _write(path, text, os.O_CREAT | os.O_EXCL)
        os.chown(path, owner, owner)


def write(place: str, name: str, attached: Attached) -> None:
    """
    Into the files of a container that runs: they stay the same files, for they are mounted in it.

    :raises BlockingIOError: somebody in there has a lease on one, which would have to be waited for.
    """
    links = attached.links
    _write(os.path.join(place, FOLDER, HOSTS), hosts(name, links), os.O_TRUNC)
    _write(os.path.join(place, FOLDER, RESOLVER), resolver(links, attached.resolvers, _beyond_loopback()), os.O_TRUNC)


def _write(path: str, text: str, flags: int) -> None:
    fd = os.open(path, os.O_WRONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK | flags, 0o644)
    with open(fd, "w", encoding="utf-8") as file:
        file.write(text)
