"""
Keys among the arguments of a command that it does not know: a misspelt limit must not mean no limit.
"""

from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

import msgspec
from msgspec import Struct, inspect

from core0.messages import SHOWN, nearest, shown

LARGEST = 64 << 10  # bytes


def find(data: bytes, shape: type[Struct], prefix: str) -> str | None:
    """
    The first unknown key, in words, with the nearest that is known; None if all are known, or it cannot be read, or is
    too large to be read once more.

    :param data: JSON.
    :param prefix: what it is called.
    """
    if len(data) > LARGEST:
        return None
    try:
        value = msgspec.json.decode(data)
        return _unknown(value, _type(shape), prefix)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None


@lru_cache(maxsize=256)
def strict(shape: type[Struct]) -> type[Struct]:
    """
    The same shape, but that it cannot be made of an object with unknown keys; keys of objects in it do not count.
    """
    return msgspec.defstruct(shape.__name__, [], bases=(shape,), forbid_unknown_fields=True)


_type = lru_cache(maxsize=256)(inspect.type_info)


def _unknown(value: Any, kind: inspect.Type, path: str) -> str | None:
    found: list[str | None]
    match kind:
        case inspect.StructType() if isinstance(value, Mapping):
            return _in_struct(value, kind, path)
        case inspect.DictType() if isinstance(value, Mapping):
            found = [_unknown(each, kind.value_type, f"{path}[{shown(name)}]") for name, each in value.items()]
        case inspect.ListType() if isinstance(value, Sequence):
            found = [_unknown(each, kind.item_type, f"{path}[{place}]") for place, each in enumerate(value)]
        case inspect.UnionType():
            # whatever it may be instead of an object has no keys
            found = [_unknown(value, each, path) for each in kind.types if _fits(value, each)]
            if None in found:
                return None
        case _:
            return None
    return next((each for each in found if each is not None), None)


def _in_struct(value: Mapping[str, Any], kind: inspect.StructType, path: str) -> str | None:
    fields = {field.encode_name: field.type for field in kind.fields}
    for name, each in value.items():
        if name in fields:
            complaint = _unknown(each, fields[name], f"{path}.{name}")
            if complaint is not None:
                return complaint
        elif name != kind.tag_field:
            spelt = name if name.isidentifier() and len(name) <= SHOWN else f"[{shown(name)}]"
            dot = "." if spelt == name else ""
            return f"{path}{dot}{spelt}: no such argument; {nearest(name[:SHOWN], fields)}"
    return None


def _fits(value: Any, kind: inspect.Type) -> bool:
    if isinstance(kind, (inspect.StructType, inspect.DictType)):
        return isinstance(value, Mapping)
    return not isinstance(value, Mapping)
