"""
What core0 and its clients say to each other: the only module that knows the wire's field names.

Shapes are those of ``docs/reference/protocol.rst``. JSON is UTF-8.
"""

import hashlib
import re
from enum import IntEnum, StrEnum
from typing import Annotated, Any, TypeVar

import msgspec
from msgspec import Meta, Raw, Struct

from core0 import odd_json
from core0.errors import Refusal, Undecodable

MAX_ID = 1024  # bytes, UTF-8
TEN_YEARS = 10 * 365 * 86400.0  # no timer needs more, and epoll cannot wait for infinity
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
    tags: str | list[str] | None = None


class Outcome(Struct, frozen=True, kw_only=True):
    """
    What one run of a command came to.

    ``data`` is text in the form that ``level`` names, JSON for 20. ``streams`` are the ends of stdout and stderr as the
    process wrote them, ``truncated`` how many bytes before them were dropped. ``code`` is an exit status (128 + n for
    signal n), or one of the numbers of :class:`core0.errors.Refusal`. ``refused``: nothing was started, so it is no
    use to try again. ``cut``: it was ended from outside before its time.
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
    One message that a job printed; ``epoch`` in ns. ``meta`` is level << 16, plus 2 or 4 on the last one of a stream
    (the job succeeded, or did not); only live streams carry it.
    """

    level: int
    message: str
    epoch: int
    meta: int | msgspec.UnsetType = msgspec.UNSET


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
    is when it runs next, in ms since the epoch, if this run is over.
    """

    runs: int = 0
    started: int = 0
    pid: int = 0
    due: int = 0


class _Identity(Struct):
    id: str | None = None


encode = msgspec.json.encode
_decode_command = msgspec.json.Decoder(Command).decode
_decode_identity = msgspec.json.Decoder(_Identity).decode
decode_mark = msgspec.json.Decoder(Mark).decode
decode_result = msgspec.json.Decoder(Result).decode
_ARGUMENTS = TypeVar("_ARGUMENTS", bound=Struct)


def decode(payload: bytes) -> Command:
    """
    Read one command. An empty id counts as none.

    :raises Undecodable: it is none; carries the id if there is a usable one.
    """
    try:
        payload.decode()  # msgspec does not look into what it passes over
        command = _decode_command(payload)
    except msgspec.ValidationError as error:
        raise Undecodable(explain(error, payload, ""), _find_id(payload)) from error
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        text = odd_json.explain(odd_json.load(payload)) or f"not JSON in UTF-8: {error}"
        raise Undecodable(text, _find_id(payload)) from error
    except RecursionError as error:
        raise Undecodable("nested too deeply: at most some 1,000 levels") from error
    if command.id and not usable_id(command.id):
        raise Undecodable(f"id: expected 1 to {MAX_ID} bytes, got {len(command.id.encode())}")
    return command


def usable_id(id: str) -> bool:
    """
    Whether a string can be the id of a command: 1 to 1,024 bytes of UTF-8.
    """
    try:
        return 0 < len(id.encode()) <= MAX_ID
    except UnicodeEncodeError:
        return False


def _find_id(payload: bytes) -> str | None:
    """
    The id in a payload that is no command: whoever sent it can still be answered.
    """
    try:
        found = _decode_identity(payload).id
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        value = odd_json.load(payload)
        found = value.get("id") if isinstance(value, dict) else None
    return found if isinstance(found, str) and usable_id(found) else None


def read_arguments(raw: Raw, shape: type[_ARGUMENTS]) -> _ARGUMENTS:
    """
    The typed arguments of a command.

    :raises Refusal: 400, naming the field, what was there and what is expected.
    """
    data = bytes(raw)
    if data == b"null":
        data = b"{}"
    try:
        return _decoder(shape).decode(data)
    except msgspec.ValidationError as error:
        raise Refusal(400, explain(error, data, "arguments")) from error
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise Refusal(400, f"arguments: expected text in UTF-8 without lone surrogates: {error}") from error
    except RecursionError as error:
        raise Refusal(400, "arguments: nested too deeply: at most some 1,000 levels") from error


_decoders: dict[type, msgspec.json.Decoder[Any]] = {}


def _decoder(shape: type[_ARGUMENTS]) -> "msgspec.json.Decoder[_ARGUMENTS]":
    found = _decoders.get(shape)
    if found is None:
        found = _decoders[shape] = msgspec.json.Decoder(shape)
    return found


def digest(command: Command, arguments: Struct | None) -> str:
    """
    SHA-256 of a command's content: defaults filled in, keys sorted. The same content pushed twice has the same one.

    :param arguments: as the command declares them; None if they cannot be read that way, then their text counts.
    """
    content = {
        "command": command.command,
        "arguments": bytes(command.arguments).strip() if arguments is None else arguments,
        "queue": command.queue or "",
        "stats_interval": command.stats_interval or 0.0,
        "max_time": max(command.max_time or 0.0, 0.0),
        "max_restart": command.max_restart or 0,
        "recurring_period": command.recurring_period or 0.0,
        "log_levels": command.log_levels,
        "stream": bool(command.stream),
        "tags": command.tags or [],
    }
    return hashlib.sha256(encode(content, order="sorted")).hexdigest()


_EXPLAINED = re.compile(r"^(?P<what>.*?)(?: - at `\$(?P<path>.*)`)?$", re.DOTALL)
_STEP = re.compile(r"\.([^.\[\]]+)|\[(\d+)\]")
_MISSING = re.compile(r"Object missing required field `(.+)`")


def explain(error: msgspec.ValidationError, data: bytes, prefix: str) -> str:
    """
    Say what is wrong with a value: the field, what is expected, what was there.
    """
    match = _EXPLAINED.match(str(error))
    what, path = (match["what"], match["path"] or "") if match else (str(error), "")
    field = (prefix + path).lstrip(".") or "command"
    missing = _MISSING.fullmatch(what)
    if missing:
        name = missing[1] if field == "command" else f"{field}.{missing[1]}"
        return f"{name}: required, but missing"
    if what.startswith("@"):  # of a check of our own: it names the field itself
        return f"{field}.{what[1:]}"
    what = what[0].lower() + what[1:]
    return f"{field}: {what}{_shown(data, path)}"


def _shown(data: bytes, path: str) -> str:
    """
    The offending value itself, shortened; nothing where the path does not lead to one.
    """
    try:
        value = msgspec.json.decode(data)
        for name, index in _STEP.findall(path):
            value = value[name] if name else value[int(index)]
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError, LookupError, TypeError):
        return ""
    text = encode(value).decode()
    return f": {text[:80]}{'…' if len(text) > 80 else ''}"


def rejection(node: str, id: str | None, state: State, reason: str, payload: bytes, now: float) -> Rejection:
    """
    What goes on ``core:rejected`` for a payload; ``now`` in seconds since the epoch.
    """
    shown = payload[:MAX_SHOWN].decode("utf-8", "replace")
    return Rejection(time=int(now * 1000), node=node, id=id, state=state, reason=reason, payload=shown)


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
        tags=command.tags or [],
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
    printable = text.encode("utf-8", "replace").decode()  # file names may hold lone surrogates
    return Outcome(state=state, code=code, data=encode(printable).decode(), level=Level.RESULT_JSON, refused=True)
