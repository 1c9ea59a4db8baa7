"""
One container, talked to like a host: each command goes into it by way of its host's core0.
"""

from typing import Any, Unpack
from uuid import uuid4

from core0.client.client import Client, Fields
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

    async def submit(
        self, command: str, arguments: Any = None, *, id: str | None = None, **fields: Unpack[Fields]
    ) -> str:
        """
        Have it sent in there; returns once it is safely on its way.

        :param id: a new UUID if there is none.
        :returns: the id.
        :raises Refusal: there is no such container, or it takes no commands now.
        :raises core0.client.errors.NoAnswer: core0 does not say whether it is.
        """
        name = str(uuid4()) if id is None else id
        inner = {"id": name, "command": command, "arguments": {} if arguments is None else arguments, **fields}
        content = {"container": self._number, "command": inner}
        sent = await self._client.run("corex.dispatch", content, timeout=DISPATCH_TIMEOUT)
        if sent.state != State.SUCCESS:
            raise Refusal(sent.code, reason(sent) or f"corex.dispatch: {sent.state}")
        return name

    async def run(self, command: str, arguments: Any = None, *, timeout: float) -> Result:
        """
        Have it sent in there, and wait for its result.

        :param timeout: seconds for the result; may be ``math.inf``.
        :raises Refusal: as :meth:`submit` does.
        :raises core0.client.errors.NoAnswer: it took longer.
        """
        return await self._client.wait(await self.submit(command, arguments), timeout)
