"""
The small files in which the kernel and the system keep facts: one that cannot be read is empty.
"""

import os
import re
from pathlib import Path

ROOT = Path("/")
LARGEST = 2**63 - 1  # some file systems claim more than fits, and JSON readers commonly take 64 bits

READ_SIZE = 1 << 16  # bytes
MOST = 16 << 20  # bytes read of a file: in a container it may be anything, /dev/zero for example

_INTEGER = re.compile(r"\s*(-?[0-9]+)")


def data(path: Path) -> bytes:
    """
    The bytes of a file, ``MOST`` of them. One that has nothing to say at once, such as a FIFO, is empty.
    """
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
    except OSError:
        return b""
    found = bytearray()
    try:
        while len(found) < MOST and (piece := os.read(fd, min(READ_SIZE, MOST - len(found)))):
            found += piece
    except OSError:
        return b""
    finally:
        os.close(fd)
    return bytes(found)


def text(path: Path) -> str:
    """
    A file's text without white space and NULs around it; U+FFFD stands for what is not UTF-8.
    """
    return data(path).decode("utf-8", "replace").strip(" \t\n\0")


def names(path: Path) -> list[str]:
    """
    The sorted names in a folder.
    """
    try:
        return sorted(os.listdir(path))
    except OSError:
        return []


def integer(value: str, default: int = 0) -> int:
    """
    The decimal number that a text begins with, cut to 64 bits: ``"1024 KB"`` is 1024.
    """
    found = _INTEGER.match(value)
    # more digits than these are too many anyhow, and int() refuses thousands of them
    return clamp(int(found[1][:32])) if found else default


def clamp(number: int) -> int:
    """
    The nearest number that fits into 64 bits with a sign.
    """
    return max(-LARGEST, min(number, LARGEST))
