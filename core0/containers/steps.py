"""
The steps by which a container comes to be, each with its inverse.
"""

import os
import signal

from twisted.internet.defer import TimeoutError
from twisted.logger import Logger

from core0.containers import etc, groups
from core0.containers.container import Container
from core0.containers.house import House
from core0.containers.nursery import Guest
from core0.containers.orders import Join
from core0.network.wishes import Wishes
from core0.waiting import within

ZEROTIER = "zerotier"  # folder of what that keeps
SLACK = 5.0  # seconds beyond the grace of its jobs in which a CoreX has to end
_log = Logger()


class Steps:
    """
    Of one container. What each does is undone by the container's ``undo``, also if it fails halfway.
    """

    def __init__(self, house: House, container: Container) -> None:
        self._house = house
        self._container = container
        self._number = container.number
        self._id = runtime_id(house, container.number)

    def adopt(self) -> None:
        """
        Everything was done by a core0 before this one.
        """
        self._undo_folder()
        self._open()
        self._undo_user()
        self._undo_run()
        self._undo_network()
        self._undo_corex()

    async def folder(self) -> None:
        """
        A folder for what it keeps, with a record of it.
        """
        self._undo_folder()
        await self._house.in_thread(self._house.shelf.make, self._container.record)

    def _undo_folder(self) -> None:
        self._container.undo.push("its folder", self._remove_folder)

    async def _remove_folder(self) -> None:
        """
        Not while something else is left: then the next core0 has to know of it.
        """
        if not self._container.undo.failed:
            await self._house.in_thread(self._house.shelf.remove, self._number)

    async def guest(self) -> Guest:
        """
        A process that is going to be its CoreX.
        """
        guest = await self._house.nursery.guest(self._number)
        self._container.undo.push("its guest", guest.end)
        return guest

    async def channel(self) -> None:
        """
        A way to and from its CoreX: only its own user has it.
        """
        self._open()
        self._undo_user()
        await self._house.users.admit(self._number, self._container.record.secret)

    def _undo_user(self) -> None:
        self._container.undo.push("its user", lambda: self._house.users.dismiss(self._number))

    def _open(self) -> None:
        self._container.undo.push("its channel", self._close)
        self._house.channels.open(self._number, self._container)

    async def _close(self) -> None:
        """
        What its CoreX said last may be answers.
        """
        self._container.emptied.happen(None)
        await self._house.channels.drained(self._number)
        self._container.heard = True
        await self._house.channels.close(self._number)

    async def run(self, bundle: str, namespace: str, pid_file: str) -> int:
        """
        Have the runtime start it.

        :returns: the pid of its first process.
        """
        self._undo_run()
        cgroups = cgroups_of(self._house, self._number)
        runner = self._container.runner
        return await runner.run(self._id, bundle, pid_file, cgroups=cgroups, mount_namespace=namespace)

    def _undo_run(self) -> None:
        self._container.undo.push("its processes and cgroups", self._delete)

    async def _delete(self) -> None:
        house = self._house
        await self._container.runner.delete(self._id, cgroups=cgroups_of(house, self._number))
        # before its last answers are waited for: the disk may be full of it, and they cannot be written for that
        await house.in_thread(house.shelf.empty, self._number)
        await house.in_thread(groups.remove_empty, f"/{house.family}")

    async def network(self, init: int, wishes: Wishes) -> None:
        """
        Its links and ports, and what its own files say about them.
        """
        self._undo_network()
        await self._house.networks.attach(self._number, network_of(init), wishes, self._zerotier)
        await self.tell()

    @property
    def _zerotier(self) -> str:
        return zerotier_of(self._house, self._number)

    async def go_on(self, init: int, wishes: Wishes) -> None:
        """
        With links and ports that a core0 before this one has made.
        """
        await self._house.networks.recover(self._number, network_of(init), wishes, self._zerotier)

    async def tell(self) -> None:
        """
        Write which addresses it has, and who knows names, into its own files.
        """
        self._container.resolver = await self._house.in_thread(self._write_files)

    def _write_files(self) -> etc.HostResolver:
        found, request = etc.HostResolver.look(), self._container.record.request
        attached = self._house.networks.attached(self._number)
        resolved = etc.resolver_of(attached, request.host_network, found)
        place, name = self._house.shelf.place(self._number), request.name(self._number)
        etc.write(place, name, attached, resolved, host_network=request.host_network)
        if found != self._container.resolver:
            found.keep(place)
        return found

    def _undo_network(self) -> None:
        home = self._zerotier if self._container.record.request.zerotier else ""
        self._container.undo.push("its links and ports", lambda: self._house.networks.detach(self._number, home))

    async def join(self, guest: Guest, order: Join) -> int:
        """
        Have its CoreX go in.

        :returns: the pid of that.
        """
        self._undo_corex()
        corex = await guest.join(order)
        guest.drop()
        return corex

    def _undo_corex(self) -> None:
        self._container.undo.push("its jobs", self._end_jobs)

    async def _end_jobs(self) -> None:
        """
        TERM for the jobs, grace, KILL, and their results: all of it is done by the CoreX when it is told to end.
        """
        corex, init = self._container.corex, self._container.init
        if corex is None or init is None or init.ended.happened or not self._container.record.started:
            return  # one that has never answered has no jobs
        corex.signal(signal.SIGTERM)
        patience = self._house.settings.kill_grace + SLACK
        try:
            await within(self._house.reactor, patience, corex.ended.wait())
        except TimeoutError:
            _log.warn("corex {number} does not end by itself; killing it", number=self._number)
            corex.signal(signal.SIGKILL)


def network_of(init: int) -> str:
    """
    The path of a container's network namespace.

    :param init: the pid of its first process.
    """
    return f"/proc/{init}/ns/net"


def zerotier_of(house: House, number: int) -> str:
    """
    The folder of what ZeroTier keeps for a container.
    """
    return os.path.join(house.shelf.place(number), ZEROTIER)


def runtime_id(house: House, number: int) -> str:
    """
    The name of a container for the runtime.
    """
    return f"{house.family}-{number}"


def cgroups_of(house: House, number: int) -> str:
    """
    The cgroup of a container, from the root of each hierarchy.
    """
    return f"/{house.family}/{number}"
