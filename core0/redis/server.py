"""
The Redis server that core0 starts, watches and stops: Valkey, on a unix socket.
"""

import os
import secrets
from collections.abc import Callable, Iterable
from typing import Any

from twisted.internet.defer import CancelledError, TimeoutError, maybeDeferred
from twisted.internet.interfaces import IListeningPort
from twisted.internet.protocol import ProcessProtocol
from twisted.logger import Logger
from twisted.python.failure import Failure

from core0.errors import ServerFailed
from core0.reaper import Reaper
from core0.redis import acl
from core0.redis.connect import connect
from core0.redis.connection import RedisError
from core0.redis.files_lock import INHERITED, FilesLock, write_private
from core0.redis.files_lock import STOP_TIMEOUT as STOP_TIMEOUT
from core0.redis.local_proxy import LocalProxy
from core0.redis.server_settings import ServerSettings, configuration, find_program
from core0.redis.task import Task
from core0.redis.url import RedisURL
from core0.redis.users import Users
from core0.spawn import Child, Launch, Surroundings
from core0.waiting import Occurrence, pause, within

START_TIMEOUT = 30.0  # seconds until it answers, or says that it reads its append-only file: that takes its time
TELL = 10.0  # seconds between records that it does
FIRST_LOOK, LAST_LOOK = 0.005, 0.2  # seconds between looks whether it answers
FIRST_WAIT, LONGEST_WAIT = 0.1, 30.0  # seconds before it is started again
HEALTHY = 60.0  # seconds after which that begins anew
SAID = 4096  # bytes of its last words that are kept
LOOK = 1.0  # seconds between looks whether its sockets are still there
OVERCOMMIT = b"WARNING Memory overcommit must be enabled!"  # it speaks of a reboot, and of losing data


class _Protocol(ProcessProtocol):
    """
    Keeps the server's last words, and says when it has ended.
    """

    _log = Logger()

    def __init__(self) -> None:
        self.ended: Occurrence[str] = Occurrence()
        self.said = b""

    def childDataReceived(self, childFD: int, data: bytes) -> None:
        """
        Twisted's hook.
        """
        self.said = (self.said + data)[-SAID:]
        lines = data.splitlines()
        others = b"\n".join(line for line in lines if OVERCOMMIT not in line)
        if others:
            self._log.info("server: {text}", text=others[:SAID].decode("utf-8", "replace").rstrip())
        if len(others) < len(b"\n".join(lines)):
            self._log.info("vm.overcommit_memory is 0: fine unless memory runs short; see when-something-runs-out")

    def processEnded(self, reason: Failure) -> None:
        """
        Twisted's hook.
        """
        self.ended.happen(reason.getErrorMessage())


class RunningServer:
    """
    A server that answers.

    :ivar url: where core0 itself connects to, with all rights.
    """

    def __init__(self, url: RedisURL, child: Child, protocol: _Protocol) -> None:
        self.url = url
        self.child = child
        self._protocol = protocol

    async def ended(self) -> str:
        """
        Wait for its end.

        :returns: how it ended.
        """
        return await self._protocol.ended.wait()


