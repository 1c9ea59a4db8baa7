"""
The seccomp profile of confined containers: as data for the runtime, and compiled for a process that enters a container
without it.
"""

import ctypes
import os
from collections.abc import Iterator
from errno import EAFNOSUPPORT, EEXIST, ENOSYS, EPERM
from functools import cache
from typing import Any

from core0.containers.syscalls import ALLOWED, FORBIDDEN
from core0.errors import Core0Error

LIBRARY = "libseccomp.so.2"
MOST = 4096 * 8  # bytes of a program that the kernel takes

ALLOW, ERRNO = "SCMP_ACT_ALLOW", "SCMP_ACT_ERRNO"
_MASKED = "SCMP_CMP_MASKED_EQ"
_LOW = 0xFFFFFFFF  # what the kernel looks at where an argument is an int: the rest is the caller's to fill

_ARCHITECTURES = {
    "x86_64": ("SCMP_ARCH_X86_64", "SCMP_ARCH_X86"),
    "i686": ("SCMP_ARCH_X86",),
    "aarch64": ("SCMP_ARCH_AARCH64", "SCMP_ARCH_ARM"),
    "armv7l": ("SCMP_ARCH_ARM",),
    "ppc64le": ("SCMP_ARCH_PPC64LE",),
    "riscv64": ("SCMP_ARCH_RISCV64",),
}

# mount, cgroup, uts, ipc, user, pid, network
_NEW_NAMESPACES = (0x00020000, 0x02000000, 0x04000000, 0x08000000, 0x10000000, 0x20000000, 0x40000000)

# unix, inet, inet6, netlink. The others are seldom used and often broken; vsock reaches past all namespaces to the
# machine below this one, alg is the kernel's cryptography, packet forges whatever neighbours on a bridge believe.
_INET, _INET6 = 2, 10
_FAMILIES = (1, _INET, _INET6, 16)
_LAST_FAMILY = max(_FAMILIES)
# stream, datagram, sequenced packets
_TYPES, _RAW, _ALL_TYPES = (1, 2, 5), 3, 0xF
# Raw ones of inet are for ping; those of inet6 could play the router, and the neighbour. Of type 10 of inet the kernel
# makes a packet socket.
_OF_FAMILY = {_INET: (*_TYPES, _RAW), _INET6: _TYPES}

# Linux, 32-bit Linux, with and without addresses that are always the same (gdb, setarch -R), and the question which
_PERSONALITIES = (0x0, 0x8, 0x40000, 0x40008, 0x20000, 0x20008, 0xFFFFFFFF)


class NoProfile(Core0Error):
    """
    The profile cannot be compiled here; the text says why.
    """


def profile(machine: str) -> dict[str, Any]:
    """
    The section ``linux.seccomp`` of a bundle.

    :param machine: the processor, as ``uname -m`` says it; one that is not known has its own architecture only.
    """
    return {
        "defaultAction": ERRNO,
        "defaultErrnoRet": ENOSYS,
        "architectures": list(_ARCHITECTURES.get(machine, ())),
        # no SECCOMP_FILTER_FLAG_LOG: a program could fill the log of the host
        "flags": [],
        "syscalls": [
            {"names": list(ALLOWED), "action": ALLOW},
            {"names": list(FORBIDDEN), "action": ERRNO, "errnoRet": EPERM},
            *_clone(),
            # after socketcall as a whole, which the library makes out of socket otherwise
            *_socket(),
            *_personality(),
        ],
    }


def _clone() -> Iterator[dict[str, Any]]:
    yield _rule("clone", ALLOW, 0, _MASKED, sum(_NEW_NAMESPACES), 0)
    for flag in _NEW_NAMESPACES:
        yield _rule("clone", EPERM, 0, _MASKED, flag, flag)


def _socket() -> Iterator[dict[str, Any]]:
    for family in range(_LAST_FAMILY + 1):
        if family not in _OF_FAMILY:
            yield _rule("socket", ALLOW if family in _FAMILIES else EAFNOSUPPORT, 0, _MASKED, _LOW, family)
    for family, allowed in _OF_FAMILY.items():
        for kind in range(_ALL_TYPES + 1):
            both = _argument(0, _MASKED, _LOW, family), _argument(1, _MASKED, _ALL_TYPES, kind)
            yield _told("socket", ALLOW if kind in allowed else EPERM, *both)
    # with the upper half not empty as well: they are refused, whatever the lower half says
    yield _rule("socket", EAFNOSUPPORT, 0, "SCMP_CMP_GT", _LAST_FAMILY, 0)


def _personality() -> Iterator[dict[str, Any]]:
    for value in _PERSONALITIES:
        yield _rule("personality", ALLOW, 0, _MASKED, _LOW, value)


def _rule(name: str, action: str | int, index: int, operator: str, value: int, second: int) -> dict[str, Any]:
    return _told(name, action, _argument(index, operator, value, second))


