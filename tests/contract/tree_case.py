"""
Programs that do everything not to be found, and what it takes to run them in trees of processes.
"""

import ctypes
import os
import sys
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from twisted.trial.unittest import SynchronousTestCase

from core0 import procfs
from core0.spawn import PR_SET_CHILD_SUBREAPER
from core0.tree_interfaces import ITree, ITrees
from tests.daemon import eventually

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


class TreesCase(Base):
    """
    Trees, and programs to run in them.
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
