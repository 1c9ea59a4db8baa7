"""
What containers need, put together for one core0.
"""

import os
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from core0.config import Config
from core0.containers.house import House
from core0.containers.manager import Containers
from core0.containers.nursery import Nursery
from core0.containers.probe import Runtimes
from core0.containers.programs import Programs
from core0.containers.runtime import Runner
from core0.containers.shelf import Found, Shelf
from core0.corex_settings import Settings
from core0.file_systems import FileSystems
from core0.images.images import Images
from core0.images.store import FOLDER
from core0.network.attachments import Attachments
from core0.reaper import Reaper
from core0.records import RecordSink, Sink
from core0.redis.channels import Channels
from core0.redis.corex_users import CoreXUsers
from core0.redis.dispatched import Dispatched
from core0.redis.server import EmbeddedServer
from core0.redis.server_settings import ServerSettings, corex_server_settings
from core0.redis.store import Store
from core0.spawn import Surroundings
from core0.threads import DaemonPool, in_pool
from core0.waiting import Occurrence, within

FLUSH_TIMEOUT = 10.0  # seconds for the last results of containers at the end
THREADS = 8


T = TypeVar("T")
Undo = list[Callable[[], Any]]


class Housing:
    """
    :param family: the name that all cgroups of its containers are below.
    :param undo: gets what stops each part.
    :ivar shelf: what is known of containers, on disk.
    """

    def __init__(
        self,
        reactor: Any,
        config: Config,
        node: str,
        family: str,
        reaper: Reaper,
        surroundings: Surroundings,
        undo: Undo,
    ) -> None:
        self._reactor = reactor
        self._config = config
        self._node = node
        self._family = family
        self._reaper = reaper
        self._surroundings = surroundings
        self._undo = undo
        # of its own: removing what a container has left may take long
        self._pool = DaemonPool(0, THREADS, name="core0-containers")
        self._pool.start()
        undo.append(lambda: self._pool.finish(reactor))
        self._lines = Lines(reactor, reaper, surroundings, corex_server_settings(config))
        self.shelf = Shelf(os.path.join(config.core.state_dir, "containers"))

    async def open_again(self, found: Found) -> None:
        """
        The server that living containers are waiting for; without any, what is left of one is ended.
        """
        for record in found.records:
            await self._lines.users.admit(record.number, record.secret)  # before it starts
        if found.records or found.unknown:
            await self._lines.open()
        else:
            await self._lines.server.sweep()

    async def find(self) -> Found:
        """
        What a core0 before this one knew of its containers.
        """
        return await self._in_thread(self.shelf.find)

    async def _in_thread(self, work: Callable[..., T], *arguments: Any) -> T:
        return await in_pool(self._reactor, self._pool, work, *arguments)

    def containers(self, store: Store, journal: RecordSink, networks: Attachments) -> Containers:
        """
        The containers, ready to be recovered.

        :param store: the server of the clients.
        :param journal: where their log records, samples and live output go.
        :param networks: their links and ports.
        """
        config, reactor, undo = self._config, self._reactor, self._undo
        dispatched = Dispatched(reactor, store, self._node, config.redis.result_ttl)
        dispatched.start()
        undo.append(dispatched.stop)
        undo.append(lambda: within(reactor, FLUSH_TIMEOUT, dispatched.flushed()))
        undo.append(self._lines.stop)
        programs = Programs(reactor, self._reaper, self._surroundings)
        nursery = Nursery(reactor, self._reaper, self._surroundings)
        undo.append(nursery.stop)
        images = self._images()
        undo.append(images.stop)
        run = os.path.join(config.core.run_dir, "containers")
        house = House(
            reactor=reactor,
            shelf=self.shelf,
            images=images,
            runner=lambda runtime: Runner(reactor, programs, runtime, os.path.join(run, runtime.name)),
            nursery=nursery,
            channels=self._lines.channels,
            users=self._lines.users,
            dispatched=dispatched,
            in_thread=self._in_thread,
            networks=networks,
            journal=journal,
            run=run,
            family=self._family,
            socket=self._lines.server.url.path,
            open=self._lines.open,
            private=(config.core.run_dir, config.core.state_dir, os.path.dirname(config.redis.socket)),
            file_systems=FileSystems(reactor),
            storage=config.containers.storage,
            settings=self._settings(),
        )
        containers = Containers(house, config.containers.max, Runtimes(reactor, programs, config.containers.runtime))
        undo.append(containers.leave)
        return containers

    def _images(self) -> Images:
        config = self._config
        folder = os.path.join(config.core.state_dir, FOLDER)
        return Images(self._reactor, self._reaper, self._surroundings, folder, max_bytes=config.containers.max_store)

    def _settings(self) -> Settings:
        """
        Of each CoreX, but for what is its own.
        """
        jobs = self._config.jobs
        return Settings(
            number=0,
            node=self._node,
            user="",
            password="",
            max_jobs=jobs.max,
            waiting=jobs.waiting,
            kill_grace=jobs.kill_grace,
            stream_buffer=jobs.stream_buffer,
            result_buffer=jobs.result_buffer,
            stats_interval=jobs.stats_interval,
            levels=tuple(self._config.logging.levels),
        )


class Lines:
    """
    The server that CoreX speak to, and core0's way to it. It is there as soon as there is a container.
    """

    def __init__(self, reactor: Any, reaper: Reaper, surroundings: Surroundings, settings: ServerSettings) -> None:
        self.server = EmbeddedServer(reactor, reaper, surroundings, settings)
        self.users = CoreXUsers(self.server)
        self.channels = Channels(reactor, self.server.url)
        self._opened: Occurrence[Failure | None] | None = None
        self._starting: Deferred[None] | None = None

    async def open(self) -> None:
        """
        Start it, unless that was done; whoever comes second waits for the same.

        :raises ServerFailed: it does not come up; the next one tries again.
        """
        if self._opened is None:
            self._opened = Occurrence()
            self._starting = Deferred.fromCoroutine(self._start())
            self._starting.addBoth(self._heard, self._opened)
        failure = await self._opened.wait()
        if failure is not None:
            failure.raiseException()

    async def _start(self) -> None:
        await self.server.start()
        self.channels.start()

    def _heard(self, result: Failure | None, opened: Occurrence[Failure | None]) -> None:
        if result is not None:
            self._opened = None
        opened.happen(result)

    async def stop(self) -> None:
        """
        Leave what was said to the next core0.
        """
        if self._starting is not None:
            self._starting.cancel()
            self.channels.stop()
            await self.server.stop()


class Journal:
    """
    Where records of containers go: to Redis, and log records to the files, too.
    """

    def __init__(self, sink: RecordSink, files: Sink) -> None:
        self._sink = sink
        self._files = files

    def log(self, line: bytes) -> None:
        """
        A log record.
        """
        self._sink.log(line)
        self._files.log(line)

    def stream(self, job: str, line: bytes, last: bool) -> None:
        """
        A piece of live output.
        """
        self._sink.stream(job, line, last)

    def clogged(self, job: str) -> bool:
        """
        Whether live output is not read as fast as it comes.
        """
        return self._sink.clogged(job)

    def sample(self, job: str, fields: Mapping[str, str | int | float], life: float) -> None:
        """
        A sample.
        """
        self._sink.sample(job, fields, life)
