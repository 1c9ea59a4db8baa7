"""
Redis URLs, as values.
"""

import re
from dataclasses import dataclass, field
from urllib.parse import parse_qs, unquote

from core0.errors import ConfigError

DEFAULT_PORT = 6379
SENTINEL_PORT = 26379
_ADDRESS = re.compile(r"(?:\[(?P<ipv6>[^\[\]\s]+)\]|(?P<host>[^:,\[\]/?#@\s\x00-\x1f]+))(?::(?P<port>[0-9]{0,5}))?")


@dataclass(frozen=True, slots=True)
class RedisURL:
    """
    Where a server is, and who core0 is there.

    Exactly one of ``path`` (a unix socket), ``hosts`` with one address, or ``master`` with the addresses of its
    Sentinels in ``hosts``.
    """

    path: str = ""
    hosts: tuple[tuple[str, int], ...] = ()
    master: str = ""
    tls: bool = False
    username: str | None = None
    password: str | None = field(default=None, repr=False)

    def __str__(self) -> str:
        """
        Without the password.
        """
        if self.path:
            return f"redis+unix://{self.path}"
        hosts = ",".join(f"[{host}]:{port}" if ":" in host else f"{host}:{port}" for host, port in self.hosts)
        if self.master:
            return f"redis+sentinel://{hosts}/{self.master}"
        return f"{'rediss' if self.tls else 'redis'}://{hosts}"


def parse(text: str) -> RedisURL:
    """
    Read ``redis://[user:password@]host[:port]``, ``rediss://…``, ``redis+unix:///path[?password=…]`` or
    ``redis+sentinel://h1[:port],h2,h3/master``.

    :raises ConfigError: it is none of these, or asks for another database than 0; its text shows no password.
    """
    scheme, _, rest = text.partition("://")
    if scheme == "redis+unix":
        return _socket(rest)
    userinfo, _, place = rest.rpartition("@")
    user, _, secret = userinfo.partition(":")
    username, password = unquote(user) or None, unquote(secret) or None
    hosts, _, path = place.partition("/")
    shown = _shown(text)
    if scheme == "redis+sentinel":
        master = path.strip("/")
        if not master or "/" in master or not hosts:
            raise ConfigError(f"{shown}: expected redis+sentinel://host1,host2,host3/master-name")
        sentinels = tuple(_address(host, SENTINEL_PORT, shown) for host in hosts.split(","))
        return RedisURL(hosts=sentinels, master=master, username=username, password=password)
    if scheme in ("redis", "rediss"):
        if path.strip("/") not in ("", "0"):
            raise ConfigError(f"{shown}: only database 0 is used; leave the path out")
        address = _address(hosts, DEFAULT_PORT, shown)
        return RedisURL(hosts=(address,), tls=scheme == "rediss", username=username, password=password)
    raise ConfigError(f"{shown}: expected redis://, rediss://, redis+unix:// or redis+sentinel://")


def _socket(rest: str) -> RedisURL:
    rest, _, query = rest.partition("?")
    userinfo, slash, path = rest.partition("/")
    if not slash or (userinfo and not userinfo.endswith("@")):
        raise ConfigError(f"{_shown(rest)}: expected redis+unix:///path/of/the/socket")
    user, _, secret = userinfo[:-1].partition(":")
    password = parse_qs(query).get("password", [unquote(secret) or None])[0]
    return RedisURL(path="/" + unquote(path), username=unquote(user) or None, password=password)


def _shown(text: str) -> str:
    """
    What of a URL may be shown: not what stands where a password may be.
    """
    scheme, found, _ = text.partition("://")
    place = text.rpartition("@")[2].removeprefix(scheme + found).partition("?")[0]
    return repr(f"{scheme}://{place}" if found else place)


def _address(text: str, default_port: int, whole: str) -> tuple[str, int]:
    match = _ADDRESS.fullmatch(text)
    port = int((match and match["port"]) or default_port)
    if match is None or not 0 < port < 65536:
        raise ConfigError(f"{whole}: expected host or host:port, got {text.partition('?')[0]!r}")
    return match["ipv6"] or match["host"], port
