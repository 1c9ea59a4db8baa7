"""
A connection that is made again whenever it is lost.
"""

from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from twisted.internet.task import LoopingCall
from twisted.logger import Logger

from core0.redis.connection import (
    Connection,
    Lost,
    RedisError,
    ReplyError,
    connect,
    in_time,
)
from core0.redis.script import SCRIPTS, Script
from core0.redis.task import Task
from core0.redis.url import RedisURL
from core0.waiting import Occurrence, pause

FIRST_WAIT, LONGEST_WAIT = 0.05, 5.0  # seconds between attempts
REPLY_TIMEOUT = 30.0  # seconds; a server that says nothing for so long, or twice that, is not there

Prepare = Callable[[Connection], Awaitable[None]]


async def _nothing(connection: Connection) -> None:
    pass


class Link:
    """
    :param name: for the log.
    :param prepare: called with each new connection before anybody else gets it.
    :param scripts: those that are to be called.
    """

    _log = Logger()

    def __init__(
        self,
        reactor: Any,
        url: RedisURL,
        name: str,
        prepare: Prepare = _nothing,
        scripts: Sequence[Script] = SCRIPTS,
    ) -> None:
        self._reactor = reactor
        self._url = url
        self._name = name
        self._prepare = prepare
        self._scripts = scripts
        self._connection: Connection | None = None
        self._up: Occurrence[Connection] = Occurrence()
        self._task = Task(f"{name}: nobody connects any more")

    def start(self) -> None:
        """
        Begin to connect.
        """
        self._task.start(self._keep())

    def stop(self) -> None:
        """
        Disconnect for good; whoever still waits for a reply gets :class:`Lost`.
        """
        self._task.stop()
        if self._connection is not None:
            self._connection.close()
        self._up.happen(None)  # type: ignore[arg-type] # tells those who wait that there will be none

    async def _keep(self) -> None:
        wait, told = FIRST_WAIT, ""
        while True:
            try:
                connection = await self._connect()
            except RedisError as error:
                if str(error) != told:  # once is enough, however long it lasts
                    told = str(error)
                    self._log.warn("{name}: {error}; trying again", name=self._name, error=error)
                await pause(self._reactor, wait)
                wait = min(wait * 2, LONGEST_WAIT)
                continue
            if told:
                self._log.info("{name}: connected", name=self._name)
            wait, told = FIRST_WAIT, ""
            self._connection = connection
            self._up.happen(connection)
            watch = LoopingCall(self._look_after, connection)
            watch.clock = self._reactor
            watch.start(REPLY_TIMEOUT, now=False)
            try:
                await connection.lost()
            finally:
                watch.stop()
            self._connection = None
            self._up = Occurrence()
            self._log.info("{name}: connection lost", name=self._name)

    async def _connect(self) -> Connection:
        connection = await connect(self._reactor, self._url)
        try:
            await in_time(self._reactor, f"{self._url}", self._introduce(connection))
        except BaseException:
            connection.close()
            raise
        return connection

    async def _introduce(self, connection: Connection) -> None:
        for script in self._scripts:
            await connection.command("SCRIPT", "LOAD", script.text)
        await self._prepare(connection)

    def _look_after(self, connection: Connection) -> None:
        if connection.stuck():
            self._log.warn("{name}: no reply for {seconds} s", name=self._name, seconds=REPLY_TIMEOUT)
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
        wait = FIRST_WAIT
        while True:
            connection = await self.up()
            try:
                return await self.once(connection, script, keys, words)
            except Lost:
                await pause(self._reactor, 0)
            except ReplyError as error:
                # out of memory, a replica that was a master before: it passes
                self._log.warn("{name}: refused: {error}; trying again", name=self._name, error=error)
                await pause(self._reactor, wait)
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
            raise

    def doubt(self, error: RedisError) -> None:
        """
        Connect anew if the server has lost the scripts, or has become a replica: another one may be the master now.
        """
        if self._connection is not None and str(error).startswith(("READONLY", "NOSCRIPT")):
            self._connection.close()
