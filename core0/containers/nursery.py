"""
The zygote, seen from core0: where guests come from.

It is started when the first container is made, and lives as long as core0; the guests that have joined their containers
live on without it.
"""

import fcntl
import os
import signal
import sys
from collections.abc import Mapping
from typing import Any

import msgspec
from twisted.internet.defer import TimeoutError
from twisted.internet.protocol import ProcessProtocol
from twisted.logger import Logger
from twisted.python.failure import Failure

import core0
from core0.containers.orders import Answer, Join, Order, Prepare, Request
from core0.containers.rootfs import Setup
from core0.containers.watch import Watched
from core0.errors import Core0Error
from core0.reaper import Reaper
from core0.spawn import Child, Launch, Surroundings
from core0.waiting import Occurrence, within

PATIENCE = 30.0  # seconds for each step; all of it together takes some milliseconds
MAX_ORDER = 256 << 10  # bytes that the pipe of a guest holds
MAX_LINE = 8192  # bytes of an answer
MAX_SAID = 64 << 10  # bytes of complaints that are logged
FOLDER = os.path.dirname(os.path.dirname(os.path.abspath(core0.__file__)))
_decode = msgspec.json.Decoder(Answer).decode


class GuestFailed(Core0Error):
    """
    A guest could not do what it was to do; the text says why.
    """


class Guest:
    """
    A process that becomes the CoreX of one container.
    """

    def __init__(self, reactor: Any, number: int, orders: int) -> None:
        self._reactor = reactor
        self.number = number
        self._orders = orders
        self._answer: Occurrence[Answer] = Occurrence()
        self._process: Watched | None = None
        self.hears = False

    async def opened(self) -> None:
        """
        Wait until it can hear.
        """
        answer = await self._heard()
        self.hears = True
        self._process = Watched.find(self._reactor, answer.pid)

    async def prepare(self, setup: Setup) -> str:
        """
        Have the root file system mounted.

        :returns: the mount namespace, as a path; it is there as long as this guest has not joined.
        :raises GuestFailed: it cannot be.
        """
        answer = await self._order(Prepare(setup))
        return f"/proc/{answer.pid}/ns/mnt"

    async def join(self, order: Join) -> int:
        """
        Have it become the CoreX.

        :returns: its pid.
        :raises GuestFailed: it cannot.
        """
        return (await self._order(order)).pid

    async def _order(self, order: Order) -> Answer:
        line = msgspec.json.encode(order) + b"\n"
        if len(line) >= MAX_ORDER:
            raise GuestFailed(f"mounts and settings take {len(line)} bytes, at most {MAX_ORDER} are possible")
        os.write(self._orders, line)
        return await self._heard()

    async def _heard(self) -> Answer:
        try:
            answer = await within(self._reactor, PATIENCE, self._answer.wait())
        except TimeoutError as error:
            raise GuestFailed(f"the process for container {self.number} has not answered in {PATIENCE} s") from error
        self._answer = Occurrence()
        if answer.state == "failed":
            raise GuestFailed(answer.text)
        return answer

    def heard(self, answer: Answer) -> None:
        """
        What it says.
        """
        self._answer.happen(answer)

    def drop(self) -> None:
        """
        It is needed no more: unless it has joined, it ends.
        """
        if self._orders >= 0:
            os.close(self._orders)
            self._orders = -1

    async def gone(self) -> None:
        """
        Wait until its process has ended, which it does once it is dropped.
        """
        if self._process is None:
            return
        try:
            await within(self._reactor, PATIENCE, self._process.ended.wait())
        except TimeoutError:
            self._process.signal(signal.SIGKILL)


