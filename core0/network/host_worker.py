"""
The thread in which all netlink and DHCP of the host's own network is, with an asyncio loop of its own.
"""

from collections.abc import Callable

from core0.network.host_outcome import Outcome
from core0.network.host_settings import read_settings
from core0.network.loop_thread import LoopThread


class Worker:
    """
    :param path: the file.
    :param report: see :class:`core0.network.host_keeper.Keeper`; called in the thread.
    :param ended: called last, in the thread.
    """

    def __init__(
        self, path: str, report: "Callable[[dict[str, Outcome]], object]", ended: Callable[[], object]
    ) -> None:
        self._path = path
        self._report = report
        self._ended = ended
        self._thread = LoopThread("core0-network", self._keep, self._over)

    def start(self) -> None:
        """
        Begin.
        """
        self._thread.start()

    def stop(self) -> None:
        """
        End soon; from any thread. What has been made stays.
        """
        self._thread.stop()

    async def _keep(self) -> None:
        settings = read_settings(self._path)
        # only now: a core0 without such a file does not load it
        from core0.network.host_keeper import Keeper

        await Keeper(settings, lambda found: self._report(dict(found))).run()

    def _over(self, reason: str) -> None:
        if reason:
            text = reason.removeprefix(f"{self._path}: ")
            self._report({self._path: Outcome("", "failed", (), text)})
        self._ended()
