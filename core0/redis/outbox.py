"""
What is to be written as the answers to commands: in which order, and in what form.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import chain

from msgspec.structs import replace
from twisted.logger import Logger

from core0.messages import (
    PASSING,
    RESULT_LEVELS,
    TOO_LARGE,
    Level,
    Rejection,
    Result,
    State,
    encode,
    printable,
    rejection,
)
from core0.values import Claim, Final
from core0.waiting import Occurrence

BATCH_BYTES = 8 << 20
RESULT_BYTES = 64 << 20  # the largest result; a server drops the connection at 512 MB
SMALL = 4096  # bytes of a result that need not wait behind larger ones
SHORT = 4096  # bytes of a stream that is cut
LARGE = 1 << 20  # characters of a program's result that there must be room for
REMEMBERED_BYTES = 64 << 10  # of a result that is kept in memory once it is written
DOUBTFUL = 3  # tries of an answer by itself; then a claim of its id waits no longer for it
FAILED = 500

_log = Logger()

Words = tuple[str, str, str, str, str, bytes]


@dataclass(frozen=True, slots=True)
class Rejected:
    """
    An entry that is answered on ``core:rejected``.
    """

    seq: int
    rejection: Rejection


@dataclass(eq=False, slots=True)
class Item:
    """
    Something to be written.

    :ivar serial: of later ones it is higher.
    :ivar tries: how often it could not be written by itself.
    :ivar settled: has happened once it is written, or a later one has taken its place; or once it is doubtful whether
        it ever will be.
    :ivar written: the same, but for doubts.
    """

    content: Final | Rejected
    size: int
    serial: int
    written: Occurrence[None] = field(default_factory=Occurrence)
    settled: Occurrence[None] = field(default_factory=Occurrence)
    tries: int = 0

    @property
    def kept(self) -> tuple[int, str] | None:
        """
        What the results of a recurring job have in common; None for those that end something.
        """
        content = self.content
        return (content.seq, content.id) if isinstance(content, Final) and content.keep else None


class Outbox:
    """
    Small items come before large ones; when all that went were small, large ones have the next turn. Of the results of
    a recurring job only the latest waits.
    """

    def __init__(self) -> None:
        self._small: dict[int, Item] = {}
        self._large: dict[int, Item] = {}
        self._kept: dict[tuple[int, str], Item] = {}
        self._owed = False
        self.size = 0
        self.last = 0

    def __len__(self) -> int:
        return len(self._small) + len(self._large)

    def __iter__(self) -> Iterator[Item]:
        return chain(self._small.values(), self._large.values())

    def add(self, content: Final | Rejected) -> None:
        """
        Have it written.
        """
        self.last += 1
        size = size_of(content.result) if isinstance(content, Final) else 0
        item = Item(content, size, self.last)
        if isinstance(content, Final):
            before = self._kept.get((content.seq, content.id))
            if before is not None:
                self.done(before)
            if content.keep:
                self._kept[content.seq, content.id] = item
        self._put(item)

    def _put(self, item: Item) -> None:
        self.size += item.size
        (self._small if item.size <= SMALL else self._large)[item.serial] = item

    def _remove(self, item: Item) -> bool:
        if self._small.pop(item.serial, None) is None and self._large.pop(item.serial, None) is None:
            return False
        self.size -= item.size
        return True

    def done(self, item: Item) -> None:
        """
        It was written.
        """
        self._remove(item)
        if item.kept is not None and self._kept.get(item.kept) is item:
            del self._kept[item.kept]
        item.written.happen(None)
        item.settled.happen(None)

    def put_off(self, item: Item) -> None:
        """
        Have all others written before it.
        """
        item.tries += 1
        if item.tries >= DOUBTFUL:
            item.settled.happen(None)
        if self._remove(item):
            self.last += 1
            item.serial = self.last
            self._put(item)

    def before(self, claims: Sequence[Claim]) -> dict[int, list[Item]]:
        """
        The answers that come before a claim, by its number: those of earlier entries to its id.
        """
        ids = {claim.id for claim in claims}
        answers: dict[str, list[Item]] = {}
        for item in self:
            if isinstance(item.content, Final) and item.content.id in ids and not item.settled.happened:
                answers.setdefault(item.content.id, []).append(item)
        earlier = (
            (claim.seq, [item for item in answers.get(claim.id, ()) if item.content.seq < claim.seq])
            for claim in claims
        )
        return {seq: items for seq, items in earlier if items}

    def batch(self, last: int, most: int) -> list[Item]:
        """
        What to write now.

        :param last: the serial of the last one that may be among them.
        """
        batch: list[Item] = []
        size = 0
        for item in self._large.values() if self._owed else self:
            if item.serial > last:
                continue
            if len(batch) >= most or (batch and size + item.size > BATCH_BYTES):
                break
            batch.append(item)
            size += item.size
        self._owed = not self._owed and bool(self._large) and all(item.size <= SMALL for item in batch)
        return batch


def words(content: Final | Rejected, node: str, now: Callable[[], float]) -> Words:
    """
    As the script takes it. What cannot be written is answered by the reason.
    """
    if isinstance(content, Rejected):
        return "r", str(content.seq), "", "", "0", _rejection(content, node, now)
    kind = ("k" if content.keep else "f") + ("t" if content.traces else "")
    id, body = printable(content.id), _result(content.result)
    return kind, str(content.seq), id, content.digest, str(int(content.life)), body


def remembered(content: Final | Rejected, written: Words, node: str, now: Callable[[], float]) -> Words:
    """
    As an answer is kept in memory: a long one without the beginnings of its streams, a very long one as a refusal.
    """
    if len(written[5]) <= 2 * SHORT or isinstance(content, Rejected):
        return written
    short = shortened(content)
    if size_of(short.result) > REMEMBERED_BYTES:
        result = content.result
        reason = f"it ended as {result.state} with code {result.code}, but the server has lost its result"
        lost = f"{reason}; of {size_of(result)} characters, it is too large to be kept in memory"
        short = replace(short, result=_instead(result, lost, FAILED))
    return words(short, node, now)


def _result(result: Result) -> bytes:
    try:
        body = encode(result)
    except Exception as error:
        _log.failure("the result of {id!r} cannot be written", id=result.id)
        plain = replace(_instead(result, f"the result cannot be written: {error}", FAILED), tags=[])
        return encode(replace(plain, id=printable(result.id), command=printable(result.command)))
    if len(body) > RESULT_BYTES:
        reason = f"the result of {len(body)} bytes is too large: at most {RESULT_BYTES} are kept"
        _log.error("{reason}, of {id!r}", reason=reason, id=result.id)
        if result.level in RESULT_LEVELS and len(result.data) > LARGE:
            body = encode(_without_data(result, reason, TOO_LARGE))
        if len(body) > RESULT_BYTES:
            body = encode(_instead(result, reason, FAILED))
    return body


def _rejection(rejected: Rejected, node: str, now: Callable[[], float]) -> bytes:
    try:
        return encode(rejected.rejection)
    except Exception as error:
        _log.failure("the rejection of entry {seq} cannot be written", seq=rejected.seq)
        return encode(rejection(node, None, State.ERROR, printable(str(error)), b"", now()))


def _without_data(result: Result, reason: str, code: int) -> Result:
    """
    With the reason in the place of what a program gave as its result. One that was ended from outside stays that.
    """
    data = encode(printable(reason)).decode()
    if result.state not in (State.SUCCESS, State.ERROR):
        return replace(result, data=data, level=Level.RESULT_JSON)
    return replace(result, data=data, level=Level.RESULT_JSON, state=State.ERROR, code=code)


def _instead(result: Result, reason: str, code: int) -> Result:
    first, second = (
        before + len(text.encode("utf-8", "replace"))
        for before, text in zip(result.truncated, result.streams, strict=True)
    )
    return replace(
        result,
        data=encode(printable(reason)).decode(),
        level=Level.RESULT_JSON,
        critical="",
        streams=("", ""),
        state=State.ERROR,
        code=code,
        truncated=(first, second),
    )


def size_of(result: Result) -> int:
    """
    About how much room a result takes, in characters.
    """
    return len(result.data) + len(result.critical) + len(result.streams[0]) + len(result.streams[1])


def shortened(final: Final) -> Final:
    """
    With the ends of the streams only; ``truncated`` says so. A large result of a program is not cut, but left out.
    """
    result = final.result
    short = tuple(text[-SHORT:] for text in result.streams)
    dropped = tuple(
        before + len(text.encode("utf-8", "replace")) - len(kept.encode("utf-8", "replace"))
        for before, text, kept in zip(result.truncated, result.streams, short, strict=True)
    )
    if result.level in RESULT_LEVELS and len(result.data) > LARGE:
        reason = (
            f"there is no memory for the result of {len(result.data)} characters: too many others wait, or are kept"
        )
        result = _without_data(result, reason, PASSING)
    return replace(final, result=replace(result, streams=short, truncated=dropped))
