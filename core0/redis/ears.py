"""
Being told by the server when a key has changed, on a connection of its own.
"""

from collections.abc import Callable

from core0.redis.connection import Connection
from core0.redis.store import Store

INVALIDATED = b"__redis__:invalidate"


class Ears:
    """
    :param on_change: called with the keys that have changed; with None if it may be all of them.
    :param options: further words of ``CLIENT TRACKING``.
    """

    def __init__(self, store: Store, on_change: Callable[[list[bytes] | None], None], *options: str) -> None:
        self._store = store
        self._on_change = on_change
        self._options = options
        self._connection: Connection | None = None

    async def attach(self, connection: Connection) -> None:
        """
        Have the server tell of what others change: of what was read on this connection, if the options do not say more.
        """
        self.close()
        ears = await self._store.connect(self._on_change)
        self._connection = ears
        number = await ears.command("CLIENT", "ID")
        await ears.command("SUBSCRIBE", INVALIDATED)
        await connection.command("CLIENT", "TRACKING", "ON", "REDIRECT", number, "NOLOOP", *self._options)
        # one without the other is deaf
        ears.lost().addCallback(lambda _: connection.close())

    def close(self) -> None:
        """
        Listen no more.
        """
        if self._connection is not None:
            self._connection.close()
