"""
A program on the other side as if it ran here: its output, its exit status, and Ctrl-C.
"""

import json
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol, Unpack

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.python.failure import Failure

from core0.client.client import Client, Fields, NoAnswer, Sent
from core0.client.live import Live, Screen
from core0.client.words import ours
from core0.messages import RESULT_LEVELS, TOO_LARGE, Level, Result, State, encode
from core0.waiting import pause

SIGNALLED = 128  # + number
TIMED_OUT = 124  # as timeout(1) has it
FAILED = 1
RESULT_TIMEOUT = 60.0  # seconds from the end of the output to the result
KILL_TIMEOUT = 30.0  # seconds for the answer to core.kill
KILL_AGAIN = 0.5  # seconds
NOT_FOUND = 404
OUT_OF_MEMORY = "out of memory: the limit of the container"  # how core0 begins to say so in ``critical``
REFUSALS = frozenset({126, 127, 400, 404, 409, TOO_LARGE, 500, 503})

OnSignal = Callable[[int], None]


class Target(Protocol):
    """
    What runs commands: a host or, through it, one of its containers.
    """

    async def send(
        self, command: str, arguments: Any = None, *, id: str | None = None, **fields: Unpack[Fields]
    ) -> Sent:
        """
        Send a command.
        """
        ...

    async def submit(
        self, command: str, arguments: Any = None, *, id: str | None = None, **fields: Unpack[Fields]
    ) -> str:
        """
        Send a command.

        :returns: its id.
        """
        ...

    async def take_back(self, sent: Sent) -> bool:
        """
        See that it does not run, if it is not with core0 yet.
        """
        ...

    async def run(self, command: str, arguments: Any = None, *, timeout: float) -> Result:
        """
        Send a command and wait for its result.
        """
        ...


@dataclass(frozen=True, slots=True)
class Request:
    """
    What to run: the ``arguments`` of a command. ``timeout`` is how long to wait for it, in seconds. ``raw``: only the
    result is shown, as core0 sends it.
    """

    arguments: dict[str, Any]
    fields: Fields
    id: str | None = None
    timeout: float = math.inf
    raw: bool = False
    command: str = "core.system"


def reason(result: Result) -> str | None:
    """
    Why nothing was run, or its result is not kept, in words; None if something was.
    """
    refused = result.state == State.UNKNOWN_CMD or (result.state == State.ERROR and result.code in REFUSALS)
    if not refused or result.level != Level.RESULT_JSON or (any(result.streams) and result.code != TOO_LARGE):
        return None
    try:
        text = json.loads(result.data)
    except ValueError:
        return None
    return ours(text, result.command) if isinstance(text, str) else None


def exit_code(result: Result) -> int:
    """
    The exit status that stands for a result.
    """
    if result.state == State.SUCCESS:
        return 0
    if 0 < result.code < 256:
        return result.code
    return TIMED_OUT if result.state == State.TIMEOUT else FAILED


def show_end(result: Result, screen: Screen) -> None:
    """
    Show what a result says besides its streams.
    """
    refusal = reason(result)
    if refusal is not None:
        screen.say(f"corectl: {refusal}")
    elif result.level in RESULT_LEVELS:
        screen.write(1, result.data.encode("utf-8", "replace") + b"\n")
    if result.state == State.ERROR and OUT_OF_MEMORY in result.critical:
        screen.say(f"corectl: {result.critical[result.critical.index(OUT_OF_MEMORY) :]}")
    if result.state == State.TIMEOUT:
        screen.say("corectl: ended because it took longer than its max_time")
    elif result.state == State.INTERRUPTED:
        screen.say("corectl: interrupted: core0 was stopped meanwhile")
    screen.flush()


def show_all(result: Result, screen: Screen) -> int:
    """
    Show what is kept of what a command printed.

    :returns: the exit status.
    """
    for fd, (text, dropped) in enumerate(zip(result.streams, result.truncated, strict=True), 1):
        if dropped:
            screen.say(f"corectl: {dropped} bytes of {'stdout' if fd == 1 else 'stderr'} before this are not kept")
        screen.write(fd, text.encode("utf-8", "replace"))
    show_end(result, screen)
    return exit_code(result)


