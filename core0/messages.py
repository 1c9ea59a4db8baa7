"""
What core0 and its clients say to each other: the only module that knows the wire's field names.

Shapes are those of ``docs/reference/protocol.rst``. JSON is UTF-8.
"""

import difflib
from binascii import b2a_base64
from collections.abc import Collection
from enum import IntEnum, StrEnum
from typing import Annotated, Any

import msgspec
from msgspec import Meta, Raw, Struct

MAX_ID = 1024  # bytes, UTF-8
TEN_YEARS = 10 * 365 * 86400.0  # no timer needs more, and epoll cannot wait for infinity
SHOWN = 80  # characters of what a client has sent, in an answer
PASSING = 503  # the code of refusals that may not last
RETRIED = frozenset({500, PASSING})  # codes of refusals after which a run may be retried
TOO_LARGE = 413  # the code of results that are not kept
SHORT_PIECE = 1024  # bytes of live output that have a text whatever they are
BINARY = 8  # of a longer piece, one byte of so many may be no UTF-8
STREAM_SUCCEEDED, STREAM_FAILED = 2, 4  # of the last record of live output
MAX_SHOWN = 4096  # bytes of a payload on core:rejected

Seconds = Annotated[float, Meta(le=TEN_YEARS)]
Period = Annotated[float, Meta(ge=0, le=TEN_YEARS)]


class State(StrEnum):
    """
    How a command ended.
    """

    SUCCESS = "SUCCESS"
    ERROR = "ERROR"
    TIMEOUT = "TIMEOUT"
    KILLED = "KILLED"
    UNKNOWN_CMD = "UNKNOWN_CMD"
    DUPLICATE_ID = "DUPLICATE_ID"
    INTERRUPTED = "INTERRUPTED"


class Level(IntEnum):
    """
    The levels that a line of output may carry.
    """

    STDOUT = 1
    STDERR = 2
    USER = 3
    OPERATOR = 4
    UNKNOWN = 5
    STRUCTURED = 6
    WARNING = 7
    OPS_ERROR = 8
    CRITICAL = 9
    STATSD = 10
    DEBUG = 11
    RESULT_JSON = 20
    RESULT_YAML = 21
    RESULT_TOML = 22
    RESULT_HRD = 23
    RESULT_JOB = 30


RESULT_LEVELS = frozenset(range(Level.RESULT_JSON, Level.RESULT_HRD + 1)) | {Level.RESULT_JOB}


class Command(Struct, frozen=True, kw_only=True):
    """
    One command, as a client pushed it; ``null`` and a missing field are the same.
    """

    id: str | None = None
    command: str
    arguments: Raw = Raw(b"{}")
    queue: str | None = None
    stats_interval: Period | None = None
    max_time: Seconds | None = None
    max_restart: Annotated[int, Meta(ge=0, le=1_000_000)] | None = None
    recurring_period: Period | None = None
    log_levels: list[int] | None = None
    stream: bool | None = None
    messages: bool | None = None
    tags: str | list[str] | None = None


class Outcome(Struct, frozen=True, kw_only=True):
    """
    What one run of a command came to.

    ``data`` is text in the form that ``level`` names, JSON for 20. ``streams`` are the ends of stdout and stderr as the
    process wrote them, ``truncated`` how many bytes before them were dropped. ``code`` is an exit status (128 + n for
    signal n), or one of the numbers of :class:`core0.errors.Refusal`. ``refused``: it is no use to try again;
    nothing was started, or its result is too large. ``cut``: it was ended from outside before its time. ``printed``:
    all bytes of stdout and of stderr.
    """

    state: State = State.SUCCESS
    code: int = 0
    data: str = ""
    level: int = 0
    critical: str = ""
    streams: tuple[bytes, bytes] = (b"", b"")
    truncated: tuple[int, int] = (0, 0)
    refused: bool = False
    cut: bool = False
    printed: tuple[int, int] | None = None


class Result(Struct, frozen=True, kw_only=True):
    """
    The answer to one command. ``starttime`` is in ms since the epoch, ``time`` in ms.
    """

    id: str
    command: str
    data: str
    level: int
    streams: tuple[str, str]
    critical: str
    state: State
    code: int
    starttime: int
    time: int
    tags: str | list[str]
    container: int
    runs: int
    truncated: tuple[int, int]


class Rejection(Struct, frozen=True, kw_only=True):
    """
    What became of a payload that could not be answered anywhere else. ``time`` is in ms since the epoch.
    """

    time: int
    node: str
    id: str | None
    state: State
    reason: str
    payload: str


class Message(Struct, frozen=True):
    """
    One message that a job printed; ``epoch`` in ns. Only live streams carry the rest.

    ``meta`` is level << 16, plus 2 or 4 on the last one of a stream (the job succeeded, or did not). On plain output:
    ``run`` is when the run began, in ms since the epoch, ``offset`` how many bytes of the same stream and run came
    before it, ``part`` says that no newline follows, and ``base64`` has the bytes if ``message`` does not. ``ends``, on
    the last one: bytes of stdout and stderr.
    """

    level: int
    message: str
    epoch: int
    meta: int | msgspec.UnsetType = msgspec.UNSET
    run: int | msgspec.UnsetType = msgspec.UNSET
    offset: int | msgspec.UnsetType = msgspec.UNSET
    part: bool | msgspec.UnsetType = msgspec.UNSET
    base64: str | msgspec.UnsetType = msgspec.UNSET
    ends: tuple[int, int] | msgspec.UnsetType = msgspec.UNSET


