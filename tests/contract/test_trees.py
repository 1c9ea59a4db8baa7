"""
All processes that come of a job, whatever they do: what holds for cgroups holds for tags. With real processes.
"""

import ctypes
import os
import resource
import signal
import sys
import tempfile
import threading
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from core0 import procfs
from core0.errors import Core0Error
from core0.interfaces import ITree, ITrees
from core0.jobs import cgroup
from core0.jobs.cgroup import CgroupTrees, own_path
from core0.jobs.tagged import RLIMIT_LOCKS, TaggedTrees
from core0.spawn import PR_SET_CHILD_SUBREAPER
from tests.daemon import eventually
from tests.functional.shared import missing

FAMILY = (os.getpid() & 0xFFFF) + 1
PREAMBLE = """
import os, signal, sys, threading, time
def say(text):
    os.write(1, text.encode() + b"\\n")
def forever():
    while True:
        signal.pause()
"""
# leaves its session, its parent, and does not mind TERM
ESCAPE = """
signal.signal(signal.SIGTERM, signal.SIG_IGN)
signal.signal(signal.SIGHUP, signal.SIG_IGN)
if os.fork():
    os._exit(0)
os.setsid()
if os.fork():
    os._exit(0)
os.environ.clear()
say("ready")
forever()
"""
# is somebody else every time that one looks, for a minute at most
HOP = """
say("ready")
end = time.monotonic() + 60
while time.monotonic() < end:
    if os.fork():
        os._exit(0)
"""
# makes more and more, a thousand at most
MULTIPLY = """
say("ready")
for _ in range(10):
    os.fork()
    time.sleep(0.002)
forever()
"""

if TYPE_CHECKING:
    Base = SynchronousTestCase
else:
    Base = object


