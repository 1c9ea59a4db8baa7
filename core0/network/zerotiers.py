"""
ZeroTier for containers: one ``zerotier-one`` for each that has joined a network, in the network of the container.
"""

import os
import shutil
from collections.abc import Callable
from functools import partial
from typing import Any, TypeVar

from twisted.internet.defer import CancelledError, TimeoutError, ensureDeferred
from twisted.logger import Logger
from twisted.python.failure import Failure

from core0.interfaces import ThreadRunner
from core0.jobs.process import PATH
from core0.network.helper import Helper, NotServed, find
from core0.network.zerotier import (
    ORIGIN,
    PATIENCE,
    PID,
    PROGRAM,
    Api,
    absent,
    arguments,
    choose_ports,
    confined,
    end_left,
)
from core0.reaper import Reaper
from core0.redis.task import Task
from core0.spawn import Surroundings
from core0.waiting import Occurrence, pause, to_the_end, within

T = TypeVar("T")

NSENTER, SETPRIV, PACKAGE = "nsenter", "setpriv", "util-linux"
TUN = "/dev/net/tun"
JOINING = 10.0  # seconds until it takes orders: at its first start it makes an identity, which takes some of them
FIRST_LOOK, LAST_LOOK = 0.05, 0.5  # seconds between orders that it does not take
FIRST_WAIT, LONGEST_WAIT = 1.0, 30.0  # seconds until what a core0 before has left is tried again
REMOVALS = 3


class ZeroTiers:
    """
    What is asked of one container comes one after another, but for :meth:`described`.

    :param in_thread: calls in one of several threads: what is asked of a container takes up to ``PATIENCE``, for which
        nothing else is to wait.
    """

    def __init__(self, reactor: Any, in_thread: ThreadRunner, reaper: Reaper, surroundings: Surroundings) -> None:
        self._reactor = reactor
        self._in_thread = in_thread
        self._reaper = reaper
        self._surroundings = surroundings
        self._members: dict[int, _Member] = {}

    async def check(self) -> None:
        """
        Whether what it takes is there.

        :raises NotServed: it is not; says what is missing.
        """
        await self._in_thread(_program)

    async def join(self, container: int, network: str, namespace: str, home: str) -> None:
        """
        Have a container join a network. It need not have been let in yet when this is done.

        :param network: 16 hexadecimal digits.
        :param namespace: the path of the container's network namespace.
        :param home: a folder for the identity that is made; whatever is there is removed.
        :raises NotServed: it does not; nothing is left of it.
        """
        if container in self._members:
            raise NotServed(f"container {container} has joined a network already")
        member = self._add(container, network, namespace, home)
        try:
            await member.join_anew()
        except BaseException:
            await to_the_end(self.leave(container))
            raise

    async def recover(self, container: int, network: str, namespace: str, home: str) -> None:
        """
        Have again what there was, perhaps by a core0 before this one: what still runs in that namespace, or else the
        same identity. That is not waited for; what fails is logged, and tried again and again.
        """
        before = self._members.pop(container, None)
        if before is not None:
            before.leave()
        self._add(container, network, namespace, home).recover()

    def _add(self, container: int, network: str, namespace: str, home: str) -> "_Member":
        setpriv = shutil.which(SETPRIV, path=PATH) or SETPRIV
        around = [shutil.which(NSENTER, path=PATH) or NSENTER, f"--net={namespace}", "--", *confined(setpriv)]
        helper = Helper(
            self._reactor,
            self._reaper,
            self._surroundings,
            os.path.join(home, PID),
            around=around,
            network=namespace,
            prepare=partial(self._prepare, home),
        )
        member = self._members[container] = _Member(self._reactor, self._in_thread, helper, network.lower(), home)
        return member

    async def _prepare(self, home: str, soon: bool) -> None:
        try:
            await to_the_end(self._in_thread(partial(choose_ports, home, anew=soon)))
        except OSError as error:
            raise NotServed(f"cannot write in {home}: {error.strerror}") from error

    async def leave(self, container: int) -> None:
        """
        Nothing of it any more, its identity included.
        """
        member = self._members.pop(container, None)
        if member is not None:
            await to_the_end(member.end())

    async def clear(self, home: str) -> None:
        """
        The same for a folder of a container that there is no more, should a core0 before this one have left it.
        """
        await self._in_thread(_clear, home)

    async def described(self, container: int) -> dict[str, Any] | None:
        """
        The network, the address in ZeroTier, the status there, the addresses that it was given and the interface that
        has them; the status is ``NOT_RUNNING`` if that cannot be told within ``PATIENCE``.

        :returns: None if it has joined none.
        """
        member = self._members.get(container)
        return await member.described() if member is not None else None

    async def stop(self) -> None:
        """
        Look after them no more. All of them are left running.
        """
        for member in self._members.values():
            member.leave()


