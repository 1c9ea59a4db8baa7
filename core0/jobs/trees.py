"""
Which kind of trees this host can have, and what those of another kind have left.
"""

import hashlib
import os
from collections.abc import Sequence

from twisted.logger import Logger
from zope.interface import implementer

from core0.errors import Core0Error
from core0.jobs.cgroup import CgroupTrees
from core0.jobs.tagged import TaggedTrees
from core0.spawn import Start
from core0.tree_interfaces import ITree, ITrees


@implementer(ITrees)
class Following:
    """
    Trees that come after those of a core0 before, which may have been of another kind or in another place.

    :param trees: for the jobs of this core0.
    :param predecessors: where something may be left.
    :param record: the file that tells the next core0 where the cgroups are.
    """

    _log = Logger()

    def __init__(self, trees: ITrees, predecessors: Sequence[ITrees], record: str) -> None:
        self._trees = trees
        self._predecessors = predecessors
        self._record = record

    def spawn(self, start: Start) -> tuple[int, ITree]:
        """
        Fork in one of its own trees.
        """
        return self._trees.spawn(start)

    def kill_left(self) -> int:
        """
        Of all kinds; only then the place of the former ones is forgotten.
        """
        killed = self._trees.kill_left()
        for trees in self._predecessors:
            with self._log.failuresHandled("cannot end what a core0 before this one has left"):
                killed += trees.kill_left()
        if isinstance(self._trees, CgroupTrees):
            with open(self._record, "w", encoding="utf-8", errors="surrogateescape") as file:
                file.write(self._trees.path)
        return killed

    def close(self) -> None:
        """
        Those of before are nobody's.
        """
        self._trees.close()


def find_trees(state_dir: str) -> Following:
    """
    Trees by cgroup where that can be had, else by tag. Does not wait for what is left from before.
    """
    family = int.from_bytes(hashlib.sha256(os.path.realpath(state_dir).encode()).digest()[:2]) + 1
    record = os.path.join(state_dir, "cgroup")
    before = [CgroupTrees(path) for path in _recorded(record)]
    tagged = TaggedTrees(family)
    try:
        trees = CgroupTrees.find(f"core0-{family}").open()
    except Core0Error as error:
        Following._log.info("{error}; following processes by a tag of their own instead", error=error)
        return Following(tagged, before, record)
    return Following(trees, [tagged, *(other for other in before if other.path != trees.path)], record)


def _recorded(record: str) -> list[str]:
    try:
        with open(record, encoding="utf-8", errors="surrogateescape") as file:
            return [path] if (path := file.read().strip()) else []
    except OSError:
        return []
