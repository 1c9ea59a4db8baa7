"""
Names and MAC addresses that the kernel takes, and that mean the same to all programs that are told of them.
"""

import hashlib
import re
import secrets
import socket

from core0.messages import shown

LONGEST = 15  # bytes of a link's name
_RESERVED = (".", "..", "all", "default")  # of folders and of settings
_LINK = re.compile(r"c[0-9]+v[0-9]+")  # the host's end of a container's
_PLAIN = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*")
_LABEL = re.compile(r"(?!-)[A-Za-z0-9-]+(?<!-)")
LONGEST_HOSTNAME, LONGEST_LABEL = 64, 63  # characters: what the kernel keeps, and what DNS does
_OWN = ("localhost", "ip6-localhost", "ip6-loopback")  # of every loopback
_HOSTNAME = re.compile(r"[A-Za-z0-9]([A-Za-z0-9.-]{0,251}[A-Za-z0-9])?")
_MAC = re.compile(r"[0-9A-Fa-f]{2}(:[0-9A-Fa-f]{2}){5}")
LOCAL, GROUP = 0x02, 0x01  # bits of the first byte of a MAC address


def check_name(name: str) -> None:
    """
    Whether a link may be called so.

    :raises ValueError: it may not; says what is expected.
    """
    try:
        size = len(name.encode())
    except UnicodeEncodeError:
        size = 0
    if not 1 <= size <= LONGEST:
        raise ValueError(f"expected 1 to {LONGEST} bytes, got {shown(name)}")
    if _LINK.fullmatch(name):
        raise ValueError(f"{shown(name)} is for the link of a container; expected another name")
    if name in _RESERVED:
        raise ValueError(f"{shown(name)} means something else to the kernel; expected another name")
    if any(letter in "/:%" or letter.isspace() or not letter.isprintable() for letter in name):
        text = "expected no blanks or control characters, and none of / : %"
        raise ValueError(f"{text}, got {shown(name)}")


def is_plain(name: str) -> bool:
    """
    Whether a name says just itself to programs that know patterns and lists of names.
    """
    return _PLAIN.fullmatch(name) is not None


def is_hostname(name: str) -> bool:
    """
    Whether DNS can tell of it.
    """
    return _HOSTNAME.fullmatch(name) is not None and ".." not in name


def check_hostname(name: str) -> None:
    """
    Whether a container may be called so, and is found by that name then.

    :raises ValueError: it may not; says what is expected.
    """
    labels = name.split(".")
    wrong = next((label for label in labels if not _LABEL.fullmatch(label)), None)
    if wrong is not None:
        text = "expected letters, digits and - in each part between dots, and no part that is empty or has - at an edge"
        raise ValueError(f"{text}, got {shown(name)}")
    for what, text, most in (
        ("a name", name, LONGEST_HOSTNAME),
        *(("a part of it", each, LONGEST_LABEL) for each in labels),
    ):
        if len(text) > most:
            raise ValueError(f"expected {what} to have at most {most} characters, got {len(text)}: {shown(text)}")
    if _is_number(name):
        raise ValueError(f"expected a name, got {shown(name)}, which programs take for an address; begin with a letter")
    if labels[0].lower() in _OWN:
        raise ValueError(f"expected another name than {shown(name)}, which is that of the loopback")


def _is_number(name: str) -> bool:
    """
    Whether programs do not ask anybody about it: the C library reads 123, 0x7f and 10.1 as addresses, too.
    """
    try:
        socket.inet_aton(name)
    except OSError:
        return name.rpartition(".")[2].isdecimal()
    return True


def short_name(name: str) -> str:
    """
    What a name with a domain is called by its neighbours; empty if it has none.
    """
    first, dot, _ = name.partition(".")
    return first if dot and not _is_number(first) else ""


def check_hwaddr(text: str) -> str:
    """
    :returns: the MAC address as the kernel writes it.
    :raises ValueError: it is none that one link can have.
    """
    if not _MAC.fullmatch(text):
        raise ValueError(f"expected a MAC address such as 02:00:00:00:00:01, got {shown(text)}")
    if int(text[:2], 16) & GROUP or not int(text.replace(":", ""), 16):
        raise ValueError(f"expected the MAC address of one link, which begins with an even number, got {shown(text)}")
    return text.lower()


def new_hwaddr() -> str:
    """
    A MAC address that nobody else is likely to have.
    """
    return _local(secrets.token_bytes(6))


def hwaddr_of(address: str) -> str:
    """
    The MAC address of whoever has an address: the next one who has it is known to the others at once.
    """
    return _local(hashlib.sha256(address.encode()).digest()[:6])


def _local(data: bytes) -> str:
    first, *others = data
    return ":".join(f"{byte:02x}" for byte in ((first & ~GROUP) | LOCAL, *others))
