"""
The lease of a node's address on a server that others use, too: two nodes of one address would take each other's
commands, and answer for each other's jobs.
"""

from datetime import UTC, datetime
from typing import Any

import msgspec
from twisted.internet.defer import TimeoutError
from twisted.logger import Logger

from core0.address import DIGITS, Holder
from core0.redis import keys
from core0.redis.connection import Connection, Lost, ReplyError
from core0.redis.link import Link
from core0.redis.script import LEASE
from core0.waiting import pause, within

LIFE = 15  # seconds after which it is free, unless it is renewed
RENEW = 5.0  # seconds
RETRY = 1.0  # seconds
RELEASE_TIMEOUT = 2.0  # seconds


class Lease:
    """
    :param holder: see :func:`core0.address.holder`.
    """

    _log = Logger()

    def __init__(self, reactor: Any, node: str, holder: str) -> None:
        self._reactor = reactor
        self._node = node
        self._renewed = 0.0
        self.holder = holder
        self.key = keys.lease(node)

    def renewal(self) -> int:
        """
        1 if it is time to renew it, else 0.
        """
        now = self._reactor.seconds()
        if now - self._renewed < RENEW:
            return 0
        self._renewed = now
        return 1

    async def take(self, link: Link, connection: Connection) -> None:
        """
        Hold it from now on.

        :raises ReplyError: another one has it.
        """
        await link.once(connection, LEASE, (self.key,), (self.holder, LIFE, 1))

    async def wait(self, link: Link) -> None:
        """
        Hold it, as soon as nobody else does.
        """
        told = ""
        while True:
            connection = await link.up()
            try:
                await self.take(link, connection)
                return
            except Lost:
                await pause(self._reactor, 0)
            except ReplyError as error:
                if str(error) != told:
                    told = str(error)
                    self._log.error("{why}; no commands are taken before that ends", why=self.why(told) or told)
                await pause(self._reactor, RETRY)

    async def release(self, link: Link) -> None:
        """
        Give it up, unless the server is away.
        """
        try:
            await within(self._reactor, RELEASE_TIMEOUT, self._release(link))
        except (TimeoutError, Lost, ReplyError):
            pass  # it ends by itself

    async def _release(self, link: Link) -> None:
        await link.once(await link.up(), LEASE, (self.key,), (self.holder, LIFE, 0))

    def why(self, error: str) -> str:
        """
        In words, who has it; empty if that is not what an error is about.
        """
        if not error.startswith("HELD "):
            return ""
        text = error.removeprefix("HELD ")[DIGITS:].strip()
        try:
            holder = msgspec.json.decode(text, type=Holder)
            since = datetime.fromtimestamp(holder.since / 1000, UTC)
        except (msgspec.MsgspecError, ValueError, OverflowError, OSError, RecursionError):
            return f"{self._node} is held by {text[:200]!r}, whatever that is"
        who = f"{holder.host}, process {holder.process}, boot {holder.boot}"
        return f"{self._node} is held by {who}, since {since:%Y-%m-%d %H:%M:%S} UTC; two nodes cannot have one address"


async def remains(link: Link, node: str) -> str:
    """
    What is left on the server of an address that this core0 has served before; empty if there is nothing.
    """
    while True:
        connection = await link.up()
        try:
            waiting = await connection.command("LLEN", keys.node_queue(node))
            taken = len(await connection.command("HKEYS", keys.unfinished(node)))
            sent = len(await connection.command("HKEYS", keys.dispatched(node)))
        except Lost:
            await pause(link.reactor, 0)
            continue
        except ReplyError as error:
            return f"what is left of {node} cannot be seen: {error}"
        if not waiting and not taken and not sent:
            return ""
        gid, _, nid = node.partition(":")
        return (
            f"this state_dir has served {node} before, and there it has left {waiting} commands that wait in "
            f"{keys.node_queue(node)}, {taken} that were taken and {sent} that were sent to containers; they are not "
            f"answered, and their ids stay taken; start a core0 with gid = {gid}, nid = {nid} until they are, "
            "or give them up as how-to/run-a-fleet says"
        )
