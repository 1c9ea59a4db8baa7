"""
The seccomp profile of containers, as data and compiled.
"""

import ctypes
import json
import os
import struct
import tempfile
from errno import EAFNOSUPPORT, ENOSYS, EPERM
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from core0.containers import syscalls
from core0.containers.kernel import PR_SET_NO_NEW_PRIVS, filter_calls, prctl
from core0.containers.seccomp import NoProfile, profile, program
from tests.functional.containers_shared import NUMBERS
from tests.functional.shared import missing

MACHINE = os.uname().machine


def in_child(steps: list[tuple[int, int]]) -> list[int]:
    """
    Call system calls under the program, in a process of their own: the number and the first argument of each.

    :returns: the errors.
    """
    text = program(profile(MACHINE))
    ours, theirs = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            prctl(PR_SET_NO_NEW_PRIVS, 1)
            filter_calls(text)
            os.write(theirs, json.dumps([_errno(*step) for step in steps]).encode())
        finally:
            os._exit(0)
    os.close(theirs)
    with os.fdopen(ours, "rb") as file:
        said = file.read()
    os.waitpid(pid, 0)
    found: list[int] = json.loads(said)
    return found


def _errno(number: int, first: int) -> int:
    libc = ctypes.CDLL(None, use_errno=True)
    libc.syscall.restype = ctypes.c_long
    words = [ctypes.c_long(first)] + [ctypes.c_long(-1)] * 5
    return ctypes.get_errno() if libc.syscall(ctypes.c_long(number), *words) < 0 else 0


class ProfileTests(SynchronousTestCase):
    """
    The profile as data.
    """

    def test_unknown(self) -> None:
        """
        A call that nobody has thought of does not exist.
        """
        found = profile("x86_64")
        self.assertEqual(("SCMP_ACT_ERRNO", ENOSYS), (found["defaultAction"], found["defaultErrnoRet"]))
        self.assertEqual(found, profile("x86_64"))

    def test_groups(self) -> None:
        """
        No call is both allowed and forbidden, and none of those that depend on their arguments is either.
        """
        allowed, forbidden = set(syscalls.ALLOWED), set(syscalls.FORBIDDEN)
        self.assertEqual(set(), allowed & forbidden)
        self.assertEqual(set(), {"clone", "clone3", "socket", "personality"} & (allowed | forbidden))

    def test_dangerous(self) -> None:
        """
        Whatever reaches the kernel's code, other namespaces or the whole machine is forbidden.
        """
        dangerous = (
            "init_module mount umount2 unshare setns keyctl bpf perf_event_open userfaultfd kexec_load io_uring_setup"
        )
        others = "open_by_handle_at clock_settime reboot swapon pivot_root fsopen move_mount socketcall"
        self.assertLessEqual(set(f"{dangerous} {others}".split()), set(syscalls.FORBIDDEN))

    def test_architectures(self) -> None:
        """
        Programs for the 32-bit sibling of a processor run; a processor that is not known has its own alone.
        """
        self.assertEqual(["SCMP_ARCH_X86_64", "SCMP_ARCH_X86"], profile("x86_64")["architectures"])
        self.assertEqual(["SCMP_ARCH_AARCH64", "SCMP_ARCH_ARM"], profile("aarch64")["architectures"])
        self.assertEqual([], profile("abacus")["architectures"])


