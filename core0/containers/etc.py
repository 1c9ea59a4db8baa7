"""
A container's own files in ``/etc``. What they say is a function of what it has of the network.
"""

import os
import stat
from collections.abc import Iterator, Sequence
from contextlib import suppress
from errno import EACCES, ELOOP, ENOENT, ENOTDIR, ENXIO, EPERM
from ipaddress import ip_address

import msgspec
from msgspec import Struct

from core0.network.attached import Attached
from core0.network.desired import Link
from core0.network.names import short_name

HOSTS, HOSTNAME, RESOLVER = NAMES = ("hosts", "hostname", "resolv.conf")
FOLDER = "etc"  # in that of the container
LARGEST = 64 << 10  # bytes of the host's file
MODE = 0o644
TOLD = "resolver.json"  # in the folder of the container: whom the host asked when it was told last

RESOLV_CONF, BEHIND = "/etc/resolv.conf", "/run/systemd/resolve/resolv.conf"  # of the host
MOST_RESOLVERS = 3  # the C library asks no more
UNCONNECTED = "# this container has no network but its own loopback\n"
ABSENT = (ENOENT, ENOTDIR, ELOOP, ENXIO, EACCES, EPERM)  # there is no file of the host, or none that anybody could read
KEPT = ("nameserver", "search", "domain", "options")  # lines of the host's file that mean something in a container


class HostResolver(Struct, frozen=True):
    """
    Whom the host asks about names.

    :ivar own: what its ``/etc/resolv.conf`` says; empty without one.
    :ivar beyond: the same, or what is behind it where that names a resolver at the host's loopback alone.
    """

    own: str = ""
    beyond: str = ""

    @classmethod
    def look(cls, path: str = RESOLV_CONF, behind: str = BEHIND) -> "HostResolver":
        """
        What the files say now.

        :param behind: the file with the servers that the resolver at the loopback asks itself.
        :raises OSError: that cannot be known now.
        """
        own = _read(path)
        names = any(line.startswith("nameserver") for line in _of_host(own))
        return cls(own, own if names else _read(behind) or own)

    @classmethod
    def told(cls, place: str) -> "HostResolver":
        """
        Of the host when a container was told about DNS the last time; if that is not known, how it is now; if that is
        not known either, nobody, so that the container is told again.
        """
        try:
            with open(os.path.join(place, TOLD), "rb") as file:
                return msgspec.json.decode(file.read(4 * LARGEST), type=cls)
        except (OSError, msgspec.MsgspecError, UnicodeDecodeError):
            with suppress(OSError):
                return cls.look()
            return cls()

    def keep(self, place: str) -> None:
        """
        Have the next core0 know it.
        """
        path = os.path.join(place, TOLD)
        fd = os.open(f"{path}.new", os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        with open(fd, "wb") as file:
            file.write(msgspec.json.encode(self))
        os.rename(f"{path}.new", path)


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


def resolver_of(attached: Attached, host_network: bool, host: HostResolver) -> str:
    """
    The same for a container, by what it has.
    """
    return host.own if host_network else resolver(attached.links, attached.resolvers, host.beyond)


def _of_host(text: str) -> Iterator[str]:
    """
    Without those at the host's loopback: the container has another one.
    """
    for line in text.split("\n"):
        words = line.split()
        if words and words[0] in KEPT and not (words[0] == "nameserver" and _is_loopback(words[1:])):
            yield " ".join(words)


def _is_loopback(words: list[str]) -> bool:
    try:
        return not words or ip_address(words[0].partition("%")[0]).is_loopback
    except ValueError:
        return True


def _read(path: str) -> str:
    """
    A text as its lines, whatever editor has written it; empty if there is none.

    :raises OSError: it cannot be read now, which says nothing of what it says.
    """
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            data = os.read(fd, LARGEST) if stat.S_ISREG(os.fstat(fd).st_mode) else b""
        finally:
            os.close(fd)
    except OSError as error:
        if error.errno in ABSENT:
            return ""
        raise
    text = data.decode("utf-8-sig", "replace").replace("\r\n", "\n")
    return text if text.endswith("\n") or not text else f"{text}\n"


def make(place: str, owner: int, name: str, resolved: str) -> None:
    """
    The files of a container that has no links yet.

    :param place: the container's folder.
    :param owner: its root, as the host sees it.
    :param resolved: what it is told about DNS.
    """
    folder = os.path.join(place, FOLDER)
    os.mkdir(folder)
    os.chmod(folder, 0o755)
    for file, text in zip(NAMES, (hosts(name, ()), f"{name}\n", resolved), strict=True):
        path = os.path.join(folder, file)
        _write(path, text, os.O_CREAT | os.O_EXCL)
        os.chown(path, owner, owner)


def write(place: str, name: str, attached: Attached, resolved: str, *, host_network: bool = False) -> None:
    """
    Into the files of a container that runs: they stay the same files, for they are mounted in it.

    :param resolved: what it is told about DNS.
    :raises BlockingIOError: somebody in there has a lease on one, which would have to be waited for.
    """
    if not host_network:
        _write(os.path.join(place, FOLDER, HOSTS), hosts(name, attached.links))
    _write(os.path.join(place, FOLDER, RESOLVER), resolved)


def _write(path: str, text: str, flags: int = 0) -> None:
    fd = os.open(path, os.O_WRONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK | flags, MODE)
    try:
        if flags & os.O_CREAT:
            os.fchmod(fd, MODE)  # programs of all users read them, whatever the umask is
        data = text.encode()
        place = 0
        while place < len(data):
            place += os.pwrite(fd, data[place:], place)
        # only now: on a disk that is full there is still what was there before
        os.ftruncate(fd, len(data))
    finally:
        os.close(fd)
