"""
CoreX: the Core inside a container; ``twistd corex`` runs one by hand.
"""

import atexit
import os
import sys
from collections.abc import Callable
from functools import cache
from typing import Any, NoReturn

from twisted.application.service import IService, Service
from twisted.internet.defer import Deferred
from twisted.logger import ILogObserver, LogEvent, Logger, LogLevel, formatEvent, globalLogBeginner
from twisted.python import usage
from twisted.python.failure import Failure
from twisted.python.threadpool import ThreadPool
from zope.interface import implementer

from core0 import garbage, inherited
from core0.agent import Agent
from core0.clock import go_by_monotonic
from core0.commands import COMMANDS
from core0.commands.registry import Registry
from core0.corex_settings import Settings
from core0.errors import Core0Error
from core0.jobs.manager import Jobs
from core0.jobs.process import Processes
from core0.jobs.results import ResultBuffers
from core0.jobs.tagged import TaggedTrees
from core0.messages import Level
from core0.reaper import Reaper
from core0.records import Records
from core0.redis import task
from core0.redis.far_consumer import FarConsumer
from core0.redis.far_ledger import FarLedger
from core0.redis.far_sink import FarSink
from core0.redis.link import Link
from core0.redis.url import RedisURL, parse
from core0.spawn import Surroundings
from core0.threads import DaemonPool, drop_unstarted, in_pool, use_daemon_pool
from core0.waiting import within

# All threads that a CoreX ever has are started before its first job: when its container has as many processes as it may
# have, there is none to be had, and then above all it has to be able to kill.
TREE_THREADS = 2
OTHER_THREADS = 2  # of the reactor's pool
RESULT_BYTES = 64 << 20  # of the results that running jobs have printed, together
RESULT_SHARE = 8  # or so much less than the memory of the container: until it is sent it is there several times
LARGEST_TABLE = 64 << 10  # bytes of a table of users that are read
FLUSH_TIMEOUT = 5.0  # seconds for the last results at the end, if Redis is there

Undo = list[Callable[[], Any]]


@cache
def registry() -> Registry:
    """
    The commands of every CoreX, those of other packages included; made once, before the fork.
    """
    commands = Registry(COMMANDS)
    commands.add_installed()
    return commands


class CoreX:
    """
    The parts of a CoreX, started one after another and stopped in reverse.

    :param url: of Redis, with the name and the password of this CoreX.
    :param oom_score: as in :class:`~core0.spawn.Surroundings`.
    """

    _log = Logger()

    def __init__(self, reactor: Any, settings: Settings, url: RedisURL, oom_score: int | None = None) -> None:
        self._reactor = reactor
        self._oom_score = oom_score
        self._settings = settings
        self._undo: Undo = []
        self._ledger = FarLedger(reactor, Link(reactor, url, "writing results", scripts=()), settings.number)
        self.sink = FarSink(reactor, Link(reactor, url, "writing records", scripts=()), settings.number)
        self._url = url
        self.jobs: Jobs | None = None

    def start(self) -> None:
        """
        From the ground up; commands come as soon as Redis is there.
        """
        settings, reactor, undo = self._settings, self._reactor, self._undo
        # the server is asked first: it answers while all else is made
        self._ledger.start()
        undo.append(self._ledger.stop)
        self.sink.start()
        undo.append(self.sink.stop)
        surroundings = Surroundings.prepare(self._oom_score)
        reaper = Reaper(reactor)
        reaper.install()
        use_daemon_pool(reactor)
        fill(reactor.getThreadPool(), OTHER_THREADS)
        pool = DaemonPool(0, TREE_THREADS, name="corex-trees")
        pool.start()
        undo.append(lambda: pool.finish(reactor))
        fill(pool, TREE_THREADS)
        records = Records(reactor, settings.node, settings.number, settings.levels, self.sink)
        jobs = self.jobs = Jobs(
            reactor, self._ledger, limit=settings.max_jobs, waiting=settings.waiting, core=settings.number
        )
        processes = Processes(
            reactor,
            reaper,
            surroundings,
            TaggedTrees(settings.number, inside=True),
            records,
            lambda work, *arguments: in_pool(reactor, pool, work, *arguments),
            kill_grace=settings.kill_grace,
            buffer=settings.stream_buffer,
            results=ResultBuffers(settings.result_buffer, result_bytes(settings)),
            env={"HOME": home(), **settings.env},
        )
        agent = self._agent(jobs, processes, records)
        undo.append(self._flush)
        undo.append(jobs.stop)
        agent.sampler.start()
        undo.append(agent.sampler.stop)
        consumer = FarConsumer(reactor, self._url, settings.number, agent, self._ledger)
        jobs.on_room = consumer.ring
        consumer.start()
        undo.append(consumer.stop)
        garbage.leave_alone()
        self._ledger.ready(os.getpid())

    def _agent(self, jobs: Jobs, processes: Processes, records: Records) -> Agent:
        settings = self._settings
        return Agent(
            self._reactor,
            registry(),
            self._ledger,
            jobs,
            processes,
            records,
            node=settings.node,
            core=settings.number,
            stats_interval=settings.stats_interval,
            limits=settings.limits,
        )

    async def _flush(self) -> None:
        await within(self._reactor, FLUSH_TIMEOUT, self._ledger.flushed())

    async def stop(self) -> None:
        """
        End the jobs, TERM first, and tell what became of them.
        """
        while self._undo:
            try:
                result = self._undo.pop()()
                if result is not None:
                    await result
            except Exception:
                self._log.failure("cannot stop everything in order", Failure())