def _argument(index: int, operator: str, value: int, second: int) -> dict[str, Any]:
    return {"index": index, "value": value, "valueTwo": second, "op": operator}


def _told(name: str, action: str | int, *arguments: dict[str, Any]) -> dict[str, Any]:
    """
    A rule for calls with all these arguments.
    """
    if isinstance(action, int):
        return {"names": [name], "action": ERRNO, "errnoRet": action, "args": list(arguments)}
    return {"names": [name], "action": action, "args": list(arguments)}


class _Comparison(ctypes.Structure):
    """
    ``struct scmp_arg_cmp``.
    """

    _fields_ = [
        ("arg", ctypes.c_uint),
        ("op", ctypes.c_int),
        ("a", ctypes.c_uint64),
        ("b", ctypes.c_uint64),
    ]


_OPERATORS = {
    f"SCMP_CMP_{name}": number for number, name in enumerate(("NE", "LT", "LE", "EQ", "GE", "GT", "MASKED_EQ"), 1)
}
_ACT_ALLOW, _ACT_ERRNO = 0x7FFF0000, 0x00050000
_NO_SUCH_CALL = -1


@cache
def _library() -> ctypes.CDLL:
    try:
        library = ctypes.CDLL(LIBRARY)
        library.seccomp_init.restype = ctypes.c_void_p
        library.seccomp_init.argtypes = [ctypes.c_uint32]
        library.seccomp_release.argtypes = [ctypes.c_void_p]
        library.seccomp_arch_resolve_name.restype = ctypes.c_uint32
        library.seccomp_arch_resolve_name.argtypes = [ctypes.c_char_p]
        library.seccomp_arch_add.argtypes = [ctypes.c_void_p, ctypes.c_uint32]
        library.seccomp_syscall_resolve_name.argtypes = [ctypes.c_char_p]
        library.seccomp_rule_add_array.argtypes = [
            *(ctypes.c_void_p, ctypes.c_uint32, ctypes.c_int, ctypes.c_uint),
            ctypes.POINTER(_Comparison),
        ]
        library.seccomp_export_bpf.argtypes = [ctypes.c_void_p, ctypes.c_int]
    except (OSError, AttributeError) as error:
        raise NoProfile(f"cannot use {LIBRARY} (Debian package libseccomp2): {error}") from error
    return library


def program(profile: dict[str, Any]) -> bytes:
    """
    A profile compiled by the library that the runtimes use, in the way in which they do it.

    :returns: an array of ``struct sock_filter``; it takes some 20 ms, so keep it.
    :raises NoProfile: it cannot be compiled here.
    """
    library = _library()
    context = library.seccomp_init(_action(profile["defaultAction"], profile["defaultErrnoRet"]))
    if not context:
        raise NoProfile(f"{LIBRARY} takes no default action {profile['defaultAction']}")
    try:
        for name in profile["architectures"]:
            token = library.seccomp_arch_resolve_name(name.removeprefix("SCMP_ARCH_").lower().encode())
            if not token:
                raise NoProfile(f"{LIBRARY} does not know {name}")
            _check(library.seccomp_arch_add(context, token), name, -EEXIST)
        for rule in profile["syscalls"]:
            _add(library, context, rule)
        return _export(library, context)
    finally:
        library.seccomp_release(context)


def _add(library: ctypes.CDLL, context: int, rule: dict[str, Any]) -> None:
    given = rule.get("args", ())
    comparisons = (_Comparison * max(1, len(given)))()
    for place, argument in enumerate(given):
        operator = _OPERATORS[argument["op"]]
        comparisons[place] = _Comparison(argument["index"], operator, argument["value"], argument["valueTwo"])
    action = _action(rule["action"], rule.get("errnoRet", EPERM))
    for name in rule["names"]:
        number = library.seccomp_syscall_resolve_name(name.encode())
        if number != _NO_SUCH_CALL:  # newer than the library: the default action is what the runtimes give it, too
            _check(library.seccomp_rule_add_array(context, action, number, len(given), comparisons), name)


def _export(library: ctypes.CDLL, context: int) -> bytes:
    fd = os.memfd_create("seccomp", os.MFD_CLOEXEC)
    try:
        _check(library.seccomp_export_bpf(context, fd), "the program")
        compiled = os.pread(fd, MOST + 1, 0)
    finally:
        os.close(fd)
    if not 0 < len(compiled) <= MOST:
        raise NoProfile(f"the seccomp program has {len(compiled) // 8} instructions or more; the kernel takes 4,096")
    return compiled


def _action(name: str, errno: int) -> int:
    return _ACT_ALLOW if name == ALLOW else _ACT_ERRNO | errno


def _check(code: int, what: str, *fine: int) -> None:
    if code and code not in fine:
        raise NoProfile(f"{LIBRARY} refuses {what}: {os.strerror(-code)}")
