"""
A connection that is made again whenever it is lost.
"""

from collections.abc import Awaitable, Callable, Sequence
from random import uniform
from typing import Any

from twisted.internet.defer import FirstError, gatherResults
from twisted.internet.task import LoopingCall
from twisted.logger import Logger
from twisted.python.failure import Failure

from core0.redis.connect import in_time
from core0.redis.connection import Connection, Lost, RedisError, ReplyError
from core0.redis.script import SCRIPTS, Script
from core0.redis.store import Store
from core0.redis.task import Task
from core0.redis.url import RedisURL
from core0.redis.why import missing_rights
from core0.waiting import Occurrence, pause

FIRST_WAIT, LONGEST_WAIT = 0.05, 5.0  # seconds between attempts, less up to half of it: others try as well
LONGEST_SENTINEL_WAIT = 2.0
LOOK = 1.0  # seconds between looks whether the server answers
SILENCE = 3  # looks in a row without an answer after which a server is not there any more
# the server has lost the scripts, is not the master any more, or cannot be of use: another one may be by now
STALE = ("READONLY", "NOSCRIPT", "NOREPLICAS", "MASTERDOWN", "LOADING", "CLUSTERDOWN")

Prepare = Callable[[Connection], Awaitable[None]]


async def _nothing(connection: Connection) -> None:
    pass


