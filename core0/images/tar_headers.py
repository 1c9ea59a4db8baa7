"""
Headers of a tar archive that say something of the member that follows: long names, and those of POSIX (pax).
"""

import re
import tarfile
from collections.abc import Iterator, Mapping

from core0.errors import Core0Error
from core0.images.names import text
from core0.messages import shown

BLOCK = 512  # bytes; all of an archive is in blocks
MAX_CHAIN = 16  # headers of a member, its own included; two long names and one of POSIX is what programs write
MAX_NAME = 16 << 10  # bytes of the header of a long name; a path has 4,096 at most
MAX_RECORDS = 1 << 20  # bytes of a header of POSIX; extended attributes of a file have 64 KiB at most
LONG_NAMES = {tarfile.GNUTYPE_LONGNAME: "path", tarfile.GNUTYPE_LONGLINK: "linkpath"}
RECORDS = frozenset({tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.SOLARIS_XHDTYPE})
NAMES, NUMBERS = frozenset({"path", "linkpath"}), frozenset({"size", "uid", "gid"})
SPARSE = "GNU.sparse."  # of all keywords that tell of holes
SPARSE_MAP, SPARSE_NAME = f"{SPARSE}map", f"{SPARSE}name"
PAIR = (f"{SPARSE}offset", f"{SPARSE}numbytes")  # of each segment of data, where the map is not in one record
VOLUMES = "GNU.volume.filename"  # of an archive that begins with the rest of a file of the one before
MULTI_VOLUME = "it is a part of an archive in several volumes; make one that is whole, without --multi-volume"
_NUMBER = re.compile(r"[0-9]{1,20}", re.ASCII)
_TIME = re.compile(r"(-?[0-9]{1,20})(?:\.[0-9]*)?", re.ASCII)


class BadHeader(Core0Error):
    """
    A header is not as it must be; the text says what was expected.
    """


def length_about_next(info: tarfile.TarInfo) -> int | None:
    """
    How many bytes follow a header that is about the next one; None if it is of a member itself.

    :raises BadHeader: too many.
    """
    if info.type in LONG_NAMES:
        limit = MAX_NAME
    elif info.type in RECORDS:
        limit = MAX_RECORDS
    else:
        return None
    if not 0 <= info.size <= limit:
        raise BadHeader(f"expected a header of at most {limit} bytes, got {info.size}")
    return info.size


def said(info: tarfile.TarInfo, body: bytes) -> dict[str, str]:
    """
    What a header says of the next one, of what matters here, by the keywords of POSIX.

    :raises BadHeader: it is damaged.
    """
    if info.type in LONG_NAMES:
        return {LONG_NAMES[info.type]: text(body.partition(b"\0")[0])}
    found = {}
    pairs: list[str] = []
    for key, value in _records(body):
        if key.startswith(SPARSE) and info.type == tarfile.XGLTYPE:
            raise BadHeader("expected a map of holes of one file, got one of all files")
        if key == VOLUMES:
            raise BadHeader(MULTI_VOLUME)
        if key in PAIR:
            if key != PAIR[len(pairs) % 2]:
                raise BadHeader(f"expected {PAIR[len(pairs) % 2]}, got {key}")
            pairs.append(value)
        elif key in NAMES or key in NUMBERS or key == "mtime" or key.startswith(SPARSE):
            found[key] = value
    return found | {SPARSE_MAP: ",".join(pairs)} if pairs else found


def _records(body: bytes) -> Iterator[tuple[str, str]]:
    """
    Each is ``length keyword=value`` and a newline, where the length is that of all this.
    """
    start = 0
    while start < len(body) and body[start]:
        digits, space, _ = body[start : start + 8].partition(b" ")
        end = start + int(digits) if space and digits.isdigit() else 0
        record = body[start + len(digits) + 1 : end]
        key, equals, value = record.partition(b"=")
        if not key or not equals or end > len(body) or not value.endswith(b"\n"):
            raise BadHeader(f"expected 'length keyword=value', got {shown(text(body[start : start + 80]))}")
        yield text(key), text(value[:-1])
        start = end


def merge(info: tarfile.TarInfo, words: Mapping[str, str]) -> tarfile.TarInfo:
    """
    A header with what others have said of it; an empty value takes back what was said before.

    :raises BadHeader: something else than a number where there must be one.
    """
    given = {key: value for key, value in words.items() if value}
    for key in NUMBERS & given.keys():
        if _NUMBER.fullmatch(given[key]) is None:
            raise BadHeader(f"{key}: expected a whole number, got {shown(given[key])}")
    time = _TIME.fullmatch(given.get("mtime", "0"))
    if time is None:
        raise BadHeader(f"mtime: expected seconds since the epoch, got {shown(given['mtime'])}")
    # of a sparse file, the path may be one that programs which do not know of holes unpack it to
    info.name = given.get(SPARSE_NAME) or given.get("path", info.name)
    info.linkname = given.get("linkpath", info.linkname)
    info.size = int(given.get("size", info.size))
    info.uid = int(given.get("uid", info.uid))
    info.gid = int(given.get("gid", info.gid))
    info.mtime = int(time[1]) if "mtime" in given else info.mtime
    return info
