"""
The programs that serve bridges: one ``dnsmasq`` for each bridge that hands out addresses.
"""

import os
import shutil
from collections.abc import Collection
from typing import Any

from twisted.internet.defer import DeferredLock
from twisted.logger import Logger

from core0.interfaces import ThreadRunner
from core0.network.desired import Bridge, Desired, Ip
from core0.network.dnsmasq import LARGEST, LEASES, PID, arguments, around, files, hands_out, leased
from core0.network.helper import Helper, NotServed, find
from core0.reaper import Reaper
from core0.spawn import Surroundings


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
        self._lock = DeferredLock()

    def _place(self, name: str) -> str:
        return os.path.join(self._folder, name)

    async def make(self, desired: Desired) -> None:
        """
        Have those that this takes, and no others, and tell them what is new about containers.

        :raises NotServed: one that is new does not start; nothing is left of it.
        """
        self._desired = desired
        async with self._lock:
            await self._make(desired)
            for name, helper in list(self._helpers.items()):
                await self._told(name, helper)

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
        await self._sweep({bridge.name for bridge in desired.bridges if hands_out(bridge)})
        for bridge in desired.bridges:
            if hands_out(bridge):
                try:
                    await self._add(bridge)
                except NotServed as error:
                    self._log.error("{bridge} is not served: {error}", bridge=bridge.name, error=error)
                else:
                    self._helpers[bridge.name].nudge()  # one that runs may know others

    async def _sweep(self, wanted: Collection[str]) -> None:
        """
        End and remove what was left for bridges that are not desired any more.
        """
        for name in set(await self._in_thread(_names, self._folder)).difference(wanted):
            helper = Helper(self._reactor, self._reaper, self._surroundings, os.path.join(self._place(name), PID))
            await helper.end_left()
            await self._remove(name)

    async def _add(self, bridge: Bridge) -> None:
        place = self._place(bridge.name)
        try:
            await self._in_thread(_prepare, place, self._desired, bridge.name)
        except OSError as error:
            raise NotServed(f"cannot make {place}: {error.strerror}") from error
        pid, words = os.path.join(place, PID), around(find("unshare", "the package util-linux"), place)
        program = find("dnsmasq", "the package dnsmasq-base")
        helper = Helper(self._reactor, self._reaper, self._surroundings, pid, around=words)
        self._helpers[bridge.name] = helper
        await helper.start(arguments(program, bridge, place))

    async def _remove(self, name: str) -> None:
        helper = self._helpers.pop(name, None)
        if helper is not None:
            await helper.stop()
        await self._in_thread(lambda: shutil.rmtree(self._place(name), ignore_errors=True))

    async def _told(self, name: str, helper: Helper) -> None:
        """
        By files, which it reads anew: nobody who asks for a name meanwhile goes without an answer.
        """
        try:
            if await self._in_thread(_write, self._place(name), self._desired, name):
                helper.nudge()
        except FileNotFoundError:
            await self._anew(name)
        except OSError as error:
            self._log.error("{bridge} does not know its containers: {error}", bridge=name, error=error)

    async def _anew(self, name: str) -> None:
        """
        Its folder is gone: what it holds open there is no file that anybody else sees.
        """
        self._log.error("{place} was removed; making it anew", place=self._place(name))
        await self._remove(name)
        for bridge in self._desired.bridges:
            if bridge.name == name:
                try:
                    await self._add(bridge)
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
        for name, helper in self._helpers.items():
            if self._desired.on(name):
                helper.leave()
            else:
                await helper.stop()


def _names(folder: str) -> list[str]:
    try:
        return os.listdir(folder)
    except FileNotFoundError:
        return []


def _prepare(place: str, desired: Desired, name: str) -> None:
    os.makedirs(os.path.dirname(place), mode=0o700, exist_ok=True)
    os.makedirs(place, mode=0o755, exist_ok=True)
    os.chmod(place, 0o755)  # whatever the umask; what is around it lets nobody in
    _write(place, desired, name)


def _write(place: str, desired: Desired, name: str) -> bool:
    """
    :returns: whether any of the files says something else now.
    """
    written = [_replace(os.path.join(place, file), text) for file, text in files(desired, name).items()]
    return any(written)


def _replace(path: str, text: str) -> bool:
    try:
        with open(path, encoding="utf-8") as file:
            if file.read() == text:
                return False
    except OSError:
        pass
    new = f"{path}.new"
    fd = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o644)
    with open(fd, "w", encoding="utf-8") as file:
        os.fchmod(fd, 0o644)
        file.write(text)
    os.replace(new, path)
    return True
