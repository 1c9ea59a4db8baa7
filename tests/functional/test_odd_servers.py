"""
Servers that speak the Redis protocol, and give replies that neither Redis nor Sentinel gives.
"""

from typing import Any

from twisted.internet import reactor
from twisted.internet.protocol import Factory, Protocol
from twisted.trial.unittest import TestCase

from core0.redis.connect import connect
from core0.redis.connection import RedisError
from core0.redis.url import RedisURL

ODD = (
    b"+PONG\r\n",
    b":7\r\n",
    b"$3\r\nabc\r\n",
    b"*1\r\n$9\r\n127.0.0.1\r\n",
    b"*2\r\n$1\r\n\xff\r\n$4\r\n6379\r\n",
    b"*2\r\n$9\r\n127.0.0.1\r\n$5\r\nseven\r\n",
    b"*2\r\n:1\r\n:2\r\n",
    b"*2\r\n*-1\r\n$-1\r\n",
)


class OddServerTests(TestCase):
    """
    Real connections to a server that gives one answer to everything.
    """

    def listen(self, answer: bytes) -> tuple[str, int]:
        """
        Where it is.
        """

        class Answering(Protocol):
            def dataReceived(self, data: bytes) -> None:
                """
                Twisted's hook.
                """
                assert self.transport is not None
                self.transport.write(answer * data.count(b"*"))

        factory = Factory.forProtocol(Answering)
        factory.noisy = False
        listening: Any = reactor.listenTCP(0, factory, interface="127.0.0.1")  # type: ignore[arg-type]
        self.addCleanup(listening.stopListening)
        return "127.0.0.1", listening.getHost().port

    async def refused(self, url: RedisURL) -> str:
        """
        Why it is not used.
        """
        try:
            connection = await connect(reactor, url)
        except RedisError as error:
            return str(error)
        connection.close()
        return ""

    async def test_sentinel(self) -> None:
        """
        An answer that is not the address of a master is reported at once: the server is not a Sentinel.
        """
        for answer in ODD:
            place = self.listen(answer)
            self.assertIn(
                "is not a Sentinel: expected the address of a master",
                await self.refused(RedisURL(hosts=(place,), master="m")),
            )

    async def test_silent_about_itself(self) -> None:
        """
        A server whose INFO is not text is accepted for what the URL says.
        """
        for answer in (b"+PONG\r\n", b":7\r\n", b"*1\r\n:7\r\n"):
            self.assertEqual("", await self.refused(RedisURL(hosts=(self.listen(answer),))))
