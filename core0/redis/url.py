"""
Redis URLs, as values.
"""

from dataclasses import dataclass
from urllib.parse import parse_qs, unquote, urlsplit

from core0.errors import ConfigError

DEFAULT_PORT = 6379
SENTINEL_PORT = 26379


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
    password: str | None = None

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
    parts = urlsplit(text)
    text = parts._replace(netloc=parts.netloc.rpartition("@")[2], query="").geturl()
    scheme = parts.scheme
    userinfo, _, hosts = parts.netloc.rpartition("@")
    user, _, secret = userinfo.partition(":")
    username, password = unquote(user) or None, unquote(secret) or None
    if scheme == "redis+unix":
        if not parts.path.startswith("/"):
            raise ConfigError(f"{text!r}: expected redis+unix:///path/of/the/socket")
        password = parse_qs(parts.query).get("password", [password])[0]
        return RedisURL(path=unquote(parts.path), username=username, password=password)
    if scheme == "redis+sentinel":
        master = parts.path.strip("/")
        if not master or "/" in master or not hosts:
            raise ConfigError(f"{text!r}: expected redis+sentinel://host1,host2,host3/master-name")
        sentinels = tuple(_address(host, SENTINEL_PORT, text) for host in hosts.split(","))
        return RedisURL(hosts=sentinels, master=master, username=username, password=password)
    if scheme in ("redis", "rediss"):
        if parts.path.strip("/") not in ("", "0"):
            raise ConfigError(f"{text!r}: only database 0 is used; leave the path out")
        address = _address(hosts, DEFAULT_PORT, text)
        return RedisURL(hosts=(address,), tls=scheme == "rediss", username=username, password=password)
    raise ConfigError(f"{text!r}: expected redis://, rediss://, redis+unix:// or redis+sentinel://")


def _address(text: str, default_port: int, whole: str) -> tuple[str, int]:
    host, bracket, rest = text.partition("]")
    if bracket:
        host, port = host.lstrip("["), rest.lstrip(":")
    else:
        host, _, port = text.partition(":")
    if not host or (port and not (port.isascii() and port.isdigit() and 0 < int(port) < 65536)):
        raise ConfigError(f"{whole!r}: expected host or host:port, got {text!r}")
    return host, int(port or default_port)
