"""
Making a container: one step after another, each with its inverse.
"""

import json
import os
import secrets
from collections.abc import Callable, Iterator
from functools import cache

from msgspec.structs import replace
from twisted.internet.defer import DeferredSemaphore, TimeoutError

from core0.clock import epoch
from core0.containers import etc, ground, groups, seccomp
from core0.containers.bundle import Etc, Spec, bundle
from core0.containers.bundle import Mount as Bound
from core0.containers.container import Container
from core0.containers.house import House
from core0.containers.machine import Machine
from core0.containers.nursery import Guest, GuestFailed
from core0.containers.orders import Join
from core0.containers.probe import find_init
from core0.containers.rootfs import IDS, Bind, Setup, staging_place
from core0.containers.runtime import RuntimeFailed
from core0.containers.shelf import Phase
from core0.containers.sources import answering, resolved
from core0.containers.steps import Steps, cgroups_of
from core0.errors import Refusal, ServerFailed
from core0.images.images import Root
from core0.images.source import FIELD
from core0.messages import shown
from core0.network.attached import Attached
from core0.waiting import both, to_the_end, within

FIRST_ID = 1 << 28  # of the ids that containers have, 65,536 each
SLOTS = 24_000  # as many as fit below the ids that systemd says nobody should use
ANSWER = 15.0  # seconds in which a CoreX has to answer
MOST_SOURCES = 192 << 10  # bytes: that, as much of their targets, and some kB are less than MAX_ORDER
Say = Callable[[str], None]


def first_id(slot: int) -> int:
    """
    The host's id of a container's root.
    """
    return FIRST_ID + slot * IDS


