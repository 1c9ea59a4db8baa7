"""
A ledger of unfinished commands on a real server, and how to look at what it keeps there.
"""

import json
from typing import ClassVar

from twisted.internet import reactor
from twisted.trial.unittest import TestCase

from core0.messages import Mark, Rejection, Result, State, decode_mark, decode_result
from core0.redis import keys
from core0.redis.ledger import Ledger
from core0.redis.url import RedisURL, parse
from core0.waiting import pause
from tests.contract.ledger import LedgerCase
from tests.valkey import Valkey

LIFE = 300  # seconds


class ValkeyCase(LedgerCase, TestCase):
    """
    Each test begins with an empty server.

    :cvar entries_key: the hash of the unfinished.
    :cvar marks_key: the hash of the notes on them.
    """

    entries_key: ClassVar[str]
    marks_key: ClassVar[str]
    valkey: ClassVar[Valkey]

    @classmethod
    def setUpClass(cls) -> None:
        """
        Start a server.
        """
        cls.valkey = Valkey().start()

    @classmethod
    def tearDownClass(cls) -> None:
        """
        End it.
        """
        cls.valkey.close()

    def setUp(self) -> None:
        """
        Nothing is there.
        """
        self.client = self.valkey.client()
        self.addCleanup(self.client.close)
        self.client.flushall()

    def url(self, url: str = "") -> RedisURL:
        """
        Of the server.
        """
        return parse(url or self.valkey.url)

    def begin(self, ledger: Ledger) -> None:
        """
        Start one.
        """
        ledger.start()
        self.addCleanup(self.end, ledger)

    async def end(self, ledger: Ledger) -> None:
        """
        Stop it, and let its connection close.
        """
        ledger.stop()
        await self.turns(3)

    @staticmethod
    async def turns(count: int) -> None:
        """
        Let some turns of the reactor pass.
        """
        for _ in range(count):
            await pause(reactor, 0)

    def take(self, seq: int, payload: bytes = b"{}") -> None:
        """
        As core0 does.
        """
        self.client.hset(self.entries_key, str(seq), payload)

    def lose(self, seq: int) -> None:
        """
        Remove it behind core0's back.
        """
        self.client.hdel(self.entries_key, str(seq))

    def unfinished(self) -> set[int]:
        """
        The hash.
        """
        return {int(seq) for seq in self.client.hkeys(self.entries_key)}

    def marks(self) -> dict[int, Mark]:
        """
        The hash.
        """
        return {int(seq): decode_mark(mark) for seq, mark in self.client.hgetall(self.marks_key).items()}

    def results(self, id: str = "a") -> list[Result]:
        """
        The list of one.
        """
        return [decode_result(text) for text in self.client.lrange(keys.result(id), 0, -1)]

    def consume(self, id: str = "a") -> None:
        """
        Pop it.
        """
        self.client.lpop(keys.result(id))

    def rejections(self) -> list[Rejection]:
        """
        The list.
        """
        found = [json.loads(text) for text in self.client.lrange(keys.REJECTED, 0, -1)]
        return [Rejection(**{**each, "state": State(each["state"])}) for each in found]
