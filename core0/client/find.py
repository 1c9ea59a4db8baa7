"""
Finding core0 without being told where it is.
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from socket import AF_UNIX
from socket import socket as Socket

from core0.client.errors import ServerError
from core0.config import DEFAULT_FILE, Config, load
from core0.errors import ConfigError
from core0.redis.url import RedisURL, parse

VARIABLE = "CORE0_URL"
PROBE_TIMEOUT = 2.0  # seconds


@dataclass(frozen=True, slots=True)
class Place:
    """
    Where core0 takes commands. ``node`` is its ``<gid>:<nid>`` where several may share the server; else empty.
    """

    url: RedisURL
    node: str = ""


def find(
    *,
    socket: str | None = None,
    url: str | None = None,
    config: str | None = None,
    environ: Mapping[str, str],
    root: bool,
    default: str = DEFAULT_FILE,
) -> Place:
    """
    Where core0 is: at ``socket``, at ``url``, where ``config`` says, at ``$CORE0_URL``, or where it is usually.

    :param url: may be the path of a unix socket, too; so may the variable.
    :param root: whether this user is.
    :raises ServerError: it is not there; says what was tried.
    :raises ConfigError: a URL or a file cannot be used.
    """
    told = socket or url or (not config and environ.get(VARIABLE))
    if told:
        return _told(told)
    if config:
        place = _of(load(config, root=root, environ=environ))
        return _checked(place) if place.url.path else place
    return _usual(environ, root, default)


def _told(text: str) -> Place:
    return _checked(Place(RedisURL(path=text))) if "://" not in text else Place(parse(text))


def _of(config: Config) -> Place:
    """
    Where a core0 of this configuration takes commands.
    """
    redis = config.redis
    if redis.url:
        return Place(parse(redis.url), f"{config.core.gid}:{config.core.nid}")
    return Place(RedisURL(path=redis.socket))


def _usual(environ: Mapping[str, str], root: bool, default: str) -> Place:
    """
    Where core0 is when it runs as this user, or else as root.
    """
    tried: dict[str, str] = {}
    for as_root in (True,) if root else (False, True):
        try:
            place = _of(load(None, root=as_root, environ=environ, default=default))
        except ConfigError as error:
            tried.setdefault(default, str(error).removeprefix(f"{default}: "))
            place = _of(load(None, root=as_root, environ=environ, default=os.devnull))
        if not place.url.path:
            return place
        if place.url.path not in tried:
            tried[place.url.path] = obstacle = _obstacle(place.url.path)
            if not obstacle:
                return place
    raise ServerError(_not_found(tried))


def _not_found(tried: Mapping[str, str]) -> str:
    lines = [f"  {path}: {reason}" for path, reason in tried.items()]
    start = "start it with: twistd -n core0"
    if any("ermission" in reason for reason in tried.values()):
        start = f"if it runs as root, be root, too (sudo); else {start}"
    where = f"if it is elsewhere, say where with --socket, --url, --config or {VARIABLE}"
    return "\n".join(["cannot find core0; tried:", *lines, f"{start};", where])


def _checked(place: Place) -> Place:
    reason = _obstacle(place.url.path)
    if not reason:
        return place
    advice = "be the user that core0 runs as" if "ermission" in reason else "is core0 running there?"
    raise ServerError(f"cannot reach core0 at {place.url.path}: {reason}; {advice}")


def _obstacle(path: str) -> str:
    """
    What keeps from connecting to a unix socket; empty if nothing does.
    """
    with Socket(AF_UNIX) as probe:
        probe.settimeout(PROBE_TIMEOUT)
        try:
            probe.connect(path)
        except BlockingIOError:
            return ""  # it is there, and busy
        except (OSError, ValueError) as error:
            return (getattr(error, "strerror", None) or str(error)).lower()
    return ""
