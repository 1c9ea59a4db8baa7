"""
The containers of a host.
"""

from collections.abc import Collection, Mapping, Sequence
from typing import Any
from zlib import crc32

from twisted.internet.defer import CancelledError, Deferred, DeferredSemaphore, TimeoutError
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from core0 import procfs
from core0.clock import epoch
from core0.containers import cgroups
from core0.containers.building import SLOTS, Building, Say, new_password
from core0.containers.container import Container
from core0.containers.dispatch import Dispatcher
from core0.containers.following import ResolverFollower
from core0.containers.house import House
from core0.containers.id_ranges import slots_in_use
from core0.containers.machine import Machine, look
from core0.containers.memory import MemoryWatcher
from core0.containers.memory import look as look_at_memory
from core0.containers.probe import Runtimes
from core0.containers.remains import Remains
from core0.containers.request import Request
from core0.containers.runtime import Runtime
from core0.containers.shelf import Found, Phase, Record
from core0.containers.steps import Steps
from core0.durable import boot
from core0.errors import NoThread, Refusal
from core0.host_interfaces import IContainers
from core0.messages import Command
from core0.values import Usage
from core0.waiting import pause, to_the_end, within

MOST_BUILT = 20  # at once, of those that have their images: the kernel does much of it one after another
TOLD, UNTOLD = 1.0, 60.0  # seconds until a container is told of its next addresses, or again of these
FIRST_WAIT, LONGEST_WAIT = 0.5, 30.0  # seconds between attempts to read records
LAST_WORDS = 10.0  # seconds for what containers have said, when core0 ends and takes them with it


