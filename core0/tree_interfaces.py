"""
The ports of trees of processes, with units and how they fail.
"""

from collections.abc import Callable, Sequence
from typing import Any

from zope.interface import Interface


class ITree(Interface):
    """
    All processes that come of one run of a job, whatever session or group they moved to.
    """

    def populated() -> bool:
        """
        Whether any process of it is alive. Quick, called in the reactor.
        """

    def pids() -> Sequence[int]:
        """
        The living processes. May walk /proc: call it in a thread.
        """

    def members(pass_: dict[object, Any]) -> Sequence[int]:
        """
        As ``pids``, for measuring: cheap where many trees are looked at, though it may miss a process that just moved.

        :param pass_: what is found out once for all trees of one pass; empty at first.
        """

    def signal(number: int) -> None:
        """
        Send a signal to each of them once. May walk /proc: call it in a thread.
        """

    def kill() -> bool:
        """
        KILL all of them, those they fork meanwhile included. May walk /proc: call it in a thread.

        :returns: whether none is left.
        """

    def close() -> None:
        """
        Give back what the kernel keeps for it. Only once nothing of it lives.
        """


class ITrees(Interface):
    """
    Makes trees.
    """

    def spawn(start: Callable[[], int]) -> "tuple[int, ITree]":
        """
        Call ``start``, which creates one process and gives its pid, so that it and whatever it forks are of a new tree.

        :raises OSError: of ``start``; no tree is left then.
        """

    def kill_left() -> int:
        """
        KILL what a core0 that died has left behind, and wait for its end, at most some seconds. Call it in a thread.

        :returns: how many processes there were.
        """

    def close() -> None:
        """
        Give back what the kernel keeps for all of them.
        """