class TreesContract(Base):
    """
    What every ITrees does.
    """

    def make_trees(self) -> ITrees:
        """
        Those of one core0; made again they are those of the next one.
        """
        raise NotImplementedError

    def setUp(self) -> None:
        """
        This process gets orphans, as core0 does.
        """
        libc = ctypes.CDLL(None)
        libc.prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
        self.addCleanup(libc.prctl, PR_SET_CHILD_SUBREAPER, 0, 0, 0, 0)
        self.before = set(procfs.children(os.getpid()))
        self.trees = self.make_trees()
        self.all: list[ITree] = []
        self.addCleanup(self.end)

    def end(self) -> None:
        """
        Nothing of a test is left.
        """
        for tree in self.all:
            self.kill(tree)
            tree.close()
        self.trees.close()
        eventually(lambda: not self.reap(), "nothing is left")

    def running(self) -> set[int]:
        """
        Children that this test has made.
        """
        return set(procfs.children(os.getpid())) - self.before

    def reap(self) -> set[int]:
        """
        What the reaper does meanwhile: the children that are left then.
        """
        for pid in self.running():
            os.waitpid(pid, os.WNOHANG)
        return self.running()

    def in_thread(self, work: Callable[[], Any]) -> Any:
        """
        Call something in a thread, and reap meanwhile.
        """
        results: list[Any] = []
        thread = threading.Thread(target=lambda: results.append(work()))
        thread.start()
        while thread.is_alive():
            self.reap()
            thread.join(0.002)
        return results[0]

    def kill(self, tree: ITree) -> bool:
        """
        Kill a tree, as core0 does.
        """
        return bool(self.in_thread(tree.kill))

    def spawn(self, *argv: str, trees: ITrees | None = None) -> tuple[int, ITree, int]:
        """
        Start a program: its pid, its tree, and what it prints.
        """
        reader, writer = os.pipe()

        def start() -> int:
            actions: list[Any] = [(os.POSIX_SPAWN_DUP2, writer, 1)]
            return os.posix_spawn(argv[0], argv, {"PATH": "/usr/bin:/bin"}, file_actions=actions, setsid=True)

        try:
            pid, tree = (trees or self.trees).spawn(start)
        except BaseException:
            os.close(reader)
            raise
        finally:
            os.close(writer)
        self.addCleanup(os.close, reader)
        self.all.append(tree)
        return pid, tree, reader

    def run_python(self, script: str, ready: int = 1, trees: ITrees | None = None) -> tuple[int, ITree, int]:
        """
        Start a script, and wait until it has said so often that it is ready.
        """
        pid, tree, reader = self.spawn(sys.executable, "-S", "-E", "-c", PREAMBLE + script, trees=trees)
        for _ in range(ready):
            self.assertEqual(b"ready\n", self.line(reader))
        return pid, tree, reader

    @staticmethod
    def line(reader: int) -> bytes:
        """
        The next line that is printed.
        """
        line = b""
        while not line.endswith(b"\n"):
            byte = os.read(reader, 1)
            if not byte:
                break
            line += byte
        return line

    def emptied(self, tree: ITree) -> None:
        """
        Wait until a tree is empty.
        """

        def look() -> bool:
            self.reap()
            return not tree.populated()

        eventually(look, "the tree is empty")
        self.assertEqual([], [pid for pid in tree.pids() if procfs.alive(pid)])

    def test_interface(self) -> None:
        """
        Trees are what the jobs are promised.
        """
        verifyObject(ITrees, self.trees)
        _, tree, _ = self.run_python('say("ready")\nforever()')
        verifyObject(ITree, tree)

    def test_one(self) -> None:
        """
        A program is in its tree until it has ended.
        """
        pid, tree, _ = self.run_python('say("ready")\nforever()')
        self.assertTrue(tree.populated())
        self.assertEqual([pid], list(tree.pids()))
        os.kill(pid, signal.SIGKILL)
        self.emptied(tree)

    def test_cannot_start(self) -> None:
        """
        What cannot be started is an error, and leaves nothing; the next one starts.
        """
        for _ in range(3):
            self.assertRaises(FileNotFoundError, self.spawn, "/no/such/program")
        self.assertEqual(set(), self.running())
        self.assertEqual([], self.all)
        self.test_one()

    def test_descendants(self) -> None:
        """
        All that a program forks is in its tree, once each, threads not among them.
        """
        script = """
for _ in range(3):
    threading.Thread(target=forever_in_thread, daemon=True).start()
os.fork()
if not os.fork():
    os.setsid()
say("ready")
forever()
"""
        threads = "def forever_in_thread():\n    time.sleep(600)\n"
        pid, tree, _ = self.run_python(threads + script, ready=4)
        pids = tree.pids()
        self.assertEqual((4, 4), (len(pids), len(set(pids))))
        self.assertIn(pid, pids)

    def test_orphan(self) -> None:
        """
        A tree is populated while anything of it lives, also after the program itself has ended.
        """
        pid, tree, _ = self.run_python(ESCAPE)
        eventually(lambda: pid not in self.reap(), "the first one has ended")
        eventually(lambda: len(self.reap()) == 1 == len(tree.pids()), "the second one has ended")
        self.assertTrue(tree.populated())
        (left,) = tree.pids()
        self.assertNotEqual(pid, left)
        os.kill(left, signal.SIGKILL)
        self.emptied(tree)

    def test_signal(self) -> None:
        """
        A signal reaches each of them once.
        """
        script = """
signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGRTMIN])
os.fork()
if not os.fork():
    os.setsid()
say("ready")
while signal.sigwait([signal.SIGRTMIN]):
    say("got")
"""
        _, tree, reader = self.run_python(script, ready=4)
        tree.signal(signal.SIGRTMIN)  # of these none is taken for another one that has come already
        self.assertEqual([b"got\n"] * 4, [self.line(reader) for _ in range(4)])
        self.assertTrue(self.kill(tree))
        self.assertEqual(b"", self.line(reader))

    def test_signal_to_nobody(self) -> None:
        """
        A signal to a tree whose processes have ended harms nobody.
        """
        _, tree, _ = self.spawn("/bin/true")
        self.emptied(tree)
        tree.signal(signal.SIGTERM)
        self.assertEqual([], list(tree.pids()))
        self.assertTrue(self.kill(tree))

    def assert_killed(self, script: str, ready: int = 1) -> None:
        """
        Whatever a program does, it is killed with all that came of it.
        """
        _, tree, reader = self.run_python(script, ready)
        self.assertTrue(self.kill(tree))
        self.emptied(tree)
        self.assertEqual(set(), self.reap())
        self.assertEqual(b"", self.line(reader))  # nobody has its streams any more

    def test_kill_escaped(self) -> None:
        """
        Leaving the session, the parent and the environment, and ignoring TERM, does not save anybody.
        """
        self.assert_killed(ESCAPE)

    def test_kill_hopping(self) -> None:
        """
        Nor does being somebody else every time.
        """
        self.assert_killed(HOP)

    def test_kill_many(self) -> None:
        """
        Nor does being many, and more all the time.
        """
        self.assert_killed(MULTIPLY)

    def test_kill_stopped(self) -> None:
        """
        Nor does being stopped.
        """
        pid, tree, _ = self.run_python('say("ready")\nforever()')
        os.kill(pid, signal.SIGSTOP)
        self.assertTrue(self.kill(tree))
        self.emptied(tree)

    def test_kill_twice(self) -> None:
        """
        Killing again changes nothing.
        """
        _, tree, _ = self.run_python(ESCAPE)
        self.assertTrue(self.kill(tree))
        self.assertTrue(self.kill(tree))

    def test_others(self) -> None:
        """
        One tree has nothing to do with another, and neither with this process.
        """
        first, one, _ = self.run_python('say("ready")\nforever()')
        second, other, _ = self.run_python('say("ready")\nforever()')
        self.assertEqual(([first], [second]), (list(one.pids()), list(other.pids())))
        self.assertTrue(self.kill(one))
        self.assertEqual(([], [second]), ([pid for pid in one.pids() if procfs.alive(pid)], list(other.pids())))
        self.assertTrue(other.populated())

    def test_again(self) -> None:
        """
        What was given back does not matter to the next ones, even if it was killed.
        """
        for script in (ESCAPE, HOP, 'say("ready")\nforever()') * 2:
            pid, tree, _ = self.run_python(script)
            self.assertTrue(self.kill(tree))
            self.emptied(tree)
            tree.close()
            self.all.remove(tree)
            self.assertNotIn(pid, tree.pids())
        self.test_one()

    def test_left(self) -> None:
        """
        A core0 that starts kills what one that died has left, and nothing else.
        """
        for script in (ESCAPE, 'os.fork()\nsay("ready")\nforever()'):
            self.run_python(script)
        stranger = os.posix_spawn("/bin/sleep", ["sleep", "600"], {})
        self.crash()
        following = self.make_trees()
        try:
            self.assertEqual(3, self.in_thread(following.kill_left))
            self.assertEqual({stranger}, {pid for pid in self.running() if procfs.alive(pid)})
            self.assertEqual(0, self.in_thread(following.kill_left))
            self.all.clear()
            pid, tree, _ = self.run_python('say("ready")\nforever()', trees=following)
            self.assertEqual([pid], list(tree.pids()))
            self.assertTrue(self.kill(tree))
            tree.close()
            self.all.clear()
        finally:
            os.kill(stranger, signal.SIGKILL)
            os.waitpid(stranger, 0)
            following.close()

    def crash(self) -> None:
        """
        What goes with a process that dies.
        """

    def test_nothing_left(self) -> None:
        """
        Where there is nothing left, nothing is killed.
        """
        self.assertEqual(0, self.in_thread(self.trees.kill_left))