@implementer(IContainers)
class Containers:
    """
    :param most: how many there may be.
    :param runtimes: find what makes containers on this host.
    """

    _log = Logger()

    def __init__(self, house: House, most: int, runtimes: Runtimes) -> None:
        self._house = house
        self._most = most
        self._runtimes = runtimes
        self._containers: dict[int, Container] = {}
        self._dispatcher = Dispatcher(house)
        self._entering = 0
        self._turns = DeferredSemaphore(MOST_BUILT)
        self._spoiled: set[int] = set()  # slots of which something may still be in use
        self._machine: Machine | None = None
        self._boot = ""
        self._found = Found([], [], {}, "the records: not yet")
        self._telling: dict[int, bool] = {}  # of whom, and whether once more
        self._memory = MemoryWatcher(
            house.reactor, house.in_thread, lambda: [each.memory for each in self._living_ones()]
        )
        self._resolver = ResolverFollower(house, lambda: list(self._containers.values()), self._network_changed)
        house.networks.on_change = self._network_changed

    def _network_changed(self, number: int) -> None:
        if number in self._telling:
            self._telling[number] = True
            return
        self._telling[number] = False
        in_background(self._tell(number))

    async def _tell(self, number: int) -> None:
        """
        Write new addresses into a container's own files: for one container once at a time.
        """
        complained = False
        try:
            while True:
                self._telling[number] = False
                container = self._containers.get(number)
                if container is None or container.phase != Phase.LIVE:
                    return
                try:
                    await Steps(self._house, container).tell()
                except (OSError, NoThread) as error:
                    # a program in there may have a lease on the file, and some time until the kernel lets go of it
                    if not (complained or isinstance(error, BlockingIOError)):
                        text = (
                            "cannot write into the /etc of container {number}: {error}; trying again every {wait:g} s"
                        )
                        self._log.error(text, number=number, error=error, wait=UNTOLD)
                        complained = True
                    await pause(self._house.reactor, UNTOLD)
                    continue
                await pause(self._house.reactor, TOLD)
                if not self._telling[number]:
                    return
        finally:
            del self._telling[number]

    async def recover(self, found: Found, unanswered: Collection[int]) -> None:
        """
        Go on with those of a core0 before this one, and remove what is left of those that are dead, or that nobody
        knows of. What cannot be read now is left alone, and tried again until it can.

        :param unanswered: the numbers of commands that it had started and not answered.
        """
        self._boot = await self._house.in_thread(boot)
        await self._adopt(found, unanswered)
        self._resolver.start()
        self._memory.start()
        if found.unknown:
            text = "cannot read {reason}; trying again; until then no container is made"
            self._log.critical(text, reason=found.unknown)
            in_background(self._recover_later(unanswered))

    async def _recover_later(self, unanswered: Collection[int]) -> None:
        wait = FIRST_WAIT
        while self._found.unknown:
            await pause(self._house.reactor, wait)
            wait = min(wait * 2, LONGEST_WAIT)
            try:
                found = await self._house.in_thread(self._house.shelf.find)
            except NoThread:
                continue
            # those that are known may have gone meanwhile
            found.records = [record for record in found.records if self._unread(record.number)]
            found.corrupt = [number for number in found.corrupt if self._unread(number)]
            found.unread = {number: why for number, why in found.unread.items() if self._unread(number)}
            for record in found.records:
                await self._house.users.admit(record.number, record.secret)
            await self._adopt(found, unanswered)
        self._log.info("all records of containers are read; containers can be made again")

    def _unread(self, number: int) -> str:
        """
        Why nothing is known of a container that may live; empty if that is no reason.
        """
        if number in self._containers:
            return ""
        return self._found.unlisted or self._found.unread.get(number, "")

    async def _adopt(self, found: Found, unanswered: Collection[int]) -> None:
        """
        Go on with those that are found, and end those of which nothing can be known.
        """
        before, known, self._found = self._found, set(self._containers), found

        def held(number: int) -> bool:
            was_unread = number not in known and (before.unlisted or number in before.unread)
            return not was_unread or self._unread(number) != ""

        # before anybody gets their user ids
        for sweep in [Deferred.fromCoroutine(Remains(self._house, number).sweep()) for number in found.corrupt]:
            await sweep
        for record in found.records:
            container = self._containers[record.number] = self._known(record)
            if record.entry and record.entry in unanswered:
                container.dying.happen("core0 ended before its corex.create was answered")
            if not container.dying.happened:
                self._log.info("container {number} lives on", number=record.number)
        # before anything is heard of them: what is no errand is nobody's result
        await self._dispatcher.recover(self._containers, held)
        for record in found.records:
            await self._go_on(self._containers[record.number])
        await self._resolver.recover()

    async def _go_on(self, container: Container) -> None:
        steps = Steps(self._house, container)
        steps.adopt()
        wishes = container.record.request.wishes(container.number)
        if wishes is not None and container.init is not None and not container.dying.happened:
            await steps.go_on(container.init.pid, wishes)
        # what they had already they know
        for line in container.errands.again():
            self._house.channels.send(container.number, line)
        self._look_after(container)

    def _known(self, record: Record) -> Container:
        container = Container(self._house, record)
        if not self._is_ours(record):
            container.dying.happen("what its record tells of is no container of this core0")
        elif record.phase == Phase.LIVE and record.boot == self._boot and record.init and record.corex:
            container.started(record.init.pid)
            container.joined(record.corex.pid)
        else:
            container.dying.happen(f"it was {record.phase} when core0 ended")
        return container

    def _is_ours(self, record: Record) -> bool:
        """
        Whether its first process, if that lives, is in a cgroup by the name of this core0: a record may be a copy.
        """
        if record.boot != self._boot or record.init is None or procfs.started(record.init.pid) != record.init.start:
            return True
        found = procfs.read(f"/proc/{record.init.pid}/cgroup").replace(b"\n", b"/")
        return f"/{self._house.family}/{record.number}/".encode() in found

    def _look_after(self, container: Container) -> None:
        """
        Remove it when it dies.
        """

        async def wait() -> None:
            reason = await container.dying.wait()
            await look_at_memory(self._house.in_thread, [container.memory])
            reason = container.memory.cause(reason)
            if container.phase != Phase.REMOVING:
                text = "container {number} is removed: {reason}"
                self._log.error(text, number=container.number, reason=reason)
            await self._remove(container, reason)

        in_background(wait())

    def _living(self, number: int) -> Container:
        container = self._containers.get(number)
        if container is None and (why := self._unread(number)):
            raise Refusal(503, f"nothing is known of container {number} now: cannot read {why}; core0 goes on trying")
        if container is None:
            raise Refusal(404, f"there is no container {number}; corex.list tells which there are")
        return container

    async def create(self, request: Request, entry: int, say: Say) -> int:
        """
        Make one.
        """
        if self._found.unknown:
            # its user ids may be those of another one
            raise Refusal(503, f"cannot make containers now: cannot read {self._found.unknown}; core0 goes on trying")
        house, runtime = self._house, await self._runtimes.get()
        if self._machine is None:
            self._machine = await house.in_thread(look)
        machine = self._machine
        if len(self._containers) + self._entering >= self._most:
            raise Refusal(503, f"there are {self._most} containers already, as many as [containers] max allows")
        password = new_password()
        self._entering += 1
        try:
            container = await self._enter(request, entry, runtime, password)
        finally:
            self._entering -= 1
        try:
            await Building(house, machine, container, password, turns=self._turns, say=say).build()
        except BaseException as error:
            container.first_word.happen(str(error))
            await to_the_end(self._remove(container, "it was not completed"))
            raise
        self._look_after(container)
        self._log.info("container {number} lives", number=container.number)
        return container.number

    async def _enter(self, request: Request, entry: int, runtime: Runtime, password: str) -> Container:
        """
        A new one, with a number of its own.
        """
        house = self._house
        try:
            number = await house.in_thread(house.shelf.next_number)
            others = await house.in_thread(slots_in_use)
        except OSError as error:
            raise Refusal(503, f"cannot keep containers: {error}") from error
        record = Record(
            number=number,
            slot=self._free_slot(others),
            entry=entry,
            secret=house.users.hashed(password),
            boot=self._boot,
            runtime=runtime,
            request=request,
        )
        container = self._containers[number] = Container(house, record)
        return container

    def _free_slot(self, others: set[int]) -> int:
        """
        :param others: what processes have, those of other core0 among them.
        """
        taken = others | {container.record.slot for container in self._containers.values()} | self._spoiled
        # another core0 on this machine begins elsewhere
        first = crc32(self._house.family.encode())
        for place in range(SLOTS):
            if (slot := (first + place) % SLOTS) not in taken:
                return slot
        raise Refusal(503, "all ranges of user ids that containers can have are in use; terminate some containers")

    async def _remove(self, container: Container, reason: str) -> None:
        """
        All that there is of it; whoever comes second waits for the first.
        """
        if container.phase == Phase.REMOVING:
            await container.gone.wait()
            return
        container.move(Phase.REMOVING)
        try:
            await container.undo.unwind()
        finally:
            container.release()
            del self._containers[container.number]
            if container.undo.failed:
                self._spoiled.add(container.record.slot)
            if container.heard:
                for final in container.errands.orphaned(f"container {container.number} is gone: {reason}"):
                    self._house.dispatched.finish(final)
                now = int(epoch(self._house.reactor) * 1_000_000_000)
                for id in container.errands.cut_streams():
                    last = container.reports.end_of_stream(id, now)
                    self._house.journal.stream(last.id, last.line, last.last)
            # else the answers may be there: the next core0 reads them
            container.emptied.happen(None)
            container.gone.happen(None)

    async def terminate(self, number: int) -> None:
        """
        End one.
        """
        container = self._living(number)
        if container.phase == Phase.CREATING:
            raise Refusal(
                409, f"cannot terminate container {number} while it is {container.phase}; kill its corex.create"
            )
        in_background(self._remove(container, "it was terminated"))
        try:
            await container.gone.wait()
        except CancelledError:
            # what it has said cannot be passed on while the clients' server is away: not even core0 can stop that
            await to_the_end(container.emptied.wait())
            raise
        left = "; ".join(container.undo.failed)
        if left:
            text = (
                f"container {number} has ended, but something of it is left: {left}; core0 removes it at its next start"
            )
            raise Refusal(500, text)

    def _living_ones(self) -> list[Container]:
        return [each for _, each in sorted(self._containers.items()) if each.phase == Phase.LIVE]

    async def listed(self) -> Mapping[str, Any]:
        """
        The living ones.
        """
        living = self._living_ones()
        await look_at_memory(self._house.in_thread, [each.memory for each in living])
        usages = await self._house.in_thread(_measure, living)
        networks = await self._house.networks.described([each.number for each in living])
        described = zip(living, usages, networks, strict=True)
        return {str(each.number): _description(each, usage, network) for each, usage, network in described}

    async def dispatch(self, number: int, command: Command, id: str) -> None:
        """
        Have one run a command.
        """
        container = self._living(number)
        if container.phase != Phase.LIVE:
            raise Refusal(409, f"cannot dispatch to container {number} while it is {container.phase}")
        await self._dispatcher.dispatch(container, command, id)

    async def terminate_all(self) -> None:
        """
        For a core0 that takes its containers with it. What they have said and cannot be passed on the next one reads.
        """
        living = [container for container in self._containers.values() if container.phase == Phase.LIVE]
        for each in living:
            in_background(self._remove(each, "core0 was stopped"))
        for each in living:
            await each.emptied.wait()
        try:
            await within(self._house.reactor, LAST_WORDS, _gone(living))
        except TimeoutError:
            self._log.warn("not everything that containers have said could be passed on; the next core0 does it")

    def leave(self) -> None:
        """
        Let them live on without this core0.
        """
        self._resolver.stop()
        self._memory.stop()
        for container in self._containers.values():
            container.release()


