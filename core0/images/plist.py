"""
A plist: a root file system as text, one entry a line. ``docs/reference/protocol.rst`` has its format.
"""

import re
from collections.abc import Callable, Iterable, Iterator
from functools import lru_cache
from typing import BinaryIO, TypeVar

from core0.errors import Core0Error
from core0.images.entry import Entry, Kind
from core0.images.names import (
    MAX_ID,
    MAX_MAJOR,
    MAX_MINOR,
    MAX_SIZE,
    PERMISSIONS,
    BadName,
    checked_target,
    normal,
    octets,
    possible_time,
    text,
)
from core0.messages import shown
from core0.text_files import UTF8_MARK

FIELDS = ("path", "hash", "size", "uname", "gname", "permissions", "filetype", "ctime", "mtime", "extended")
MAX_LINE = 32 << 10  # bytes; a path and a target of full length, all of it escaped, need 17 KiB
MAX_LINES = 2_000_000  # of a plist, blank ones included
MAX_OWNER = 255  # bytes of a name of a user or a group
DEVICES = frozenset({Kind.BLOCK, Kind.CHARACTER})
_KINDS = {str(int(kind)): kind for kind in Kind}
_HASH = re.compile(r"(?:[0-9a-f]{64}|[0-9a-f]{32})", re.ASCII)
_MODE = re.compile(r"[0-7]{1,7}", re.ASCII)
_TIME = re.compile(r"(-?[0-9]{1,20})(?:\.[0-9]{0,20})?", re.ASCII)
_NAME = re.compile(r"[^-+\s:][^\s:\0]*")
_DEVICE = re.compile(r"([0-9]{1,10}),([0-9]{1,10})", re.ASCII)
# either what an escape stands for, or the end of a field; any other backslash is a character like others
_SPECIAL = re.compile(r"\\[|n\\]|\|")
_MEANING = {r"\|": "|", r"\n": "\n", r"\\": "\\"}
_ESCAPES = str.maketrans({meaning: escape for escape, meaning in _MEANING.items()})
# what follows the filetype of anything but a symlink, whose target may end in a carriage return
_WINDOWS = re.compile(rb"\|[^1]\|[^|]*\|[^|]*\|[^|]*\r\n\Z")
_LONGEST_NUMBER = 19  # digits
T = TypeVar("T")


class BadPlist(Core0Error):
    """
    A text is no plist.

    :param line: which one is wrong, from 1.
    :param text: the field, what was expected, and what there is.
    """

    def __init__(self, line: int, text: str) -> None:
        super().__init__(line, text)
        self.line = line
        self.text = text

    def __str__(self) -> str:
        return f"line {self.line}: {self.text}"


class _Odd(Exception):
    """
    A field is not as it must be; the text says what was expected.
    """


def lines(file: BinaryIO) -> Iterator[bytes]:
    """
    The lines of a file for :func:`parse`, never much more than that takes at once.
    """
    while line := file.readline(MAX_LINE + 1):
        yield line


def parse(lines: Iterable[bytes]) -> Iterator[Entry]:
    """
    Read the lines of a plist, with or without their newlines; blank ones do not count. There may be a byte order mark;
    if the first line, of anything but a symlink, ends as lines do on Windows, so do all.

    :raises BadPlist: one is wrong.
    """
    end = b"\n"
    for number, line in enumerate(lines, 1):
        if number == 1:
            line = line.removeprefix(UTF8_MARK)
            end = b"\r\n" if _WINDOWS.search(line) else end
        if number > MAX_LINES:
            raise BadPlist(number, f"expected at most {MAX_LINES} lines")
        if len(line) > MAX_LINE:
            raise BadPlist(number, f"expected at most {MAX_LINE} bytes in a line, got more")
        content = text(line.removesuffix(end).removesuffix(b"\n"))
        if content.isspace() or not content:
            continue
        try:
            yield _entry(_split(content))
        except _Odd as error:
            raise BadPlist(number, str(error)) from None


def write(entries: Iterable[Entry]) -> Iterator[bytes]:
    """
    The lines of a plist, with their newlines.
    """
    for entry in entries:
        regular = entry.kind is Kind.REGULAR
        fields = (
            f"/{entry.path}".translate(_ESCAPES),
            entry.hash if regular else "",
            str(entry.size if regular else 0),
            str(entry.user).translate(_ESCAPES),
            str(entry.group).translate(_ESCAPES),
            f"{entry.mode & PERMISSIONS:o}",
            str(int(entry.kind)),
            str(entry.ctime),
            str(entry.mtime),
            _extended(entry).translate(_ESCAPES),
        )
        yield octets("|".join(fields) + "\n")


