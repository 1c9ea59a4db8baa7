"""
A second look at payloads that msgspec cannot read: Python's own parser admits lone surrogates, NaN and infinities.
"""

import json
import math
from typing import Any

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
    waiting: list[tuple[str, Any]] = [("", value)]
    while waiting:
        path, found = waiting.pop()
        if isinstance(found, dict):
            for key in found:
                if not _expressible(key):
                    return _sentence(path, "names without lone surrogates", key)
            waiting += [(f"{path}.{key}", each) for key, each in reversed(found.items())]
        elif isinstance(found, list):
            waiting += [(f"{path}[{place}]", each) for place, each in reversed(list(enumerate(found)))]
        elif not _expressible(found):
            what = "text without lone surrogates" if isinstance(found, str) else "a finite number"
            return _sentence(path, what, found)
    return None


def _sentence(path: str, expected: str, found: Any) -> str:
    return f"{path.lstrip('.') or 'command'}: expected {expected}, got {ascii(found)[:80]}"


def _expressible(value: Any) -> bool:
    if isinstance(value, float):
        return math.isfinite(value)
    if isinstance(value, str):
        try:
            value.encode()
        except UnicodeEncodeError:
            return False
    return True
