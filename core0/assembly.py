"""
What core0 is made of, put together in the order in which it is started.
"""

import os
import pwd
import resource
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from twisted.logger import Logger

from core0.address import forget, holder, note
from core0.clock import epoch
from core0.commands import COMMANDS
from core0.commands.core import state_with
from core0.commands.registry import Registry
from core0.config import Config, Logging
from core0.containers.manager import Containers
from core0.host import Host
from core0.housing import Housing, Journal
from core0.identity import identify
from core0.inherited import oom_score
from core0.jobs.logfiles import LogFiles
from core0.jobs.manager import Jobs
from core0.jobs.process import Processes
from core0.jobs.results import ResultBuffers
from core0.jobs.trees import find_trees
from core0.network.attachments import Attachments
from core0.network.building import build
from core0.network.host_network import HostNetwork
from core0.network.networks import Networks
from core0.network.zerotiers import ZeroTiers
from core0.reaper import Reaper
from core0.records import Records
from core0.redis import keys
from core0.redis.consumer import Consumer
from core0.redis.lease import Lease, remains
from core0.redis.ledger import Ledger
from core0.redis.link import Link
from core0.redis.pressure import Pressure
from core0.redis.records import RecordWriter
from core0.redis.server import EmbeddedServer
from core0.redis.server_settings import server_settings
from core0.redis.store import Store
from core0.redis.url import RedisURL, parse
from core0.spawn import Surroundings
from core0.startup import Startup
from core0.threads import DaemonPool, in_pool
from core0.tree_interfaces import ITrees
from core0.waiting import within

FILES_PER_JOB = 3
SPARE_FILES = 256  # descriptors for everything but jobs
TREE_THREADS = 4
RESULT_BYTES = 256 << 20  # of the results that running jobs have printed, together
FLUSH_TIMEOUT = 10.0  # seconds for the last results, logs and samples at the end

_log = Logger()
Undo = list[Callable[[], Any]]


