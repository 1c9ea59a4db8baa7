"""
One container, talked to like a host: each command goes into it by way of its host's core0.
"""

from typing import Any, Unpack
from uuid import uuid4

from core0.client.client import Client, Fields, Sent
from core0.client.run import reason
from core0.errors import Refusal
from core0.messages import Result, State

DISPATCH_TIMEOUT = 30.0  # seconds for the answer to corex.dispatch


class Inside:
    """
    Sends commands to the CoreX of a container. Their results and live output are read as those of the host are.

    :param number: of the container.
    """

    def __init__(self, client: Client, number: int) -> None:
        self._client = client
        self._number = number

    async def send(
        self, command: str, arguments: Any = None, *, id: str | None = None, **fields: Unpack[Fields]
    ) -> Sent:
        """
        Have it sent in there; returns once it is safely on its way.

        :param id: a new UUID if there is none.
        :raises Refusal: there is no such container, or it takes no commands now.
        :raises core0.client.errors.NoAnswer: core0 does not say whether it is.
        """
        name = str(uuid4()) if id is None else id
        prepared = await self._client.prepare(Sent(name, chosen=id is not None))
        inner = {"id": name, "command": command, "arguments": {} if arguments is None else arguments, **fields}
        content = {"container": self._number, "command": inner}
        sent = await self._client.run("corex.dispatch", content, timeout=DISPATCH_TIMEOUT)
        if sent.state != State.SUCCESS:
            raise Refusal(sent.code, reason(sent) or f"corex.dispatch: {sent.state}")
        return prepared

    async def submit(
        self, command: str, arguments: Any = None, *, id: str | None = None, **fields: Unpack[Fields]
    ) -> str:
        """
        As :meth:`send`.

        :returns: the id.
        """
        return (await self.send(command, arguments, id=id, **fields)).id

    async def take_back(self, sent: Sent) -> bool:
        """
        Nothing can be: it is with core0 already.
        """
        return False

    async def run(self, command: str, arguments: Any = None, *, timeout: float) -> Result:
        """
        Have it sent in there, and wait for its result.

        :param timeout: seconds for the result; may be ``math.inf``.
        :raises Refusal: as :meth:`submit` does.
        :raises core0.client.errors.NoAnswer: it took longer.
        """
        return await self._client.answer(await self.send(command, arguments), timeout)
