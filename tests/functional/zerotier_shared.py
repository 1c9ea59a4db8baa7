"""
What tests of ZeroTier have in common: a container in a network namespace of its own, and a program that stands in.
"""

import os
import resource
import shutil
import signal
import tempfile
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any, TypeVar

from twisted.internet import reactor
from twisted.internet.process import ProcessReader
from twisted.trial.unittest import TestCase

from core0.network import zerotiers
from core0.network.zerotier import PID
from core0.network.zerotiers import ZeroTiers
from core0.reaper import Reaper
from core0.spawn import Surroundings
from core0.threads import in_pool
from core0.waiting import pause
from tests.functional import zerotier_one
from tests.functional.network_shared import Host
from tests.functional.shared import GENEROUS, lives, missing, need_root

T = TypeVar("T")
E = TypeVar("E", bound=Exception)

ITS: Any = reactor
NETWORK = "8056c2e21c000001"


class ZeroTierCase(TestCase):
    """
    Tests with the network of a container, on the real reactor.
    """

    def setUp(self) -> None:
        """
        What starts programs.
        """
        need_root()
        if not os.path.exists("/dev/net/tun"):
            raise missing("needs /dev/net/tun")
        self.folder = Path(tempfile.mkdtemp(prefix="core0-zt-"))
        self.addCleanup(shutil.rmtree, self.folder, ignore_errors=True)
        self.reaper = Reaper(ITS)
        self.surroundings = Surroundings(files=resource.getrlimit(resource.RLIMIT_NOFILE))
        self.all: list[ZeroTiers] = []
        self.containers = {7: self.container()}
        self.zerotiers = self.another()

    def container(self) -> Host:
        """
        The network of one.
        """
        host = Host()
        self.addCleanup(host.close)
        return host

    async def install(self) -> None:
        """
        Take over SIGCHLD; only once the reactor runs, because it takes it itself then.
        """
        await pause(ITS, 0)
        self.addCleanup(signal.signal, signal.SIGCHLD, signal.getsignal(signal.SIGCHLD))
        self.reaper.install()
        self.addCleanup(self.clean)

    def another(self) -> ZeroTiers:
        """
        That of another core0.
        """
        self.all.append(ZeroTiers(ITS, self.in_thread, self.reaper, self.surroundings))
        return self.all[-1]

    async def in_thread(self, work: Callable[..., T], *arguments: Any) -> T:
        """
        Calls in one of some threads.
        """
        return await in_pool(ITS, ITS.getThreadPool(), work, *arguments)

    async def clean(self) -> None:
        """
        All of them end, with all that they have.
        """
        for each in self.all:
            for container in self.containers:
                await each.leave(container)
        await self.nothing_left()
        await self.until(lambda: not any(isinstance(each, ProcessReader) for each in ITS.getReaders()), "closed")

    async def nothing_left(self) -> None:
        """
        Until no process is left, and nothing in the networks and in the folder.
        """
        await self.until(lambda: not self.processes(), "ended")
        await self.until(lambda: all(host.links() == ["lo"] for host in self.containers.values()), "no links")
        self.assertEqual(
            [], [str(self.home(container)) for container in self.containers if self.home(container).exists()]
        )

    def home(self, container: int = 7) -> Path:
        """
        The folder of one.
        """
        return self.folder / f"home{container}"

    def place(self, container: int = 7) -> tuple[int, str, str, str]:
        """
        The arguments for one.
        """
        return container, NETWORK, f"/proc/{self.containers[container].pid}/ns/net", str(self.home(container))

    def processes(self) -> list[int]:
        """
        Those that have to do with the folder of the test.
        """
        found = []
        for name in os.listdir("/proc"):
            try:
                if name.isdigit() and os.fsencode(self.folder) in Path(f"/proc/{name}/cmdline").read_bytes():
                    found.append(int(name))
            except OSError:
                pass
        return [pid for pid in found if lives(pid)]

    def pid(self, container: int = 7) -> int:
        """
        The process of a container.
        """
        return int((self.home(container) / PID).read_text())

    async def until(self, look: Callable[[], object], what: str) -> None:
        """
        Until it is so.
        """
        end = ITS.seconds() + GENEROUS
        while not look():
            if ITS.seconds() > end:
                raise AssertionError(f"{what}: not within {GENEROUS:.0f} s")
            await pause(ITS, 0.02)

    async def told(self, status: str = "OK", container: int = 7, by: ZeroTiers | None = None) -> dict[str, Any]:
        """
        How it is with a container, as soon as its status is this.
        """
        end = ITS.seconds() + GENEROUS
        while True:
            found = await (by or self.zerotiers).described(container)
            if found is not None and found["status"] == status:
                return found
            if ITS.seconds() > end:
                raise AssertionError(f"{status}: not within {GENEROUS:.0f} s, but {found}")
            await pause(ITS, 0.02)

    async def failing(self, work: Coroutine[Any, Any, object], kind: type[E]) -> E:
        """
        The error that something ends with.
        """
        try:
            found = await work
        except kind as error:
            return error
        raise AssertionError(f"expected {kind.__name__}, got {found!r}")

    async def assert_life(self, status: str) -> None:
        """
        A container joins, is told of, and leaves.
        """
        await self.install()
        self.assertIsNone(await self.zerotiers.described(7))
        await self.zerotiers.leave(7)
        container, network, namespace, home = self.place()
        await self.zerotiers.join(container, network.upper(), namespace, home)
        found = await self.told(status)
        self.assertEqual(NETWORK, found["network"])
        self.assertRegex(found["address"], r"\A[0-9a-f]{10}\Z")
        self.assertRegex(found["interface"], r"\Azt.+\Z")
        self.assertEqual([found["interface"], "lo"], sorted(self.containers[7].links(), reverse=True))
        self.assertEqual(0o700, self.home().stat().st_mode & 0o777)
        self.assertEqual(os.readlink(namespace), os.readlink(f"/proc/{self.pid()}/ns/net"))
        self.assertNotIn(found["interface"], os.listdir("/sys/class/net"))
        await self.zerotiers.leave(7)
        self.assertIsNone(await self.zerotiers.described(7))
        await self.nothing_left()


class StandInCase(ZeroTierCase):
    """
    With a program that stands in for it.
    """

    def setUp(self) -> None:
        """
        Install it.
        """
        super().setUp()
        self.mood = self.folder / "mood"
        (self.folder / "bin").mkdir()
        self.path(zerotier_one.install(self.folder / "bin", self.mood))

    def path(self, folder: str) -> None:
        """
        Where programs are found first.
        """
        before = os.environ["PATH"]
        self.addCleanup(os.environ.__setitem__, "PATH", before)
        os.environ["PATH"] = f"{folder}:{before}"

    def program(self, *lines: str) -> None:
        """
        Have another program in its place.
        """
        path = self.folder / "bin" / zerotier_one.NAME
        path.write_text("\n".join(["#!/bin/sh", *lines, ""]))

    def uninstall(self) -> None:
        """
        There is no such program anywhere, but those that tests take.
        """
        nowhere = self.folder / "nowhere"
        nowhere.mkdir()
        for program in ("nsenter", "setpriv", "ip"):
            (nowhere / program).symlink_to(shutil.which(program) or "")
        self.patch(zerotiers, "PATH", str(nowhere))
        self.path(str(nowhere))
        os.environ["PATH"] = str(nowhere)
