"""
Keeping core0's table of the firewall as it should be: through the program ``nft``, looking whether others change it.
"""

import hashlib
import socket
import struct
from collections.abc import Iterable
from typing import Any

import msgspec
from twisted.internet.defer import Deferred, DeferredLock, TimeoutError
from twisted.internet.error import ProcessExitedAlready
from twisted.internet.protocol import ProcessProtocol
from twisted.logger import Logger
from twisted.python.failure import Failure

from core0.errors import Core0Error
from core0.interfaces import ThreadRunner
from core0.jobs.process import PATH
from core0.network.conntrack import forget
from core0.network.desired import Desired, Forward
from core0.network.firewall import FAMILY, TABLE, Json, changes, commands, is_empty
from core0.network.helper import NotServed, find
from core0.reaper import Reaper
from core0.redis.task import Task
from core0.spawn import Child, Launch, Surroundings
from core0.threads import in_pool
from core0.waiting import Occurrence, pause, within

PATIENCE = 20.0  # seconds for the program
LOOK = 2.0  # seconds between looks whether somebody has changed the firewall
UNSEEN = -1  # no generation
MOST_SAID = 4096  # bytes of a complaint
NETLINK_NETFILTER = 12
GET_GENERATION = (10 << 8) | 16  # NFNL_SUBSYS_NFTABLES, NFT_MSG_GETGEN
GENERATION = 0x0001  # NFTA_GEN_ID
ANSWER = struct.Struct("=IHHIIBBHHH")  # a netlink header, one of netfilter, and one of an attribute


class NotRuled(Core0Error):
    """
    The firewall does not take the rules; the text says why.
    """


class _Protocol(ProcessProtocol):
    """
    Feeds the program, keeps its complaint and the digest of what it prints.
    """

    def __init__(self, stdin: bytes) -> None:
        self._stdin = stdin
        self.digest = hashlib.sha256()
        self.complaint = b""
        self.ended: Occurrence[bool] = Occurrence()

    def connectionMade(self) -> None:
        """
        Twisted's hook.
        """
        self.transport.write(self._stdin)  # type: ignore[union-attr]
        self.transport.closeStdin()  # type: ignore[union-attr]

    def outReceived(self, data: bytes) -> None:
        """
        Twisted's hook.
        """
        self.digest.update(data)

    def errReceived(self, data: bytes) -> None:
        """
        Twisted's hook.
        """
        self.complaint = (self.complaint + data)[:MOST_SAID]

    def processEnded(self, reason: Failure) -> None:
        """
        Twisted's hook.
        """
        if not self.complaint:
            self.complaint = reason.getErrorMessage().encode()
        self.ended.happen(getattr(reason.value, "exitCode", None) == 0)


