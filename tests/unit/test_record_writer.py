"""
Records on their way to a server that is slow, or away.
"""

from collections import deque
from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from core0.redis.connection import Lost
from core0.redis.records import FLUSH, MAX_BYTES, RETRY, RecordWriter
from core0.redis.window import CLOG_BYTES, READER

LIFE = 300


class Server:
    """
    As much of a link, and of its connection, as a writer of records takes.

    :ivar lists: what is in the lists.
    :ivar lost: what is written is lost, or at least its answer.
    """

    def __init__(self) -> None:
        self.lists: dict[str, list[bytes]] = {}
        self.lost = False

    def start(self) -> None:
        """
        Nothing to do.
        """

    def stop(self) -> None:
        """
        Nothing to do.
        """

    def doubt(self, error: Exception) -> None:
        """
        It is the only one.
        """

    async def up(self) -> "Server":
        """
        It is there.
        """
        return self

    def command(self, *words: Any) -> "Deferred[Any]":
        """
        Carried out, if it is not lost.
        """
        if self.lost:
            return fail(Lost("gone"))
        name, key = words[:2]
        found = self.lists.setdefault(key, [])
        if name == "RPUSH":
            found += words[2:]
        elif name == "LTRIM":
            del found[: int(words[2])]
        return succeed(len(found))


class RecordWriterTests(SynchronousTestCase):
    """
    Live output.
    """

    def setUp(self) -> None:
        """
        A writer.
        """
        self.clock, self.server = Clock(), Server()
        self.writer = RecordWriter(self.clock, self.server, LIFE, 1000)  # type: ignore[arg-type] # all that it needs
        self.writer.start()

    def test_again(self) -> None:
        """
        Live output is written again if the connection was lost meanwhile, before what has come since; nothing else is.
        """
        self.server.lost = True
        self.writer.stream("a", b"one", False)
        self.writer.log(b"log")
        self.clock.advance(FLUSH)
        self.writer.stream("a", b"two", True)
        self.server.lost = False
        self.clock.pump([RETRY, FLUSH])
        self.assertEqual([b"one", b"two"], self.server.lists["stream:a"])
        self.assertNotIn(b"log", self.server.lists["core.logs"])

    def test_unread(self) -> None:
        """
        Whoever prints more than is read has to wait, until it is read; others do not.
        """
        for _ in range(3):
            self.writer.stream("a", b"x" * (CLOG_BYTES // 2), False)
        self.assertTrue(self.writer.clogged("a"))
        self.writer.stream("b", b"x", False)
        self.clock.advance(FLUSH)
        self.assertEqual((True, False), (self.writer.clogged("a"), self.writer.clogged("b")))
        del self.server.lists["stream:a"][:2]
        self.clock.pump([FLUSH] * 3)
        self.assertFalse(self.writer.clogged("a"))

    def test_slow(self) -> None:
        """
        Nothing is lost between a program, a server and a reader each of which is slower than the one before: what waits
        to be written, what is being written and what waits to be read are bounded together.
        """
        command, replies = self.server.command, deque[Callable[[], object]]()

        def slow(*words: Any) -> "Deferred[Any]":
            deferred: Deferred[Any] = Deferred()
            replies.append(lambda: command(*words).chainDeferred(deferred))
            return deferred

        self.server.command = slow  # type: ignore[method-assign] # it answers when the test says so
        printed, read, size = 0, list[bytes](), 100 << 10
        for turn in range(2000):
            while not self.writer.clogged("a") and printed < 1000:
                self.writer.stream("a", b"%08d" % printed + bytes(size), False)
                printed += 1
            self.clock.advance(FLUSH)
            if turn % 4 == 0 and replies:
                replies.popleft()()
            if turn % 8 == 0 and (listed := self.server.lists.get("stream:a")):
                read.append(listed.pop(0))
        self.assertGreater(printed, 100)
        self.assertEqual(list(range(len(read))), [int(piece[:8]) for piece in read])

    def test_server_away(self) -> None:
        """
        Nobody waits for ever for a server that is away; then what has no room is dropped.
        """
        waiting: Deferred[Any] = Deferred()
        self.server.command = lambda *words: waiting  # type: ignore[method-assign] # it does not answer
        self.writer.stream("a", b"x", False)
        self.clock.advance(FLUSH)
        self.writer.stream("a", b"x" * (MAX_BYTES - 1), False)
        self.assertTrue(self.writer.clogged("a"))
        self.clock.advance(READER)
        self.assertFalse(self.writer.clogged("a"))
