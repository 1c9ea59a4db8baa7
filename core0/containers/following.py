"""
Containers follow the host's ``/etc/resolv.conf``: it is looked at again and again, and those whose own file would say
something else by now are told.
"""

from collections.abc import Callable, Iterable

from twisted.internet.defer import CancelledError
from twisted.logger import Logger
from twisted.python.failure import Failure

from core0.containers.container import Container
from core0.containers.etc import HostResolver, resolver_of
from core0.containers.house import House
from core0.containers.shelf import Phase
from core0.errors import NoThread
from core0.redis.task import Task
from core0.waiting import pause

LOOK = 1.0  # seconds between looks
AT_ONCE = 20  # containers that are compared before anything else has its turn


class ResolverFollower:
    """
    :param containers: all that there are.
    :param tell: called with the number of one whose file is to be written anew.
    """

    _log = Logger()

    def __init__(
        self, house: House, containers: Callable[[], Iterable[Container]], tell: Callable[[int], object]
    ) -> None:
        self._house = house
        self._containers = containers
        self._tell = tell
        self._unknown = False
        self._task = Task("containers do not follow the /etc/resolv.conf of the host any more")

    async def recover(self) -> None:
        """
        Containers that there are already know what a core0 before this one has told them last.
        """
        for container in self._containers():
            place = self._house.shelf.place(container.number)
            container.resolver = await self._house.in_thread(HostResolver.told, place)

    def start(self) -> None:
        """
        From now on.
        """
        self._task.start(self._follow())

    def stop(self) -> None:
        """
        No more.
        """
        self._task.stop()

    async def _follow(self) -> None:
        last: HostResolver | None = None
        while True:
            await pause(self._house.reactor, LOOK)
            if not any(each.phase == Phase.LIVE for each in self._containers()):
                continue
            try:
                found = await self._look()
                # one that is being written anew is empty for a moment, or half there
                if found is not None and found == last:
                    await self._compare(found)
                last = found
            except CancelledError:
                raise
            except Exception:
                self._log.failure("cannot look at the /etc/resolv.conf of the host", Failure())

    async def _look(self) -> HostResolver | None:
        """
        What the host has now; None if that cannot be known, which is told once.
        """
        try:
            found = await self._house.in_thread(HostResolver.look)
        except (OSError, NoThread) as error:
            if not self._unknown:
                text = "cannot look whom the host asks about names: {error}; containers keep what they have until then"
                self._log.error(text, error=error)
            self._unknown = True
            return None
        self._unknown = False
        return found

    async def _compare(self, found: HostResolver) -> None:
        for place, container in enumerate(self._containers()):
            if container.phase != Phase.LIVE or container.resolver == found:
                continue
            if self._text(container, container.resolver) != self._text(container, found):
                self._tell(container.number)
            else:
                container.resolver = found
            if not place % AT_ONCE:
                await pause(self._house.reactor, 0)

    def _text(self, container: Container, host: HostResolver) -> str:
        return resolver_of(self._house.networks.attached(container.number), container.record.request.host_network, host)
