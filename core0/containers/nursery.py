"""
The zygote, seen from core0: where guests come from.

It is started when the first container is made, and lives as long as core0; the guests that have joined their containers
live on without it.
"""

import fcntl
import os
import signal
import sys
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
from core0.jobs.process import PATH
from core0.reaper import Reaper
from core0.spawn import Child, Launch, Surroundings
from core0.waiting import Occurrence, to_the_end, within

PATIENCE = 30.0  # seconds for each step; all of it together takes some milliseconds
MAX_ORDER = 512 << 10  # bytes that the pipe of a guest holds
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

    :param orders: the descriptor of a pipe to it.
    :param siblings: those of the same zygote that answers are expected of, by their numbers.
    :ivar hears: whether it has said that it is there.
    """

    def __init__(self, reactor: Any, number: int, orders: int, siblings: dict[int, "Guest"]) -> None:
        self._reactor = reactor
        self.number = number
        self._orders = orders
        self._siblings = siblings
        siblings[number] = self
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
        if self._siblings.get(self.number) is self:
            del self._siblings[self.number]
        if self._orders >= 0:
            os.close(self._orders)
            self._orders = -1

    async def end(self) -> None:
        """
        Drop it, and wait until its process has ended.
        """
        self.drop()
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

    def __init__(self) -> None:
        self.guests: dict[int, Guest] = {}
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
                guest = self.guests.get(answer.number)
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

    def processExited(self, reason: Failure) -> None:
        """
        Twisted's hook: it forks no more. Guests that are there go on without it, and may hold its streams.
        """
        said = self._said.decode("utf-8", "replace").strip()
        text = f"{reason.getErrorMessage()} {said}"
        if said:
            self._log.error("the zygote has ended: {text}", text=text)
        self.ready.happen(text)
        self.over.happen(None)
        self._fail([guest for guest in self.guests.values() if not guest.hears], text)

    def processEnded(self, reason: Failure) -> None:
        """
        Twisted's hook: no guest says anything any more.
        """
        self._fail(list(self.guests.values()), f"{reason.getErrorMessage()}")

    def _fail(self, guests: list[Guest], text: str) -> None:
        for guest in guests:
            guest.heard(Answer(number=guest.number, state="failed", text=f"the zygote has ended: {text[-1000:]}"))


class Nursery:
    """
    Starts the zygote and has it fork.
    """

    def __init__(self, reactor: Any, reaper: Reaper, surroundings: Surroundings) -> None:
        self._reactor = reactor
        self._reaper = reaper
        self._surroundings = surroundings
        self._zygote: _Zygote | None = None
        self._child: Child | None = None

    async def guest(self, number: int) -> Guest:
        """
        A guest for a container.

        :raises GuestFailed: there is none to be had.
        """
        zygote, child = await self._ready()
        theirs, ours = os.pipe2(os.O_CLOEXEC)
        guest = Guest(self._reactor, number, ours, zygote.guests)
        try:
            fcntl.fcntl(ours, fcntl.F_SETPIPE_SZ, MAX_ORDER)
            os.set_blocking(ours, False)
            child.write(msgspec.json.encode(Request(number=number, parent=os.getpid(), orders=theirs)) + b"\n")
            # cancelled meanwhile it is on its way all the same, and ended when it is there
            await to_the_end(guest.opened())
        except BaseException:
            await to_the_end(guest.end())
            raise
        finally:
            os.close(theirs)
        return guest

    async def _ready(self) -> tuple[_Zygote, Child]:
        if self._zygote is None or self._child is None or self._zygote.ended:
            self._zygote, self._child = self._start()
        zygote, child = self._zygote, self._child
        try:
            failure = await within(self._reactor, PATIENCE, zygote.ready.wait())
        except TimeoutError as error:
            raise GuestFailed(f"the zygote is not ready after {PATIENCE} s") from error
        if failure:
            raise GuestFailed(f"the zygote does not start: {failure[-1000:]}")
        return zygote, child

    def _start(self) -> tuple[_Zygote, Child]:
        zygote = _Zygote()
        # -P: nothing is imported from the folder that it starts in
        argv = [sys.executable, "-P", "-m", "core0.guest"]
        env = {"PATH": PATH, "LANG": "C.UTF-8", "PYTHONPATH": FOLDER}
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
        zygote, child = self._zygote, self._child
        if zygote is None or child is None:
            return
        for guest in list(zygote.guests.values()):
            guest.drop()
        if zygote.ended:
            return
        child.closeStdin()
        try:
            await within(self._reactor, PATIENCE, zygote.over.wait())
        except TimeoutError:
            child.signalProcess("KILL")
