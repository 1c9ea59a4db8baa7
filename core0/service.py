"""
``twistd core0``: options, and the tree of services put together in one place.
"""

import atexit
import ctypes
import hashlib
import os
import resource
import secrets
import signal
import sys
from collections.abc import Callable
from typing import Any, NoReturn

from twisted.application.service import IService, Service
from twisted.internet.defer import CancelledError, Deferred
from twisted.logger import Logger
from twisted.python import usage
from twisted.python.failure import Failure
from twisted.python.threadpool import ThreadPool

from core0.agent import in_pool
from core0.commands import COMMANDS
from core0.commands.registry import Registry
from core0.config import Config, load
from core0.errors import ConfigError, Core0Error
from core0.host import Host
from core0.interfaces import ITrees
from core0.jobs.cgroup import CgroupTrees
from core0.jobs.logfiles import LogFiles
from core0.jobs.manager import Jobs
from core0.jobs.process import Processes
from core0.jobs.tagged import TaggedTrees
from core0.lock import Lock
from core0.reaper import Reaper
from core0.records import Records
from core0.redis import keys
from core0.redis.consumer import Consumer
from core0.redis.ledger import Ledger
from core0.redis.link import Link
from core0.redis.pressure import Pressure
from core0.redis.records import RecordWriter
from core0.redis.server import EmbeddedServer, ServerSettings
from core0.redis.url import RedisURL, parse
from core0.spawn import Surroundings
from core0.startup import Startup
from core0.waiting import within

FILES_PER_JOB = 3
SPARE_FILES = 256  # descriptors for everything but jobs
TREE_THREADS = 4
FLUSH_TIMEOUT = 10.0  # seconds for the last results, logs and samples at the end
PR_SET_CHILD_SUBREAPER = 36
LINUX_REBOOT_CMD_RESTART = 0x01234567


