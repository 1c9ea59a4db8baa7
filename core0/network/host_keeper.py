"""
Makes the host's network what its file says, and again whenever something has changed. In one asyncio loop.
"""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from ipaddress import IPv4Interface

from core0.network import host_resolver
from core0.network.host_dhcp import Client, Listener
from core0.network.host_kernel import Failed, Kernel, listen
from core0.network.host_machine import Lease, Link, Machine
from core0.network.host_outcome import Outcome, outcomes
from core0.network.host_plan import AskDhcp, LeaveResolver, Step, WriteResolver, named_links, plan, withdrawal
from core0.network.host_settings import HostSettings

FIRST_RETRY, LAST_RETRY = 1.0, 30.0  # seconds before what failed is tried again
IDLE = 60.0  # seconds after which it looks whether all is well, though it has heard of no change
SETTLE = 0.05  # seconds in which changes are gathered
ROUNDS = 3  # of steps at once: what one of them had the kernel remove is added again

Report = Callable[[Mapping[str, Outcome]], object]


class Keeper(Listener):
    """
    :param report: told of all links by their names, after each look. Besides links there may be the resolver's file
        and the settings' file, by their paths, if there is something to say of them.
    """

    def __init__(self, settings: HostSettings, report: Report) -> None:
        self._settings = settings
        self._report = report
        self._names = {link.name for link in settings.links}
        self._indices: set[int] = set()
        self._found: Mapping[str, Outcome] = {}
        self._changed = asyncio.Event()
        self._leases: dict[str, Lease] = {}  # the last of each link: it stays in force while nobody answers
        self._owners: dict[str, int] = {}  # the number of the link that got it
        self._running: set[str] = set()  # links whose lease a server has confirmed, and that has not run out
        self._taken: set[str] = set()  # links whose address is somebody else's, says a server
        self._troubles: dict[str, str] = {}
        self._raised: set[int] = set()
        self._clients: dict[str, tuple[int, asyncio.Task[None]]] = {}

    async def run(self) -> None:
        """
        Until it is cancelled. What has been made stays.
        """
        hearing = asyncio.create_task(self._hear())
        try:
            await self._keep()
        finally:
            hearing.cancel()
            for name in list(self._clients):
                self._leave(name)

    async def _hear(self) -> None:
        """
        Hear of changes; after a mistake anew.
        """
        while True:
            try:
                await listen(self._heard, self._changed.set)
            except Exception:
                pass  # too many at once, or too many open files
            self._changed.set()  # some may have been missed
            await asyncio.sleep(FIRST_RETRY)

    def _heard(self, index: int, link: Link | None) -> None:
        concerned = index in self._indices
        if link is not None:
            concerned = concerned or link.name in self._names or (link.card and self._settings.auto)
        if concerned:  # others come and go with each container
            self._changed.set()

    async def _keep(self) -> None:
        retry, well = FIRST_RETRY, True
        while True:
            self._changed.clear()
            try:
                well = await self._look()
            except Exception as error:
                if not well:  # once may be for want of a descriptor, while a program was being started
                    trouble = Outcome("", "failed", (), f"cannot look at the network: {error!r}")
                    self._report({**self._found, self._settings.path: trouble})
                well = False
            retry = FIRST_RETRY if well else min(retry * 2, LAST_RETRY)
            try:
                await asyncio.wait_for(self._changed.wait(), IDLE if well else retry)
            except TimeoutError:
                pass
            await asyncio.sleep(SETTLE)

    async def _look(self) -> bool:
        """
        Take what steps there are, and tell what has come of them.

        :returns: whether none failed.
        """
        failures: dict[str, str] = {}
        async with Kernel() as kernel:
            machine = await kernel.read()
            while self._taken:
                await _take(kernel, withdrawal(self._taken.pop(), machine), machine, failures)
                machine = await kernel.read()
            for _ in range(ROUNDS):
                self._forget(machine)
                steps = plan(self._settings, machine, self._leases, self._raised)
                if not await _take(kernel, steps, machine, failures):
                    break
                machine = await kernel.read()
                if failures:
                    break
        names = {link.name for link in named_links(self._settings, machine)}
        named = [link for link in machine.links.values() if link.name in names]
        self._indices = {link.index for link in named}
        self._raised = {link.index for link in named if link.up or link.index in self._raised}
        self._attend(machine)
        running = {name: lease for name, lease in self._leases.items() if name in self._running}
        found = outcomes(self._settings, machine, running, {**self._troubles, **failures})
        self._found = {**found, **_of_resolver(steps, failures)}
        self._report(self._found)
        return not failures

    def _forget(self, machine: Machine) -> None:
        """
        A link that has gone takes all with it, even if there is another one of its name.
        """
        indices = {link.name: link.index for link in machine.links.values()}
        for name, (index, _) in list(self._clients.items()):
            if indices.get(name) != index:
                self._leave(name)
        for name, index in list(self._owners.items()):
            if indices.get(name) != index:
                del self._owners[name], self._leases[name]

    def _attend(self, machine: Machine) -> None:
        """
        Have a client for each link that can be used and gets its address by DHCP, and for no other.
        """
        named = (link for link in named_links(self._settings, machine) if link.protocol == "dhcp")
        links = {link.name: machine.links[link.name] for link in named if link.name in machine.links}
        usable = {name: link for name, link in links.items() if link.up and link.cable}
        for name, (_, task) in list(self._clients.items()):
            if name not in usable or task.done():
                self._leave(name)
        for name, link in usable.items():
            if name not in self._clients:
                client = Client(name, self, _last(link))
                self._clients[name] = link.index, asyncio.create_task(client.run())

    def _leave(self, name: str) -> None:
        _, task = self._clients.pop(name)
        task.cancel()
        self._running.discard(name)
        self._troubles.pop(name, None)

    def given(self, link: str, lease: Lease) -> None:
        """
        See :class:`Listener`.
        """
        if link not in self._clients:
            return  # it was on its way when the link went
        if link in self._running and self._leases.get(link) == lease:
            return
        self._leases[link], self._owners[link] = lease, self._clients[link][0]
        self._running.add(link)
        self._troubles.pop(link, None)
        self._changed.set()

    def taken(self, link: str) -> None:
        """
        See :class:`Listener`.
        """
        self._leases.pop(link, None)
        self._owners.pop(link, None)
        self._running.discard(link)
        self._taken.add(link)
        self._changed.set()

    def lapsed(self, link: str) -> None:
        """
        See :class:`Listener`.
        """
        self._running.discard(link)
        self._changed.set()

    def troubled(self, link: str, reason: str) -> None:
        """
        See :class:`Listener`.
        """
        if link not in self._running and link in self._clients:
            self._troubles[link] = reason
            self._changed.set()


