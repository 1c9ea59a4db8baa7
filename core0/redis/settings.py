"""
What the configuration says of the server that core0 starts.
"""

import os
import secrets

from core0.config import Config
from core0.config_reader import split_host
from core0.errors import Core0Error
from core0.redis.server import ServerSettings


def server_settings(config: Config) -> ServerSettings:
    """
    Its settings, with its password read or made.

    :raises Core0Error: the password file cannot be used.
    """
    redis = config.redis
    memory = redis.max_memory
    if isinstance(memory, str):
        whole = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
        memory = whole * int(memory.rstrip("%")) // 100
    return ServerSettings(
        program=redis.server,
        socket=redis.socket,
        folder=os.path.join(config.core.state_dir, "redis"),
        run_dir=os.path.join(config.core.run_dir, "redis"),
        memory=memory,
        listen=split_host(redis.listen) if redis.listen else None,
        password=client_password(redis.password_file) if redis.listen else None,
    )


def client_password(path: str) -> str:
    """
    The password of clients on TCP; made, if the file is not there.

    :raises Core0Error: the file is empty, or others can read it.
    """
    try:
        os.makedirs(os.path.dirname(path), mode=0o700, exist_ok=True)
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        pass
    else:
        with os.fdopen(fd, "w") as file:
            file.write(secrets.token_urlsafe(32) + "\n")
    if os.stat(path).st_mode & 0o077:
        raise Core0Error(f"{path} can be read by others; chmod 600 it")
    with open(path, encoding="utf-8") as file:
        password = file.read().strip()
    if not password:
        raise Core0Error(f"{path} is empty; delete it to have a password made, or write one into it")
    return password
