"""
Reading what clients send: commands and their arguments, checked, with errors that name the field.
"""

import hashlib
import re
from typing import Any, TypeVar

import msgspec
from msgspec import Raw, Struct

from core0 import odd_json, unknown_keys
from core0.errors import Refusal, Undecodable
from core0.messages import MAX_ID, Command, encode, shown, usable_id


class _Identity(Struct):
    id: str | None = None


SECOND_LOOK = unknown_keys.LARGEST  # bytes

_decode_command = msgspec.json.Decoder(Command).decode
_decode_identity = msgspec.json.Decoder(_Identity).decode
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
        raise Undecodable(explain(error, payload, ""), find_id(payload)) from error
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        text = odd_json.explain(odd_json.load(payload)) or f"not JSON in UTF-8: {error}"
        raise Undecodable(text, find_id(payload)) from error
    except RecursionError as error:
        raise Undecodable("nested too deeply: at most some 1,000 levels", find_id(payload)) from error
    if command.id and not usable_id(command.id):
        raise Undecodable(f"id: expected 1 to {MAX_ID} bytes, got {len(command.id.encode())}")
    return command


def find_id(payload: bytes) -> str | None:
    """
    The id in a payload that is no command: whoever sent it can still be answered.
    """
    try:
        found = _decode_identity(payload).id
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        value = odd_json.load(payload)
        found = value.get("id") if isinstance(value, dict) else odd_json.find_id(payload)
    return found if isinstance(found, str) and usable_id(found) else None


def read_arguments(raw: Raw, shape: type[_ARGUMENTS]) -> _ARGUMENTS:
    """
    The typed arguments of a command.

    :raises Refusal: 400, naming the field, what was there and what is expected.
    """
    data = bytes(raw)
    if data == b"null":
        data = b"{}"
    loose = not shape.__struct_config__.forbid_unknown_fields  # of a command that another package offers
    try:
        if loose and len(data) > unknown_keys.LARGEST:
            _decoder(unknown_keys.strict(shape)).decode(data)
        arguments = _decoder(shape).decode(data)
    except msgspec.ValidationError as error:
        raise Refusal(400, unknown_keys.find(data, shape, "arguments") or explain(error, data, "arguments")) from error
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise Refusal(400, f"arguments: expected text in UTF-8 without lone surrogates: {error}") from error
    except RecursionError as error:
        raise Refusal(400, "arguments: nested too deeply: at most some 1,000 levels") from error
    unknown = unknown_keys.find(data, shape, "arguments") if loose else None
    if unknown is not None:
        raise Refusal(400, unknown)
    return arguments


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
        "tags": [] if command.tags is None else command.tags,
    }
    if command.messages is False:
        # only then: digests of before there was this field stand for the same content
        content["messages"] = False
    return hashlib.sha256(encode(content, order="sorted")).hexdigest()


_EXPLAINED = re.compile(r"^(?P<what>.*?)(?: - at `\$(?P<path>.*)`)?$", re.DOTALL)
_STEP = re.compile(r"\.([^.\[\]]+)|\[(\d+)\]")
_MISSING = re.compile(r"Object missing required field `(.+)`")
_UNKNOWN = re.compile(r"Object contains unknown field `(.+)`", re.DOTALL)


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
    unknown = _UNKNOWN.fullmatch(what)
    if unknown:
        return f"{field}: no such argument: {shown(unknown[1])}"
    if what.startswith("@"):  # of a check of our own: it names the field itself
        return f"{field}.{what[1:]}"
    what = what[0].lower() + what[1:]
    return f"{field}: {what}{_shown(data, path)}"


def _shown(data: bytes, path: str) -> str:
    """
    The offending value itself, shortened; nothing where the path does not lead to one, or in a large text: all of it
    would have to be read once more.
    """
    if len(data) > SECOND_LOOK:
        return ""
    try:
        value = msgspec.json.decode(data)
        for name, index in _STEP.findall(path):
            value = value[name] if name else value[int(index)]
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError, LookupError, TypeError):
        return ""
    text = encode(value).decode()
    return f": {text[:80]}{'…' if len(text) > 80 else ''}"
