"""
Directories and files on a file system that does not answer, as of a server that is gone.
"""

import os
import shutil
import subprocess
import sys
import tempfile
import threading
from collections import deque
from collections.abc import Sequence
from typing import Any

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from core0 import file_systems
from core0.containers.sources import answering
from core0.errors import NoThread, Refusal
from core0.facts import mounts
from core0.facts.mounts import Mount
from core0.file_systems import ANSWER, THREADS, WAITING
from core0.jobs.lookup import FRESH, Places, Program, environment
from tests.daemon import ROOT, eventually
from tests.faults import Fault, no_thread
from tests.functional.shared import GENEROUS, missing, need_root

# In a mount namespace of its own: nobody sees that file system but this program.
HANGING = """
import ctypes, os, sys, tempfile
from twisted.internet import reactor
from twisted.internet.defer import Deferred, gatherResults
from core0 import file_systems
from core0.containers.sources import answering
from core0.errors import NoThread, Refusal
from core0.jobs.lookup import Places, Program, environment

file_systems.ANSWER = 1.0
folder = tempfile.mkdtemp(prefix="core0-hanging-")
dead, link = folder + "/dead", folder + "/link"
os.mkdir(dead)
os.symlink("dead/x", link)
fuse = os.open("/dev/fuse", os.O_RDWR)
options = f"fd={fuse},rootmode=40000,user_id=0,group_id=0".encode()
libc = ctypes.CDLL(None, use_errno=True)
if libc.mount(b"hangs", dead.encode(), b"fuse", 0, options):
    sys.exit(os.strerror(ctypes.get_errno()))

async def look(places, program):
    try:
        return await places.locate(program, environment({}))
    except Refusal as error:
        assert error.code == 503 and dead in str(error), error
        return "refused"

async def main():
    places = Places(reactor)
    names = [Program("true", directory=f"{dead}/{number}") for number in range(3)]
    names += [Program("true", directory=link), Program(f"{dead}/x"), Program("true", directory="/tmp")]
    print(*await gatherResults([Deferred.fromCoroutine(look(places, name)) for name in names]), flush=True)
    os.close(fuse)  # ends it
    libc.umount2(dead.encode(), 2)
    os.rmdir(dead)
    os.unlink(link)
    os.rmdir(folder)
    reactor.stop()

reactor.callWhenRunning(lambda: Deferred.fromCoroutine(main()).addErrback(lambda f: (f.printTraceback(), os._exit(1))))
reactor.run()
"""


class _Reactor(Clock):
    """
    Time of its own; what comes from threads is called when the test says so.
    """

    def __init__(self) -> None:
        super().__init__()
        self.come: deque[Any] = deque()

    def callFromThread(self, work: Any, *arguments: Any, **fields: Any) -> None:
        """
        Twisted's hook.
        """
        self.come.append(lambda: work(*arguments, **fields))

    def turn(self) -> int:
        """
        Call what has come.
        """
        come = len(self.come)  # more may come from threads meanwhile
        for _ in range(come):
            self.come.popleft()()
        return come


