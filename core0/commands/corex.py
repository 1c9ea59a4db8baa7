"""
The ``corex.*`` commands: containers.
"""

import posixpath
import re
import uuid
from functools import partial
from typing import Annotated, Any

from msgspec import Meta, Raw, Struct
from msgspec.structs import replace
from zope.interface import implementer

from core0.containers.request import Mount, Request
from core0.corex_settings import Limits
from core0.errors import Refusal, Undecodable
from core0.interfaces import BaseCommand, ICommand, IHost, IJob
from core0.messages import Outcome, answer, shown
from core0.reading import decode

MIB = 1 << 20
MAX_MOUNTS, MAX_ENV = 100, 1000
MAX_ENV_BYTES = 128 << 10
_HOSTNAME = re.compile(r"(?!-)[A-Za-z0-9-]{1,63}(?<!-)(\.(?!-)[A-Za-z0-9-]{1,63}(?<!-))*")
_INNER = uuid.UUID("0c0e0c0e-d15b-5a7c-8000-c0e0c0e0c0e0")
_SCHEMES = ("http://", "https://", "file://", "/")

Number = Annotated[int, Meta(ge=1, le=2**53)]


class LimitArguments(Struct, frozen=True):
    """
    What a container may use: ``memory`` in bytes, swap included; ``cpu`` in cores; ``pids``, processes and threads.
    """

    memory: Annotated[int, Meta(ge=8 * MIB, le=2**50)] | None = None
    cpu: Annotated[float, Meta(ge=0.01, le=4096)] | None = None
    pids: Annotated[int, Meta(ge=8, le=4_000_000)] | None = None


def _check_url(field: str, value: str) -> None:
    # all else about it is judged where it is used; a URL may hold a password, which is not repeated
    if not value.lower().startswith(_SCHEMES):
        found = shown(value.partition("://")[0])
        raise ValueError(f"@{field}: expected a URL (http, https, file) or an absolute path, got {found}")
    if "\0" in value:
        raise ValueError(f"@{field}: expected no NUL character")


class CreateArguments(Struct, frozen=True):
    """
    ``plist`` (or ``root``): where the root file system is described, an http, https or file URL or an absolute path;
    one that ends in ``.tar``, ``.tar.gz``, ``.tar.zst`` or ``.tar.xz`` is an archive of it. ``storage``: where the
    contents of its files are; without it ``[containers] storage``, or else ``store/`` beside the plist. ``mount``:
    directories (or files) of the host, each with its absolute path in the container, read-only with ``:ro`` behind it.
    ``hostname``: without it ``corex-<n>``. ``env``: variables of all its processes. ``limits``: what it may use.
    ``host_network``: with the host's network instead of its own. ``privileged``: not confined at all, only for what you
    trust like yourself. ``network`` and ``port``: for later, to be left out.
    """

    plist: str | None = None
    root: str | None = None
    storage: str | None = None
    mount: dict[str, str] | None = None
    hostname: str | None = None
    env: dict[str, str] | None = None
    limits: LimitArguments | None = None
    host_network: bool | None = None
    privileged: bool | None = None
    network: Any = None
    port: Any = None

    def __post_init__(self) -> None:
        if self.plist and self.root and self.plist != self.root:
            raise ValueError("@root: expected only one of plist and root, or both the same")
        if not (self.plist or self.root):
            raise ValueError("@plist: required, but missing")
        _check_url("plist" if self.plist else "root", self.plist or self.root or "")
        if self.storage:
            _check_url("storage", self.storage)
        if self.hostname and not (_HOSTNAME.fullmatch(self.hostname) and len(self.hostname) <= 64):
            raise ValueError(f"@hostname: expected letters, digits, - and . (at most 64), got {shown(self.hostname)}")
        self._check_env()
        self._check_mounts()
        for name in ("network", "port"):
            if getattr(self, name):
                raise ValueError(f"@{name}: expected nothing: containers have no network but their own loopback yet")

    def _check_env(self) -> None:
        env = self.env or {}
        if len(env) > MAX_ENV or sum(len(name) + len(value) for name, value in env.items()) > MAX_ENV_BYTES:
            raise ValueError(f"@env: expected at most {MAX_ENV} variables, and {MAX_ENV_BYTES} characters in all")
        for name, value in env.items():
            if not name or "=" in name or "\0" in name + value:
                raise ValueError(f"@env: expected names without '=' and values without NUL, got {shown(name)}")

    def _check_mounts(self) -> None:
        mounts = list(self.mounts())
        if len(mounts) > MAX_MOUNTS:
            raise ValueError(f"@mount: expected at most {MAX_MOUNTS}, got {len(mounts)}")
        targets = [mount.target for mount in mounts]
        for mount in mounts:
            if not mount.source.startswith("/") or "\0" in mount.source:
                raise ValueError(f"@mount: expected an absolute path of the host, got {shown(mount.source)}")
            if not mount.target.startswith("/") or "\0" in mount.target or ".." in mount.target.split("/"):
                text = f"expected an absolute path of the container without '..', got {shown(mount.target)}"
                raise ValueError(f"@mount[{mount.source!r:.80}]: {text}")
            if mount.target == "/" or re.match(r"/(proc|sys|dev)(/|$)", mount.target):
                raise ValueError(f"@mount[{mount.source!r:.80}]: {shown(mount.target)} is the container's own")
            if targets.count(mount.target) > 1:
                raise ValueError(f"@mount: expected each path of the container once, got {shown(mount.target)} twice")

    def mounts(self) -> list[Mount]:
        """
        What is to be mounted.
        """
        found = []
        for source, target in (self.mount or {}).items():
            path = target.removesuffix(":ro").removesuffix(":rw")
            normal = posixpath.normpath(path) if path.startswith("/") and ".." not in path.split("/") else path
            found.append(Mount(source, re.sub("^//", "/", normal), target.endswith(":ro")))
        return found

    def request(self) -> Request:
        """
        What is asked for, defaults filled in.
        """
        limits = self.limits or LimitArguments()
        return Request(
            plist=self.plist or self.root or "",
            storage=self.storage or "",
            hostname=self.hostname or "",
            env=self.env or {},
            mounts=self.mounts(),
            limits=Limits(memory=limits.memory, cpu=limits.cpu, pids=limits.pids),
            privileged=bool(self.privileged),
            host_network=bool(self.host_network),
        )