class TaggedTreesTests(TreesContract, SynchronousTestCase):
    """
    Trees by tag.
    """

    def make_trees(self) -> TaggedTrees:
        """
        Of a family of this test's own.
        """
        return TaggedTrees(FAMILY)

    def test_no_trace(self) -> None:
        """
        This process keeps its own limits, whether a start went well or not.
        """
        before = resource.getrlimit(RLIMIT_LOCKS)
        self.run_python(ESCAPE)
        self.assertRaises(FileNotFoundError, self.spawn, "/no/such/program")
        self.assertEqual(before, resource.getrlimit(RLIMIT_LOCKS))

    def test_other_family(self) -> None:
        """
        Another core0 on the same machine is no concern of this one.
        """
        other = TaggedTrees(FAMILY + 1)
        pid, tree, _ = self.run_python('say("ready")\nforever()', trees=other)
        self.assertEqual(0, self.in_thread(self.trees.kill_left))
        self.assertEqual([pid], list(tree.pids()))


class CgroupTreesTests(TreesContract, SynchronousTestCase):
    """
    Trees by cgroup.
    """

    @classmethod
    def setUpClass(cls) -> None:
        """
        Look whether this machine can.
        """
        if os.geteuid():
            raise missing("needs root")
        try:
            CgroupTrees.find("core0-test")
        except Core0Error as error:
            raise missing(f"needs a cgroup v2 hierarchy: {error}") from error

    def setUp(self) -> None:
        """
        Remember where this process was.
        """
        self.home = own_path(procfs.read("/proc/self/cgroup"))
        self.path = ""
        super().setUp()

    def make_trees(self) -> CgroupTrees:
        """
        Below the cgroup of this process.
        """
        trees = CgroupTrees.find(f"core0-test-{os.getpid()}").open()
        self.path = trees.path
        return trees

    def crash(self) -> None:
        """
        The kernel closes its files.
        """
        assert isinstance(self.trees, CgroupTrees)
        os.close(self.trees._home)
        self.trees._home = -1

    def end(self) -> None:
        """
        The cgroups are gone, and this process is where it was.
        """
        super().end()
        self.assertFalse(os.path.exists(self.path))
        self.assertEqual(self.home, own_path(procfs.read("/proc/self/cgroup")))

    def places(self) -> list[str]:
        """
        Cgroups of jobs.
        """
        return [name for name in os.listdir(self.path) if name.startswith("job-")]

    def test_started_again_from_inside(self) -> None:
        """
        A process that is in its cgroup already stays there, and does not go one level further down.
        """
        again = CgroupTrees.find(f"core0-test-{os.getpid()}")
        self.assertEqual(self.path, again.path)

    def test_outside(self) -> None:
        """
        core0 itself is in none of its jobs' cgroups.
        """
        self.run_python('say("ready")\nforever()')
        own = own_path(procfs.read("/proc/self/cgroup")) or b""
        self.assertTrue(own.endswith(b"/" + os.path.basename(self.path).encode()), own)

    def test_kept(self) -> None:
        """
        Empty cgroups are kept for the next jobs, but not more than some.
        """
        self.patch(cgroup, "MAX_IDLE", 3)
        trees = [self.spawn("/bin/true")[1] for _ in range(6)]
        for tree in trees:
            self.emptied(tree)
            tree.close()
        self.all.clear()
        self.assertEqual(3, len(self.places()))
        for _ in range(3):
            _, tree, _ = self.spawn("/bin/true")
            self.emptied(tree)
            tree.close()
            self.all.clear()
        self.assertEqual(3, len(self.places()))

    def test_left_places(self) -> None:
        """
        Cgroups that a core0 before has left are removed.
        """
        trees = [self.spawn("/bin/true")[1] for _ in range(4)]
        for tree in trees:
            self.emptied(tree)
        self.all.clear()
        self.crash()
        following = self.make_trees()
        self.in_thread(following.kill_left)
        self.assertEqual(1, len(self.places()))
        following.close()

    def test_not_a_hierarchy(self) -> None:
        """
        Where there is no cgroup to be had it says so, and leaves nothing behind.
        """
        with tempfile.TemporaryDirectory() as folder:
            place = Path(folder) / "core0"
            error = self.assertRaises(Core0Error, CgroupTrees(str(place)).open)
            self.assertIn(str(place), str(error))
            self.assertFalse(place.exists())


class CgroupTreeErrorsTests(SynchronousTestCase):
    """
    A cgroup that is gone.
    """

    def test_gone(self) -> None:
        """
        Nothing lives in it, and nothing has to be done.
        """
        with tempfile.TemporaryDirectory() as folder:
            tree = cgroup.CgroupTree(CgroupTrees(folder), f"{folder}/gone")
            self.assertFalse(tree.populated())
            self.assertEqual([], list(tree.pids()))
            tree.signal(signal.SIGTERM)
            self.assertTrue(tree.kill())
            self.assertEqual(0, CgroupTrees(f"{folder}/none").kill_left())
