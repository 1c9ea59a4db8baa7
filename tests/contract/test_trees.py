"""
All processes that come of a job, whatever they do: what holds for cgroups holds for tags. With real processes.
"""

import errno
import os
import resource
import secrets
import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from twisted.python.monkey import MonkeyPatcher
from twisted.trial.unittest import SynchronousTestCase

from core0 import procfs
from core0.errors import Core0Error
from core0.jobs import cgroup
from core0.jobs.cgroup import CgroupTree, CgroupTrees
from core0.jobs.cgroup_place import own_path
from core0.jobs.tagged import FAMILY_BITS, RLIMIT_LOCKS, TaggedTrees, tag_of
from tests.contract.tree_case import ESCAPE
from tests.contract.trees import TreesContract
from tests.daemon import eventually
from tests.functional.shared import missing

FAMILY = secrets.randbits(FAMILY_BITS - 1)  # of no other process of tests, either


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

    def test_low_hard_limit(self) -> None:
        """
        Where the tag cannot be set nothing is started, and the error says what to do.
        """
        script = f"""
import resource
from core0.jobs.tagged import TaggedTrees
resource.setrlimit({RLIMIT_LOCKS}, (1000, 1000))
try:
    TaggedTrees(1).spawn(lambda: 1 // 0)
except OSError as error:
    print(error.strerror)
"""
        done = subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, text=True)
        self.assertIn("LimitLOCKS", done.stdout)

    def test_other_family(self) -> None:
        """
        Another core0 on the same machine is no concern of this one.
        """
        other = TaggedTrees(FAMILY + 1)
        pid, tree, _ = self.run_python('say("ready")\nforever()', trees=other)
        self.assertEqual(0, self.in_thread(self.trees.kill_left))
        self.assertEqual([pid], list(tree.pids()))

    def test_inside(self) -> None:
        """
        Nor are those of a CoreX, whatever its number is.
        """
        other = TaggedTrees(FAMILY, inside=True)
        pid, tree, _ = self.run_python('say("ready")\nforever()', trees=other)
        own, _, _ = self.run_python('say("ready")\nforever()')
        self.assertEqual(1, self.in_thread(self.trees.kill_left))
        self.assertEqual([pid], list(tree.pids()))
        self.assertFalse(procfs.alive(own))
        self.assertEqual(tag_of(pid) >> FAMILY_BITS << FAMILY_BITS, tag_of(pid) & ~((1 << FAMILY_BITS) - 1))

    def test_other_namespace(self) -> None:
        """
        What runs in another pid namespace is left alone by a core0 that starts, and ended by the one whose job it is.
        """
        if os.geteuid():
            raise missing("needs root")
        script = (
            'os.execv("/usr/bin/unshare", ["unshare", "--pid", "--fork", "sh", "-c", "echo ready; exec sleep 600"])'
        )
        first, tree, _ = self.run_python(script)
        eventually(lambda: len(tree.pids()) == 2, "both are there")
        (inner,) = set(tree.pids()) - {first}
        os.kill(first, signal.SIGSTOP)  # it would end its child
        self.assertEqual(1, self.in_thread(self.trees.kill_left))
        self.assertTrue(procfs.alive(inner))
        self.assertTrue(self.kill(tree))
        self.assertFalse(procfs.alive(inner))

    def test_not_met_again(self) -> None:
        """
        A tag that a living tree has is not given again, however many were given since.
        """
        trees = self.trees
        assert isinstance(trees, TaggedTrees)
        pid, _, _ = self.run_python('say("ready")\nforever()')
        trees._last -= 1  # as after all the others
        other, _, _ = self.run_python('say("ready")\nforever()')
        self.assertEqual(1, tag_of(other) - tag_of(pid))

    def test_members(self) -> None:
        """
        Whoever is looked at to be measured is whoever is there: descendants of any thread, and orphans.
        """
        threads = """
def fork_in_thread():
    if not os.fork():
        os.setsid()
        say("ready")
        forever()
    time.sleep(600)
"""
        _, tree, _ = self.run_python(
            threads + 'threading.Thread(target=fork_in_thread, daemon=True).start()\nsay("ready")\nforever()', ready=2
        )
        self.assertEqual(2, len(tree.pids()))
        self.assertEqual(set(tree.pids()), set(tree.members({})))
        pid, orphan, _ = self.run_python(ESCAPE)
        eventually(lambda: pid not in self.reap() and len(orphan.pids()) == 1, "the first ones have ended")
        found: dict[object, Any] = {}
        self.assertEqual(set(orphan.pids()), set(orphan.members(found)) & set(procfs.processes()))
        self.assertEqual(set(tree.pids()), set(tree.members(found)))


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

    def test_closed_without_descriptors(self) -> None:
        """
        With too many files open a tree is closed all the same, and its cgroup is removed with that of a later one.
        """
        self.patch(cgroup, "MAX_IDLE", 0)
        trees = [self.spawn("/bin/true")[1] for _ in range(2)]
        for tree in trees:
            self.emptied(tree)
        self.all.clear()
        before = self.places()
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (0, hard))
        try:
            trees[0].close()
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        self.assertEqual(before, self.places())
        trees[1].close()
        self.assertEqual(len(before) - 2, len(self.places()))

    def test_inside(self) -> None:
        """
        A program does not escape into a cgroup that it makes in its own, and leaves none to the next one.
        """
        script = f"""
name = open("/proc/self/cgroup").read().rpartition("0::")[2].strip().rpartition("/")[2]
place = {self.path!r} + "/" + name + "/inside"
os.mkdir(place)
for file, text in (("type", "threaded"), ("threads", "0")):
    with open(place + "/cgroup." + file, "w") as control:
        control.write(text)
os.fork()
say("ready")
forever()
"""
        pid, tree, _ = self.run_python(script, ready=2)
        self.assertIn(pid, tree.pids())
        self.assertEqual(2, len(tree.pids()))
        self.assertTrue(self.kill(tree))
        self.emptied(tree)
        tree.close()
        self.all.remove(tree)
        self.assertEqual([], [folder for folder, _, _ in os.walk(self.path) if folder.endswith("/inside")])
        self.run_python(script, ready=2)
        self.crash()
        self.all.clear()
        following = self.make_trees()
        self.assertEqual(2, self.in_thread(following.kill_left))
        self.assertEqual(1, len(self.places()))
        following.close()

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

    def run_and_close(self, count: int) -> None:
        """
        Run some programs at once, to their ends.
        """
        trees = [self.spawn("/bin/true")[1] for _ in range(count)]
        for tree in trees:
            self.emptied(tree)
            tree.close()
            self.all.remove(tree)

    def own_place(self) -> bytes:
        """
        The name of the cgroup that this process is in.
        """
        return os.path.basename(own_path(procfs.read("/proc/self/cgroup")) or b"")

    def test_kept_removed(self) -> None:
        """
        Cgroups that are kept for the next jobs may be removed by others, or be others by now: those are not used.
        """
        self.run_and_close(4)
        kept = [f"{self.path}/{name}" for name in self.places()]
        self.assertEqual(4, len(kept))
        for path in kept:
            os.rmdir(path)
        os.mkdir(kept[0])  # not threaded: no thread can step into it
        self.test_one()
        self.run_and_close(3)
        self.test_outside()

    def test_removed_with_its_own(self) -> None:
        """
        Who is moved elsewhere, and whose own cgroup is removed, makes it anew and goes on there.
        """
        self.run_and_close(1)
        Path(self.path, "..", "cgroup.procs").write_text(str(os.getpid()))
        for name in self.places():
            os.rmdir(f"{self.path}/{name}")
        os.rmdir(self.path)
        self.test_one()
        self.assertEqual(os.path.basename(self.path).encode(), self.own_place())

    def test_moved(self) -> None:
        """
        Who is moved elsewhere goes back when it starts the next program; those that run stay where they are.
        """
        pid, tree, _ = self.run_python('say("ready")\nforever()')
        Path(self.path, "..", "cgroup.procs").write_text(str(os.getpid()))
        self.test_one()
        self.assertEqual(os.path.basename(self.path).encode(), self.own_place())
        self.assertEqual([pid], list(tree.pids()))

    def test_stale_home(self) -> None:
        """
        Who cannot step back by its descriptor does so by name.
        """
        trees = self.trees
        assert isinstance(trees, CgroupTrees)
        unwritable = os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)
        self.addCleanup(os.close, unwritable)

        def start() -> int:
            os.dup2(unwritable, trees._home)
            return os.posix_spawn("/bin/sleep", ["sleep", "600"], {})

        pid, tree = trees.spawn(start)
        self.all.append(tree)
        self.assertEqual([pid], list(tree.pids()))
        self.assertEqual(os.path.basename(self.path).encode(), self.own_place())

    def test_astray(self) -> None:
        """
        Who cannot step back at all starts nothing until it can, signals and freezes itself never, and says so.
        """
        trees = self.trees
        assert isinstance(trees, CgroupTrees)
        unwritable = os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)
        self.addCleanup(os.close, unwritable)
        started: list[int] = []

        def refuse(path: str, data: bytes) -> None:
            raise OSError(errno.EIO, os.strerror(errno.EIO))

        def start() -> int:
            os.dup2(unwritable, trees._home)
            patch.patch()
            started.append(os.posix_spawn("/bin/sleep", ["sleep", "600"], {}))
            return started[0]

        patch = MonkeyPatcher((procfs, "write", refuse))
        self.addCleanup(patch.restore)
        self.assertRaises(OSError, trees.spawn, start)
        eventually(lambda: started[0] not in self.reap(), "it was killed")
        place = self.own_place().decode()
        self.assertTrue(place.startswith("job-"), place)
        self.assertEqual([], CgroupTree(trees, f"{self.path}/{place}").pids())
        error = self.assertRaises(OSError, self.spawn, "/bin/true")
        self.assertIn("core0 has no cgroup for it", str(error))
        self.assertEqual(1, len(started))
        patch.restore()
        self.test_one()
        self.assertEqual(os.path.basename(self.path).encode(), self.own_place())

    def test_in_use(self) -> None:
        """
        What another core0 runs in a cgroup of the same name, or in one that was written down, is not touched.
        """
        script = """
import os, sys
from core0.jobs.cgroup import CgroupTrees
trees = CgroupTrees(sys.argv[1]).open()
pid, tree = trees.spawn(lambda: os.posix_spawn("/bin/sleep", ["sleep", "600"], {}))
print(pid, flush=True)
sys.stdin.read()
tree.kill()
os.waitpid(pid, 0)
tree.close()
trees.close()
"""
        other = subprocess.Popen(
            [sys.executable, "-c", script, self.path], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        assert other.stdin is not None and other.stdout is not None
        self.before.add(other.pid)
        self.addCleanup(other.wait)
        self.addCleanup(other.stdin.close)
        self.addCleanup(other.stdout.close)
        pid = int(other.stdout.readline())
        places = self.places()
        self.assertEqual(0, self.in_thread(self.trees.kill_left))
        self.assertTrue(procfs.alive(pid))
        self.assertEqual(places, self.places())
        other.kill()
        other.wait()
        eventually(lambda: procfs.parent(pid) != other.pid, "nobody looks after it")
        self.assertEqual(1, self.in_thread(self.trees.kill_left))
        self.assertFalse(procfs.alive(pid))

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