@implementer(ICommand)
class Create(BaseCommand):
    """
    Make a container and start a CoreX in it: its number, once that CoreX has answered. If it fails nothing is left of
    it. With ``"stream": true`` the command tells how far it is.
    """

    name = "corex.create"
    agent = IHost
    arguments = CreateArguments

    def __init__(self, agent: IHost) -> None:
        self._host = agent

    async def run(self, job: IJob) -> Outcome:
        """
        From the plist to the first answer.
        """
        given: CreateArguments = job.arguments
        say = partial(self._host.say, job)
        return answer(await self._host.containers.create(given.request(), job.seq, say))


@implementer(ICommand)
class List(BaseCommand):
    """
    The living containers: an object with one for each, by its number as text.

    * ``cpu`` (number): what all its processes use, in % of one core since the last look, 0 at the first.
    * ``rss``, ``vms``, ``swap`` (integers): their memory in bytes.
    * ``hostname`` (string): as asked for.
    * ``plist`` (string): where its root file system is from; of a URL without user, password and query.
    * ``pid`` (integer): its first process, as the host sees it.
    * ``started`` (integer): when its CoreX had answered, in ms since the epoch.
    * ``network`` (list), ``port``, ``mount`` (objects): as asked for.
    """

    name = "corex.list"
    agent = IHost
    repeatable = True

    def __init__(self, agent: IHost) -> None:
        self._host = agent

    async def run(self, job: IJob) -> Outcome:
        """
        Look at all of them, in a thread.
        """
        return answer(await self._host.containers.listed())


class DispatchArguments(Struct, frozen=True):
    """
    ``container``: its number. ``command``: a whole command, with all fields that it may have.
    """

    container: Number
    command: Raw


@implementer(ICommand)
class Dispatch(BaseCommand):
    """
    Have the CoreX of a container run a command: the id that it runs under, its own or a new one. Its result appears at
    ``result:<that id>``, with ``container`` set.
    """

    name = "corex.dispatch"
    agent = IHost
    arguments = DispatchArguments
    # done again it is the same command under the same id, which never runs twice
    repeatable = True

    def __init__(self, agent: IHost) -> None:
        self._host = agent

    async def run(self, job: IJob) -> Outcome:
        """
        Returns once it is safely on its way.
        """
        given: DispatchArguments = job.arguments
        try:
            command = decode(bytes(given.command))
        except Undecodable as error:
            raise Refusal(400, f"arguments.command: {error}") from error
        id = command.id or str(uuid.uuid5(_INNER, f"{job.id} {job.runs}"))
        if id == job.id:
            raise Refusal(400, f"arguments.command.id: expected another id than that of the dispatch, got {shown(id)}")
        await self._host.containers.dispatch(given.container, replace(command, id=id), id)
        return answer(id)


class TerminateArguments(Struct, frozen=True):
    """
    ``container``: its number.
    """

    container: Number


@implementer(ICommand)
class Terminate(BaseCommand):
    """
    End a container: TERM for its jobs, ``kill_grace``, KILL; ``true`` once every process, mount and folder of it is
    gone. If something of it cannot be removed: 500, naming it; core0 tries again at its next start.
    """

    name = "corex.terminate"
    agent = IHost
    arguments = TerminateArguments

    def __init__(self, agent: IHost) -> None:
        self._host = agent

    async def run(self, job: IJob) -> Outcome:
        """
        To the end.
        """
        given: TerminateArguments = job.arguments
        await self._host.containers.terminate(given.container)
        return answer(True)