class Record(Struct, frozen=True):
    """
    A log record; ``core`` is the CoreX number, 0 for the host, ``command`` the job's id.
    """

    core: int
    node: str
    command: str
    message: Message


class Mark(Struct, frozen=True, omit_defaults=True):
    """
    What core0 notes of a job before it runs it, to know after a crash that it had been started.

    ``runs`` counts this one; ``started`` is in ms since the epoch; ``pid`` is 0 until there is one; ``due``
    is when it runs next, in ms since the epoch, if this run is over; ``killed``: somebody has asked for its end.
    """

    runs: int = 0
    started: int = 0
    pid: int = 0
    due: int = 0
    killed: bool = False


encode = msgspec.json.encode
decode_mark = msgspec.json.Decoder(Mark).decode
decode_result = msgspec.json.Decoder(Result).decode


def plain_message(level: int, data: bytes, epoch: int, run: int, offset: int) -> Message:
    """
    A piece of plain output, as it is in live output.

    :param data: with the newline at its end, if it has one.
    """
    part = not data.endswith(b"\n")
    text: str
    exact: str | msgspec.UnsetType = msgspec.UNSET
    body = data if part else data[:-1]
    try:
        text = body.decode()
    except UnicodeDecodeError:
        text = body.decode("utf-8", "replace")
        if len(body) > SHORT_PIECE and text.count("\ufffd") > len(body) // BINARY:
            text = ""  # it says nothing to anybody, and would take several times as much room
        exact = b2a_base64(body, newline=False).decode()
    return Message(level, text, epoch, level << 16, run, offset, part or msgspec.UNSET, exact)


def usable_id(id: str) -> bool:
    """
    Whether a string can be the id of a command: 1 to 1,024 bytes of UTF-8.
    """
    try:
        return 0 < len(id.encode()) <= MAX_ID
    except UnicodeEncodeError:
        return False


def rejection(node: str, id: str | None, state: State, reason: str, payload: bytes, now: float) -> Rejection:
    """
    What goes on ``core:rejected`` for a payload; ``now`` in seconds since the epoch.
    """
    text = payload[:MAX_SHOWN].decode("utf-8", "replace")
    return Rejection(
        time=int(now * 1000), node=node, id=id, state=state, reason=printable(reason[:MAX_SHOWN]), payload=text
    )


def result_of(
    command: Command, id: str, outcome: Outcome, *, container: int, starttime: int, time: int, runs: int
) -> Result:
    """
    An outcome in the form that goes to the client.
    """
    return Result(
        id=id,
        command=command.command,
        data=outcome.data,
        level=outcome.level,
        streams=(_text(outcome.streams[0], outcome.truncated[0]), _text(outcome.streams[1], outcome.truncated[1])),
        critical=outcome.critical,
        state=outcome.state,
        code=outcome.code,
        starttime=starttime,
        time=time,
        tags=[] if command.tags is None else command.tags,
        container=container,
        runs=runs,
        truncated=outcome.truncated,
    )


def _text(data: bytes, dropped: int) -> str:
    if dropped:
        # what was kept may begin in the middle of a character
        start = 0
        while start < min(3, len(data)) and data[start] & 0xC0 == 0x80:
            start += 1
        data = data[start:]
    return data.decode("utf-8", "replace")


def answer(value: Any) -> Outcome:
    """
    The outcome of a command that core0 answers itself: any value that JSON has.
    """
    return Outcome(data=encode(value).decode(), level=Level.RESULT_JSON)


def refusal(code: int, text: str, state: State = State.ERROR) -> Outcome:
    """
    The outcome of a command that core0 refuses, or fails at: the reason in words.
    """
    data = encode(printable(text[:MAX_SHOWN])).decode()
    return Outcome(state=state, code=code, data=data, level=Level.RESULT_JSON, refused=code not in RETRIED)


def checked(outcome: object) -> Outcome:
    """
    What a command gave, if it is an outcome that can be written; other packages have commands, too.

    :raises TypeError: it is none.
    :raises UnicodeEncodeError: it has text that cannot be written.
    """
    if not isinstance(outcome, Outcome) or not isinstance(outcome.data, str) or not isinstance(outcome.critical, str):
        raise TypeError(f"expected an Outcome with text in it, got {outcome!r:.200}")
    outcome.data.encode()
    outcome.critical.encode()
    return outcome


def printable(text: str) -> str:
    """
    Text that can be written as UTF-8: names of files may hold lone surrogates.
    """
    return text.encode("utf-8", "replace").decode()


def shown(text: str) -> str:
    """
    What a client has sent, quoted in an answer: not longer than it takes to recognize it.
    """
    return repr(text if len(text) <= SHOWN else f"{text[:SHOWN]}…")


def nearest(name: str, known: Collection[str], form: str = '"{}"') -> str:
    """
    What somebody who wrote ``name`` may have meant, in words; all that there is if nothing is near.
    """
    close = difflib.get_close_matches(name.lower(), known, n=1)
    if close:
        return f"did you mean {form.format(close[0])}?"
    return f"there are {', '.join(map(form.format, known)) or 'none'}"
