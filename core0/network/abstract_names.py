"""
Whose the name of an abstract socket is, by what the kernel says of all unix sockets of the network namespace
(``sock_diag``): the process that has a name need not listen there, nor take a connection.
"""

import socket
import struct
import sys
from collections.abc import Iterator

SOCK_DIAG, SOCK_DIAG_BY_FAMILY = 4, 20
REQUEST, DUMP = 0x1, 0x300  # flags of a message
DONE, ERROR = 3, 2  # types of messages
SHOW_NAME, SHOW_UID = 0x01, 0x40
NAME, UID = 0, 7  # attributes
PIECE = 64 << 10  # bytes of an answer at once
PATIENCE = 2.0  # seconds
_HEADER, _REQUEST, _ATTRIBUTE = struct.Struct("=IHHII"), struct.Struct("=BBHIIIII"), struct.Struct("=HH")
_SOCKET = struct.Struct("=BBBBIII")  # family, type, state, padding, inode, cookie
_ALL = 0xFFFFFFFF


def owner(name: bytes) -> int | None:
    """
    The uid of who has bound a stream socket to a name; None if nobody has, or the kernel does not tell.

    :param name: with the zero that it begins with.
    :raises OSError: the kernel does not say.
    """
    request = _REQUEST.pack(socket.AF_UNIX, 0, 0, _ALL, 0, SHOW_NAME | SHOW_UID, _ALL, _ALL)
    header = _HEADER.pack(_HEADER.size + len(request), SOCK_DIAG_BY_FAMILY, REQUEST | DUMP, 1, 0)
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, SOCK_DIAG) as kernel:
        kernel.settimeout(PATIENCE)
        kernel.send(header + request)
        while True:
            for type, body in _messages(kernel.recv(PIECE)):
                if type in (DONE, ERROR):
                    return None
                found = dict(_attributes(body[_SOCKET.size :]))
                if body[1] == socket.SOCK_STREAM and found.get(NAME) == name and UID in found:
                    return int.from_bytes(found[UID], sys.byteorder)


def _messages(data: bytes) -> Iterator[tuple[int, bytes]]:
    while len(data) >= _HEADER.size:
        size, type, *_ = _HEADER.unpack_from(data)
        yield type, data[_HEADER.size : size]
        data = data[_aligned(size) :]


def _attributes(data: bytes) -> Iterator[tuple[int, bytes]]:
    while len(data) >= _ATTRIBUTE.size:
        size, type = _ATTRIBUTE.unpack_from(data)
        yield type, data[_ATTRIBUTE.size : size]
        data = data[_aligned(size) :]


def _aligned(size: int) -> int:
    # at least a header: whatever the kernel says, there is an end
    return max(size + 3 & ~3, 4)