class EmbeddedServer:
    """
    Starts a server, and starts it again whenever it ends, until it is stopped.
    """

    _log = Logger()

    def __init__(self, reactor: Any, reaper: Reaper, surroundings: Surroundings, settings: ServerSettings) -> None:
        self._reactor = reactor
        self._reaper = reaper
        self._surroundings = surroundings
        self._settings = settings
        self._password = secrets.token_hex(32)
        self._null = os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)
        self._lock = FilesLock(reactor, settings)
        self._config = os.path.join(settings.run_dir, "server.conf")
        self._running: RunningServer | None = None
        self._port: IListeningPort | None = None
        self._seen: dict[str, tuple[int, int]] = {}  # its sockets
        self._refused = False
        self._task = Task(f"{settings.name} is not watched any more")
        self.url = RedisURL(path=settings.socket, username=acl.ADMIN, password=self._password)
        self._users = Users(reactor, self.url)

    async def start(self) -> RunningServer:
        """
        Start it, after whatever a killed core0 left, and watch it from then on.

        :raises ServerFailed: it does not come up; says what it said.
        """
        self._prepare()
        await self._lock.take()
        running = await self._start()
        self._task.start(self._watch())
        self._open_port()
        return running

    def _open_port(self) -> None:
        path = self._settings.open_socket
        if path and self._settings.password:
            proxy = LocalProxy(self._reactor, self._settings.socket, self._settings.password)
            self._port = proxy.listen(path)
            self._seen[path] = _which(path)

    def _prepare(self) -> None:
        settings = self._settings
        for folder in (settings.run_dir, os.path.dirname(settings.socket), settings.folder):
            os.makedirs(folder, mode=0o700, exist_ok=True)
        guard_privately(settings.guard)
        if not settings.clients:
            os.chmod(os.path.dirname(settings.socket), 0o711)

    async def sweep(self) -> None:
        """
        End whatever a core0 before this one has left of it, without starting it.
        """
        if os.path.isdir(self._settings.folder):
            self._prepare()
            await self._lock.take()
            self._lock.release()

    async def _start(self) -> RunningServer:
        self._prepare()
        program = find_program(self._settings.program)
        known = self._users.all()
        write_private(self._config, configuration(self._settings, self._password, known))
        launch = Launch(program, [program, self._config], {"PATH": os.environ.get("PATH", ""), "LANG": "C"}, "/")
        protocol = _Protocol()
        try:
            child = Child(self._reactor, self._reaper, self._surroundings, protocol, launch, self._pipes())
        except OSError as error:
            raise ServerFailed(f"cannot start {program}: {error.strerror}") from error
        running = RunningServer(self.url, child, protocol)
        try:
            if child.pid is not None:
                self._lock.record(child.pid)
            await self._answers(protocol)
            await self._users.catch_up(known)
        except BaseException as error:
            _try(lambda: child.signalProcess("KILL"))
            if not isinstance(error, CancelledError):
                # the next one must not find it still there
                await _within_patience(self._reactor, running)
            raise
        self._seen[self._settings.socket] = _which(self._settings.socket)
        self._running = running
        self._users.up = True
        return running

    def _pipes(self) -> dict[int, int | str]:
        return {0: self._null, 1: "r", 2: "r", INHERITED: self._lock.fd}

    async def _answers(self, protocol: _Protocol) -> None:
        deadline = self._reactor.seconds() + START_TIMEOUT
        told = self._reactor.seconds()
        step = FIRST_LOOK
        while not protocol.ended.happened and self._reactor.seconds() < deadline:
            try:
                connection = await connect(self._reactor, self.url)
            except RedisError as error:
                if str(error).startswith("LOADING"):
                    deadline = self._reactor.seconds() + START_TIMEOUT
                    told = self._tell_loading(told)
                await pause(self._reactor, step)
                step = min(step * 1.5, LAST_LOOK)
                continue
            connection.close()
            return
        name, said = self._settings.name, protocol.said.decode("utf-8", "replace").strip()
        if protocol.ended.happened:
            raise ServerFailed(f"{name} ended at once ({protocol.ended.value}): {said or 'it said nothing'}")
        raise ServerFailed(f"{name} did not answer within {START_TIMEOUT:.0f} s: {said or 'it said nothing'}")

    def _tell_loading(self, told: float) -> float:
        """
        :returns: when it was told last, or now.
        """
        now: float = self._reactor.seconds()
        if now - told < TELL:
            return told
        self._log.info("{name} still reads what it has stored", name=self._settings.name)
        return now

    async def _watch(self) -> None:
        """
        Start it again whenever it ends.
        """
        wait = FIRST_WAIT
        while True:
            running = self._running
            started = self._reactor.seconds()
            if running is not None:
                how = await self._until_gone(running)
                self._running = None
                self._users.up = False
                wait = FIRST_WAIT if self._reactor.seconds() - started > HEALTHY else wait
                text = "{name} has ended ({how}); starting it again in {wait} s"
                self._log.error(text, name=self._settings.name, how=how, wait=wait)
            await pause(self._reactor, wait)
            wait = min(wait * 2, LONGEST_WAIT)
            try:
                await self._start()
            except (ServerFailed, OSError) as error:
                self._log.error("{name} is not there: {error}", name=self._settings.name, error=error)

    async def _until_gone(self, running: RunningServer) -> str:
        """
        Wait until it has ended. Where its socket was removed nobody finds it any more, so it is ended.
        """
        while True:
            try:
                return await within(self._reactor, LOOK, running.ended())
            except TimeoutError:
                pass
            path = self._settings.open_socket
            if path in self._seen and self._seen[path] != _which(path):
                await self._reopen(path)
            if self._seen[self._settings.socket] != _which(self._settings.socket):
                await self._end(running)
                return f"its socket {self._settings.socket} was removed or replaced"

    async def _reopen(self, path: str) -> None:
        """
        Listen again at a path that was removed.
        """
        try:
            await self._close_port()
            self._open_port()
        except (OSError, ServerFailed) as error:
            if not self._refused:
                self._log.error("{path} was removed and cannot be made anew: {error}", path=path, error=error)
            self._refused = True
        else:
            self._log.error("{path} was removed; it is there again", path=path)
            self._refused = False

    async def _close_port(self) -> None:
        path, port = self._settings.open_socket, self._port
        if port is None:
            return
        os.makedirs(os.path.dirname(path), mode=0o700, exist_ok=True)
        if not os.path.lexists(path):
            os.close(os.open(path, os.O_CREAT | os.O_CLOEXEC, 0o600))  # Twisted removes it, or does not stop to listen
        self._port = None
        await maybeDeferred(port.stopListening)

    async def admit(self, user: str, rules: Iterable[str]) -> None:
        """
        Let somebody in from now on, whenever the server is started; at once if it runs.

        :param rules: as of ``ACL SETUSER``; whatever is not among them is forbidden.
        :raises ServerFailed: the server does not take the rules.
        """
        await self._users.admit(user, rules)

    async def dismiss(self, user: str) -> None:
        """
        Let somebody in no more, and close the connections that there are.
        """
        await self._users.dismiss(user)

    async def stop(self) -> None:
        """
        Have it write everything, and wait for its end.
        """
        self._task.stop()
        self._users.up = False
        try:
            await self._close_port()
        except OSError as error:
            self._log.error("cannot close {path}: {error}", path=self._settings.open_socket, error=error)
        running, self._running = self._running, None
        if running is None:
            return
        await self._end(running)
        _try(lambda: os.unlink(self._config))
        self._lock.release()

    async def _end(self, running: RunningServer) -> None:
        for name in ("TERM", "KILL"):
            if not _try(lambda name=name: running.child.signalProcess(name)):  # type: ignore[misc]
                break
            if await _within_patience(self._reactor, running):
                break

    @property
    def pid(self) -> int | None:
        """
        Of the server; None while there is none.
        """
        return self._running.child.pid if self._running is not None else None


def _which(path: str) -> tuple[int, int]:
    """
    What is at a path, told from all else; 0 if there is nothing.
    """
    try:
        found = os.lstat(path)
    except OSError:
        return (0, 0)
    return (found.st_dev, found.st_ino)


def guard_privately(folder: str) -> None:
    """
    Let nobody but this user enter a folder.

    :raises ServerFailed: it is not his.
    """
    found = os.stat(folder)
    if found.st_uid != os.geteuid():
        raise ServerFailed(f"{folder} belongs to somebody else; who can enter it commands this machine")
    if found.st_mode & 0o077:
        os.chmod(folder, 0o700)


async def _within_patience(reactor: Any, running: RunningServer) -> bool:
    """
    Whether it has ended in the time that it is given.
    """
    try:
        await within(reactor, STOP_TIMEOUT, running.ended())
    except TimeoutError:
        return False
    return True


def _try(action: Callable[[], Any]) -> bool:
    try:
        action()
    except Exception:
        return False
    return True