class _Member:
    """
    A container that is in a network.
    """

    _log = Logger()

    def __init__(self, reactor: Any, in_thread: ThreadRunner, helper: Helper, network: str, home: str) -> None:
        self._reactor = reactor
        self._in_thread = in_thread
        self._helper = helper
        self._network = network
        self._home = home
        self._api = Api(home)
        self._task = Task("a container does not come back to its ZeroTier network")
        self._asking: Occurrence[dict[str, Any]] | None = None

    async def join_anew(self) -> None:
        """
        With an identity that nobody has had.

        :raises NotServed: it does not.
        """
        program = await self._in_thread(_program)
        await to_the_end(self._in_thread(_clear, self._home))
        await self._start(program)
        await self._join()

    def recover(self) -> None:
        """
        With the identity that it had; some time.
        """
        self._task.start(self._recover())

    async def _recover(self) -> None:
        wait = FIRST_WAIT
        while True:
            try:
                # once it was told to run it is started again by itself
                if not self._helper.argv:
                    await self._start(await self._in_thread(_program))
                await self._join()
                return
            except CancelledError:
                raise
            except NotServed as error:
                self._log.error("{network} is not joined again: {error}", network=self._network, error=error)
            except Exception:
                self._log.failure("cannot join {network} again", Failure(), network=self._network)
            await pause(self._reactor, wait)
            wait = min(wait * 2, LONGEST_WAIT)

    async def _start(self, program: str) -> None:
        try:
            # to its end: a thread is not stopped, and would make it after it has been removed
            await to_the_end(self._in_thread(_make, self._home))
        except OSError as error:
            raise NotServed(f"cannot make {self._home}: {error.strerror}") from error
        await self._helper.start(arguments(program, self._home))

    async def _join(self) -> None:
        end, step = self._reactor.seconds() + JOINING, FIRST_LOOK
        while True:
            try:
                await self._asked(self._api.join)
                return
            except NotServed as error:
                if self._reactor.seconds() > end:
                    said = f"; it says: {self._helper.last_words}" if self._helper.last_words else ""
                    text = f"cannot join {self._network} within {JOINING:.0f} s: {error}{said}"
                    raise NotServed(text) from error
            await pause(self._reactor, step)
            step = min(step * 1.5, LAST_LOOK)

    async def _asked(self, work: Callable[[int, str], T]) -> T:
        pid = self._helper.pid
        if pid is None:
            raise NotServed(f"{PROGRAM} does not run")
        try:
            return await within(self._reactor, PATIENCE, self._in_thread(work, pid, self._network))
        except TimeoutError as error:
            raise NotServed(f"{PROGRAM} does not answer within {PATIENCE:.0f} s") from error

    async def described(self) -> dict[str, Any]:
        """
        How it is. Whoever asks while another one does hears the same: a container that does not answer takes one thread
        at a time.
        """
        asking = self._asking
        if asking is None:
            asking = self._asking = Occurrence()
            ensureDeferred(self._describe()).addCallback(self._heard)
        return await asking.wait()

    def _heard(self, result: dict[str, Any]) -> None:
        asking, self._asking = self._asking, None
        if asking is not None:
            asking.happen(result)

    async def _describe(self) -> dict[str, Any]:
        try:
            return await self._asked(self._api.look)
        except NotServed as error:
            self._log.debug("{network} is not told of: {error}", network=self._network, error=error)
        except Exception:
            self._log.failure("cannot tell of {network}", Failure(), network=self._network)
        return absent(self._network)

    def leave(self) -> None:
        """
        Look after it no more.
        """
        self._task.stop()
        self._helper.leave()

    async def end(self) -> None:
        """
        End it, and remove its folder.
        """
        self._task.stop()
        await self._helper.stop()
        await self._in_thread(_clear, self._home)


def _make(home: str) -> None:
    """
    Make the folder, but not the one that it is in: that of a container that has gone meanwhile stays away.
    """
    try:
        os.mkdir(home, 0o700)
    except FileExistsError:
        if not os.path.isdir(home):
            raise


def _clear(home: str) -> None:
    """
    Nothing runs in a folder any more, and it is gone.
    """
    end_left(home)
    for _ in range(REMOVALS):
        # what was killed just now may have made another file in it meanwhile
        shutil.rmtree(home, ignore_errors=True)
        if not os.path.exists(home):
            break


def _program() -> str:
    """
    Blocks: the kernel may have to load a module.

    :raises NotServed: it is not installed, or what it takes is not there.
    """
    for name in (NSENTER, SETPRIV):
        find(name, f"the package {PACKAGE}")
    try:
        # without it the program answers as if all were well
        os.close(os.open(TUN, os.O_RDWR | os.O_CLOEXEC))
    except OSError as error:
        text = "ZeroTier makes its interface with that; load the module (modprobe tun)"
        raise NotServed(f"cannot open {TUN}: {(error.strerror or '').lower()}; {text}") from error
    return find(PROGRAM, f"it from {ORIGIN}", f"{os.environ.get('PATH', '')}:{PATH}")
