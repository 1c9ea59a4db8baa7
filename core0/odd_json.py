"""
A second look at payloads that msgspec cannot read: Python's own parser admits lone surrogates, NaN and infinities.
"""

import json
import math
import re
from collections.abc import Iterator
from typing import Any

SHOWN = 80  # characters of a value, and of the path to it
LARGEST = 1 << 20  # bytes; larger ones are not worth a second look
BEGINNING = 4096  # bytes of a payload in which its id is looked for
_OPEN = re.compile(r"[ \t\r\n]*\{[ \t\r\n]*")
_COMMA = re.compile(r"[ \t\r\n]*,[ \t\r\n]*")
_COLON = re.compile(r"[ \t\r\n]*:[ \t\r\n]*")
_STRING = re.compile(r'"(?:[^"\\]|\\.)*"', re.DOTALL)
# a number or a word only with what follows it: it might go on behind the beginning
_TOKEN = re.compile(rf'[ \t\r\n]*({_STRING.pattern}|[][{{}}:,]|[^][{{}}:,"\s]+(?=[][{{}}:,"\s]))', re.DOTALL)


def load(payload: bytes) -> Any:
    """
    What somebody may have meant by a payload that is not quite JSON; None if there is nothing to be read.
    """
    if len(payload) > LARGEST:
        return None
    try:
        return json.loads(payload)
    except (ValueError, RecursionError):
        return None


def find_id(payload: bytes) -> str | None:
    """
    The id at the top level of a payload that cannot be read, as far as it can be followed from its beginning; of
    several the last one. None if there is none, or if it is no text.
    """
    text = payload[:BEGINNING].decode("utf-8", "surrogateescape")  # so that odd bytes are in no id that can be used
    id: str | None = None
    place, end = 0, _OPEN.match(text)
    while end is not None:
        place = end.end()
        name = _STRING.match(text, place)
        colon = name and _COLON.match(text, name.end())
        if name is None or colon is None:
            break
        after = _skip(text, colon.end())
        if after is None:
            break
        if _string(name[0]) == "id":
            id = _string(text[colon.end() : after].strip())
        end = _COMMA.match(text, after)
    return id


def _skip(text: str, place: int) -> int | None:
    """
    Where a value ends; None if it does not.
    """
    depth = 0
    while (token := _TOKEN.match(text, place)) is not None:
        place = token.end()
        kind = token[1][0]
        depth += (kind in "[{") - (kind in "]}")
        if depth < 0:
            return None
        if not depth and kind not in ",:":
            return place
    return None


def _string(token: str) -> str | None:
    try:
        value = json.loads(token)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, str) else None


def explain(value: Any) -> str | None:
    """
    The first field whose value JSON cannot express, and that value; None if there is no such field.
    """
    path: list[str] = []
    # names are made one by one: those of all elements at once could be a thousand times as large as the payload
    levels: list[Iterator[tuple[str, Any]]] = [iter([("", value)])]
    while levels:
        step = next(levels[-1], None)
        if step is None:
            levels.pop()
            del path[-1:]
            continue
        name, found = step
        if isinstance(found, dict):
            odd = next((key for key in found if not _expressible(key)), None)
            if odd is not None:
                return _sentence([*path, name], "names without lone surrogates", odd)
            levels.append((f".{key}", each) for key, each in found.items())
            path.append(name)
        elif isinstance(found, list):
            levels.append((f"[{place}]", each) for place, each in enumerate(found))
            path.append(name)
        elif not _expressible(found):
            what = "text without lone surrogates" if isinstance(found, str) else "a finite number"
            return _sentence([*path, name], what, found)
    return None


def _sentence(path: list[str], expected: str, found: Any) -> str:
    field = "".join(name[:SHOWN] for name in path[:SHOWN]).lstrip(".")
    value = found[:SHOWN] if isinstance(found, str) else found
    return f"{field[:SHOWN] or 'command'}: expected {expected}, got {value!a}"


def _expressible(value: Any) -> bool:
    if isinstance(value, float):
        return math.isfinite(value)
    if isinstance(value, str):
        try:
            value.encode()
        except UnicodeEncodeError:
            return False
    return True
