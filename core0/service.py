"""
``twistd core0``: options, and the tree of services put together in one place.
"""

import atexit
import ctypes
import os
import signal
import sys
from typing import Any, NoReturn

from twisted.application.service import IService, Service
from twisted.internet.defer import CancelledError, Deferred, TimeoutError
from twisted.logger import Logger
from twisted.python import usage
from twisted.python.failure import Failure

from core0 import garbage, inherited, start_errors
from core0.assembly import Assembly
from core0.clock import go_by_monotonic
from core0.config import Config, load
from core0.errors import AlreadyRunning, ConfigError, Core0Error
from core0.lock import Lock
from core0.log_text import escape_all
from core0.redis import task
from core0.threads import in_pool, use_daemon_pool
from core0.waiting import within

LOCK = "core0.lock"
SYNC_TIMEOUT = 30.0  # seconds
LINUX_REBOOT_CMD_RESTART = 0x01234567


class Options(usage.Options):
    """
    Command line of ``twistd core0``.
    """

    synopsis = "[options]"
    longdesc = "Runs what Redis clients ask for, and answers every command."
    optFlags = (("terminate-containers", None, "Terminate all containers when it stops. [default: they live on]"),)
    optParameters = (("config", "c", None, "Configuration file. [default: /etc/core0/core0.toml if it is there]"),)

    def postOptions(self) -> None:
        """
        Twisted's hook: read the configuration while there is still somebody to tell.
        """
        inherited.ensure_utf8()
        inherited.open_streams()
        try:
            if self["config"] is not None:
                self["config"] = os.path.abspath(self["config"])  # a daemon may go elsewhere
            self.loaded = load(self["config"], root=os.geteuid() == 0, environ=os.environ)
        except ConfigError as error:
            _give_up(str(error))


def _give_up(text: str) -> NoReturn:
    sys.stderr.write(f"core0: {text}\n")
    raise SystemExit(1)


def makeService(options: Options) -> IService:
    """
    Twisted's hook: the service, with its folders made and its lock taken.
    """
    from twisted.internet import reactor

    go_by_monotonic(reactor)
    use_daemon_pool(reactor)
    escape_all()
    config: Config = options.loaded
    try:
        for folder in (config.core.state_dir, config.core.run_dir):
            make_private(folder)
        lock = _take_locks(config)
    except OSError as error:
        _give_up(f"cannot start: {start_errors.reason(error, config)}")
    except Core0Error as error:
        _give_up(str(error))
    service: IService = Core0(reactor, options["config"], config, lock, terminate=bool(options["terminate-containers"]))
    return service


def _take_locks(config: Config) -> Lock:
    """
    Of ``state_dir``, and of ``run_dir``, which is kept until the process ends: another core0 would take the sockets
    there away from this one.
    """
    lock = Lock(os.path.join(config.core.state_dir, LOCK), folder=True)
    lock.take()
    if not os.path.samefile(config.core.state_dir, config.core.run_dir):
        other = Lock(os.path.join(config.core.run_dir, LOCK), folder=True)
        try:
            other.take()
        except AlreadyRunning as error:
            raise AlreadyRunning(f"{error}; set another [core] run_dir for this one") from error
        other.say(f"process {os.getpid()}, with its state in {config.core.state_dir}")
    lock.say(f"process {os.getpid()}, listening at {config.redis.socket}")
    return lock


def make_private(folder: str) -> None:
    """
    Make a folder that only its owner enters.

    :raises Core0Error: it is there, and somebody else's.
    """
    os.makedirs(folder, mode=0o700, exist_ok=True)
    if os.stat(folder).st_uid != os.geteuid():
        raise Core0Error(f"{folder} belongs to another user; set [core] state_dir and run_dir to folders of your own")