def _extended(entry: Entry) -> str:
    if entry.kind is Kind.SYMLINK:
        return entry.target
    return "{},{}".format(*entry.device) if entry.kind in DEVICES else ""


def _split(line: str) -> list[str]:
    if "\\" not in line:
        fields = line.split("|")
    else:
        fields, last = [""], 0
        for found in _SPECIAL.finditer(line):
            fields[-1] += line[last : found.start()] + _MEANING.get(found[0], "")
            last = found.end()
            if found[0] == "|":
                fields.append("")
        fields[-1] += line[last:]
    if len(fields) != len(FIELDS):
        raise _Odd(f"expected {len(FIELDS)} fields with | between them, got {len(fields)}")
    return fields


def _entry(fields: list[str]) -> Entry:
    path, digest, size, user, group, mode, filetype, ctime, mtime, extended = fields
    kind = _KINDS.get(filetype)
    if kind is None:
        raise _Odd(f"filetype: expected a number from 0 to {max(Kind):d}, got {shown(filetype)}")
    regular = kind is Kind.REGULAR
    if regular and _HASH.fullmatch(digest) is None:
        raise _Odd(f"hash: expected 64 or 32 hexadecimal digits in lower case, got {shown(digest)}")
    if extended and kind is not Kind.SYMLINK and kind not in DEVICES:
        raise _Odd(f"extended: expected nothing for filetype {kind:d}, got {shown(extended)}")
    # what is no regular file has neither hash nor size of its own; old plists fill in what stat(2) says
    return Entry(
        path=_named("path", normal, path),
        kind=kind,
        hash=digest if regular else "",
        size=_number("size", size, MAX_SIZE) if regular else 0,
        user=_owner("uname", user),
        group=_owner("gname", group),
        mode=_permissions(mode),
        ctime=_time("ctime", ctime),
        mtime=_time("mtime", mtime),
        target=_named("extended", checked_target, extended) if kind is Kind.SYMLINK else "",
        device=_device(extended) if kind in DEVICES else (0, 0),
    )


def _named(field: str, check: Callable[[str], T], value: str) -> T:
    try:
        return check(value)
    except BadName as error:
        raise _Odd(f"{field}: {error}") from None


def _number(field: str, value: str, limit: int) -> int:
    # int() would take signs, spaces, underscores, and the digits of all scripts
    if not value.isdecimal() or not value.isascii():
        raise _Odd(f"{field}: expected a whole number, got {shown(value)}")
    if len(value) > _LONGEST_NUMBER or int(value) >= limit:
        raise _Odd(f"{field}: expected a number below {limit}, got {shown(value)}")
    return int(value)


# there are few of these in a plist of many lines: each is read, and kept, once


@lru_cache(maxsize=1024)
def _owner(field: str, value: str) -> int | str:
    if value.isdecimal() and value.isascii():
        return _number(field, value, MAX_ID)
    if _NAME.fullmatch(value) is None or len(octets(value)) > MAX_OWNER:
        raise _Odd(f"{field}: expected a number or a name, got {shown(value)}")
    return value


@lru_cache(maxsize=1024)
def _permissions(value: str) -> int:
    if _MODE.fullmatch(value) is None:
        raise _Odd(f"permissions: expected an octal number, got {shown(value)}")
    return int(value, 8) & PERMISSIONS


@lru_cache(maxsize=4096)
def _time(field: str, value: str) -> int:
    if not value:
        return 0
    found = _TIME.fullmatch(value)
    if found is None:
        raise _Odd(f"{field}: expected seconds since the epoch, got {shown(value)}")
    return possible_time(int(found[1]))


def _device(value: str) -> tuple[int, int]:
    found = _DEVICE.fullmatch(value)
    if found is None or int(found[1]) >= MAX_MAJOR or int(found[2]) >= MAX_MINOR:
        raise _Odd(f"extended: expected the device's major,minor below {MAX_MAJOR} and {MAX_MINOR}, got {shown(value)}")
    return int(found[1]), int(found[2])
