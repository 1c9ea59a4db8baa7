"""
core0's end of what it and the containers say to each other: orders go out, results and records come in.

It is all on the local server. Orders are sent in their order, and again after a lost connection, until the server has
them; results are removed only when whoever takes them is done with them. So either side may get the same twice.
"""

from collections.abc import Sequence
from typing import Any

from twisted.internet.defer import CancelledError, Deferred, DeferredList
from twisted.logger import Logger
from twisted.python.failure import Failure

from core0.corex_messages import Receiver
from core0.redis import keys
from core0.redis.channel import Channel, lists_of
from core0.redis.connection import Connection, Lost, ReplyError
from core0.redis.ears import Ears
from core0.redis.link import Link
from core0.redis.script import RECEIVE
from core0.redis.store import Store
from core0.redis.task import Task
from core0.redis.url import RedisURL
from core0.waiting import Bell, pause

BATCH = 256  # entries read from one list at once
BATCH_BYTES = 16 << 20  # read from all lists at once
LARGEST = 80 << 20  # bytes of an entry: a result has at most 64 MiB
MOST_RESULTS = 100_000  # in a list; a CoreX that means well stays far below
TURN = 64  # containers looked at in one step
SENT_BYTES = 32 << 20  # orders on their way at once
LOOK = 1.0  # seconds between looks without being told
RETRY = 1.0  # seconds
HELD = 0.02  # seconds until it is looked again whether records can be taken
DRAINING = 0.005  # seconds between the first looks whether all is taken


