"""
The program that drives the networks of a host for tests, in whatever namespace it is started: it reads one call a line,
as JSON, and says what came of it.

Called with the folder for what it keeps.
"""

import dataclasses
import json
import sys
import warnings
from typing import Any

import msgspec
from twisted.internet import reactor
from twisted.internet.defer import ensureDeferred
from twisted.internet.stdio import StandardIO
from twisted.protocols.basic import LineOnlyReceiver
from twisted.python.threadpool import ThreadPool

from core0.errors import Refusal
from core0.network.building import build
from core0.network.desired import Subnet
from core0.network.networks import Networks
from core0.network.ports import parse
from core0.network.wishes import Wish, Wishes
from core0.reaper import Reaper
from core0.spawn import Surroundings
from core0.threads import in_pool

FIRST, LAST = "172.18.0.0/16", b"\n"


class Driver(LineOnlyReceiver):
    """
    Makes one call after another.
    """

    delimiter = LAST
    MAX_LENGTH = 1 << 20

    def __init__(self, folder: str) -> None:
        its: Any = reactor
        self.pool = ThreadPool(0, 1)
        self.pool.start()
        reaper = Reaper(its)
        its.callWhenRunning(reaper.install)
        self.networks: Networks = build(
            its,
            lambda work, *arguments: in_pool(its, self.pool, work, *arguments),
            reaper,
            Surroundings.prepare(),
            folder,
            subnet=FIRST,
        )

    def lineReceived(self, line: bytes) -> None:
        """
        Twisted's hook.
        """
        ensureDeferred(self._answer(*json.loads(line)))

    def connectionLost(self, reason: object = None) -> None:
        """
        Twisted's hook.
        """
        ensureDeferred(self._end())

    async def _end(self) -> None:
        await self.networks.stop()
        self.pool.stop()
        its: Any = reactor
        its.stop()

    async def _answer(self, name: str, *arguments: Any) -> None:
        try:
            found = await getattr(self, f"do_{name}")(*arguments)
            said: Any = {"found": dataclasses.asdict(found) if dataclasses.is_dataclass(found) else found}  # type: ignore[arg-type] # no class
        except Refusal as error:
            said = {"code": error.code, "text": str(error)}
        except Exception as error:
            said = {"code": 500, "text": repr(error)}
        self.sendLine(msgspec.json.encode(said))

    async def do_recover(self, containers: list[int]) -> None:
        """
        At the start.
        """
        await self.networks.recover(containers)

    async def do_create(self, name: str, subnet: dict[str, Any] | None) -> None:
        """
        A bridge.
        """
        await self.networks.create(name, "", Subnet(**subnet) if subnet is not None else None)

    async def do_listed(self) -> list[str]:
        """
        All bridges.
        """
        return await self.networks.listed()

    async def do_delete(self, name: str) -> None:
        """
        A bridge less.
        """
        await self.networks.delete(name)

    async def do_attach(
        self, container: int, pid: int, links: list[list[Any]], ports: dict[str, int], hostname: str
    ) -> Any:
        """
        Links and ports of a container.
        """
        parsed = [each for host, port in ports.items() for each in parse(host, port)]
        wishes = Wishes([Wish(bridge, *address) for bridge, *address in links], parsed, hostname)
        return await self.networks.attach(container, f"/proc/{pid}/ns/net", wishes)

    async def do_detach(self, container: int) -> None:
        """
        Nothing for it any more.
        """
        await self.networks.detach(container)

    async def do_attached(self, container: int) -> Any:
        """
        What it has.
        """
        return self.networks.attached(container)


def main(folder: str) -> None:
    """
    Until stdin ends.
    """
    warnings.simplefilter("ignore")
    StandardIO(Driver(folder))
    its: Any = reactor
    its.run()


if __name__ == "__main__":
    main(sys.argv[1])
