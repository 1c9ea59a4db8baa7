"""
Who looks after the networks of this host: one core0 at a time, or they would undo what the other one does.

Two locks say so. A file tells by whom it is held, and only root can take it; but it can be removed, and a core0 in
another root has another one. The name of an abstract socket is there once in each network namespace, whatever becomes
of files, and goes with the process; but anybody can take it.
"""

import errno
import os
import socket
import struct

from twisted.logger import Logger

from core0.errors import AlreadyRunning, Core0Error
from core0.lock import Lock
from core0.network.abstract_names import owner

FOLDER = "/run"  # where no user but root can take it away from core0
NAME = "\0core0-networks"
_CREDENTIALS = struct.Struct("3i")  # pid, uid, gid


class NotOurs(Core0Error):
    """
    Another core0 looks after them; the text says which.
    """


class Claim:
    """
    That it is this one.

    :param state: its folder, which tells it from others.
    """

    _log = Logger()

    def __init__(self, state: str) -> None:
        self._state = state
        self._lock: Lock | None = None
        self._name: socket.socket | None = None

    def take(self) -> None:
        """
        Unless it was taken before.

        :raises NotOurs: another one has it, or it cannot be had.
        """
        if self._lock is not None:
            return
        lock = Lock(path())
        try:
            lock.take()
            lock.say(f"pid {os.getpid()}, which keeps its state in {self._state}")
            self._take_name()
        except AlreadyRunning as error:
            lock.release()
            raise NotOurs(
                f"another core0 looks after the networks of this host: {error}; use that, or stop it"
            ) from error
        except OSError as error:
            lock.release()
            text = f"cannot look after the networks of this host: {error.filename or FOLDER}: {error.strerror}"
            raise NotOurs(f"{text}; is this core0 root?") from error
        self._lock = lock

    def _take_name(self) -> None:
        """
        :raises AlreadyRunning: root has it.
        """
        name = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
        try:
            name.bind(NAME)
            name.listen(1)
        except OSError as error:
            name.close()
            if error.errno != errno.EADDRINUSE:
                return  # names are not to be had here; the file is
            pid, uid = _holder()
            if uid == os.geteuid() or not uid:
                raise AlreadyRunning(f"core0 runs already: pid {pid or 'of another namespace'}") from error
            text = "user {uid} (pid {pid}) has taken the name that core0 tells others by that it is here"
            self._log.warn(text, pid=pid or "unknown", uid=uid)
        else:
            self._name = name

    def drop(self) -> None:
        """
        Another one may take it.
        """
        if self._name is not None:
            self._name.close()
            self._name = None
        if self._lock is not None:
            self._lock.release()
            self._lock = None


def _holder() -> tuple[int, int]:
    """
    Pid and uid of the process that has the name; a pid of 0 if that is not to be known, root if the user is not.
    """
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC) as other:
        try:
            other.connect(NAME)
            found = other.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
        except OSError:
            return 0, _owner()  # it does not listen, or takes no more connections
        pid, uid, _ = _CREDENTIALS.unpack(found)
        return pid, uid


def _owner() -> int:
    try:
        return owner(NAME.encode()) or 0
    except OSError:
        return 0


def path() -> str:
    """
    Of the lock: each network namespace has one of its own.
    """
    return f"{FOLDER}/core0-networks-{os.stat('/proc/self/ns/net').st_ino}.lock"