class Channels:
    """
    :param url: of the local server, with all rights.
    """

    _log = Logger()

    def __init__(self, reactor: Any, url: RedisURL) -> None:
        self._reactor = reactor
        store = Store(reactor, url)
        self._ears = Ears(store, self._told, "BCAST", "PREFIX", keys.RESULTS, "PREFIX", keys.RECORDS)
        self._link = Link(reactor, store, "speaking to containers", self._ears.attach, (RECEIVE,))
        self._channels: dict[int, Channel] = {}
        self._by_key: dict[bytes, Channel] = {}
        self._changed: dict[int, Channel] = {}
        self._loaded: dict[int, Channel] = {}
        self._looked = 0.0
        self._incoming, self._outgoing = Bell(), Bell()
        self._receiving: set[Deferred[None]] = set()
        self._stopped = False
        self._tasks = (Task("orders are not sent any more"), Task("nothing is received from containers any more"))

    def start(self) -> None:
        """
        Begin to send and to receive.
        """
        self._link.start()
        for task, work in zip(self._tasks, (self._send_all(), self._receive_all()), strict=True):
            task.start(work)

    def stop(self) -> None:
        """
        Leave everything as it is, for the next start.
        """
        self._stopped = True
        for task in self._tasks:
            task.stop()
        for receiving in tuple(self._receiving):
            receiving.cancel()
        self._link.stop()
        self._ears.close()

    def open(self, number: int, receiver: Receiver) -> None:
        """
        Receive from a container, what is there already first.
        """
        channel = self._channels[number] = Channel(number, receiver)
        for key in channel.keys[1:]:
            self._by_key[key.encode()] = channel
        self._mark(channel)

    async def close(self, number: int) -> None:
        """
        Look at it no more, if it is open, and delete its lists. Its user is to be dismissed before.

        :raises twisted.internet.defer.CancelledError: this was stopped; the lists may be there still.
        """
        self._channels.pop(number, None)
        lists = lists_of(number)
        for key in lists:
            self._by_key.pop(key.encode(), None)
        self._changed.pop(number, None)
        self._loaded.pop(number, None)
        while True:
            connection = await self._up()
            try:
                await connection.command("UNLINK", *lists)
                return
            except Lost:
                await pause(self._reactor, 0)

    async def drained(self, number: int) -> None:
        """
        Wait until all results are taken that a container has left, however long that takes. Nobody is to add any.

        :raises twisted.internet.defer.CancelledError: this was stopped before; what is left stays where it is.
        """
        channel = self._channels.get(number)
        wait = DRAINING
        while channel is not None:
            connection = await self._up()
            try:
                # what is taken is removed once it is safely written
                if not await connection.command("LLEN", channel.keys[1]):
                    return
            except Lost:
                pass
            self._mark(channel)
            await pause(self._reactor, wait)
            wait = min(2 * wait, LOOK)

    async def _up(self) -> Connection:
        connection = None if self._stopped else await self._link.up()
        if connection is None or self._stopped:
            raise CancelledError
        return connection

    def send(self, number: int, line: bytes) -> None:
        """
        Send an order into a container that is open, with all others of this turn.
        """
        channel = self._channels[number]
        channel.add(line)
        self._loaded[number] = channel
        self._outgoing.ring()

    def room(self, number: int) -> bool:
        """
        Whether a container may be sent one more order.
        """
        channel = self._channels.get(number)
        return channel is not None and channel.room()

    async def _send_all(self) -> None:
        while True:
            await self._outgoing.wait()
            await pause(self._reactor, 0)  # the rest of this turn may have more
            while self._loaded:
                connection = await self._link.up()
                await self._send(connection)

    async def _send(self, connection: Connection) -> None:
        """
        One batch for each, as far as there is room on the way; who had the first turn has the last one next.
        """
        batches: list[tuple[Channel, int]] = []
        sent: list[Deferred[Any]] = []
        size = 0
        for channel in list(self._loaded.values()):
            lines = channel.batch()
            size += sum(map(len, lines))
            if sent and size > SENT_BYTES:
                break
            batches.append((channel, len(lines)))
            self._loaded[channel.number] = self._loaded.pop(channel.number)
            try:
                sent.append(connection.command("RPUSH", channel.keys[0], *lines))
            except Lost:
                break
        replies = await DeferredList(sent, consumeErrors=True)
        refused: Failure | None = None
        for (channel, count), (good, reply) in zip(batches, replies, strict=False):
            if good:
                self._sent(channel, count, reply)
            else:
                refused = reply
        if refused is not None or not sent:
            await self._not_sent(refused)

    def _sent(self, channel: Channel, count: int, listed: int) -> None:
        channel.sent(count, listed)
        if not channel.waiting and self._loaded.get(channel.number) is channel:
            del self._loaded[channel.number]

    async def _not_sent(self, why: Failure | None) -> None:
        """
        All of it is sent again; repeats are told from new ones by their numbers.
        """
        if why is None or why.check(Lost):
            await pause(self._reactor, 0)
            return
        self._log.warn("cannot send orders: {error}; trying again", error=why.value)
        await pause(self._reactor, RETRY)

    def _told(self, changed: list[bytes] | None) -> None:
        if changed is None:
            self._mark_all()
            return
        for key in changed:
            if (channel := self._by_key.get(key)) is not None:
                self._mark(channel)

    def _mark(self, channel: Channel) -> None:
        if self._channels.get(channel.number) is channel:
            self._changed[channel.number] = channel
            self._incoming.ring()

    def _mark_all(self) -> None:
        self._looked = self._reactor.seconds()
        for number, channel in self._channels.items():
            self._changed.setdefault(number, channel)
        self._incoming.ring()

    async def _receive_all(self) -> None:
        while True:
            connection = await self._link.up()
            self._mark_all()
            try:
                while True:
                    await self._incoming.wait(self._reactor, LOOK)
                    await self._look(connection)
            except Lost:
                await pause(self._reactor, 0)
            except ReplyError as error:
                self._log.warn("cannot receive from containers: {error}; trying again", error=error)
                await pause(self._reactor, RETRY)

    async def _look(self, connection: Connection) -> None:
        """
        Look at those that have changed until none has; some at a time, each in its turn.
        """
        while True:
            if self._reactor.seconds() - self._looked >= LOOK:
                self._mark_all()
            channels = [self._changed.pop(number) for number in list(self._changed)[:TURN]]
            if not channels:
                return
            names = [key for channel in channels for key in channel.keys]
            words = [BATCH, BATCH_BYTES, LARGEST, MOST_RESULTS, keys.MAX_RECORDS]
            for channel in channels:
                words += channel.questions()
            answers = await self._link.once(connection, RECEIVE, names, words)
            for channel, answer in zip(channels, answers, strict=True):
                if self._channels.get(channel.number) is channel:
                    self._take(channel, *answer)

    def _take(
        self,
        channel: Channel,
        listed: int,
        large: int,
        many_results: int,
        many_records: int,
        more: int,
        results: Sequence[bytes],
        records: Sequence[bytes],
    ) -> None:
        channel.seen(listed)
        channel.lost += large + many_results + many_records
        if lost := channel.tell(self._reactor.seconds()):
            text = "container {number}: {lost} messages were dropped unread: too large, or too many"
            self._log.warn(text, number=channel.number, lost=lost)
        if records:
            self._take_records(channel, records)
        if results:
            self._take_results(channel, results)
        if more or records:
            self._mark(channel)
        elif channel.held:
            self._reactor.callLater(HELD, self._mark, channel)

    def _take_records(self, channel: Channel, lines: Sequence[bytes]) -> None:
        channel.done_records = len(lines)
        try:
            channel.receiver.records(lines)
        except Exception:
            self._log.failure("cannot take records of container {number}", number=channel.number)

    def _take_results(self, channel: Channel, lines: Sequence[bytes]) -> None:
        channel.busy = True
        receiving = Deferred.fromCoroutine(self._hand_over(channel, lines))
        if not receiving.called:
            self._receiving.add(receiving)
            receiving.addBoth(lambda _: self._receiving.discard(receiving))

    async def _hand_over(self, channel: Channel, lines: Sequence[bytes]) -> None:
        try:
            await channel.receiver.results(lines)
        except CancelledError:
            return  # they stay where they are
        except Exception:
            self._log.failure("cannot take results of container {number}", number=channel.number)
        channel.busy = False
        channel.done_results = len(lines)
        self._mark(channel)
