"""
A second look at payloads that msgspec cannot read: Python's own parser admits lone surrogates, NaN and infinities.
"""

import json
import math
from collections.abc import Iterator
from typing import Any

SHOWN = 80  # characters of a value, and of the path to it
LARGEST = 1 << 20  # bytes; larger ones are not worth a second look


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