class Building:
    """
    One container on its way.

    :param password: of its CoreX.
    :param turns: of those that are started at the same time.
    :param say: is told how far it is.
    """

    def __init__(
        self,
        house: House,
        machine: Machine,
        container: Container,
        password: str,
        *,
        turns: DeferredSemaphore,
        say: Say,
    ) -> None:
        self._house = house
        self._machine = machine
        self._container = container
        self._password = password
        self._turns = turns
        self._say = say
        self._request = container.record.request
        self._number = container.number
        self._wishes = self._request.wishes(self._number)
        self._place = house.shelf.place(self._number)
        self._bundle = os.path.join(self._place, "bundle")
        self._sources: list[str] = []  # of the mounts, where they lead to

    @property
    def _first_id(self) -> int:
        return 0 if self._request.privileged else first_id(self._container.record.slot)

    @property
    def _env(self) -> dict[str, str]:
        """
        Of its first process and of all jobs.
        """
        return {"container": "core0", **self._request.env}

    async def build(self) -> None:
        """
        All of it; what was done is on the container's ``undo``, also when it fails.

        :raises Refusal: it cannot be done.
        """
        house, container, number = self._house, self._container, self._number
        steps = Steps(house, container)
        try:
            await answering(house.file_systems, [mount.source for mount in self._request.mounts])
            await house.in_thread(self._check)
            await house.open()
            await steps.folder()
            # an image may take long to come: what cannot be connected is refused meanwhile
            (guest, setup), _ = await both(both(steps.guest(), self._ground()), self._connectable())
            # not before: an image may take long to come, and those that have theirs do not wait for it
            async with self._turns:
                await self._start(steps, guest, setup)
            await house.in_thread(house.shelf.save, container.record)
        except (GuestFailed, RuntimeFailed, ServerFailed, OSError) as error:
            raise Refusal(503, f"cannot start container {number}: {error}") from error

    async def _start(self, steps: Steps, guest: Guest, setup: Setup) -> None:
        house, container = self._house, self._container
        namespace, _ = await both(guest.prepare(setup), steps.channel())
        init = await steps.run(self._bundle, namespace, os.path.join(self._place, "pid"))
        container.started(init)
        # the kernel takes its time for both
        await both(self._connect(steps, init), self._inhabit(steps, guest, init))
        started = int(epoch(house.reactor) * 1000)
        container.record = replace(container.record, phase=Phase.LIVE, started=started)

    async def _connectable(self) -> None:
        if self._wishes is not None:
            await self._house.networks.check(self._wishes)

    async def _connect(self, steps: Steps, init: int) -> None:
        if self._wishes is not None:
            await steps.network(init, self._wishes)

    async def _inhabit(self, steps: Steps, guest: Guest, init: int) -> None:
        house = self._house
        cgroups = await house.in_thread(groups.existing, cgroups_of(house, self._number))
        corex = await steps.join(guest, self._joining(init, cgroups))
        self._container.joined(corex)
        await self._first_word()

    async def _ground(self) -> Setup:
        """
        The root file system, and a folder that stands on it.
        """
        root = await self._root()
        self._container.record = replace(self._container.record, shown=root.plist)
        return await to_the_end(self._house.in_thread(self._furnish, root))

    async def _root(self) -> Root:
        request = self._request
        hold = os.path.join(self._place, "root")
        return await self._house.images.root(request.plist, request.storage or self._house.storage, hold, self._say)

    def _check(self) -> None:
        """
        Whatever is wrong and can be known before anything is done.
        """
        # who is root of the host anyway sees all of it
        private = () if self._request.privileged else self._house.private
        self._sources = [resolved(mount.source, private) for mount in self._request.mounts]
        size = len(json.dumps(self._sources, ensure_ascii=False).encode())
        if size > MOST_SOURCES:
            text = f"the paths of the host that they lead to take {size} bytes, at most {MOST_SOURCES} are possible"
            raise Refusal(400, f"arguments.mount: {text}; have fewer")

    def _furnish(self, root: Root) -> Setup:
        """
        The folder of the container, with its bundle.
        """
        place, owner = self._place, self._first_id
        places = self._places(root)
        for name in ("upper", "work", "bundle"):
            os.mkdir(os.path.join(place, name), 0o755)
        os.chown(os.path.join(place, "upper"), owner, owner)
        lower = os.stat(root.path)
        os.chmod(os.path.join(place, "upper"), lower.st_mode & 0o7777)
        found = self._container.resolver = etc.HostResolver.look()
        resolved = etc.resolver_of(Attached(), self._request.host_network, found)
        etc.make(place, owner, self._request.name(self._number), resolved)
        found.keep(place)
        stage = staging_place([place, self._house.run, root.path])
        config = bundle(self._spec(stage), self._machine)
        with open(os.path.join(self._bundle, "config.json"), "w", encoding="utf-8") as file:
            json.dump(config, file)
        if "seccomp" in config["linux"]:
            with open(os.path.join(self._bundle, "seccomp.bpf"), "wb") as program:
                program.write(_filter(self._machine.name))
        hidden = self._container.record.runtime.hide_unified
        return Setup(
            stage=stage,
            lower=root.path,
            own=place,
            first_id=owner,
            binds=list(self._binds()),
            places=places,
            hide=[groups.UNIFIED] if hidden else [],
        )

    def _places(self, root: Root) -> ground.Places:
        """
        What has to be made in the image for what is mounted in it.
        """
        targets = [ground.Target("/tmp", mode=0o1777)]
        targets += [ground.Target(f"/etc/{name}", file=True) for name in etc.NAMES if self._has_place(name)]
        for source, mount in zip(self._sources, self._request.mounts, strict=True):
            targets.append(ground.Target(mount.target, not os.path.isdir(source), own=False))
        try:
            return ground.places(root.path, targets)
        except ground.OddImage as error:
            where = f"{FIELD}: {shown(root.plist)}" if error.own else "arguments.mount"
            raise Refusal(400, f"{where}: {error}") from error

    def _has_place(self, name: str) -> bool:
        """
        Whether its own file can appear in its ``/etc``: in one of the host no file is made for that.
        """
        pairs = zip(self._sources, self._request.mounts, strict=True)
        return all(os.path.exists(os.path.join(source, name)) for source, mount in pairs if mount.target == "/etc")

    def _binds(self) -> Iterator[Bind]:
        for name in etc.NAMES:
            yield Bind(os.path.join(os.path.realpath(self._place), etc.FOLDER, name), name, mapped=False)
        for place, (source, mount) in enumerate(zip(self._sources, self._request.mounts, strict=True)):
            yield Bind(source, f"mount-{place}", mount.read_only)

    def _spec(self, stage: str) -> Spec:
        request = self._request
        return Spec(
            number=self._number,
            hostname=request.name(self._number),
            rootfs=f"{stage}/root",
            ids=self._first_id,
            cgroups=cgroups_of(self._house, self._number),
            init=find_init() or "",
            etc=Etc(*(f"{stage}/{name}" if self._has_place(name) else "" for name in etc.NAMES)),
            env=self._env,
            mounts=tuple(
                Bound(f"{stage}/mount-{place}", mount.target, mount.read_only, file=not os.path.isdir(source))
                for place, (source, mount) in enumerate(zip(self._sources, request.mounts, strict=True))
            ),
            limits=request.limits,
            shm=request.shm,
            privileged=request.privileged,
            host_network=request.host_network,
        )

    def _joining(self, init: int, cgroups: list[str]) -> Join:
        house = self._house
        settings = replace(
            house.settings,
            number=self._number,
            user=house.users.name(self._number),
            password=self._password,
            limits=self._request.limits,
            env=self._env,
        )
        return Join(init=init, bundle=self._bundle, cgroups=cgroups, socket=house.socket, settings=settings)

    async def _first_word(self) -> None:
        """
        Until its CoreX has answered.
        """
        container, reactor = self._container, self._house.reactor
        try:
            reason = await within(reactor, ANSWER, container.first_word.wait())
        except TimeoutError as error:
            raise GuestFailed(f"its CoreX has not answered within {ANSWER:.0f} s") from error
        if reason:
            raise GuestFailed(reason)


@cache
def _filter(machine: str) -> bytes:
    """
    Of all containers but privileged ones: it takes some 10 ms to be made.
    """
    return seccomp.program(seccomp.profile(machine))


def new_password() -> str:
    """
    Of a CoreX.
    """
    return secrets.token_hex(32)
