"""
The program that asks for addresses of containers for tests, in whatever namespace it is started: it reads one call a
line, as JSON, and says what came of it.
"""

import dataclasses
import json
import os
import sys
import threading
import warnings
from ipaddress import IPv4Interface
from typing import Any

import msgspec
from twisted.internet import reactor
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.stdio import StandardIO
from twisted.logger import globalLogPublisher, textFileLogObserver
from twisted.protocols.basic import LineOnlyReceiver

from core0.network.host_machine import Lease
from core0.network.kernel import NotTaken
from core0.network.lease_worker import Asked
from core0.network.leases import Leases


class Driver(LineOnlyReceiver):
    """
    Makes one call after another.
    """

    delimiter = b"\n"
    MAX_LENGTH = 1 << 20

    def __init__(self) -> None:
        self.told: list[Any] = []
        self.leases = Leases(reactor, self._changed)

    def _changed(self, container: int, index: int, lease: Lease | None) -> None:
        if threading.current_thread() is not threading.main_thread():
            raise AssertionError("told in another thread")
        self.told.append([container, index, shown(lease)])

    def lineReceived(self, line: bytes) -> None:
        """
        Twisted's hook.
        """
        Deferred.fromCoroutine(self._answer(*json.loads(line)))

    def connectionLost(self, reason: object = None) -> None:
        """
        Twisted's hook.
        """
        Deferred.fromCoroutine(self._end())

    async def _end(self) -> None:
        await self.leases.stop()
        its: Any = reactor
        its.stop()

    async def _answer(self, name: str, *arguments: Any) -> None:
        try:
            said: Any = {"found": await getattr(self, f"do_{name}")(*arguments)}
        except NotTaken as error:
            said = {"code": 503, "text": str(error)}
        except Exception as error:
            said = {"code": 500, "text": repr(error)}
        self.sendLine(msgspec.json.encode(said))

    async def do_begin(self, container: int, namespace: str, links: list[dict[str, Any]], wait: float) -> Any:
        """
        First leases.
        """
        found = await self.leases.begin(container, namespace, asked(links), wait=wait)
        return {index: shown(lease) for index, lease in found.items()}

    async def do_give_up(self, container: int, namespace: str, links: list[dict[str, Any]], after: float) -> str:
        """
        Begin, and cancel it some seconds later.
        """
        begun = Deferred.fromCoroutine(self.leases.begin(container, namespace, asked(links)))
        its: Any = reactor
        its.callLater(after, begun.cancel)
        try:
            await begun
        except CancelledError:
            return "cancelled"
        return "begun"

    async def do_adopt(self, container: int, namespace: str, links: list[dict[str, Any]]) -> None:
        """
        One of before.
        """
        self.leases.adopt(container, namespace, asked(links))

    async def do_end(self, container: int) -> None:
        """
        One less.
        """
        await self.leases.end(container)

    async def do_told(self) -> Any:
        """
        All changes so far.
        """
        return self.told

    async def do_used(self) -> Any:
        """
        The names of threads, and how many descriptors are open.
        """
        return [sorted(thread.name for thread in threading.enumerate()), len(os.listdir("/proc/self/fd"))]


def asked(links: list[dict[str, Any]]) -> list[Asked]:
    """
    Links as they come in a call.
    """
    return [Asked(**{**link, "last": IPv4Interface(link["last"]) if link.get("last") else None}) for link in links]


def shown(lease: Lease | None) -> Any:
    """
    As text.
    """
    if lease is None:
        return None
    found = dataclasses.asdict(lease)
    return {**{key: str(value) for key, value in found.items()}, "dns": [str(each) for each in lease.dns]}


def main() -> None:
    """
    Until stdin ends.
    """
    warnings.simplefilter("ignore")
    globalLogPublisher.addObserver(textFileLogObserver(sys.stderr))
    StandardIO(Driver())
    its: Any = reactor
    its.run()


if __name__ == "__main__":
    main()
