"""
What holds for every kind of trees of processes, tried with real ones.
"""

import os
import signal

from zope.interface.verify import verifyObject

from core0 import procfs
from core0.tree_interfaces import ITree, ITrees
from tests.contract.tree_case import ESCAPE, HOP, MULTIPLY, TreesCase
from tests.daemon import eventually


class TreesContract(TreesCase):
    """
    What every ITrees does.
    """

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

    def test_closed(self) -> None:
        """
        What comes late, when a job is over, does not reach the next one, wherever that lives.
        """
        _, late, _ = self.spawn("/bin/true")
        self.emptied(late)
        late.close()
        self.all.remove(late)
        pid, tree, _ = self.run_python('say("ready")\nforever()')
        late.signal(signal.SIGKILL)
        self.assertTrue(self.kill(late))
        self.assertEqual((False, []), (late.populated(), list(late.pids())))
        late.close()
        self.assertTrue(procfs.alive(pid))
        self.assertEqual([pid], list(tree.pids()))

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