class _Zygote(ProcessProtocol):
    """
    Reads what the zygote and its guests say.
    """

    _log = Logger()

    def __init__(self, guests: Mapping[int, Guest]) -> None:
        self._guests = guests
        self._rest = b""
        self._said = b""
        self.ready: Occurrence[str] = Occurrence()
        self.over: Occurrence[None] = Occurrence()

    @property
    def ended(self) -> bool:
        """
        Whether it is gone.
        """
        return self.over.happened

    def outReceived(self, data: bytes) -> None:
        """
        Twisted's hook.
        """
        *lines, self._rest = (self._rest + data).split(b"\n")
        for line in lines:
            try:
                answer = _decode(line)
            except msgspec.MsgspecError:
                self._log.error("the zygote says what nobody understands: {line!r}", line=line[:200])
                continue
            if answer.number:
                guest = self._guests.get(answer.number)
                if guest is not None:
                    guest.heard(answer)
            else:
                self.ready.happen("")
        self._rest = self._rest[-MAX_LINE:]

    def errReceived(self, data: bytes) -> None:
        """
        Twisted's hook.
        """
        self._said = (self._said + data)[-MAX_SAID:]

    def processEnded(self, reason: Failure) -> None:
        """
        Twisted's hook.
        """
        said = self._said.decode("utf-8", "replace").strip()
        text = f"{reason.getErrorMessage()} {said}"
        if said:
            self._log.error("the zygote has ended: {text}", text=text)
        self.ready.happen(text)
        self.over.happen(None)
        for number, guest in list(self._guests.items()):
            guest.heard(Answer(number=number, state="failed", text=f"the zygote has ended: {text[-1000:]}"))


class Nursery:
    """
    Starts the zygote and has it fork.
    """

    def __init__(self, reactor: Any, reaper: Reaper, surroundings: Surroundings) -> None:
        self._reactor = reactor
        self._reaper = reaper
        self._surroundings = surroundings
        self._guests: dict[int, Guest] = {}
        self._zygote: _Zygote | None = None
        self._child: Child | None = None

    async def guest(self, number: int) -> Guest:
        """
        A guest for a container.

        :raises GuestFailed: there is none to be had.
        """
        child = await self._ready()
        theirs, ours = os.pipe2(os.O_CLOEXEC)
        guest = Guest(self._reactor, number, ours)
        try:
            fcntl.fcntl(ours, fcntl.F_SETPIPE_SZ, MAX_ORDER)
            os.set_blocking(ours, False)
            self._guests[number] = guest
            child.write(msgspec.json.encode(Request(number=number, parent=os.getpid(), orders=theirs)) + b"\n")
            await guest.opened()
        except BaseException:
            self.drop(guest)
            raise
        finally:
            os.close(theirs)
        return guest

    def drop(self, guest: Guest) -> None:
        """
        It is needed no more: unless it has joined its container, it ends.
        """
        if self._guests.get(guest.number) is guest:
            del self._guests[guest.number]
        guest.drop()

    async def end(self, guest: Guest) -> None:
        """
        Drop it, and wait for its end.
        """
        self.drop(guest)
        await guest.gone()

    async def _ready(self) -> Child:
        if self._zygote is None or self._child is None or self._zygote.ended:
            self._zygote, self._child = self._start()
        zygote, child = self._zygote, self._child
        try:
            failure = await within(self._reactor, PATIENCE, zygote.ready.wait())
        except TimeoutError as error:
            raise GuestFailed(f"the zygote is not ready after {PATIENCE} s") from error
        if failure:
            raise GuestFailed(f"the zygote does not start: {failure[-1000:]}")
        return child

    def _start(self) -> tuple[_Zygote, Child]:
        zygote = _Zygote(self._guests)
        # -P: nothing is imported from the folder that it starts in
        argv = [sys.executable, "-P", "-m", "core0.guest"]
        env = {"PATH": os.environ.get("PATH", ""), "LANG": "C.UTF-8", "PYTHONPATH": FOLDER}
        launch = Launch(sys.executable, argv, env, "/")
        try:
            child = Child(self._reactor, self._reaper, self._surroundings, zygote, launch, {0: "w", 1: "r", 2: "r"})
        except OSError as error:
            raise GuestFailed(f"cannot start the zygote: {error.strerror}") from error
        return zygote, child

    async def stop(self) -> None:
        """
        End the zygote; those that have joined their containers live on.
        """
        for guest in list(self._guests.values()):
            self.drop(guest)
        zygote, child = self._zygote, self._child
        if zygote is None or child is None or zygote.ended:
            return
        child.closeStdin()
        try:
            await within(self._reactor, PATIENCE, zygote.over.wait())
        except TimeoutError:
            child.signalProcess("KILL")
