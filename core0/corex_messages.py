"""
What core0 and the CoreX of a container say to each other: JSON, one message in each entry of their lists in Redis.

Each carries the version of this language, ``v``. What the other side has sent is not to be trusted.
"""

from collections.abc import Sequence
from typing import Any, Protocol, TypeVar

import msgspec
from msgspec import Raw, Struct

from core0.errors import Core0Error
from core0.messages import encode

VERSION = 1
LARGEST_NUMBER = 2**63 - 1


class Garbled(Core0Error):
    """
    A message cannot be read.

    :param seq: the number that it carries nevertheless; 0 without.
    """

    def __init__(self, text: str, seq: int = 0) -> None:
        super().__init__(text)
        self.seq = seq


class OtherVersion(Garbled):
    """
    A message of a version that is not understood.
    """


class Order(Struct, frozen=True):
    """
    An errand: a command that core0 sends into a container. ``seq`` is the number of core0's entry, in µs since the
    epoch; ``payload`` the command as a client would send it.
    """

    v: int
    seq: int
    payload: Raw


class ResultMessage(Struct, frozen=True, tag_field="kind", tag="result"):
    """
    The result of one run. ``keep``: the job goes on, its result lives for ``life`` seconds more. ``traces``: it may
    have statistics or live output. ``result`` is a :class:`core0.messages.Result`; one without an id is of an order
    whose id could not be read.
    """

    v: int
    seq: int
    keep: bool
    life: float
    traces: bool
    result: Raw


class Ready(Struct, frozen=True, tag_field="kind", tag="ready"):
    """
    The CoreX takes orders from now on; ``pid`` is the one that it sees itself.
    """

    v: int
    pid: int


class LogMessage(Struct, frozen=True, tag_field="kind", tag="log"):
    """
    A log record: ``body`` is a :class:`core0.messages.Record`, which names the job.
    """

    v: int
    body: Raw


class StreamMessage(Struct, frozen=True, tag_field="kind", tag="stream"):
    """
    A piece of the live output of job ``id``: ``body`` is a :class:`core0.messages.Record`. ``last``: nothing follows.
    """

    v: int
    id: str
    body: Raw
    last: bool = False


class SampleMessage(Struct, frozen=True, tag_field="kind", tag="sample"):
    """
    A sample of job ``id``: ``body`` are its fields. It is kept for ``life`` seconds unless another one follows.
    """

    v: int
    id: str
    body: dict[str, str | int | float]
    life: float


class OwnMessage(Struct, frozen=True, tag_field="kind", tag="own"):
    """
    A line of CoreX's own log, for that of the host.
    """

    v: int
    body: str


class DroppedMessage(Struct, frozen=True, tag_field="kind", tag="dropped"):
    """
    So many records had no room.
    """

    v: int
    body: int


RecordMessage = LogMessage | StreamMessage | SampleMessage | OwnMessage | DroppedMessage


class Receiver(Protocol):
    """
    Who gets what a CoreX says. If it raises, that is logged, and the lines are gone.
    """

    async def results(self, lines: Sequence[bytes]) -> None:
        """
        Answers, as they were sent; they stay in Redis until this returns, and the same may come again if core0 or the
        connection ends before. The next ones do not come before this has returned.
        """
        ...

    def records(self, lines: Sequence[bytes]) -> None:
        """
        Records, as they were sent.
        """
        ...

    def clogged(self) -> bool:
        """
        Whether records are to stay where they are for a moment.
        """
        ...


class _Head(Struct):
    v: int | None = None
    seq: int | None = None


_head = msgspec.json.Decoder(_Head).decode
_order = msgspec.json.Decoder(Order)
_answer: "msgspec.json.Decoder[ResultMessage | Ready]" = msgspec.json.Decoder(ResultMessage | Ready)
_record: "msgspec.json.Decoder[RecordMessage]" = msgspec.json.Decoder(RecordMessage)
_T = TypeVar("_T")


def decode_order(line: bytes) -> Order:
    """
    Read what core0 sends.

    :raises OtherVersion: it is of a version that is not understood.
    :raises Garbled: it is no order.
    """
    order = _decode(_order, line)
    if order.v != VERSION:
        raise OtherVersion(_other(order.v), _usable(order.seq))
    if not _usable(order.seq):
        raise Garbled(f"seq: expected a number from 1 to {LARGEST_NUMBER}, got {order.seq}")
    return order


def decode_answer(line: bytes) -> ResultMessage | Ready:
    """
    Read what a CoreX puts on its list of results.

    :raises OtherVersion: it is of a version that is not understood.
    :raises Garbled: it is neither.
    """
    answer = _decode(_answer, line)
    if answer.v != VERSION:
        raise OtherVersion(_other(answer.v), _usable(answer.seq) if isinstance(answer, ResultMessage) else 0)
    return answer


def decode_record(line: bytes) -> RecordMessage:
    """
    Read what a CoreX puts on its list of records.

    :raises OtherVersion: it is of a version that is not understood.
    :raises Garbled: it is no record.
    """
    record = _decode(_record, line)
    if record.v != VERSION:
        raise OtherVersion(_other(record.v))
    return record


def _decode(decoder: "msgspec.json.Decoder[_T]", line: bytes) -> _T:
    try:
        return decoder.decode(line)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise _explained(line, error) from error


def _explained(line: bytes, error: Exception) -> Garbled:
    try:
        head = _head(line)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return Garbled(f"cannot read a message: {error}")
    seq = _usable(head.seq or 0)
    if head.v is not None and head.v != VERSION:
        return OtherVersion(_other(head.v), seq)
    return Garbled(f"cannot read a message: {error}", seq)


def _other(version: int) -> str:
    return f"cannot read a message of version {version}: this is version {VERSION}"


def _usable(seq: int) -> int:
    return seq if 0 < seq <= LARGEST_NUMBER else 0


def order_line(seq: int, payload: bytes) -> bytes:
    """
    An order as it is sent; ``payload`` is JSON.
    """
    return encode(Order(VERSION, seq, Raw(payload)))


def result_line(seq: int, result: bytes, *, keep: bool = False, life: float = 0.0, traces: bool = False) -> bytes:
    """
    A result as it is sent; ``result`` is JSON.
    """
    return encode(ResultMessage(VERSION, seq, keep, life, traces, Raw(result)))


def ready_line(pid: int) -> bytes:
    """
    That it takes orders.
    """
    return encode(Ready(VERSION, pid))


def log_line(body: bytes) -> bytes:
    """
    A log record as it is sent; ``body`` is JSON.
    """
    return encode(LogMessage(VERSION, Raw(body)))


def stream_line(id: str, body: bytes, last: bool) -> bytes:
    """
    A piece of live output as it is sent; ``body`` is JSON.
    """
    return encode(StreamMessage(VERSION, id, Raw(body), last))


def sample_line(id: str, fields: dict[str, Any], life: float) -> bytes:
    """
    A sample as it is sent.
    """
    return encode(SampleMessage(VERSION, id, fields, life))


def own_line(text: str) -> bytes:
    """
    A line of CoreX's own log as it is sent.
    """
    return encode(OwnMessage(VERSION, text))


def dropped_line(count: int) -> bytes:
    """
    That so many records had no room.
    """
    return encode(DroppedMessage(VERSION, count))
