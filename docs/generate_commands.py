"""
The reference of the commands, as reStructuredText, made from the classes that run them.

``python docs/generate_commands.py`` prints it.
"""

import inspect
import json
from collections.abc import Iterator
from types import NoneType, UnionType
from typing import Annotated, Any, Union, get_args, get_origin

import msgspec
from msgspec import Raw, Struct
from zope.interface import Interface

from core0.commands import COMMANDS
from core0.interfaces import IAgent, IHost
from core0.values import NoArguments

_WORDS: dict[Any, tuple[str, str]] = {
    str: ("string", "strings"),
    int: ("integer", "integers"),
    float: ("number", "numbers"),
    bool: ("boolean", "booleans"),
    NoneType: ("null", "nulls"),
    Any: ("any value", "any values"),
    Raw: ("object", "objects"),
}
_AGENTS: dict[type[Interface], str] = {IAgent: "every Core", IHost: "the Core of a whole machine"}


def generate() -> str:
    """
    One chapter a command, in the order of ``COMMANDS``.
    """
    return "\n".join(line for command in COMMANDS for line in _chapter(command))


def _chapter(command: Any) -> Iterator[str]:
    title = f"``{command.name}``"
    yield from (f".. _command-{command.name.replace('.', '-')}:", "", title, "-" * len(title), "")
    yield from (inspect.getdoc(command) or "", "")
    yield f":Offered by: {_AGENTS[command.agent]}"
    yield f":Urgent: {_yes(command.urgent, 'it runs at once, however many jobs are live, unless it names a queue')}"
    yield f":Repeatable: {_yes(command.repeatable, 'it changes nothing, and runs again if core0 died meanwhile')}"
    if command.instant:
        yield ":Instant: yes; it is answered at once, and no job is made of it"
    yield from (f":Arguments: {'none' if command.arguments is NoArguments else 'these'}", "")
    if command.arguments is not NoArguments:
        yield from _arguments(command.arguments)


def _yes(applies: bool, meaning: str) -> str:
    return f"yes; {meaning}" if applies else "no"


def _arguments(shape: type[Struct]) -> Iterator[str]:
    yield from _fields(shape)
    yield from ("", inspect.getdoc(shape) or "", "")


def _fields(shape: type[Struct], indent: str = "") -> Iterator[str]:
    for field in msgspec.structs.fields(shape):
        yield f"{indent}* ``{field.encode_name}``: {words(field.type)}; {_default(field)}"
        for inner in _shapes(field.type):
            yield from ("", *_fields(inner, f"{indent}  "), "")
            # what it says of its fields belongs to the same entry
            yield from (*(f"{indent}  {line}".rstrip() for line in (inspect.getdoc(inner) or "").splitlines()), "")


def _shapes(kind: Any) -> Iterator[type[Struct]]:
    """
    The Structs that a type allows, as far as they are values themselves.
    """
    for each in (kind, *get_args(kind)):
        if isinstance(each, type) and issubclass(each, Struct):
            yield each


def _default(field: msgspec.structs.FieldInfo) -> str:
    if field.required:
        return "required"
    return f"default ``{json.dumps(field.default)}``"


def words(kind: Any, many: bool = False) -> str:
    """
    A type as clients write it, in words: JSON has no other names for it.
    """
    if kind in _WORDS:
        return _WORDS[kind][many]
    if isinstance(kind, type) and issubclass(kind, Struct):
        return "objects" if many else "object"
    origin, inner = get_origin(kind), get_args(kind)
    if origin is Annotated:
        return words(inner[0], many)
    if origin in (Union, UnionType):
        return " or ".join(words(each, many) for each in inner)
    if origin is list:
        return f"{'lists' if many else 'list'} of {words(inner[0], True)}"
    if origin is dict:
        return f"{'objects' if many else 'object'} of {words(inner[1], True)}"
    raise TypeError(f"no words for the type {kind!r}")


if __name__ == "__main__":
    print(generate())