class Firewall:
    """
    The table. It stays when core0 ends.

    :param in_thread: calls in a thread: with many ports its text takes its time.
    """

    _log = Logger()

    def __init__(self, reactor: Any, in_thread: ThreadRunner, reaper: Reaper, surroundings: Surroundings) -> None:
        self._reactor = reactor
        self._in_thread = in_thread
        self._reaper = reaper
        self._surroundings = surroundings
        self._desired = Desired()
        self._owed = False  # the table is to be made so, and is not yet
        # the generation of the firewall, and the digest of the table; empty until it has been looked at
        self._seen = (UNSEEN, b"")
        self._lock = DeferredLock()
        self._task = Task("the firewall is not watched any more")
        self._watching = False

    async def make(self, desired: Desired) -> None:
        """
        Have the rules that this takes, from now on.

        :raises NotRuled: that cannot be; they are as before.
        """
        async with self._lock:
            known = set(self._desired.forwards)
            fewer = None if self._owed else await self._in_thread(changes, self._desired, desired)
            if fewer is None:
                await self._apply(desired)
            elif fewer["nftables"]:
                await self._change(desired, fewer)
            self._forget(known.symmetric_difference(desired.forwards))
        self._begin()

    async def drop(self, desired: Desired) -> None:
        """
        Have fewer rules. If that fails now it is tried again and again.

        :raises NotRuled: that cannot be now.
        """
        try:
            await self.make(desired)
        except BaseException:
            self._desired, self._owed = desired, True
            self._begin()
            raise

    async def recover(self, desired: Desired) -> None:
        """
        Have the rules, whatever those of the core0 before this one were. If that fails it is tried again and again.

        :raises NotRuled: that cannot be now.
        """
        self._desired, self._owed = desired, True
        self._begin()
        async with self._lock:
            await self._apply(desired)
            self._forget(desired.forwards)

    def _begin(self) -> None:
        if not self._watching:
            self._watching = True
            self._task.start(self._watch())

    def stop(self) -> None:
        """
        Look after it no more.
        """
        self._task.stop()

    async def _change(self, desired: Desired, fewer: Json) -> None:
        """
        By fewer commands, if nobody else has changed anything.
        """
        if generation() == self._seen[0]:
            try:
                await self._apply(desired, fewer)
                return
            except NotRuled:
                pass  # just now somebody has
        await self._apply(desired)

    async def _apply(self, desired: Desired, told: Json | None = None) -> None:
        text = await self._in_thread(lambda: msgspec.json.encode(told or commands(desired)))
        since = generation()
        await self._run(["-j", "-f", "-"], text)
        self._desired, self._owed = desired, False
        now = generation()
        # if somebody else has changed something meanwhile, it is made anew at the next look
        self._seen = now if now == since + 1 else UNSEEN, b""

    async def _digest(self) -> bytes:
        """
        Of the table as it is; empty if there is none.
        """
        try:
            return await self._run(["-j", "list", "table", FAMILY, TABLE])
        except NotRuled:
            return b""

    async def _watch(self) -> None:
        """
        Make it anew whenever somebody else has changed it.
        """
        told = ""
        while True:
            await pause(self._reactor, LOOK)
            try:
                async with self._lock:
                    await self._look()
                told = ""
            except NotRuled as error:
                if str(error) != told:
                    self._log.error("the firewall is not as it should be, tried again: {error}", error=error)
                told = str(error)

    async def _look(self) -> None:
        if self._owed:
            await self._apply(self._desired)
        if is_empty(self._desired):
            return
        now, (before, digest) = generation(), self._seen
        if now == before and digest:
            return
        found = await self._digest()
        if generation() != now:
            return  # once more at the next look
        if now == before or (digest and found == digest):
            self._seen = now, found
            return
        self._log.warn("somebody has changed core0's table of the firewall; making it anew")
        await self._apply(self._desired)
        self._forget(self._desired.forwards)

    def _forget(self, forwards: Iterable[Forward]) -> None:
        """
        Packets that come already go where rules lead that were not there when they began to. Soon: the kernel looks
        through all that it remembers, and nobody waits for that.
        """
        ports = {(forward.protocol, forward.host_port) for forward in forwards}
        if ports:
            # in any thread: in the one for changes others would wait
            working = Deferred.fromCoroutine(in_pool(self._reactor, self._reactor.getThreadPool(), forget, ports))
            working.addErrback(self._remembered)

    def _remembered(self, failure: Failure) -> None:
        self._log.warn("some packets may go on to where they went: {error}", error=failure.value)

    async def _run(self, words: list[str], stdin: bytes = b"") -> bytes:
        """
        :returns: the digest of what it prints.
        """
        try:
            program = find("nft", "the package nftables")
        except NotServed as error:
            raise NotRuled(str(error)) from error
        protocol = _Protocol(stdin)
        launch = Launch(program, [program, *words], {"PATH": PATH, "LANG": "C"}, "/")
        try:
            child = Child(self._reactor, self._reaper, self._surroundings, protocol, launch, {0: "w", 1: "r", 2: "r"})
        except OSError as error:
            raise NotRuled(f"cannot start {program}: {error.strerror}") from error
        try:
            well = await within(self._reactor, PATIENCE, protocol.ended.wait())
        except TimeoutError as error:
            raise NotRuled(f"{program} did not end within {PATIENCE:.0f} s") from error
        finally:
            if not protocol.ended.happened:
                _kill(child)
        if not well:
            raise NotRuled(f"nft: {protocol.complaint.decode('utf-8', 'replace').strip()}")
        return protocol.digest.digest()


def _kill(child: Child) -> None:
    try:
        child.signalProcess("KILL")
    except ProcessExitedAlready:
        pass


def generation() -> int:
    """
    A number that is another one after each change of the firewall. The kernel answers at once.

    :raises NotRuled: it does not say.
    """
    try:
        with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, NETLINK_NETFILTER) as asked:
            asked.send(struct.pack("=IHHIIBBH", 20, GET_GENERATION, 1, 1, 0, 0, 0, 0))
            answer = asked.recv(4096, socket.MSG_DONTWAIT)
    except OSError as error:
        raise NotRuled(f"cannot ask the kernel for its firewall (nf_tables): {error.strerror}") from error
    attribute = ANSWER.unpack_from(answer.ljust(ANSWER.size + 4, b"\0"))[-1]
    if attribute != GENERATION:
        raise NotRuled("the kernel does not say how often the firewall has changed")
    return int.from_bytes(answer[ANSWER.size : ANSWER.size + 4], "big")