async def _gone(containers: Sequence[Container]) -> None:
    for container in containers:
        await container.gone.wait()


def _measure(containers: list[Container]) -> list[Usage]:
    swapping = procfs.swapping()
    with open("/proc/self/mountinfo", encoding="utf-8", errors="surrogateescape") as file:
        mounted = cgroups.hierarchies(file.read())
    return [
        each.meter.look(cgroups.members(each.init.pid if each.init else 0, mounted), swapping) for each in containers
    ]


def _description(container: Container, usage: Usage, network: list[dict[str, Any]]) -> dict[str, Any]:
    record, request = container.record, container.record.request
    return {
        "cpu": usage.cpu,
        "rss": usage.rss,
        "vms": usage.vms,
        "swap": usage.swap,
        "oom_kills": container.memory.kills,
        "hostname": request.name(container.number),
        "plist": record.shown,
        "pid": record.init.pid if record.init else 0,
        "started": record.started,
        "network": network,
        "port": {port.host: port.port for port in request.ports},
        "mount": {mount.source: mount.asked for mount in request.mounts},
    }


def in_background(work: Any) -> None:
    """
    Let it go on by itself; what goes wrong is logged.
    """

    def failed(failure: Failure) -> None:
        if not failure.check(CancelledError):
            Containers._log.failure("something of containers failed", failure)

    Deferred.fromCoroutine(work).addErrback(failed)
