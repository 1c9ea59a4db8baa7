"""
System calls that Python has no function for.

Each raises :class:`OSError`, with the name of the call and what it was about.
"""

import ctypes
import os
from collections.abc import Iterable
from typing import Any

CLONE_NEWNS = 0x00020000
CLONE_NEWCGROUP = 0x02000000
CLONE_NEWUTS = 0x04000000
CLONE_NEWIPC = 0x08000000
CLONE_NEWUSER = 0x10000000
CLONE_NEWPID = 0x20000000
CLONE_NEWNET = 0x40000000

MS_RDONLY, MS_NOSUID, MS_NODEV, MS_NOEXEC = 1, 2, 4, 8
MS_REC, MS_PRIVATE, MS_SLAVE = 1 << 14, 1 << 18, 1 << 19
MOUNT_ATTR_RDONLY = 0x00000001
MOUNT_ATTR_IDMAP = 0x00100000

PR_SET_PDEATHSIG = 1
PR_SET_DUMPABLE = 4
PR_SET_NAME = 15
PR_CAPBSET_DROP = 24
PR_SET_CHILD_SUBREAPER = 36
PR_SET_NO_NEW_PRIVS = 38
PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL = 47, 4

# the same on every architecture since 5.0; below, those that are older
_OPEN_TREE, _MOVE_MOUNT, _OPENAT2, _MOUNT_SETATTR = 428, 429, 437, 442
_NUMBERS = {
    "x86_64": {"keyctl": 250, "seccomp": 317},
    "aarch64": {"keyctl": 219, "seccomp": 277},
}
_AT_FDCWD = -100
_AT_EMPTY_PATH, _AT_RECURSIVE = 0x1000, 0x8000
_OPEN_TREE_CLONE, _OPEN_TREE_CLOEXEC = 1, os.O_CLOEXEC
_MOVE_MOUNT_F_EMPTY_PATH = 4
_RESOLVE_NO_SYMLINKS = 4
_KEYCTL_JOIN_SESSION_KEYRING = 1
_SECCOMP_SET_MODE_FILTER = 1
_CAPABILITY_VERSION_3 = 0x20080522

_libc = ctypes.CDLL(None, use_errno=True)
_libc.syscall.restype = ctypes.c_long
_libc.prctl.restype = ctypes.c_int


class _MountAttributes(ctypes.Structure):
    _fields_ = [(name, ctypes.c_uint64) for name in ("attr_set", "attr_clr", "propagation", "userns_fd")]


class _How(ctypes.Structure):
    _fields_ = [(name, ctypes.c_uint64) for name in ("flags", "mode", "resolve")]


class _Capabilities(ctypes.Structure):
    _fields_ = [(name, ctypes.c_uint32) for name in ("effective", "permitted", "inheritable")]


class _CapabilityHeader(ctypes.Structure):
    _fields_ = [("version", ctypes.c_uint32), ("pid", ctypes.c_int)]


class _Program(ctypes.Structure):
    _fields_ = [("length", ctypes.c_ushort), ("filter", ctypes.c_void_p)]


def _checked(result: int, what: str) -> int:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{what}: {os.strerror(number)}")
    return result


def _call(what: str, number: int, *arguments: Any) -> int:
    words = [ctypes.c_long(word) if isinstance(word, int) else word for word in arguments]
    return _checked(_libc.syscall(ctypes.c_long(number), *words), what)


def _number(name: str) -> int:
    try:
        return _NUMBERS[os.uname().machine][name]
    except KeyError:
        raise OSError(38, f"{name}: containers are not supported on {os.uname().machine}") from None


def unshare(flags: int) -> None:
    """
    Leave namespaces for new ones.
    """
    _checked(_libc.unshare(flags), "unshare")


def setns(fd: int, flags: int) -> None:
    """
    Join namespaces: of a process, if ``fd`` is a pidfd, all of ``flags`` in one step.
    """
    _checked(_libc.setns(fd, flags), "setns")


def mount(source: str, target: str, kind: str = "", flags: int = 0, options: str = "") -> None:
    """
    mount(2).
    """
    words = [os.fsencode(word) or None for word in (source, target, kind)]
    result = _libc.mount(*words, ctypes.c_ulong(flags), os.fsencode(options) or None)
    _checked(result, f"mount {kind or source} at {target}")


