"""
Which kind of trees this host can have, and what those of another kind have left.
"""

import os
from collections.abc import Sequence

from twisted.logger import Logger
from zope.interface import implementer

from core0.errors import Core0Error
from core0.identity import Identity
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


def find_trees(state_dir: str, identity: Identity) -> Following:
    """
    Trees by cgroup where that can be had, else by tag. Does not wait for what is left from before.
    """
    record = os.path.join(state_dir, "cgroup")
    before: list[ITrees] = [CgroupTrees(path) for path in _recorded(record)] if identity.known else []
    tagged = TaggedTrees(identity.number)
    if identity.past:
        before.append(_Past(identity.past))
    try:
        trees = CgroupTrees.find(identity.cgroup).open()
    except Core0Error as error:
        Following._log.info("{error}; following processes by a tag of their own instead", error=error)
        return Following(tagged, before, record)
    others = [other for other in before if not (isinstance(other, CgroupTrees) and other.path == trees.path)]
    return Following(trees, [tagged, *others], record)


class _Past(TaggedTrees):
    """
    What a core0 before there were ids may have tagged: others may have used the same numbers, so it is told, no more.
    """

    _log = Logger()

    def __init__(self, family: int) -> None:
        super().__init__(0)
        self._past = family

    def belongs(self, tag: int) -> bool:
        """
        Whether such a core0 may have given a tag.
        """
        return tag >> 40 == self._past

    def kill_left(self) -> int:
        """
        Kill nothing.
        """
        left = sorted(self.left())
        if left:
            text = (
                "processes {pids} may be left of a former version of core0, or belong to another one; end them by hand"
            )
            self._log.error(text, pids=left)
        return 0


def _recorded(record: str) -> list[str]:
    try:
        with open(record, encoding="utf-8", errors="surrogateescape") as file:
            return [path] if (path := file.read().strip()) else []
    except OSError:
        return []
