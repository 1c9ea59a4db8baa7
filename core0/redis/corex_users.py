"""
What the CoreX of containers are at the local server.
"""

from core0.redis import acl
from core0.redis.server import EmbeddedServer


class CoreXUsers:
    """
    One user each, that reaches its own three lists and nothing else.
    """

    def __init__(self, server: EmbeddedServer) -> None:
        self._server = server

    def name(self, number: int) -> str:
        """
        What the CoreX of a container logs in as.
        """
        return acl.corex_user(number)

    def hashed(self, password: str) -> str:
        """
        A password as it is kept.
        """
        return acl.hashed(password)

    async def admit(self, number: int, secret: str) -> None:
        """
        One may log in, now and after each start of the server.

        :param secret: its password, hashed.
        """
        await self._server.admit(acl.corex_user(number), acl.corex_rules(number, secret))

    async def dismiss(self, number: int) -> None:
        """
        Not any more; if it is logged in, it is thrown out.
        """
        await self._server.dismiss(acl.corex_user(number))