def find(path: str) -> int:
    """
    An ``O_PATH`` descriptor of what is at a path in which nothing is a symlink.
    """
    how = _How(os.O_PATH | os.O_CLOEXEC, 0, _RESOLVE_NO_SYMLINKS)
    size = ctypes.sizeof(how)
    return _call(f"openat2 {path}", _OPENAT2, _AT_FDCWD, os.fsencode(path), ctypes.byref(how), size)


def clone_tree(path: str | int, *, recursive: bool = True) -> int:
    """
    A detached copy of the mounts at a path, or at what an ``O_PATH`` descriptor refers to.

    :returns: its descriptor.
    """
    flags = _OPEN_TREE_CLONE | _OPEN_TREE_CLOEXEC | (_AT_RECURSIVE if recursive else 0)
    if isinstance(path, int):
        return _call("open_tree", _OPEN_TREE, path, b"", flags | _AT_EMPTY_PATH)
    return _call(f"open_tree {path}", _OPEN_TREE, _AT_FDCWD, os.fsencode(path), flags)


def attach(tree: int, target: str) -> None:
    """
    Attach a detached mount at a path.
    """
    what = f"move_mount to {target}"
    _call(what, _MOVE_MOUNT, tree, b"", _AT_FDCWD, os.fsencode(target), _MOVE_MOUNT_F_EMPTY_PATH)


def set_attributes(tree: int, attributes: int, *, user_namespace: int = -1, recursive: bool = True) -> None:
    """
    Change a detached mount: read-only, mapped ids.
    """
    wanted = _MountAttributes(attributes, 0, 0, user_namespace if user_namespace >= 0 else 0)
    flags = _AT_EMPTY_PATH | (_AT_RECURSIVE if recursive else 0)
    size = ctypes.sizeof(wanted)
    _call("mount_setattr", _MOUNT_SETATTR, tree, b"", flags, ctypes.byref(wanted), size)


def prctl(option: int, first: int = 0, second: int | bytes = 0) -> None:
    """
    prctl(2).
    """
    words = [ctypes.c_ulong(first), second if isinstance(second, bytes) else ctypes.c_ulong(second)]
    _checked(_libc.prctl(option, *words, ctypes.c_ulong(0), ctypes.c_ulong(0)), f"prctl {option}")


def name_process(name: str) -> None:
    """
    Its name in ``ps``, 15 bytes at most.
    """
    _checked(_libc.prctl(PR_SET_NAME, name.encode(), 0, 0, 0), "prctl PR_SET_NAME")


def drop_bounding(keep: Iterable[int], last: int) -> None:
    """
    Never again have any capability but these.

    :param last: the highest capability that the kernel knows.
    """
    kept = set(keep)
    for number in range(last + 1):
        if number not in kept:
            prctl(PR_CAPBSET_DROP, number)


def set_capabilities(numbers: Iterable[int]) -> None:
    """
    Have exactly these, permitted and effective; inheritable and ambient none.
    """
    mask = sum(1 << number for number in set(numbers))
    prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL)
    header = _CapabilityHeader(_CAPABILITY_VERSION_3, 0)
    low, high = mask & 0xFFFFFFFF, mask >> 32
    data = (_Capabilities * 2)(_Capabilities(low, low, 0), _Capabilities(high, high, 0))
    _checked(_libc.capset(ctypes.byref(header), data), "capset")


def new_session_keyring() -> None:
    """
    Leave the keys of the session behind.
    """
    _call("keyctl", _number("keyctl"), _KEYCTL_JOIN_SESSION_KEYRING, None)


def filter_calls(program: bytes) -> None:
    """
    Install a seccomp filter: an array of ``struct sock_filter``.
    """
    buffer = ctypes.create_string_buffer(program, len(program))
    wanted = _Program(len(program) // 8, ctypes.cast(buffer, ctypes.c_void_p))
    _call("seccomp", _number("seccomp"), _SECCOMP_SET_MODE_FILTER, 0, ctypes.byref(wanted))
