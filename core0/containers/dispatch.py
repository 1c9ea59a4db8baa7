"""
Sending commands into containers: written down first, many at a time, so that none is lost and none runs twice.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256

import msgspec
from msgspec import Raw, Struct
from msgspec.structs import replace
from twisted.internet.defer import Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure

from core0 import corex_messages as messages
from core0.clock import epoch
from core0.containers.container import Container
from core0.containers.errands import GONE, Errand, Numbers, failed
from core0.containers.house import House
from core0.containers.shelf import Phase
from core0.errors import Core0Error, Refusal
from core0.messages import Command, State, encode, rejection
from core0.reading import decode, digest, find_id
from core0.values import Claim, Entry

NORMALISED = 64 << 10  # bytes of arguments that are compared by what they mean; larger ones by how they are written
UNREADABLE = 500
_log = Logger()


class Written(Struct, frozen=True):
    """
    An errand, as it is written down.
    """

    container: int
    command: Raw


@dataclass(frozen=True, slots=True)
class _Waiting:
    container: Container
    errand: Errand
    entry: Entry
    sent: "Deferred[None]"


class Dispatcher:
    """
    Gathers what is dispatched in one turn of the reactor.
    """

    def __init__(self, house: House) -> None:
        self._house = house
        self._waiting: list[_Waiting] = []
        self._numbers = Numbers(house.reactor)

    async def recover(self, containers: Mapping[int, Container], held: Callable[[int], bool]) -> None:
        """
        Learn what a core0 before this one had sent, or was about to; what no container is left for is answered here.

        :param held: whether what is for a container is left for another time.
        """
        self._numbers.after(await self._house.dispatched.highest())
        async for entries in self._house.dispatched.taken():
            self._numbers.after(entries[-1].seq)
            found = [self._read(entry) for entry in entries]
            errands = [each for each in found if each is not None and not held(each[0])]
            granted = await self._house.dispatched.claim(_claims(entries, errands))
            for (number, errand), good in zip(errands, granted, strict=True):
                container = containers.get(number)
                if not good:
                    continue
                if container is None:
                    self._orphan(number, errand, "it died while core0 was away")
                else:
                    container.errands.add(errand)

    def _read(self, entry: Entry) -> tuple[int, Errand] | None:
        written = None
        try:
            written = msgspec.json.decode(entry.payload, type=Written)
            return written.container, _errand(entry.seq, written.container, decode(bytes(written.command)))
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError, Core0Error) as error:
            _log.error("errand {seq} cannot be read: {error}", seq=entry.seq, error=error)
            self._refuse(entry, written, f"what was written down of this errand cannot be read: {error}")
            return None

    def _refuse(self, entry: Entry, written: Written | None, reason: str) -> None:
        id = None if written is None else find_id(bytes(written.command))
        if written is None or id is None:
            node, now = self._house.settings.node, epoch(self._house.reactor)
            self._house.dispatched.reject(entry.seq, rejection(node, None, State.ERROR, reason, entry.payload, now))
            return
        errand = Errand(entry.seq, id, "", Command(id=id, command=""), b"")
        self._house.dispatched.finish(failed(self._house.reactor, written.container, errand, UNREADABLE, reason))

    async def dispatch(self, container: Container, command: Command, id: str) -> None:
        """
        Returns once it is safely on its way.

        :raises Refusal: 503, too much is already; 400, its arguments are no JSON that can be read.
        """
        if not self._house.channels.room(container.number):
            text = f"container {container.number} has too many commands on their way to it; wait for their results"
            raise Refusal(503, text)
        seq = self._numbers.next()
        errand = _errand(seq, container.number, replace(command, id=id))
        payload = encode(Written(container.number, Raw(encode(errand.command))))
        waiting = _Waiting(container, errand, Entry(seq, payload), Deferred())
        self._waiting.append(waiting)
        if len(self._waiting) == 1:
            Deferred.fromCoroutine(self._send()).addErrback(self._failed)
        await waiting.sent

    async def _send(self) -> None:
        turn: Deferred[None] = Deferred()
        self._house.reactor.callLater(0, turn.callback, None)
        await turn
        batch, self._waiting = self._waiting, []
        try:
            await self._house.dispatched.enter([each.entry for each in batch])
            granted = await self._house.dispatched.claim([_claim(each.errand, each.entry.payload) for each in batch])
        except BaseException as error:
            for each in batch:
                each.sent.errback(error)
            return
        for each, good in zip(batch, granted, strict=True):
            if good:
                self._go(each.container, each.errand)
            each.sent.callback(None)

    def _go(self, container: Container, errand: Errand) -> None:
        if container.phase == Phase.LIVE and not container.dying.happened:
            container.errands.add(errand)
            self._house.channels.send(container.number, errand.line)
        else:
            self._orphan(container.number, errand, "it ended before the command came to it")

    def _orphan(self, number: int, errand: Errand, why: str) -> None:
        reason = f"container {number} is gone: {why}"
        self._house.dispatched.finish(failed(self._house.reactor, number, errand, GONE, reason))

    def _failed(self, failure: Failure) -> None:
        _log.failure("cannot dispatch", failure)


def _claims(entries: Sequence[Entry], errands: Sequence[tuple[int, Errand]]) -> list[Claim]:
    payloads = {entry.seq: entry.payload for entry in entries}
    return [_claim(errand, payloads[errand.seq]) for _, errand in errands]


def _claim(errand: Errand, payload: bytes) -> Claim:
    return Claim(errand.seq, errand.id, errand.digest, payload)


def _errand(seq: int, number: int, command: Command) -> Errand:
    """
    The same command for another container is another content.

    :raises Refusal: 400, the arguments cannot be read.
    """
    same = replace(command, arguments=_normal(command.arguments))
    content = sha256(f"{number} {digest(same, None)}".encode()).hexdigest()
    line = messages.order_line(seq, encode(command))
    return Errand(seq=seq, id=command.id or "", digest=content, command=command, line=line)


def _normal(arguments: Raw) -> Raw:
    """
    What is the same for arguments that mean the same, unless they are large.
    """
    if len(bytes(arguments)) > NORMALISED:
        return arguments
    try:
        return Raw(encode(msgspec.json.decode(arguments), order="sorted"))
    except RecursionError as error:
        raise Refusal(400, "arguments.command.arguments: nested too deeply: at most some 1,000 levels") from error
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        text = f"expected JSON in UTF-8 with numbers that a float can hold: {error}"
        raise Refusal(400, f"arguments.command.arguments: {text}") from error
