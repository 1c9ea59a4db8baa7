"""
From TOML files to frozen structs, one reader for every section: what is wrong is said with file, section and key.

A section is a msgspec struct. Its fields that carry a :class:`Key` are the keys of the file; their types say what fits.
"""

import graphlib
import heapq
import json
import math
import os
import re
import tomllib
from collections import defaultdict
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from datetime import date, time
from ipaddress import IPv4Network, IPv6Address
from typing import Any, TypeVar, get_args

import msgspec
from msgspec import Meta, Struct

from core0.errors import ConfigError
from core0.messages import encode, nearest
from core0.text_files import NotText, text_of

DROP_INS = "core0.d"  # the folder beside the file
MAX_FILE = 4 << 20  # bytes
_SHOWN = 80  # characters of an offending value

_MISFITS = (ValueError, TypeError, OverflowError, RecursionError, re.error)
_WORDS = {bool: "true or false", int: "a whole number", float: "a number", str: "a string"}
_SECTION = TypeVar("_SECTION", bound=Struct)


@dataclass(frozen=True, slots=True)
class Key:
    """
    What a key means, for the reference; ``unit`` where its value is a quantity.
    """

    text: str
    unit: str = ""


@dataclass(frozen=True, slots=True)
class Rule:
    """
    What a type alone cannot say of a value. An empty string is not asked about: whether it fits, a pattern says.

    :param expected: follows "expected" in an error.
    :param check: raises one of ``_MISFITS``, with the reason as its text, if a value does not fit.
    """

    expected: str
    check: Callable[[Any], object] | None = None


@dataclass(frozen=True, slots=True)
class Setting:
    """
    One key as its section declares it. ``default`` is :data:`msgspec.NODEFAULT` for one that is required.
    """

    name: str
    kind: Any
    key: Key
    default: Any

    @property
    def expected(self) -> str:
        """
        The values that fit, in words.
        """
        kind, *notes = get_args(self.kind)
        rule = next((note.expected for note in notes if isinstance(note, Rule)), "")
        return rule or _WORDS[kind] + _range([note for note in notes if isinstance(note, Meta)])

    def read(self, value: Any) -> Any:
        """
        Check a value and give it the declared type.

        :raises ValueError: it does not fit; the text says what was expected, and what was there.
        """
        reason = ""
        try:
            result = msgspec.convert(value, self.kind)
            if not isinstance(result, float) or math.isfinite(result):
                for note in get_args(self.kind):
                    if isinstance(note, Rule) and note.check and result != "":
                        note.check(result)
                return result
        except msgspec.ValidationError:
            pass  # `expected` says more than its text
        except _MISFITS as error:
            reason = f": {error}"
        raise ValueError(f"expected {self.expected}, got {shown(value)}{reason}")


@dataclass(frozen=True, slots=True)
class Found:
    """
    A value, and the file that it comes from.
    """

    value: Any
    path: str


Tables = Mapping[str, Mapping[str, Found]]


def settings(shape: type[Struct]) -> dict[str, Setting]:
    """
    The keys of a section, in the order of its fields.
    """
    found = {}
    for field in msgspec.structs.fields(shape):
        for note in get_args(field.type):
            if isinstance(note, Key):
                factory = field.default_factory
                default = field.default if factory is msgspec.NODEFAULT else factory()
                found[field.name] = Setting(field.name, field.type, note, default)
    return found


def read_section(
    shape: type[_SECTION], table: Mapping[str, Found], name: str, /, *, path: str = "", **defaults: Any
) -> _SECTION:
    """
    Make a section of what the files say about it.

    :param path: the file to name if a required key is missing.
    :param defaults: what is only known when reading; they replace the defaults of the struct.
    :raises ConfigError: an unknown key, a missing one, or a value that does not fit.
    """
    declared = settings(shape)
    values = dict(defaults)
    for key, found in table.items():
        place = f"{found.path}: [{name}] {bare(key)}"
        if key not in declared:
            raise ConfigError(f"{place}: no such key; {nearest(key, declared)}")
        try:
            values[key] = declared[key].read(found.value)
        except ValueError as error:
            raise ConfigError(f"{place}: {error}") from error
    for key, setting in declared.items():
        if setting.default is msgspec.NODEFAULT and key not in values:
            raise ConfigError(f"{path}: [{name}] {key}: required, but missing; expected {setting.expected}")
    return shape(**values)


