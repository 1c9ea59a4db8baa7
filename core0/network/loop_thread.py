"""
A thread with an asyncio loop of its own: pyroute2 speaks to the kernel, and to DHCP servers, in one.
"""

import asyncio
import logging
import threading
from collections.abc import Callable, Coroutine
from typing import Any

from core0.errors import Core0Error

LEAVE = 2.0  # seconds for what goes on in the loop to end


class LoopThread:
    """
    :param enter: called first, in the thread.
    :param work: what it does, until it is stopped.
    :param over: called last, in the thread, with the reason why it has ended by itself; empty if it was stopped.
    """

    def __init__(
        self,
        name: str,
        work: Callable[[], Coroutine[Any, Any, None]],
        over: Callable[[str], object],
        *,
        enter: Callable[[], object] = lambda: None,
    ) -> None:
        self._work = work
        self._over = over
        self._enter = enter
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stop = asyncio.Event()
        self._stopping = False

    def start(self) -> None:
        """
        Begin.

        :raises RuntimeError: there is no thread to be had.
        """
        self._thread.start()

    def stop(self) -> None:
        """
        End soon; from any thread.
        """
        self._stopping = True
        if self._loop is not None:
            try:
                self._loop.call_soon_threadsafe(self._stop.set)
            except RuntimeError:
                pass  # it has ended already

    def _run(self) -> None:
        reason = ""
        try:
            self._enter()
            asyncio.run(self._main())
        except Core0Error as error:
            reason = str(error)
        except Exception as error:
            reason = f"a bug in core0: {error!r}"
        finally:
            self._over(reason)

    async def _main(self) -> None:
        self._loop = asyncio.get_running_loop()
        if self._stopping:
            return
        # whoever can send packets could fill the log: what matters is told otherwise
        logging.getLogger("pyroute2").setLevel(logging.CRITICAL)
        self._loop.set_exception_handler(lambda loop, context: None)
        work = asyncio.create_task(self._work())
        stop = asyncio.create_task(self._stop.wait())
        await asyncio.wait([work, stop], return_when=asyncio.FIRST_COMPLETED)
        if work.done():
            work.result()
        work.cancel()
        others = asyncio.all_tasks() - {asyncio.current_task()}
        await asyncio.wait(others, timeout=LEAVE)