class ProgramTests(SynchronousTestCase):
    """
    The profile compiled.
    """

    def setUp(self) -> None:
        """
        The numbers here are those of one processor.
        """
        if MACHINE != "x86_64":
            raise missing("needs x86_64")

    def test_form(self) -> None:
        """
        A program is made of whole instructions, no more of them than the kernel takes, and is always the same.
        """
        text = program(profile(MACHINE))
        self.assertEqual(0, len(text) % 8)
        self.assertLess(len(text) // 8, 4096)
        self.assertEqual(text, program(profile(MACHINE)))

    def test_calls(self) -> None:
        """
        Calls of programs reach the kernel; forbidden ones are not permitted, hidden ones do not exist.
        """
        said = dict(zip(NUMBERS, in_child(list(NUMBERS.values())), strict=True))
        for name in (
            "mount",
            "unshare",
            "setns",
            "bpf",
            "keyctl",
            "io_uring_setup",
            "reboot",
            "clone_user",
            "clone_net",
        ):
            self.assertEqual(EPERM, said[name], name)
        for name in ("clone3", "nothing", "personality_other"):
            self.assertEqual(ENOSYS, said[name], name)
        for name in ("socket_alg", "socket_vsock", "socket_packet", "socket_old", "socket_alg_hidden"):
            self.assertEqual(EAFNOSUPPORT, said[name], name)
        for name in (
            "read",
            "close",
            "ioctl",
            "openat",
            "ptrace",
            "personality",
            "socket_unix",
            "landlock_create_ruleset",
        ):
            self.assertNotIn(said[name], (ENOSYS, EPERM, EAFNOSUPPORT), name)

    def test_threads_and_processes(self) -> None:
        """
        A program under the profile starts processes and threads, opens sockets and runs other programs.
        """
        script = (
            "import socket, subprocess, threading; threading.Thread(target=print, args=('thread',)).start();"
            "print(subprocess.run(['echo', 'process'], capture_output=True, text=True).stdout.strip());"
            "socket.socket(socket.AF_INET6).close(); socket.socketpair(); print('sockets')"
        )
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder) / "program"
            file.write_bytes(program(profile(MACHINE)))
            out = Path(folder) / "out"
            pid = os.fork()
            if pid == 0:
                try:
                    prctl(PR_SET_NO_NEW_PRIVS, 1)
                    filter_calls(file.read_bytes())
                    fd = os.open(out, os.O_CREAT | os.O_WRONLY)
                    os.dup2(fd, 1)
                    os.execv("/usr/bin/env", ["env", "python3", "-Ic", script])
                finally:
                    os._exit(1)
            self.assertEqual(0, os.waitpid(pid, 0)[1])
            self.assertEqual({"thread", "process", "sockets"}, set(out.read_text().split()))

    @given(st.integers(0, (1 << 64) - 1) | st.sampled_from([10, 1 << 32 | 10]), st.integers(0, (1 << 64) - 1))
    def test_instructions(self, argument: int, kind: int) -> None:
        """
        No arguments of socket make another family than the four that are allowed reach the kernel, nor raw IPv6.
        """
        family = argument & 0xFFFFFFFF
        allowed = family in (1, 2, 16) or (family == 10 and kind & 0xF in (1, 2, 5))
        self.assertEqual(allowed, run(TEXT, 41, argument, kind) == 0x7FFF0000)

    @given(st.integers(0, (1 << 64) - 1))
    def test_clone(self, flags: int) -> None:
        """
        No flags of clone make a namespace.
        """
        allowed = not flags & 0x7E020000
        self.assertEqual(allowed, run(TEXT, 56, flags) == 0x7FFF0000)

    def test_foreign(self) -> None:
        """
        A call by the numbers of an architecture that is not the machine's ends the process.
        """
        self.assertEqual(0, run(TEXT, 0, 0, architecture=0xC00000B7))

    def test_unusable(self) -> None:
        """
        A profile that cannot be compiled says what is wrong with it.
        """
        odd = profile(MACHINE) | {"architectures": ["SCMP_ARCH_ABACUS"]}
        error = self.assertRaises(NoProfile, program, odd)
        self.assertIn("ABACUS", str(error))


def run(text: bytes, number: int, first: int, second: int = 0, architecture: int = 0xC000003E) -> int:
    """
    What a program says to a call, as the kernel would run it.
    """
    data = struct.pack("<IIQ6Q", number, architecture, 0, first, second, 0, 0, 0, 0)
    place = accumulator = 0
    memory = [0] * 16
    while True:
        code, yes, no, k = struct.unpack_from("<HBBI", text, place * 8)
        place += 1
        if code == 0x20:  # load a word of the data
            accumulator = struct.unpack_from("<I", data, k)[0]
        elif code == 0x06:
            return int(k)
        elif code == 0x05:
            place += k
        elif code == 0x54:
            accumulator &= k
        elif code == 0x02:
            memory[k] = accumulator
        elif code == 0x60:
            accumulator = memory[k]
        elif code in (0x15, 0x25, 0x35):
            true = {0x15: accumulator == k, 0x25: accumulator > k, 0x35: accumulator >= k}[code]
            place += yes if true else no
        else:
            raise AssertionError(f"unknown instruction {code:#x}")


TEXT = program(profile("x86_64")) if MACHINE == "x86_64" else b""
