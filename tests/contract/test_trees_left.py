"""
What a core0 that comes after another one does about what that has left. With real processes.
"""

import hashlib
import os
import resource
import secrets
import signal
import tempfile
from pathlib import Path
from typing import cast

from twisted.logger import ILogObserver, LogEvent, globalLogPublisher
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from core0 import procfs
from core0.identity import identify
from core0.jobs.cgroup import CgroupTrees
from core0.jobs.tagged import FAMILY_BITS, RLIMIT_LOCKS, TaggedTrees
from core0.jobs.trees import Following, find_trees
from core0.tree_interfaces import ITrees
from tests.contract.tree_case import ESCAPE, TreesCase

FAMILY = secrets.randbits(FAMILY_BITS - 1)  # of no other process of tests, either


class FollowingTests(TreesCase, SynchronousTestCase):
    """
    Trees of a core0 that comes after another one.
    """

    def make_trees(self) -> TaggedTrees:
        """
        What the one before had.
        """
        return TaggedTrees(FAMILY)

    def test_predecessors(self) -> None:
        """
        What a core0 has left is ended also by one with trees of another kind; what cannot be ended stops nothing.
        """
        self.run_python(ESCAPE)
        with tempfile.TemporaryDirectory() as folder:
            others = [CgroupTrees(f"{folder}/none"), _Broken(1), TaggedTrees(FAMILY)]
            following = Following(TaggedTrees(FAMILY + 1), others, f"{folder}/cgroup")
            verifyObject(ITrees, following)
            self.assertEqual(1, self.in_thread(following.kill_left))
            self.assertFalse(os.path.exists(f"{folder}/cgroup"))
        self.flushLoggedErrors(PermissionError)

    def test_finding(self) -> None:
        """
        Whoever looks for trees does not wait for those of before: ``kill_left`` does; they are on record until then.
        """
        with tempfile.TemporaryDirectory() as folder:
            record = Path(folder) / "cgroup"
            record.write_text(f"{folder}/before")
            found = find_trees(folder, identify(folder))
            self.addCleanup(found.close)
            self.assertEqual(f"{folder}/before", record.read_text())
            self.assertEqual(0, self.in_thread(found.kill_left))

    def test_former_version(self) -> None:
        """
        What a core0 before there were ids has left is ended where it was written down; what only bears its tag, which
        others may have given, is told.
        """
        with tempfile.TemporaryDirectory() as folder:
            past = int.from_bytes(hashlib.sha256(os.path.realpath(folder).encode()).digest()[:2]) + 1
            record = Path(folder) / "cgroup"
            usual = resource.getrlimit(RLIMIT_LOCKS)
            resource.setrlimit(RLIMIT_LOCKS, (past << 40 | 7, usual[1]))
            try:
                tagged = os.posix_spawn("/bin/sleep", ["sleep", "600"], {})
            finally:
                resource.setrlimit(RLIMIT_LOCKS, usual)
            self.addCleanup(os.kill, tagged, signal.SIGKILL)
            identity = identify(folder)
            self.assertEqual((True, past), (identity.known, identity.past))
            found = find_trees(folder, identity)
            self.addCleanup(found.close)
            told: list[LogEvent] = []
            observer = cast("ILogObserver", told.append)
            globalLogPublisher.addObserver(observer)
            self.addCleanup(globalLogPublisher.removeObserver, observer)
            self.assertEqual(0, self.in_thread(found.kill_left))
            self.assertTrue(procfs.alive(tagged))
            self.assertEqual([[tagged]], [event["pids"] for event in told if "pids" in event])
            self.assertEqual(0, identify(folder).past)
            self.assertTrue(record.exists() or not isinstance(found._trees, CgroupTrees))


class _Broken(TaggedTrees):
    def kill_left(self) -> int:
        raise PermissionError("not yours")