class Link:
    """
    :param store: the server, or its URL if no other connection goes there.
    :param name: for the log.
    :param prepare: called with each new connection before anybody else gets it.
    :param scripts: those that are to be called.
    :param silence: looks without an answer after which it connects anew.
    """

    _log = Logger()

    def __init__(
        self,
        reactor: Any,
        store: Store | RedisURL,
        name: str,
        prepare: Prepare = _nothing,
        scripts: Sequence[Script] = SCRIPTS,
        silence: int = SILENCE,
    ) -> None:
        self.reactor = reactor
        self._store = store if isinstance(store, Store) else Store(reactor, store)
        self._name = name
        self._prepare = prepare
        self._scripts = scripts
        self._silence = silence
        self._silent = 0.0
        self._longest = LONGEST_SENTINEL_WAIT if self._store.url.master else LONGEST_WAIT
        self._connection: Connection | None = None
        self._connecting: Connection | None = None
        self._up: Occurrence[Connection] = Occurrence()
        self._task = Task(f"{name}: nobody connects any more")
        self._stopped = False

    def start(self) -> None:
        """
        Begin to connect.
        """
        self._store.join(self)
        self._task.start(self._keep())

    def stop(self) -> None:
        """
        Disconnect for good; whoever still waits for a reply gets :class:`Lost`.
        """
        self._stopped = True
        self._store.part(self)
        self._task.stop()
        for connection in (self._connection, self._connecting):
            if connection is not None:
                connection.close()
        self._up.happen(None)  # type: ignore[arg-type] # tells those who wait that there will be none

    async def _keep(self) -> None:
        wait, told, again = FIRST_WAIT, "", False
        while not self._stopped:
            try:
                connection = await self._connect()
            except RedisError as error:
                if str(error) != told:  # once is enough, however long it lasts
                    told = str(error)
                    self._log.warn("{name}: {error}; trying again", name=self._name, error=error)
                await pause(self.reactor, uniform(wait / 2, wait))
                wait = min(wait * 2, self._longest)
                continue
            if told or again:
                self._log.info("{name}: connected to {where}", name=self._name, where=str(self._store.url))
            wait, told, again = FIRST_WAIT, "", True
            self._connection, self._connecting = connection, None
            self._up.happen(connection)
            await connection.lost()
            self._connection = None
            self._up = Occurrence()
            self._log.info("{name}: connection lost", name=self._name)

    async def _connect(self) -> Connection:
        connection = await self._store.connect()
        self._connecting, self._silent = connection, 0.0
        self._watch(connection)
        try:
            await in_time(self.reactor, f"{self._store.url}", self._load(connection), self._store.patience)
            await self._prepare(connection)
            if not connection.alive:
                raise Lost(f"{self._store.url} has closed the connection")
        except BaseException:
            connection.close()
            raise
        return connection

    async def _load(self, connection: Connection) -> None:
        replies = [connection.command("SCRIPT", "LOAD", script.text) for script in self._scripts]
        try:
            await gatherResults(replies, consumeErrors=True)
        except FirstError as error:
            error.subFailure.raiseException()

    def _watch(self, connection: Connection) -> None:
        """
        Look after a connection until it is lost.
        """
        watch = LoopingCall(self._look_after, connection)
        watch.clock = self.reactor
        watch.start(LOOK, now=False).addErrback(self._unwatched, connection)
        connection.lost().addCallback(_unwatch, watch)

    def _unwatched(self, failure: Failure, connection: Connection) -> None:
        """
        Nobody would notice that it is silent: better another one.
        """
        self._log.failure("{name}: cannot look after the connection; reconnecting", failure, name=self._name)
        connection.close()

    def _look_after(self, connection: Connection) -> None:
        self._silent = connection.silent()
        if self._silent >= self._silence and connection.waiting and connection.alive:
            text = "{name}: no answer from {where} for {seconds} s; reconnecting"
            self._log.warn(text, name=self._name, where=str(self._store.url), seconds=self._silence)
            connection.close()
            self._store.silent()

    def distrust(self) -> None:
        """
        Connect anew if nothing has come for long.
        """
        connection = self._connection
        if connection is not None and connection.alive and self._silent >= self._silence - 1:
            connection.close()

    def leave(self, run_id: str) -> None:
        """
        Connect anew unless this is the server.
        """
        for connection in (self._connection, self._connecting):
            if connection is not None and connection.alive and connection.run_id not in ("", run_id):
                connection.close()

    async def up(self) -> Connection:
        """
        The connection, as soon as there is one.

        :raises Lost: the link was stopped.
        """
        connection = self._connection or await self._up.wait()
        if connection is None:
            raise Lost(f"{self._name}: stopped")
        return connection

    async def call(self, script: Script, keys: Sequence[str], words: Sequence[str | bytes | int | float]) -> Any:
        """
        Run a script that may be run again with the same effect, for as long as it takes.

        :raises Lost: the link was stopped.
        """
        wait, told = FIRST_WAIT, ""
        while True:
            connection = await self.up()
            try:
                return await self.once(connection, script, keys, words)
            except Lost:
                await pause(self.reactor, 0)
            except ReplyError as error:
                if str(error) != told:
                    # out of memory, a replica that was a master before: it passes
                    told = str(error)
                    self._log.warn("{name}: refused: {error}; trying again", name=self._name, error=error)
                await pause(self.reactor, uniform(wait / 2, wait))
                wait = min(wait * 2, LONGEST_WAIT)

    async def once(
        self, connection: Connection, script: Script, keys: Sequence[str], words: Sequence[str | bytes | int | float]
    ) -> Any:
        """
        Run a script on this connection, once.
        """
        try:
            return await connection.command("EVALSHA", script.sha, len(keys), *keys, *words)
        except ReplyError as error:
            self.doubt(error)
            if str(error).startswith("NOPERM"):
                raise ReplyError(await self._missing(connection, str(error), keys)) from error
            raise

    async def ask(self, connection: Connection, command: str, key: str, *words: str) -> Any:
        """
        Send a command about one key; a refusal for want of rights names it.
        """
        try:
            return await connection.command(command, key, *words)
        except ReplyError as error:
            if str(error).startswith("NOPERM"):
                raise ReplyError(missing_rights(self._store.url.username, str(error), [key])) from error
            raise

    async def _missing(self, connection: Connection, error: str, keys: Sequence[str]) -> str:
        """
        The same refusal with the keys that it is about.
        """
        refused = []
        for key in keys:
            try:
                await connection.command("TYPE", key)
            except ReplyError:
                refused.append(key)
        return missing_rights(self._store.url.username, error, refused or list(keys))

    def doubt(self, error: RedisError) -> None:
        """
        Connect anew if another server may be the one to use by now.
        """
        if self._connection is not None and str(error).startswith(STALE):
            self._connection.close()


def _unwatch(result: object, watch: LoopingCall) -> None:
    if watch.running:
        watch.stop()