class Killer:
    """
    Ends a job when this process gets a signal.

    :param end: called if it need not be waited for any more: it will not run, or cannot be ended.
    :ivar number: of the signal; 0 for none.
    """

    def __init__(
        self, clock: IReactorTime, target: Target, screen: Screen, sent: Sent, end: Callable[[], object]
    ) -> None:
        self._clock = clock
        self._target = target
        self._screen = screen
        self._sent = sent
        self._end = end
        self._task: Deferred[None] | None = None
        self.number = 0

    def signalled(self, number: int) -> None:
        """
        Begin to end it.
        """
        self.number = number
        self._task = Deferred.fromCoroutine(self._kill())
        self._task.addErrback(self._failed)

    async def _kill(self) -> None:
        id = self._sent.id
        if await self._target.take_back(self._sent):
            self._screen.say(f"corectl: core0 had not taken {id}, and will not: it was taken back")
            self._end()
            return
        end = self._clock.seconds() + KILL_TIMEOUT
        while self._clock.seconds() < end:
            answer = await self._target.run("core.kill", {"id": id}, timeout=KILL_TIMEOUT)
            if answer.code != NOT_FOUND:
                return
            await pause(self._clock, KILL_AGAIN)  # it is just being begun, or it is over
        self._screen.say(f"corectl: not waiting any longer: there is no job {id} to kill, and no result of it")
        self._end()

    def _failed(self, failure: Failure) -> None:
        if not isinstance(failure.value, CancelledError):
            self._screen.say(f"corectl: cannot kill {self._sent.id}: {failure.getErrorMessage()}")
            self._end()

    def close(self) -> None:
        """
        It is over.
        """
        if self._task is not None and not self._task.called:
            self._task.cancel()


async def run(
    clock: IReactorTime,
    client: Client,
    request: Request,
    screen: Screen,
    on_signal: Callable[[OnSignal], None],
    target: Target | None = None,
) -> int:
    """
    Run it here, so to speak.

    :param target: what is to run it; None: the host. The client reads what comes of it.
    :param on_signal: is told what to call with the number of a signal that this process gets.
    :returns: the exit status.
    """
    fields = request.fields.copy()
    fields["stream"] = not request.raw
    target = client if target is None else target
    sent = await target.send(request.command, request.arguments, id=request.id, **fields)
    work = _wait(client, sent, request, screen) if request.raw else _follow(clock, client, sent, request, screen)
    waiting = Deferred.fromCoroutine(work)
    killer = Killer(clock, target, screen, sent, waiting.cancel)
    on_signal(killer.signalled)
    try:
        result = await waiting
    except NoAnswer as error:
        await _given_up(target, sent, request, screen, error)
        return TIMED_OUT
    except CancelledError:
        if killer.number:
            return SIGNALLED + killer.number
        raise
    except OSError:
        # nobody can see what it prints
        await target.submit("core.kill", {"id": sent.id})
        raise
    finally:
        killer.close()
    return SIGNALLED + killer.number if killer.number else exit_code(result)


async def _given_up(target: Target, sent: Sent, request: Request, screen: Screen, error: NoAnswer) -> None:
    """
    Say what becomes of a command that took too long.
    """
    if error.taken_back or await target.take_back(sent):
        text = f"core0 has not taken {sent.id} within {request.timeout:g} s, and will not: it was taken back"
        screen.say(f"corectl: {text}")
    else:
        screen.say(f"corectl: not waiting any longer; it goes on as {sent.id}")


async def _wait(client: Client, sent: Sent, request: Request, screen: Screen) -> Result:
    result = await client.answer(sent, request.timeout)
    screen.write(1, encode(result) + b"\n")
    screen.flush()
    return result


async def _follow(clock: IReactorTime, client: Client, sent: Sent, request: Request, screen: Screen) -> Result:
    end = clock.seconds() + request.timeout
    live = Live(clock, screen)
    async for batch in client.follow(sent.id, request.timeout, sent):
        live.show(batch)
    result = await client.wait(sent.id, min(end - clock.seconds(), RESULT_TIMEOUT))
    await client.check(sent)
    complete = live.finish(result)
    show_end(result, screen)
    if not complete:
        count = f"{live.missing} bytes of" if live.missing else "some"
        screen.say(f"corectl: {count} output did not arrive; what core0 has kept of it: corectl result {sent.id}")
    return result
