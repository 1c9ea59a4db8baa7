"""
Which OCI runtime is taken on a host, and what is said of one that lacks something.
"""

import os
from collections.abc import Sequence
from glob import glob
from typing import Any

from twisted.internet import reactor
from twisted.internet.defer import CancelledError, ensureDeferred
from twisted.trial.unittest import SynchronousTestCase

from core0.containers.probe import Runtimes
from core0.containers.probe import missing as lacks
from core0.containers.programs import PATIENCE, Programs, Said
from core0.containers.runtime import Runtime, find
from core0.errors import Refusal
from core0.reaper import Reaper
from core0.spawn import Surroundings
from tests.functional.containers_shared import (
    ContainersCase,
    cgroups_of,
    command_line,
    mounts,
    need_programs,
)


class RecordingPrograms(Programs):
    """
    Programs, of which each is remembered: others, of another test, may be run at the same time.
    """

    def __init__(self, reactor: Any, reaper: Reaper, surroundings: Surroundings) -> None:
        super().__init__(reactor, reaper, surroundings)
        self.commands: list[Sequence[str]] = []

    async def run(
        self, argv: Sequence[str], *, stdin: bytes = b"", lasting: bool = False, seconds: float = PATIENCE
    ) -> Said:
        """
        As :meth:`core0.containers.programs.Programs.run`.
        """
        self.commands.append(argv)
        return await super().run(argv, stdin=stdin, lasting=lasting, seconds=seconds)


class FindTests(ContainersCase):
    """
    Which runtime is taken.
    """

    async def test_found(self) -> None:
        """
        The runtime is the fastest that really runs a container here; trying it leaves nothing.
        """
        need_programs("runc")
        await self.install()
        before = mounts()
        programs = RecordingPrograms(reactor, self.reaper, self.surroundings)
        runtimes = Runtimes(reactor, programs)
        first, second = ensureDeferred(runtimes.get()), ensureDeferred(runtimes.get())
        runtime = await first
        self.assertIs(runtime, await second)
        self.assertIs(runtime, await runtimes.get())
        self.assertEqual("crun" if find("crun") else "runc", runtime.name)
        self.assertEqual(before, mounts())
        tried = [command[-1] for command in programs.commands]
        self.assertNotEqual([], tried)
        for id in tried:
            self.assertEqual([], cgroups_of(f"/{id}"))
            self.assertEqual([], glob(f"/run/*/{id}"))
            self.assertEqual([], [pid for pid in os.listdir("/proc") if pid.isdigit() and id in command_line(pid)])

    async def test_chosen(self) -> None:
        """
        A runtime that is chosen by its name or its path is taken, and no other.
        """
        need_programs("runc")
        await self.install()
        for chosen in ("runc", find("runc") or ""):
            self.assertEqual("runc", (await Runtimes(reactor, self.programs, chosen).get()).name)

    async def test_none_works(self) -> None:
        """
        Where no runtime works the refusal says what each of them said, and the next one who asks has it tried again.
        """
        await self.install()
        runtimes = Runtimes(reactor, self.programs, "/bin/false")
        for _ in range(2):
            error = await self.failing(runtimes.get(), Refusal)
            self.assertEqual(503, error.code)
            self.assertIn("/bin/false: it says nothing", str(error))

    async def test_cancelled(self) -> None:
        """
        Who asks first may give up; the others get their answer.
        """
        await self.install()
        runtimes = Runtimes(reactor, self.programs)
        first, second = ensureDeferred(runtimes.get()), ensureDeferred(runtimes.get())
        first.addErrback(lambda failure: failure.trap(CancelledError))
        first.cancel()
        await first
        self.assertIsInstance(await second, Runtime)


class MissingTests(SynchronousTestCase):
    """
    What a host lacks is told before anything is tried.
    """

    def test_nothing(self) -> None:
        """
        A host that has everything lacks nothing.
        """
        need_programs("runc")
        self.assertEqual("", lacks())
        self.assertEqual("", lacks("runc"))

    def test_runtime(self) -> None:
        """
        A runtime that is chosen and not there is named.
        """
        self.assertIn("'no-such-runtime'", lacks("no-such-runtime"))

    def test_root(self) -> None:
        """
        To somebody who is not root it says that root is missing.
        """
        self.patch(os, "geteuid", lambda: 1000)
        self.assertIn("root", lacks())