class Options(usage.Options):
    """
    Command line of ``twistd core0``.
    """

    synopsis = "[options]"
    longdesc = "Runs what Redis clients ask for, and answers every command."
    optParameters = (("config", "c", None, "Configuration file. [default: /etc/core0/core0.toml if it is there]"),)

    def postOptions(self) -> None:
        """
        Twisted's hook: read the configuration while there is still somebody to tell.
        """
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

    config: Config = options.loaded
    try:
        for folder in (config.core.state_dir, config.core.run_dir):
            make_private(folder)
        lock = Lock(os.path.join(config.core.state_dir, "core0.lock"))
        lock.take()
        lock.say(f"process {os.getpid()}, listening at {config.redis.socket}")
    except (OSError, Core0Error) as error:
        _give_up(str(error))
    service: IService = Core0(reactor, options["config"], config, lock)
    return service


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
    """

    name = "core0"
    _log = Logger()

    def __init__(self, reactor: Any, path: str | None, config: Config, lock: Lock) -> None:
        self._reactor = reactor
        self._path = path
        self._config = config
        self._lock = lock
        self._starting: Deferred[None] | None = None
        self._undo: list[Callable[[], Any]] = []
        self._parts: _Parts | None = None
        self._down = False

    def startService(self) -> None:
        """
        Twisted's hook.
        """
        super().startService()
        self._reactor.callWhenRunning(self._begin)

    def _begin(self) -> None:
        self._starting = Deferred.fromCoroutine(self._start())
        self._starting.addErrback(self._failed)

    def _failed(self, failure: Failure) -> None:
        if failure.check(CancelledError):
            return
        if failure.check(Core0Error, OSError):
            self._log.critical("cannot start: {error}", error=failure.getErrorMessage())
            sys.stderr.write(f"core0: {failure.getErrorMessage()}\n")
        else:
            self._log.failure("cannot start", failure)
        # twistd has no exit status of its own for this
        atexit.register(_exit_failed)
        if self._reactor.running:
            self._reactor.stop()

    async def _start(self) -> None:
        self._lock.say(f"process {os.getpid()}, listening at {self._config.redis.socket}")
        parts = self._parts = _Parts(self._reactor, self._config, self._reboot)
        await parts.start(self._undo)
        signal.signal(signal.SIGHUP, lambda *_: self._reactor.callFromThread(self._reload))
        self._log.info("core0 {node} takes commands at {where}", node=parts.node, where=str(parts.url))

    async def _stop(self) -> None:
        if self._starting is not None and not self._starting.called:
            self._starting.cancel()
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: self._reactor.callFromThread(self._hurry))
        while self._undo:
            step = self._undo.pop()
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
        parts.records.reload(config.logging.levels)
        parts.startup.start(config.startup)
        self._log.info("configuration reloaded: [logging] levels, new [startup.*]")

    def _reboot(self) -> None:
        if not self._down:
            self._down = True
            self._reactor.callLater(0, self._reactor.stop)

    async def _go_down(self) -> None:
        await self._parts_in_thread(os.sync)
        command = self._config.reboot.command
        self._log.info("bringing the machine down")
        if command:
            os.posix_spawnp(command[0], list(command), dict(os.environ), setsid=True)
        else:
            ctypes.CDLL(None, use_errno=True).reboot(LINUX_REBOOT_CMD_RESTART)

    async def _parts_in_thread(self, work: Callable[[], Any]) -> None:
        await in_pool(self._reactor, self._reactor.getThreadPool(), work)


def _exit_failed() -> None:
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(1)


class _Parts:
    """
    What core0 is made of, in the order in which it is started.
    """

    _log = Logger()

    def __init__(self, reactor: Any, config: Config, reboot: Callable[[], None]) -> None:
        self._reactor = reactor
        self._config = config
        self._reboot = reboot
        self.node = f"{config.core.gid}:{config.core.nid}"
        self.url = RedisURL()
        self.jobs: Jobs | None = None
        self.startup: Startup | None = None
        self.records: Records | None = None
        self.files = LogFiles(os.path.join(config.core.state_dir, "logs"), config.logging.max_bytes)

    async def start(self, undo: list[Callable[[], Any]]) -> None:
        """
        Start everything; what stops each part goes onto ``undo``.
        """
        config, reactor, node = self._config, self._reactor, self.node
        surroundings = Surroundings.prepare()
        become_subreaper()
        reaper = Reaper(reactor)
        reaper.install()
        pool = ThreadPool(0, TREE_THREADS, name="core0-trees")
        pool.start()
        undo.append(pool.stop)
        trees = find_trees(config.core.state_dir, self._log)
        undo.append(trees.close)

        server = EmbeddedServer(reactor, reaper, surroundings, server_settings(config))
        await server.start()
        undo.append(server.stop)
        self.url = parse(config.redis.url) if config.redis.url else server.url
        killed = await in_pool(reactor, pool, trees.kill_left)
        if killed:
            self._log.warn("ended {count} processes that a core0 before this one had left", count=killed)

        self.files.start()
        undo.append(lambda: in_pool(reactor, pool, self.files.stop))
        writing = Link(reactor, self.url, "writing results")
        ledger = Ledger(reactor, writing, node, config.redis.result_ttl)
        ledger.start()
        undo.append(ledger.stop)
        pressure = Pressure(reactor, writing)
        ledger.spare = pressure.short
        pressure.start()
        undo.append(pressure.stop)
        writer = RecordWriter(
            reactor, Link(reactor, self.url, "writing records"), config.redis.result_ttl, config.logging.redis_records
        )
        writer.start()
        undo.append(writer.stop)
        records = self.records = Records(reactor, node, 0, config.logging.levels, writer, self.files)
        writer.tell_dropped = self.files.tell_dropped = records.dropped

        jobs = self.jobs = Jobs(
            reactor, ledger, limit=live_limit(config.jobs.max, self._log), waiting=config.jobs.waiting
        )
        processes = Processes(
            reactor,
            reaper,
            surroundings,
            trees,
            records,
            lambda work, *arguments: in_pool(reactor, pool, work, *arguments),
            kill_grace=config.jobs.kill_grace,
            buffer=config.jobs.stream_buffer,
        )
        registry = Registry(COMMANDS)
        registry.add_installed()
        host = Host(
            reactor,
            registry,
            ledger,
            jobs,
            processes,
            records,
            node=node,
            stats_interval=config.jobs.stats_interval,
            down=self._reboot,
            can_go_down=bool(config.reboot.command) or os.geteuid() == 0,
        )
        host.recover(await ledger.marks())
        undo.append(lambda: self._flush(ledger, writer))
        undo.append(jobs.stop)
        host.sampler.start()
        undo.append(host.sampler.stop)
        self.startup = Startup(reactor, host, jobs, registry.find)
        self.startup.start(config.startup)

        consumer = Consumer(reactor, self.url, node, queues(config, node), config.redis.max_command, host)
        consumer.full = pressure.stopped
        jobs.on_room = consumer.ring
        consumer.start()
        undo.append(consumer.stop)
        await consumer.ready.wait()

    async def _flush(self, ledger: Ledger, writer: RecordWriter) -> None:
        for part in (ledger, writer):
            await within(self._reactor, FLUSH_TIMEOUT, part.flushed())


def queues(config: Config, node: str) -> list[str]:
    """
    The lists that this node takes commands from.
    """
    shared = not config.redis.url or config.redis.shared_queue
    return [*([keys.SHARED_QUEUE] if shared else ()), keys.node_queue(node)]


def become_subreaper() -> None:
    """
    Have orphans of jobs given to this process instead of to the machine's first one.
    """
    ctypes.CDLL(None, use_errno=True).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def find_trees(state_dir: str, log: Logger) -> ITrees:
    """
    Trees by cgroup where that can be had, else by tag.
    """
    family = int.from_bytes(hashlib.sha256(os.path.realpath(state_dir).encode()).digest()[:2]) + 1
    recorded = os.path.join(state_dir, "cgroup")
    try:
        with open(recorded, encoding="utf-8", errors="surrogateescape") as file:
            before = CgroupTrees(file.read().strip())
    except OSError:
        before = None
    try:
        trees = CgroupTrees.find(f"core0-{family}").open()
    except Core0Error as error:
        log.info("{error}; following processes by a tag of their own instead", error=error)
        return TaggedTrees(family)
    if before is not None and before.path != trees.path:
        before.kill_left()
    with open(recorded, "w", encoding="utf-8", errors="surrogateescape") as file:
        file.write(trees.path)
    return trees


def live_limit(wanted: int, log: Logger) -> int:
    """
    How many jobs may be live, as far as there are descriptors for them.
    """
    files = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    possible = max(1, (files - SPARE_FILES) // FILES_PER_JOB)
    if possible < wanted:
        text = "[jobs] max is {possible} instead of {wanted}: only {files} files may be open; raise LimitNOFILE"
        log.warn(text, possible=possible, wanted=wanted, files=files)
    return min(wanted, possible)


def server_settings(config: Config) -> ServerSettings:
    """
    What the configuration says of the server that core0 starts.

    :raises Core0Error: the password file cannot be used.
    """
    redis = config.redis
    host, _, port = redis.listen.rpartition(":")
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
        listen=(host.strip("[]"), int(port)) if redis.listen else None,
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
