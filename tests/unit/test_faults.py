"""
What is left when a call fails: of programs that cannot be started, logs and images that cannot be written.
"""

import errno
import os
import resource
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.protocol import ProcessProtocol
from twisted.trial.unittest import SynchronousTestCase

from core0.containers.nursery import GuestFailed, Nursery
from core0.containers.programs import NotRun, Programs
from core0.errors import Refusal
from core0.images.patience import Patience
from core0.images.service import Service
from core0.images.store import Store
from core0.jobs import logfiles
from core0.jobs.logfiles import LogFiles
from core0.jobs.lookup import Program
from core0.jobs.process import Processes
from core0.jobs.results import ResultBuffers
from core0.jobs.tagged import TaggedTrees
from core0.network.helper import Helper, NotServed
from core0.reaper import Reaper
from core0.spawn import Child, Launch, Surroundings
from tests.daemon import eventually
from tests.fakes import MemoryRecords
from tests.faults import STORAGE, Fault, below, os_error
from tests.work import make_job

SCARCE = tuple(os_error(number) for number in (errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.EAGAIN))
CONTENT = "a" * 64


def ground() -> tuple[Any, ...]:
    """
    What a start changes for a moment.
    """
    umask = os.umask(0o22)
    os.umask(umask)
    limits = resource.getrlimit(resource.RLIMIT_NOFILE), resource.getrlimit(10)
    return sorted(os.listdir("/proc/self/fd")), os.getcwd(), umask, *limits


class SpawnTests(SynchronousTestCase):
    """
    Programs that core0 starts, each in its way.
    """

    def setUp(self) -> None:
        """
        What they are started with.
        """
        self.reaper = Reaper(reactor)  # type: ignore[arg-type] # it is more than mypy knows
        self.surroundings = Surroundings(files=resource.getrlimit(resource.RLIMIT_NOFILE))
        self.folder = tempfile.mkdtemp(prefix="core0-faults-")
        self.addCleanup(shutil.rmtree, self.folder)

    def fails(self, start: Callable[[], "Deferred[Any]"], expected: type[Exception], pipes: int = 3) -> None:
        """
        Whatever there is none of at whichever step, that is told, and nothing of the attempt is left.
        """
        for name, steps in (("pipe", pipes), ("posix_spawn", 1)):
            for first in range(1, steps + 1):
                for error in SCARCE:
                    before = ground()
                    fault = Fault(self, os, name, error, first=first, times=1)
                    failure = self.failureResultOf(start(), expected)
                    fault.mend()
                    self.assertEqual(1, fault.failed, name)
                    self.assertIn(error.strerror, str(failure.value), name)
                    self.assertEqual(before, ground(), (name, first, error))

    def test_child(self) -> None:
        """
        A child.
        """

        async def start() -> None:
            launch = Launch("/bin/true", ["true"], {}, "/tmp")
            Child(reactor, self.reaper, self.surroundings, ProcessProtocol(), launch, {0: "w", 1: "r", 2: "r"})

        self.fails(lambda: Deferred.fromCoroutine(start()), OSError)

    def test_job(self) -> None:
        """
        A job: refused with 503, so that it may be tried again.
        """
        processes = Processes(
            reactor,  # type: ignore[arg-type] # it is more than mypy knows
            self.reaper,
            self.surroundings,
            TaggedTrees(1),
            MemoryRecords(),
            lambda work, *arguments: work(*arguments),
            kill_grace=1.0,
            buffer=1024,
            results=ResultBuffers(1, 1),
            env={},
        )
        self.addCleanup(os.close, processes._null)
        self.fails(lambda: Deferred.fromCoroutine(processes.run(Program("true", stdin="x"), make_job())), Refusal)

    def test_program(self) -> None:
        """
        A runtime.
        """
        programs = Programs(reactor, self.reaper, self.surroundings)
        self.fails(lambda: Deferred.fromCoroutine(programs.run(["/bin/true"])), NotRun)

    def test_helper(self) -> None:
        """
        A program that serves a bridge.
        """
        helper = Helper(reactor, self.reaper, self.surroundings, f"{self.folder}/pid")
        helper.argv = ["/bin/true"]
        self.fails(lambda: Deferred.fromCoroutine(helper._launch()), NotServed, pipes=1)
        fault = Fault(self, os, "open", os_error(errno.EMFILE), times=1)
        self.failureResultOf(Deferred.fromCoroutine(helper._launch()), NotServed)
        self.assertEqual(1, fault.failed)

    def test_worker(self) -> None:
        """
        The worker for images.
        """
        service = Service(reactor, self.reaper, self.surroundings, self.folder, 0, Patience())

        async def start() -> None:
            service.say({}, lambda answer: None, lambda ended: None)

        self.fails(lambda: Deferred.fromCoroutine(start()), OSError)

    def test_zygote(self) -> None:
        """
        The zygote.
        """
        nursery = Nursery(reactor, self.reaper, self.surroundings)
        self.fails(lambda: Deferred.fromCoroutine(nursery._ready()), GuestFailed)


class LogFilesTests(SynchronousTestCase):
    """
    Log files.
    """

    def test_all_come(self) -> None:
        """
        Whichever step of writing fails for a while, each record is there in the end, once and whole, in its order.
        """
        self.patch(logfiles, "RETRY", 0.01)
        for name in ("open", "write", "fstat", "replace"):
            for error in STORAGE:
                folder = tempfile.mkdtemp(prefix="core0-faults-")
                self.addCleanup(shutil.rmtree, folder)
                files = LogFiles(folder, 16 * 4096)
                fault = Fault(self, os, name, error, times=2, where=self._ours(files, name, folder))
                files.start()
                lines = [b"%03d" % number + b"x" * 100 for number in range(60)]
                for line in lines:
                    files.log(line)
                eventually(lambda fault=fault: fault.failed == 2, f"{name} fails")
                files.stop()
                fault.mend()
                texts = [Path(folder, each).read_bytes() for each in sorted(os.listdir(folder), reverse=True)]
                self.assertEqual(lines, b"".join(texts).splitlines(), (name, error))

    @staticmethod
    def _ours(files: LogFiles, name: str, folder: str) -> Callable[..., bool]:
        if name in ("open", "replace"):
            return below(folder)
        return lambda fd, *rest: fd == files._fd


class ImagesTests(SynchronousTestCase):
    """
    The store of images.
    """

    def setUp(self) -> None:
        """
        A store.
        """
        self.folder = tempfile.mkdtemp(prefix="core0-faults-")
        self.addCleanup(shutil.rmtree, self.folder)
        self.store = Store(f"{self.folder}/images")
        self.addCleanup(self.store.close)

    def test_claim(self) -> None:
        """
        A claim that fails leaves no descriptor, and can be had again.
        """
        for name in ("open", "fstat", "stat"):
            for error in STORAGE:
                before = ground()
                fault = Fault(self, os, name, error, times=1)
                self.assertRaises(OSError, self.store.claim, CONTENT)
                fault.mend()
                self.assertEqual((1, before), (fault.failed, ground()), (name, error))
                fd = self.store.claim(CONTENT)
                assert fd is not None
                os.close(fd)

    def test_publish(self) -> None:
        """
        A content is there whole, or not at all.
        """
        for error in STORAGE:
            fd = self.store.claim(CONTENT)
            assert fd is not None
            os.write(fd, b"all of it")
            fault = Fault(self, os, "rename", error, times=1)
            self.assertRaises(OSError, self.store.publish, CONTENT)
            fault.mend()
            self.assertIsNone(self.store.look(CONTENT))
            self.store.disclaim(CONTENT)
            os.close(fd)
