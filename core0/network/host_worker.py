"""
The thread in which all netlink and DHCP of the host's own network is, with an asyncio loop of its own.
"""

import asyncio
import logging
import threading
from collections.abc import Callable

from core0.errors import ConfigError
from core0.network.host_outcome import Outcome
from core0.network.host_settings import read_settings

LEAVE = 2.0  # seconds for clients to end


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
        self._thread = threading.Thread(target=self._run, name="core0-network", daemon=True)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stop = asyncio.Event()
        self._stopping = False

    def start(self) -> None:
        """
        Begin.
        """
        self._thread.start()

    def stop(self) -> None:
        """
        End soon; from any thread. What has been made stays.
        """
        self._stopping = True
        if self._loop is not None:
            try:
                self._loop.call_soon_threadsafe(self._stop.set)
            except RuntimeError:
                pass  # it has ended already

    def _run(self) -> None:
        try:
            asyncio.run(self._main())
        except Exception as error:
            self._fail(f"the network is not looked after: {error!r}")
        finally:
            self._ended()

    async def _main(self) -> None:
        self._loop = asyncio.get_running_loop()
        if self._stopping:
            return
        try:
            settings = read_settings(self._path)
        except ConfigError as error:
            self._fail(str(error).removeprefix(f"{self._path}: "))
            return
        # only now: a core0 without such a file does not load them
        from core0.network.host_keeper import Keeper

        # whoever can send packets could fill the log: what matters is told by outcomes
        logging.getLogger("pyroute2").setLevel(logging.CRITICAL)
        self._loop.set_exception_handler(lambda loop, context: None)
        work = asyncio.create_task(Keeper(settings, lambda found: self._report(dict(found))).run())
        stop = asyncio.create_task(self._stop.wait())
        await asyncio.wait([work, stop], return_when=asyncio.FIRST_COMPLETED)
        if work.done():
            work.result()
        work.cancel()
        others = asyncio.all_tasks() - {asyncio.current_task()}
        await asyncio.wait(others, timeout=LEAVE)

    def _fail(self, reason: str) -> None:
        self._report({self._path: Outcome("", "failed", (), reason)})