def read_files(path: str, sections: Collection[str], *, required: bool) -> Tables:
    """
    Read a file and the drop-ins beside it; of a key that is set twice the later one counts.

    :param required: whether it is an error that there is no such file.
    :returns: all sections, empty ones too.
    :raises ConfigError: one cannot be read, is no TOML, or has an unknown section.
    """
    merged: dict[str, dict[str, Found]] = defaultdict(dict)
    for each in _paths(path, required):
        for name, table in _parse(each).items():
            if name not in sections:
                place = f"[{bare(name)}]" if isinstance(table, dict) else bare(name)
                raise ConfigError(f"{each}: {place}: no such section; {nearest(name, sections, '[{}]')}")
            merged[name].update(as_table(Found(table, each), f"[{name}]"))
    return {name: merged[name] for name in sections}


def as_table(found: Found, name: str) -> dict[str, Found]:
    """
    What is in a table, each value with the file that it comes from.

    :raises ConfigError: it is none.
    """
    if isinstance(found.value, dict):
        return {key: Found(value, found.path) for key, value in found.value.items()}
    raise ConfigError(f"{found.path}: {name}: expected a table, got {shown(found.value)}")


def bare(name: str) -> str:
    """
    A key in the form that it has in a file: quoted where TOML asks for that.
    """
    return name if re.fullmatch(r"[A-Za-z0-9_-]+", name) else shown(name)


def _paths(path: str, required: bool) -> Iterator[str]:
    if required or os.path.lexists(path):
        yield path
    folder = os.path.join(os.path.dirname(path), DROP_INS)
    try:
        names = sorted(os.listdir(folder))
    except FileNotFoundError:
        return
    except (OSError, ValueError) as error:
        raise ConfigError(f"{folder}: cannot be read: {_reason(error)}") from error
    yield from (os.path.join(folder, name) for name in names if name.endswith(".toml") and not name.startswith("."))


def _parse(path: str) -> dict[str, Any]:
    try:
        with open(path, "rb") as file:
            data = file.read(MAX_FILE + 1)
    except (OSError, ValueError) as error:
        raise ConfigError(f"{path}: cannot be read: {_reason(error)}") from error
    return parse_toml(data, path, MAX_FILE)


def parse_toml(data: bytes, path: str, limit: int) -> dict[str, Any]:
    """
    What is in a file.

    :param path: named in errors.
    :param limit: bytes that it may have.
    :raises ConfigError: it is too large, not text, or no TOML.
    """
    if len(data) > limit:
        raise ConfigError(f"{path}: expected at most {limit} bytes")
    try:
        return tomllib.loads(text_of(data))
    except NotText as error:
        raise ConfigError(f"{path}: {error}") from error
    except ValueError as error:
        text = str(error).replace("at end of document", f"at the end, line {len(data.splitlines())}")
        raise ConfigError(f"{path}: not TOML: {text}") from error
    except RecursionError as error:
        raise ConfigError(f"{path}: nested too deeply") from error


def _reason(error: Exception) -> str:
    return error.strerror or str(error) if isinstance(error, OSError) else str(error)


def shown(value: Any) -> str:
    """
    A value as a file may have it, shortened, without the password of a URL.
    """
    if isinstance(value, date | time):
        return str(value)
    if isinstance(value, str):
        value = re.sub(r"password=[^&]*", "password=…", value)
        if ":" in value.rpartition("@")[0]:
            value = "".join(re.findall(r"^[\w+]+://", value)) + "…@" + value.rpartition("@")[2]
    try:
        text = json.dumps(value, ensure_ascii=False, default=str)
    except (ValueError, RecursionError):
        return "something too large to show"
    return text if len(text) <= _SHOWN else f"{text[: _SHOWN - 1]}…"