async def _take(kernel: Kernel, steps: Sequence[Step], machine: Machine, failures: dict[str, str]) -> int:
    """
    Take steps; after one that fails no more of that link.

    :returns: how many.
    """
    count = 0
    for step in steps:
        try:
            if isinstance(step, WriteResolver):
                host_resolver.write(step.text)
            elif isinstance(step, AskDhcp | LeaveResolver) or step.link in failures:
                continue
            else:
                await kernel.take(step, machine.links[step.link])
            count += 1
        except Failed as error:
            failures[step.link] = str(error)
        except OSError as error:
            failures[host_resolver.PATH] = f"cannot write it: {error.strerror}"
    return count


def _of_resolver(steps: Sequence[Step], failures: Mapping[str, str]) -> dict[str, Outcome]:
    left = (str(step).partition(": ")[2] for step in steps if isinstance(step, LeaveResolver))
    reason = failures.get(host_resolver.PATH) or next(left, "")
    return {host_resolver.PATH: Outcome("", "failed", (), reason)} if reason else {}


def _last(link: Link) -> IPv4Interface | None:
    """
    The address that a link has by DHCP from before.
    """
    own = (address.ip for address in link.addresses if address.own)
    return next((ip for ip in own if isinstance(ip, IPv4Interface)), None)
