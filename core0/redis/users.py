"""
Who else than clients and core0 itself may use the server that core0 starts: the CoreX of each container.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from core0.errors import ServerFailed
from core0.redis.connect import connect, in_time
from core0.redis.connection import Lost, RedisError, ReplyError
from core0.redis.url import RedisURL
from core0.waiting import pause

RETRY = 0.1  # seconds


class Users:
    """
    :param url: of the server, with all rights.
    :ivar up: whether the server is there, and knows all of them.
    """

    def __init__(self, reactor: Any, url: RedisURL) -> None:
        self._reactor = reactor
        self._url = url
        self._rules: dict[str, tuple[str, ...]] = {}
        self.up = False

    def all(self) -> Mapping[str, Sequence[str]]:
        """
        The rules of each, as they are now.
        """
        return dict(self._rules)

    async def admit(self, user: str, rules: Iterable[str]) -> None:
        """
        Add somebody, or change what they may.

        :raises ServerFailed: the server does not take the rules.
        """
        self._rules[user] = tuple(rules)
        await self._tell_if_up("ACL", "SETUSER", user, "reset", *self._rules[user])

    async def dismiss(self, user: str) -> None:
        """
        Remove somebody; their connections are closed.
        """
        if self._rules.pop(user, None) is not None:
            await self._tell_if_up("ACL", "DELUSER", user)

    async def catch_up(self, known: Mapping[str, Sequence[str]]) -> None:
        """
        Tell a server that has just started what has changed since its configuration was written.

        :raises ServerFailed: it is gone, or does not take it.
        """
        while known != self._rules:
            now = self.all()
            try:
                for user in known.keys() - now.keys():
                    await self._tell("ACL", "DELUSER", user)
                for user, rules in now.items():
                    if known.get(user) != rules:
                        await self._tell("ACL", "SETUSER", user, "reset", *rules)
            except RedisError as error:
                raise ServerFailed(f"cannot tell the server who may use it: {error}") from error
            known = now

    async def _tell_if_up(self, *words: str) -> None:
        """
        One that is not up reads its configuration when it starts.
        """
        while self.up:
            try:
                await self._tell(*words)
                return
            except ReplyError as error:
                if words[1] == "SETUSER":
                    self._rules.pop(words[2], None)
                raise ServerFailed(f"the server does not take {words[1]} {words[2]}: {error}") from error
            except Lost:
                await pause(self._reactor, RETRY)

    async def _tell(self, *words: str) -> None:
        connection = await connect(self._reactor, self._url)
        try:
            await in_time(self._reactor, str(self._url), connection.command(*words))
        finally:
            connection.close()