class PlacesTests(SynchronousTestCase):
    """
    Where programs are found. Below ``/dead`` and ``/gone`` file systems are mounted that hang while ``self.going`` is
    not set.
    """

    def setUp(self) -> None:
        """
        File systems that can be made to hang.
        """
        self.reactor = _Reactor()
        self.places = Places(self.reactor)  # type: ignore[arg-type] # all that it needs
        self.going = threading.Event()
        self.addCleanup(self.end)
        self.hanging = self.looks = 0
        self.folder = os.path.realpath(tempfile.mkdtemp(prefix="core0-places-"))
        self.addCleanup(shutil.rmtree, self.folder)
        points = [("/", "8:1"), (f"{self.folder}/dead", "0:50"), (f"{self.folder}/gone", "0:51"), ("/proc", "0:5")]
        table = [Mount(1, 0, device, point.encode(), "rw", "x", b"x") for point, device in points]
        self.patch(mounts, "parse", lambda text: table)
        target = file_systems._target

        counting = threading.Lock()

        def slow(path: str) -> str | None:
            hangs = path.startswith((f"{self.folder}/dead", f"{self.folder}/gone"))
            with counting:
                self.looks += 1
                self.hanging += hangs
            if hangs:
                self.going.wait()
            return target(path)

        self.patch(file_systems, "_target", slow)

    def end(self) -> None:
        """
        No thread goes on into the next test.
        """
        self.going.set()
        pool = self.places._file_systems._pool
        pool.stop()
        for thread in pool.threads:
            thread.join()

    def locate(self, name: str, directory: str | None = None) -> "Deferred[str]":
        """
        Begin to look for a program.
        """
        program = Program(name, directory=directory)
        return Deferred.fromCoroutine(self.places.locate(program, environment({})))

    def called(self, *lookings: "Deferred[Any]") -> bool:
        """
        Take what has come from threads; whether all of these have ended.
        """
        self.reactor.turn()
        return all(looking.called for looking in lookings)

    def found(self, name: str, directory: str | None = None) -> str:
        """
        Look for a program to the end.
        """
        looking = self.locate(name, directory)
        eventually(lambda: self.called(looking), "it answers")
        return self.successResultOf(looking)

    def refused(self, looking: "Deferred[Any]", place: str) -> None:
        """
        It was refused because this does not answer.
        """
        refusal = self.failureResultOf(looking, Refusal).value
        self.assertEqual(503, refusal.code)
        self.assertIn(f"the file system of {place!r} does not answer", str(refusal))

    def hang(self, folder: str, count: int = WAITING) -> "list[Deferred[str]]":
        """
        Look for programs in a folder until as many threads wait for it as may.
        """
        before = self.hanging
        hanging = [self.locate("true", f"{self.folder}/{folder}/{number}") for number in range(count)]
        eventually(lambda: self.hanging == before + min(count, WAITING), "all look")
        return hanging

    def test_usual(self) -> None:
        """
        A plain name is found without a thread.
        """
        self.assertTrue(self.successResultOf(self.locate("true")).endswith("/true"))
        self.assertEqual(0, self.looks)

    def test_fresh(self) -> None:
        """
        A place that has answered is taken to do so for a moment, but what is there is looked at each time.
        """
        self.found("true", "/tmp")
        looks = self.looks
        self.successResultOf(self.locate("true", "/tmp"))
        self.assertEqual(looks, self.looks)
        self.reactor.advance(FRESH)
        self.assertNoResult(self.locate("true", "/tmp"))

    def test_refused(self) -> None:
        """
        A place that is wrong is refused as ever.
        """
        looking = self.locate("/no/such/program")
        eventually(lambda: self.called(looking), "it answers")
        self.assertEqual(127, self.failureResultOf(looking, Refusal).value.code)

    def test_hanging(self) -> None:
        """
        A place that hangs is refused after some seconds; further ones on the same file system at once, and until it
        goes on. All others are found meanwhile.
        """
        hanging = self.hang("dead")
        self.found("true", "/tmp")
        self.reactor.advance(ANSWER)
        for number, looking in enumerate(hanging):
            self.refused(looking, f"{self.folder}/dead")
            self.assertTrue(self.found("true", f"/usr/bin/../lib/../{'.' * (number % 2)}"))
        for name, directory in ((f"{self.folder}/dead/x", None), ("true", f"{self.folder}/dead/new")):
            looking = self.locate(name, directory)
            eventually(lambda looking=looking: self.called(looking), "it is refused")
            self.refused(looking, f"{self.folder}/dead")
        self.assertEqual(WAITING, self.hanging)
        self.assertTrue(self.found("/bin/true"))
        self.assertTrue(self.found("true", "/tmp"))
        self.going.set()
        os.makedirs(f"{self.folder}/dead/0")
        eventually(lambda: not self.places._file_systems._visits, "all answer")
        self.assertTrue(self.found("true", f"{self.folder}/dead/0"))

    def test_each_for_itself(self) -> None:
        """
        Two file systems that hang do not hold up each other, nor what is asked of neither.
        """
        self.hang("dead")
        self.hang("gone")
        self.assertTrue(self.found("true", "/tmp"))

    def test_symlinks(self) -> None:
        """
        A symlink counts for the file system that it leads to: any number of those that hang leave room for others.
        """
        os.symlink("dead/x", f"{self.folder}/link")
        hanging = [self.locate("true", f"{self.folder}/link/{number}") for number in range(3 * THREADS)]
        eventually(lambda: self.called() and self.hanging == WAITING, "some look")
        self.assertTrue(self.found("true", "/tmp"))
        self.reactor.advance(ANSWER)
        eventually(lambda: self.called(*hanging), "all are refused")
        for looking in hanging:
            self.refused(looking, f"{self.folder}/dead")
        self.assertEqual(WAITING, self.hanging)
        self.assertTrue(self.found("/bin/true"))

    def test_line(self) -> None:
        """
        More than may look at once come to their turn, one after another, where a file system answers in the end.
        """
        places = [f"{self.folder}/dead/{number}" for number in range(5 * WAITING)]
        for place in places:
            os.makedirs(place)
        looking = [self.locate("true", place) for place in places]
        eventually(lambda: self.hanging == WAITING, "some look")
        self.going.set()
        eventually(lambda: self.called(*looking), "all are found")
        for each in looking:
            self.assertTrue(self.successResultOf(each).endswith("/true"))
        self.assertEqual(({}, {}), (self.places._file_systems._visits, self.places._file_systems._waiting))

    def test_once(self) -> None:
        """
        However many programs are to start in one place, it is asked once; one of them that is killed meanwhile changes
        nothing for the others.
        """
        os.makedirs(f"{self.folder}/dead/0")
        first, *others = [self.locate("true", f"{self.folder}/dead/0") for _ in range(3 * WAITING)]
        eventually(lambda: self.hanging == 1, "one looks")
        first.cancel()
        self.failureResultOf(first, CancelledError)
        self.going.set()
        eventually(lambda: self.called(*others), "all are found")
        for each in others:
            self.assertTrue(self.successResultOf(each).endswith("/true"))
        self.assertEqual(2, self.hanging)  # at both folders of it

    def test_mounts(self) -> None:
        """
        Sources of mounts on a file system that hangs are refused, those elsewhere are not; and none is no question.
        """
        asked = self.places._file_systems
        self.successResultOf(Deferred.fromCoroutine(answering(asked, [])))
        hanging = Deferred.fromCoroutine(answering(asked, ["/tmp", f"{self.folder}/dead/data"]))
        eventually(lambda: self.hanging == 1, "it looks")
        well = Deferred.fromCoroutine(answering(asked, ["/tmp", self.folder]))
        eventually(lambda: self.called(well), "it answers")
        self.successResultOf(well)
        self.reactor.advance(ANSWER)
        self.refused(hanging, f"{self.folder}/dead")

    def test_mounts_unread(self) -> None:
        """
        Who comes while what is mounted is being read for the first time is counted for the right file system as well.
        """
        parse, reading = mounts.parse, [threading.Event(), threading.Event()]
        self.addCleanup(reading[1].set)

        def slow(text: bytes) -> Sequence[Mount]:
            if not reading[0].is_set():
                reading[0].set()
                reading[1].wait()
            return parse(text)

        self.patch(mounts, "parse", slow)
        self.locate("true", f"{self.folder}/dead/first")
        reading[0].wait()
        self.hang("dead", 1)
        self.assertEqual(["0:50"], list(self.places._file_systems._visits))

    def test_no_thread(self) -> None:
        """
        Where no thread can be started a place is refused as something that is missing, and is found once there is one.
        """
        fault = Fault(self, threading.Thread, "start", no_thread(), times=1)
        self.assertEqual(503, self.failureResultOf(self.locate("true", "/tmp"), NoThread).value.code)
        self.assertTrue(self.found("true", "/tmp"))
        self.assertEqual(1, fault.failed)


class MountedTests(SynchronousTestCase):
    """
    A file system that really hangs: of FUSE, whose server reads nothing.
    """

    def test_real(self) -> None:
        """
        What lies on it is refused, also by way of a symlink; a program elsewhere is found.
        """
        need_root()
        if not os.path.exists("/dev/fuse"):
            raise missing("/dev/fuse is not there")
        words = ["unshare", "-m", sys.executable, "-c", HANGING]
        found = subprocess.run(words, capture_output=True, text=True, timeout=GENEROUS, check=False, cwd=ROOT)
        self.assertEqual("refused refused refused refused refused /usr/bin/true", found.stdout.strip(), found.stderr)