class Assembly:
    """
    A core0 that starts part by part. What stops each part goes onto ``undo``, to be called in reverse.

    :ivar jobs: None until there are any.
    :param down: brings the machine down, in order.
    :param terminate: containers end with this core0.
    """

    def __init__(self, reactor: Any, config: Config, down: Callable[[], None], *, terminate: bool = False) -> None:
        self._reactor = reactor
        self._config = config
        self._down = down
        self._terminate = terminate
        self.undo: Undo = []
        self._identity = identify(config.core.state_dir)
        self._lease: Lease | None = None
        self.node = f"{config.core.gid}:{config.core.nid}"
        self.url = RedisURL()
        self.store = Store(reactor, self.url)
        self.jobs: Jobs | None = None
        self.startup: Startup | None = None
        self.records: Records | None = None
        self._writer: RecordWriter | None = None
        self._network: HostNetwork | None = None
        self.files = LogFiles(os.path.join(config.core.state_dir, "logs"), config.logging.max_bytes)

    async def start(self) -> None:
        """
        From the ground up, until commands are taken.
        """
        await self._connect()
        ground = self._ground()
        housing = Housing(
            self._reactor,
            self._config,
            self.node,
            self._identity.containers,
            ground.reaper,
            ground.surroundings,
            self.undo,
        )
        found = await housing.find()
        await self._serve(ground)
        ways_out = self._ways_out(ground)
        networks = self._networks(ground)
        attachments = self._attachments(ground, networks)
        containers = housing.containers(self.store, Journal(ways_out.writer, self.files), attachments)
        await housing.open_again(found)
        await self._hold(ways_out.ledger.link)
        marks = await ways_out.ledger.marks()
        await networks.recover(found.numbers)
        await containers.recover(found, marks)
        if self._terminate:
            self.undo.append(containers.terminate_all)
        host, registry = self._host(ground, ways_out, containers, networks)
        host.recover(marks)
        self.undo.append(lambda: self._flush(ways_out))
        self.undo.append(host.jobs.stop)
        host.sampler.start()
        self.undo.append(host.sampler.stop)
        self.startup = Startup(self._reactor, host, host.jobs, registry.find)
        self.startup.start(self._config.startup)
        await self._take(host, ways_out)

    def reload(self, logging: Logging) -> None:
        """
        Go by another ``[logging]`` from now on.
        """
        self.files.limit(logging.max_bytes)
        if self.records is not None:
            self.records.reload(logging.levels)
        if self._writer is not None:
            self._writer.keep(logging.redis_records)

    async def _connect(self) -> None:
        """
        The host's own network, if core0 is told of it; else it is left alone.
        """
        settings = self._config.network
        if settings.file:
            self._network = HostNetwork(self._reactor, settings.file, settings.wait)
            self.undo.append(self._network.stop)
            await self._network.start()

    def _ground(self) -> "_Ground":
        """
        What children and their processes need.
        """
        surroundings = Surroundings.prepare(oom_score())
        reaper = Reaper(self._reactor)
        reaper.install()
        pool = DaemonPool(TREE_THREADS, TREE_THREADS, name="core0-trees")
        pool.start()
        self.undo.append(lambda: pool.finish(self._reactor))
        trees = find_trees(self._config.core.state_dir, self._identity)
        self.undo.append(trees.close)
        return _Ground(surroundings, reaper, pool, trees)

    async def _serve(self, ground: "_Ground") -> None:
        """
        The server; and what a core0 before this one has left is ended before anything is made of its commands.
        """
        settings = server_settings(self._config)
        server = EmbeddedServer(self._reactor, ground.reaper, ground.surroundings, settings)
        await server.start()
        self.undo.append(server.stop)
        self.url = parse(self._config.redis.url) if self._config.redis.url else server.url
        self.store = Store(self._reactor, self.url)
        killed = await in_pool(self._reactor, ground.pool, ground.trees.kill_left)
        if killed:
            _log.warn("ended {count} processes that a core0 before this one had left", count=killed)

    def _ways_out(self, ground: "_Ground") -> "_WaysOut":
        """
        For results, log records and samples.
        """
        config, reactor, undo = self._config, self._reactor, self.undo
        self.files.start()
        undo.append(lambda: in_pool(reactor, ground.pool, self.files.stop))
        ledger = Ledger(reactor, self.store, self.node, config.redis.result_ttl)
        ledger.start()
        undo.append(ledger.stop)
        pressure = Pressure(reactor, ledger.link)
        ledger.spare, ledger.on_written = pressure.short, pressure.written
        pressure.start()
        undo.append(pressure.stop)
        other = Link(reactor, self.store, "writing records")
        writer = self._writer = RecordWriter(reactor, other, config.redis.result_ttl, config.logging.redis_records)
        writer.start()
        undo.append(writer.stop)
        records = self.records = Records(reactor, self.node, 0, config.logging.levels, writer, self.files)
        writer.tell_dropped = self.files.tell_dropped = records.dropped
        return _WaysOut(ledger, pressure, writer, records)

    def _networks(self, ground: "_Ground") -> Networks:
        """
        Bridges, and what containers have of the network; in one thread of their own.
        """
        reactor = self._reactor
        pool = DaemonPool(0, 1, name="core0-networks")
        pool.start()
        self.undo.append(lambda: pool.finish(reactor))
        networks = build(
            reactor,
            lambda work, *arguments: in_pool(reactor, pool, work, *arguments),
            ground.reaper,
            ground.surroundings,
            self._config.core.state_dir,
            subnet=self._config.containers.subnet,
        )
        self.undo.append(networks.stop)
        return networks

    def _attachments(self, ground: "_Ground", networks: Networks) -> Attachments:
        """
        What containers have of all that.
        """
        reactor = self._reactor
        zerotiers = ZeroTiers(
            reactor,
            lambda work, *arguments: in_pool(reactor, reactor.getThreadPool(), work, *arguments),
            ground.reaper,
            ground.surroundings,
        )
        attachments = Attachments(reactor, networks, zerotiers)
        self.undo.append(attachments.stop)
        return attachments

    def _host(
        self, ground: "_Ground", ways_out: "_WaysOut", containers: Containers, networks: Networks
    ) -> tuple[Host, Registry]:
        config, reactor = self._config, self._reactor
        limit = live_limit(config.jobs.max)
        jobs = self.jobs = Jobs(reactor, ways_out.ledger, limit=limit, waiting=config.jobs.waiting)
        processes = Processes(
            reactor,
            ground.reaper,
            ground.surroundings,
            ground.trees,
            ways_out.records,
            lambda work, *arguments: in_pool(reactor, ground.pool, work, *arguments),
            kill_grace=config.jobs.kill_grace,
            buffer=config.jobs.stream_buffer,
            results=ResultBuffers(config.jobs.result_buffer, RESULT_BYTES),
            env={"HOME": home()},
        )
        registry = Registry(COMMANDS)
        if self._network is not None:
            registry.add(state_with(self._network.report))
        registry.add_installed()
        host = Host(
            reactor,
            registry,
            ways_out.ledger,
            jobs,
            processes,
            ways_out.records,
            node=self.node,
            stats_interval=config.jobs.stats_interval,
            containers=containers,
            networks=networks,
            down=self._down,
            obstacle=lambda: reboot_obstacle(config),
        )
        return host, registry

    async def _hold(self, link: Link) -> None:
        """
        The address is this core0's alone, on a server that others could use, too; before anything there is read.
        """
        folder = self._config.core.state_dir
        for address in note(folder, self.node):
            if text := await remains(link, address):
                _log.error("{text}", text=text)
            else:
                forget(folder, address)
        if self._config.redis.url:
            lease = self._lease = Lease(self._reactor, self.node, holder(self._identity.id, epoch(self._reactor)))
            await lease.wait(link)
            self.undo.append(lambda: lease.release(link))

    async def _take(self, host: Host, ways_out: "_WaysOut") -> None:
        """
        Open the front door.
        """
        largest = self._config.redis.max_command
        lists = queues(self._config, self.node)
        consumer = Consumer(self._reactor, self.store, self.node, lists, largest, host, self._lease)
        consumer.full = ways_out.pressure.stopped
        host.jobs.on_room = consumer.ring
        consumer.start()
        self.undo.append(consumer.stop)
        await consumer.ready.wait()

    async def _flush(self, ways_out: "_WaysOut") -> None:
        for part in (ways_out.ledger, ways_out.writer):
            await within(self._reactor, FLUSH_TIMEOUT, part.flushed())