def _range(bounds: list[Meta]) -> str:
    low = next((_number(bound.ge) for bound in bounds if bound.ge is not None), "")
    high = next((_number(bound.le) for bound in bounds if bound.le is not None), "")
    if low and high:
        return f" from {low} to {high}"
    return f" of at most {high}" if high else f" of at least {low}" if low else ""


def _number(value: float) -> str:
    return str(int(value) if value == int(value) else value)


def split_host(text: str, default: int | None = None) -> tuple[str, int]:
    """
    Split ``host:port`` or ``[IPv6]:port``.

    :param default: the port of a text that has none; None if it has to have one.
    :raises ValueError: it is neither.
    """
    match = re.fullmatch(r"(?:\[(?P<ip>[^\]\s]+)\]|(?P<host>[^\s:\[\]/@,\x00]+))(?::(?P<port>[0-9]{1,5}))?", text)
    if not match:
        raise ValueError("there is no host and port")
    port = int(match["port"]) if match["port"] else default
    if port is None:
        raise ValueError("there is no port")
    if not 0 < port < 65536:
        raise ValueError("a port is a number from 1 to 65535")
    return str(IPv6Address(match["ip"])) if match["ip"] else match["host"], port


_URLS = {
    "redis": ("host:port", r"(?P<hosts>[^/,]+)(/0?)?"),
    "rediss": ("host:port", r"(?P<hosts>[^/,]+)(/0?)?"),
    "redis+unix": ("the absolute path of a socket", r"/.+"),
    "redis+sentinel": ("host:port,host:port/master", r"(?P<hosts>[^/]+)/[^/?#]+"),
}


def check_url(text: str) -> None:
    """
    Whether a text says where a Redis server is, or the Sentinels that know.

    :raises ValueError: it does not.
    """
    scheme, _, rest = text.partition("://")
    if scheme not in _URLS:
        raise ValueError("no such scheme")
    form, pattern = _URLS[scheme]
    match = re.fullmatch(rf"([^/?#]*@)?{pattern}", rest)
    if not match:
        raise ValueError(f"after {scheme}:// comes {form}")
    for hosts in match.groupdict().values():
        for host in hosts.split(","):
            split_host(host, 1)


def check_subnet(text: str) -> None:
    """
    Whether a text is an IPv4 network with room for containers.

    :raises ValueError: it is not.
    """
    if not 8 <= IPv4Network(text).prefixlen <= 30:
        raise ValueError("its prefix has to be from 8 to 30 bits long")


def check_json(table: Mapping[str, Any]) -> None:
    """
    Whether a table can be sent as the arguments of a command.

    :raises ValueError, TypeError, OverflowError, RecursionError: it cannot.
    """
    json.dumps(table, allow_nan=False)  # messages.encode would make null of nan, and text of dates
    encode(table)


def in_order(graph: Mapping[str, Collection[str]]) -> tuple[list[str], list[str]]:
    """
    Put names behind all that they depend on, and otherwise leave them as they are.

    :param graph: the names, each with what it depends on.
    :returns: the names; and a cycle if there is one, closed, each name followed by one that it depends on.
    """
    sorter = graphlib.TopologicalSorter(graph)
    try:
        sorter.prepare()
    except graphlib.CycleError as error:
        return [], error.args[1][::-1]
    place = {name: number for number, name in enumerate(graph)}
    ready: list[tuple[int, str]] = []
    order: list[str] = []
    while sorter.is_active():
        for name in sorter.get_ready():
            heapq.heappush(ready, (place[name], name))
        order.append(heapq.heappop(ready)[1])
        sorter.done(order[-1])
    return order, []