def result_bytes(settings: Settings) -> int:
    """
    How much memory results of running jobs may take in this container.
    """
    memory = settings.limits.memory
    return RESULT_BYTES if memory is None else min(RESULT_BYTES, memory // RESULT_SHARE)


def fill(pool: ThreadPool, count: int) -> None:
    """
    Have a pool that is started keep this many threads from now on, no more and no less. Where the kernel does not give
    as many, those that there are have to do.
    """
    pool.adjustPoolsize(0, count)
    try:
        pool.adjustPoolsize(count, count)
    except RuntimeError as error:  # of the threading module
        drop_unstarted(pool)
        pool.adjustPoolsize(0, max(1, len(pool.threads)))
        CoreX._log.warn("{pool} has {count} threads: {error}", pool=pool.name, count=len(pool.threads), error=error)


def home() -> str:
    """
    Of root, by the container's own table. It is read by hand: the C library would look for its users in whatever way
    the image says, and for that load libraries of the image into this process.
    """
    try:
        fd = os.open("/etc/passwd", os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return "/root"
    try:
        text = os.read(fd, LARGEST_TABLE).decode("utf-8", "replace")
    except OSError:
        return "/root"
    finally:
        os.close(fd)
    for line in text.splitlines():
        fields = line.split(":")
        if len(fields) > 5 and fields[2] == str(os.getuid()) and fields[5].startswith("/"):
            return fields[5]
    return "/root"


def run(reactor: Any, settings: Settings, socket: str, oom_score: int | None) -> None:
    """
    Be the CoreX of a container, to its end.

    :param socket: of Redis, as this process reaches it.
    :param oom_score: as in :class:`~core0.spawn.Surroundings`.
    """
    go_by_monotonic(reactor)
    url = RedisURL(path=socket, username=settings.user, password=settings.password)
    corex = CoreX(reactor, settings, url, oom_score)
    globalLogBeginner.beginLoggingTo([_Teller(corex.sink)], redirectStandardIO=False, discardBuffer=True)
    task.on_broken = lambda: _end_broken(reactor)
    reactor.callWhenRunning(corex.start)
    reactor.addSystemEventTrigger("before", "shutdown", lambda: Deferred.fromCoroutine(corex.stop()))
    reactor.run()


@implementer(ILogObserver)
class _Teller:
    """
    Sends CoreX's own log to the host's.
    """

    def __init__(self, sink: FarSink) -> None:
        self._sink = sink

    def __call__(self, event: LogEvent) -> None:
        """
        Twisted's hook.
        """
        if event.get("log_level", LogLevel.info) < LogLevel.info:
            return
        text = formatEvent(event)
        failure = event.get("log_failure")
        if failure is not None:
            text = f"{text}\n{failure.getTraceback()}"
        self._sink.own(text)


def _end_broken(reactor: Any) -> None:
    atexit.register(os._exit, 1)
    reactor.stop()


class Options(usage.Options):
    """
    Command line of ``twistd corex``.
    """

    synopsis = "[options]"
    longdesc = "Runs a CoreX by hand, for development. core0 starts those of its containers by itself."
    optParameters = (
        ("redis", "r", None, "Where core0's server is, with a user that may: redis+unix://corex-1:password@/path"),
        ("number", "n", 1, "The number of the container that it stands for.", int),
        ("node", None, "1:1", "The <gid>:<nid> of the host."),
    )

    def postOptions(self) -> None:
        """
        Twisted's hook: read the URL while there is still somebody to tell.
        """
        inherited.ensure_utf8()
        inherited.open_streams()
        try:
            if self["redis"] is None:
                raise usage.UsageError("--redis is missing")
            self.url = parse(self["redis"])
        except (Core0Error, usage.UsageError) as error:
            _give_up(str(error))


def _give_up(text: str) -> NoReturn:
    sys.stderr.write(f"corex: {text}\n")
    raise SystemExit(1)


def makeService(options: Options) -> IService:
    """
    Twisted's hook.
    """
    from twisted.internet import reactor

    go_by_monotonic(reactor)
    url = options.url
    levels = tuple(range(Level.STDERR, Level.STATSD))
    settings = Settings(
        number=options["number"],
        node=options["node"],
        user=url.username or "",
        password=url.password or "",
        levels=levels,
    )
    service: IService = ByHand(CoreX(reactor, settings, url), reactor)
    return service


class ByHand(Service):
    """
    A CoreX as a service of ``twistd``.
    """

    name = "corex"

    def __init__(self, corex: CoreX, reactor: Any) -> None:
        self._corex = corex
        self._reactor = reactor

    def startService(self) -> None:
        """
        Twisted's hook.
        """
        super().startService()
        inherited.reset()
        self._reactor.callWhenRunning(self._corex.start)

    def stopService(self) -> "Deferred[None]":
        """
        Twisted's hook.
        """
        super().stopService()
        return Deferred.fromCoroutine(self._corex.stop())
