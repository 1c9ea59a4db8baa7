"""
What a CoreX reports besides results, as far as it may: log records, live output, samples, entries of its own log.
"""

from dataclasses import dataclass

import msgspec
from msgspec import UNSET, Raw

from core0.containers.errands import Errands
from core0.corex_messages import (
    DroppedMessage,
    Garbled,
    LogMessage,
    OwnMessage,
    SampleMessage,
    StreamMessage,
    decode_record,
)
from core0.messages import STREAM_FAILED, Level, Message, Record, encode

LARGEST = 1 << 20  # characters of a message; the rest is cut
MOST_FIELDS = 16  # of a sample
LONGEST_NAME = 64  # characters of a field
LARGEST_FIELD = 64 << 10  # characters
HIGHEST = 2**63 - 1
FARTHEST = 2**53  # of offsets, and times in ms: clients read them as floats
LEVELS = frozenset(Level)
_decode_body = msgspec.json.Decoder(Record).decode


@dataclass(frozen=True, slots=True)
class Log:
    """
    A log record, JSON.
    """

    line: bytes


@dataclass(frozen=True, slots=True)
class Live:
    """
    A piece of the live output of a job, JSON.
    """

    id: str
    line: bytes
    last: bool


@dataclass(frozen=True, slots=True)
class Sample:
    """
    A sample of a job, to be kept for ``life`` seconds unless another one follows.
    """

    id: str
    fields: dict[str, str | int | float]
    life: float


@dataclass(frozen=True, slots=True)
class Own:
    """
    An entry of the CoreX's own log.
    """

    text: str


Report = Log | Live | Sample | Own


class Reports:
    """
    :param node: ``<gid>:<nid>`` of the host.
    :param number: of the container.
    :ivar ignored: how many were nothing that this CoreX may say.
    """

    def __init__(self, errands: Errands, node: str, number: int) -> None:
        self._errands = errands
        self._node = node
        self._number = number
        self.ignored = 0

    def read(self, line: bytes, now: int) -> Report | None:
        """
        What a CoreX has put on its list of records.

        :param now: ns since the epoch.
        :returns: None, and counted, if it is nothing that it may say.
        """
        try:
            report = self._read(line, now)
        except (Garbled, msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            report = None
        if report is None:
            self.ignored += 1
        return report

    def _read(self, line: bytes, now: int) -> Report | None:
        message = decode_record(line)
        match message:
            case LogMessage():
                return self._log(message)
            case StreamMessage():
                return self._live(message)
            case SampleMessage():
                return self._sample(message)
            case OwnMessage():
                return Own(message.body[:LARGEST])
            case DroppedMessage():
                text = f"{max(0, message.body)} records dropped: core0 could not keep up with container {self._number}"
                return Log(self._record("", Message(Level.OPS_ERROR, text, now)))

    def end_of_stream(self, id: str, now: int) -> Live:
        """
        The last piece of the live output of a job that was ended with its container: readers wait for it.

        :param now: ns since the epoch.
        """
        message = Message(Level.STDOUT, "", now, Level.STDOUT << 16 | STREAM_FAILED)
        return Live(id, self._record(id, message), True)

    def _log(self, message: LogMessage) -> Log | None:
        record = _body(message.body)
        # what a CoreX says of itself has no id
        if record is None or (record.command and not self._errands.knows(record.command)):
            return None
        return Log(self._record(record.command, record.message, meta=False))

    def _live(self, message: StreamMessage) -> Live | None:
        record = _body(message.body)
        if record is None or not self._errands.streamed(message.id, message.last):
            return None
        return Live(message.id, self._record(message.id, record.message), message.last)

    def _sample(self, message: SampleMessage) -> Sample | None:
        fields = message.body
        if not 0 < len(fields) <= MOST_FIELDS or not all(_usable(name, value) for name, value in fields.items()):
            return None
        life = self._errands.sampled(message.id, message.life)
        return None if life is None else Sample(message.id, fields, life)

    def _record(self, id: str, message: Message, *, meta: bool = True) -> bytes:
        level, text = message.level, message.message[:LARGEST]
        own = Message(level, text, message.epoch)
        if meta:
            own = Message(
                level,
                text,
                message.epoch,
                message.meta,
                message.run,
                message.offset,
                message.part,
                message.base64,
                message.ends,
            )
        return encode(Record(self._number, self._node, id, own))


def _body(raw: Raw) -> Record | None:
    """
    A record whose numbers are possible.
    """
    record = _decode_body(raw)
    message = record.message
    meta = message.meta
    possible = message.level in LEVELS and 0 <= message.epoch <= HIGHEST and (meta is UNSET or 0 <= meta < 1 << 32)
    places = (message.run, message.offset, *((0, 0) if message.ends is UNSET else message.ends))
    possible = possible and all(place is UNSET or 0 <= place <= FARTHEST for place in places)
    exact = message.base64 is UNSET or (len(message.base64) <= LARGEST and message.base64.isascii())
    return record if possible and exact else None


def _usable(name: str, value: str | int | float) -> bool:
    if not 0 < len(name) <= LONGEST_NAME:
        return False
    return len(value) <= LARGEST_FIELD if isinstance(value, str) else abs(value) <= HIGHEST
