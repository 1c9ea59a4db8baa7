"""
The programs that serve bridges: one ``dnsmasq`` for each bridge that hands out addresses.
"""

import os
import shutil
from typing import Any

from twisted.internet.defer import DeferredLock
from twisted.logger import Logger

from core0.interfaces import ThreadRunner
from core0.network.desired import Bridge, Desired, Ip
from core0.network.dnsmasq import LARGEST, LEASES, PID, arguments, hands_out, leased
from core0.network.helper import PATH, Helper, NotServed
from core0.reaper import Reaper
from core0.redis.task import Task
from core0.spawn import Surroundings
from core0.waiting import Bell, pause

PROGRAM, PACKAGE = "dnsmasq", "dnsmasq-base"
GATHER = 0.1  # seconds in which changes of names are gathered


class Helpers:
    """
    :param folder: in which each of them has one of its own, called as the bridge.
    """

    _log = Logger()

    def __init__(
        self, reactor: Any, in_thread: ThreadRunner, reaper: Reaper, surroundings: Surroundings, folder: str
    ) -> None:
        self._reactor = reactor
        self._in_thread = in_thread
        self._reaper = reaper
        self._surroundings = surroundings
        self._folder = folder
        self._helpers: dict[str, Helper] = {}
        self._desired = Desired()
        self._changed = Bell()
        self._lock = DeferredLock()
        self._task = Task("names of containers are not told any more")
        self._telling = False

    def _place(self, name: str) -> str:
        return os.path.join(self._folder, name)

    async def make(self, desired: Desired) -> None:
        """
        Have those that this takes, and no others. What is new about containers is told to them soon.

        :raises NotServed: one that is new does not start; nothing is left of it.
        """
        self._desired = desired
        async with self._lock:
            await self._make(desired)
        if self._helpers:
            self._changed.ring()
            self._tell()

    async def _make(self, desired: Desired) -> None:
        wanted = {bridge.name: bridge for bridge in desired.bridges if hands_out(bridge)}
        for name in self._helpers.keys() - wanted.keys():
            await self._remove(name)
        for name in wanted.keys() - self._helpers.keys():
            try:
                await self._add(wanted[name])
            except BaseException:
                await self._remove(name)
                raise

    async def recover(self, desired: Desired) -> None:
        """
        Have those that this takes. What does not start is logged, and tried again and again.
        """
        self._desired = desired
        for bridge in desired.bridges:
            if hands_out(bridge):
                try:
                    await self._add(bridge)
                except NotServed as error:
                    self._log.error("{bridge} is not served: {error}", bridge=bridge.name, error=error)
        if self._helpers:
            self._tell()

    async def _add(self, bridge: Bridge) -> None:
        place = self._place(bridge.name)
        try:
            await self._in_thread(lambda: os.makedirs(place, mode=0o700, exist_ok=True))
        except OSError as error:
            raise NotServed(f"cannot make {place}: {error.strerror}") from error
        program = shutil.which(PROGRAM, path=PATH)
        if program is None:
            raise NotServed(f"there is no {PROGRAM}; install the package {PACKAGE}")
        helper = self._helpers[bridge.name] = Helper(
            self._reactor, self._reaper, self._surroundings, os.path.join(place, PID)
        )
        await helper.start(arguments(program, bridge, self._desired, place))

    async def _remove(self, name: str) -> None:
        helper = self._helpers.pop(name, None)
        if helper is not None:
            await helper.stop()
        await self._in_thread(lambda: shutil.rmtree(self._place(name), ignore_errors=True))

    def _tell(self) -> None:
        if not self._telling:
            self._telling = True
            self._task.start(self._keep_told())

    async def _keep_told(self) -> None:
        """
        It learns of names only when it starts: so it is started again.
        """
        while True:
            await self._changed.wait()
            await pause(self._reactor, GATHER)
            async with self._lock:
                for name, helper in self._helpers.items():
                    await self._told(name, helper)

    async def _told(self, name: str, helper: Helper) -> None:
        bridge = self._desired.bridge(name)
        if bridge is None:
            return
        argv = arguments(helper.argv[0], bridge, self._desired, self._place(name))
        if argv == helper.argv:
            return
        await helper.stop()
        try:
            await helper.start(argv)
        except NotServed as error:
            self._log.error("{bridge} is not served: {error}", bridge=name, error=error)

    async def leases(self, name: str) -> dict[Ip, str]:
        """
        The addresses that a bridge has handed out, with the MAC addresses of those who have them.
        """

        def read() -> str:
            try:
                with open(os.path.join(self._place(name), LEASES), encoding="utf-8", errors="replace") as file:
                    return file.read(LARGEST)
            except OSError:
                return ""

        return leased(await self._in_thread(read))

    async def stop(self) -> None:
        """
        Look after them no more. Those that serve containers are left running.
        """
        self._task.stop()
        for name, helper in self._helpers.items():
            if self._desired.on(name):
                helper.leave()
            else:
                await helper.stop()
