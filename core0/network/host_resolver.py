"""
``/etc/resolv.conf``: read, made, and replaced in one step.
"""

import errno
import os
import secrets
from collections.abc import Sequence

from core0.network.host_machine import Resolver
from core0.network.host_settings import Ip

PATH = "/etc/resolv.conf"
MAX_TEXT = 64 * 1024  # bytes; it is never that large unless it is something else
MODE = 0o644


def render(source: str, servers: Sequence[Ip], domains: Sequence[str]) -> str:
    """
    Its text.

    :param source: the file that it comes from, named in a comment.
    :param domains: where names without a dot are looked for.
    """
    shown = source if source.isprintable() else ascii(source)
    lines = [f"# core0 wrote this; see {shown}"]
    if domains:
        lines.append(f"search {' '.join(domains)}")
    lines += [f"nameserver {server}" for server in servers]
    return "\n".join([*lines, ""])


def look(path: str = PATH) -> Resolver:
    """
    What is there.
    """
    try:
        return Resolver(target=os.readlink(path))
    except OSError:
        pass  # no link, or nothing at all
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError:
        return Resolver()
    try:
        return Resolver(os.read(fd, MAX_TEXT).decode("utf-8", "replace"))
    except OSError:
        return Resolver()
    finally:
        os.close(fd)


def write(text: str, path: str = PATH) -> None:
    """
    Replace it in one step: whoever reads it finds the old one or the new one. A file that is mounted there, as in a
    container, cannot be replaced; it is written to.

    :raises OSError: it cannot be written.
    """
    beside = f"{path}.core0-{secrets.token_hex(4)}"
    try:
        _write(beside, os.O_CREAT | os.O_EXCL, text)
        os.rename(beside, path)
    except OSError as error:
        try:
            os.unlink(beside)
        except OSError:
            pass
        if error.errno != errno.EBUSY:
            raise
        _write(path, os.O_TRUNC, text)


def _write(path: str, flags: int, text: str) -> None:
    fd = os.open(path, os.O_WRONLY | os.O_NOFOLLOW | os.O_CLOEXEC | flags, MODE)
    try:
        if flags & os.O_CREAT:
            os.fchmod(fd, MODE)  # whatever the umask is
        data = text.encode()
        while data:
            data = data[os.write(fd, data) :]
        os.fsync(fd)
    finally:
        os.close(fd)
