"""
Why core0 cannot start, in the words of whoever configures it: which path, and which key leads there.
"""

import errno
import os
from collections.abc import Iterable

from core0.config import Config

_FULL = (errno.ENOSPC, errno.EDQUOT)
_ADVICE = {
    errno.EACCES: "set it to a folder that core0 may write to, or give core0 the right to",
    errno.EPERM: "set it to a folder that core0 may write to, or give core0 the right to",
    errno.EROFS: "set it to a folder of a file system that can be written to",
    errno.ENOSPC: "make room there, or set it to a folder on another disk",
    errno.EDQUOT: "make room there, or set it to a folder on another disk",
    errno.ENOTDIR: "something above it is a file; set it to another path",
    errno.EEXIST: "what is there is no folder; set it to another path",
    errno.EIO: "the disk fails; set it to a folder on another one",
}
_OTHERWISE = "set it to another path"


def reason(error: OSError, config: Config) -> str:
    """
    What failed: the error, the path if it is known, the key, its value and what to do.
    """
    text = error.strerror or str(error)
    path = _path(error)
    advice = _ADVICE.get(error.errno or 0, _OTHERWISE)
    if not path:
        keys = _full(config) if error.errno in _FULL else []
        keys = keys or [
            _named("[core] state_dir", config.core.state_dir),
            _named("[core] run_dir", config.core.run_dir),
        ]
        return f"{text}: below {' or '.join(keys)}; {advice}"
    key = _leading(path, config)
    return f"{text}: {path!r}; {key} leads there; {advice}" if key else f"{text}: {path!r}"


def _path(error: OSError) -> str:
    """
    Of the file; "" if it is not known.
    """
    return os.fsdecode(error.filename) if isinstance(error.filename, str | bytes) else ""


def _keys(config: Config) -> Iterable[tuple[str, str]]:
    redis = config.redis
    found = (
        ("[core] state_dir", config.core.state_dir),
        ("[core] run_dir", config.core.run_dir),
        ("[redis] socket", redis.socket),
        ("[redis] password_file", redis.password_file),
        ("[network] file", config.network.file),
    )
    return [(key, path) for key, path in found if path]


def _leading(path: str, config: Config) -> str:
    """
    The key that a path is of: one whose value is nearest above it, or else one below it, whose folders are being made.
    """
    above = [(len(value), key, value) for key, value in _keys(config) if _is_in(path, value)]
    if above:
        return _named(*max(above)[1:])
    below = next((pair for pair in _keys(config) if _is_in(pair[1], path)), None)
    return _named(*below) if below else ""


def _is_in(path: str, folder: str) -> bool:
    return path == folder or path.startswith(f"{folder.rstrip('/')}/")


def _named(key: str, value: str) -> str:
    return f"{key} ({value})"


def _full(config: Config) -> list[str]:
    """
    Those whose file system has no room, or no room for more files.
    """
    found = []
    for key, value in (("[core] state_dir", config.core.state_dir), ("[core] run_dir", config.core.run_dir)):
        try:
            about = os.statvfs(value)
        except OSError:
            continue
        if not about.f_bavail or (about.f_files and not about.f_favail):
            found.append(_named(key, value))
    return found