class Core0(Service):
    """
    The daemon. Starts its parts one after another, and stops them in reverse.

    :param terminate: its containers end with it.
    """

    name = "core0"
    _log = Logger()

    def __init__(self, reactor: Any, path: str | None, config: Config, lock: Lock, *, terminate: bool = False) -> None:
        self._reactor = reactor
        self._path = path
        self._config = config
        self._lock = lock
        self._terminate = terminate
        self._starting: Deferred[None] | None = None
        self._parts: Assembly | None = None
        self._down = False

    def startService(self) -> None:
        """
        Twisted's hook.
        """
        super().startService()
        inherited.reset()
        self._reactor.callWhenRunning(self._begin)

    def _begin(self) -> None:
        self._starting = Deferred.fromCoroutine(self._start())
        self._starting.addErrback(self._failed)

    def _failed(self, failure: Failure) -> None:
        if failure.check(CancelledError):
            return
        if isinstance(failure.value, OSError):
            text = start_errors.reason(failure.value, self._config)
            self._log.critical("cannot start: {error}", error=text)
        elif failure.check(Core0Error):
            self._log.critical("cannot start: {error}", error=failure.getErrorMessage())
        else:
            self._log.failure("cannot start", failure)
        self._broken()

    async def _start(self) -> None:
        self._lock.say(f"process {os.getpid()}, listening at {self._config.redis.socket}")
        task.on_broken = self._broken
        parts = self._parts = Assembly(self._reactor, self._config, self._reboot, terminate=self._terminate)
        # first: unhandled it would end a core0 that is just starting
        signal.signal(signal.SIGHUP, lambda *_: self._reactor.callFromThread(self._reload))
        await parts.start()
        garbage.leave_alone()
        where = str(parts.url) if self._config.redis.url else self._config.redis.socket
        self._log.info("core0 {node} takes commands at {where}", node=parts.node, where=where)

    def _broken(self) -> None:
        """
        A part of core0 has ended by a mistake: better to end, and be started again, than to live on without it.
        """
        # twistd has no exit status of its own for this
        atexit.register(_exit_failed)
        if self.running:
            self._reactor.stop()

    async def _stop(self) -> None:
        if self._starting is not None and not self._starting.called:
            self._starting.cancel()
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: self._reactor.callFromThread(self._hurry))
        undo = self._parts.undo if self._parts is not None else []
        while undo:
            step = undo.pop()
            try:
                result = step()
                if result is not None:
                    await result
            except Exception:
                self._log.failure("cannot stop everything in order", Failure())
        if self._down:
            await self._go_down()
        self._lock.release()

    def stopService(self) -> "Deferred[None]":
        """
        Twisted's hook.
        """
        super().stopService()
        return Deferred.fromCoroutine(self._stop())

    def _hurry(self) -> None:
        self._log.info("told again to stop: not waiting for jobs to end by themselves")
        if self._parts is not None and self._parts.jobs is not None:
            self._parts.jobs.hurry()

    def _reload(self) -> None:
        """
        SIGHUP: ``[logging]`` and ``[startup.*]`` anew; nothing is stopped.
        """
        parts = self._parts
        if parts is None or parts.startup is None or parts.records is None:
            return
        parts.files.reopen()
        try:
            config = load(self._path, root=os.geteuid() == 0, environ=os.environ)
        except ConfigError as error:
            self._log.error("the configuration is not reloaded: {error}", error=error)
            return
        parts.reload(config.logging)
        parts.startup.start(config.startup)
        self._log.info("configuration reloaded: [logging], [startup.*]")

    def _reboot(self) -> None:
        if not self._down:
            self._down = True
            self._reactor.callLater(0, self._reactor.stop)

    async def _go_down(self) -> None:
        try:
            await within(self._reactor, SYNC_TIMEOUT, in_pool(self._reactor, self._reactor.getThreadPool(), os.sync))
        except TimeoutError:
            self._log.error("file systems are not synced after {seconds} s; going on", seconds=SYNC_TIMEOUT)
        command = self._config.reboot.command
        self._log.info("bringing the machine down")
        try:
            if command:
                os.posix_spawnp(command[0], list(command), dict(os.environ), setsid=True)
            else:
                reboot()
        except OSError as error:
            self._log.critical("the machine cannot be brought down: {error}", error=error)
            atexit.register(_exit_failed)


def reboot() -> None:
    """
    The system call. The file systems should be synced before.

    :raises OSError: the kernel refuses.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.reboot(LINUX_REBOOT_CMD_RESTART) != 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))


def _exit_failed() -> None:
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(1)