@dataclass(frozen=True, slots=True)
class _Ground:
    surroundings: Surroundings
    reaper: Reaper
    pool: DaemonPool
    trees: ITrees


@dataclass(frozen=True, slots=True)
class _WaysOut:
    ledger: Ledger
    pressure: Pressure
    writer: RecordWriter
    records: Records


def home() -> str:
    """
    Of the user that core0 runs as.
    """
    try:
        return pwd.getpwuid(os.geteuid()).pw_dir
    except KeyError:
        return "/"


def reboot_obstacle(config: Config) -> str:
    """
    Why the machine cannot be rebooted; empty if it can.
    """
    command = config.reboot.command
    if command and shutil.which(command[0]) is None:
        return f"[reboot] command: {command[0]!r} is no program that can be run"
    if not command and os.geteuid() != 0:
        return "core0 is not root; set [reboot] command to a program that can"
    return ""


def queues(config: Config, node: str) -> list[str]:
    """
    The lists that this node takes commands from.
    """
    shared = not config.redis.url or config.redis.shared_queue
    return [*([keys.SHARED_QUEUE] if shared else ()), keys.node_queue(node)]


def live_limit(wanted: int) -> int:
    """
    How many jobs may be live, as far as there are descriptors for them.
    """
    files = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    possible = max(1, (files - SPARE_FILES) // FILES_PER_JOB)
    if possible < wanted:
        text = "[jobs] max is {possible} instead of {wanted}: only {files} files may be open; raise LimitNOFILE"
        _log.warn(text, possible=possible, wanted=wanted, files=files)
    return min(wanted, possible)
