"""
What tests with containers have in common: a place for one, with a root file system made of busybox, in a mount
namespace that goes with the test.
"""

import json
import os
import secrets
import shutil
import signal
import tempfile
from collections.abc import Coroutine
from pathlib import Path
from typing import Any, TypeVar

from twisted.internet import reactor
from twisted.internet.protocol import ProcessProtocol
from twisted.python.failure import Failure
from twisted.trial.unittest import TestCase

from core0.containers import groups
from core0.containers.bundle import Etc, Spec, bundle
from core0.containers.kernel import PR_SET_CHILD_SUBREAPER, prctl
from core0.containers.machine import look
from core0.containers.probe import find_init
from core0.containers.programs import Programs, Said
from core0.containers.runtime import Runner, Runtime, find, hidden
from core0.reaper import Reaper
from core0.spawn import Child, Launch, Surroundings
from core0.waiting import Occurrence, pause, within
from tests.functional.shared import GENEROUS, missing, need_root

E = TypeVar("E", bound=Exception)
IDS = 1_900_000_000  # the first user id of containers in tests
BUSYBOX = "/bin/busybox"
BOTH = os.path.isdir(groups.UNIFIED)  # versions of cgroups
SIZE = 65536

# A root file system in memory, below the folder in $1; $2 is what is hidden. It lives until its stdin is closed.
PLACE = f"""
set -e
mount -t tmpfs -o mode=755 tmpfs "$1"
[ -z "$2" ] || mount -t tmpfs tmpfs "$2"
cd "$1"
mkdir bin
cp {BUSYBOX} bin/busybox
./bin/busybox --install -s bin 2>/dev/null || true
for link in bin/*; do [ -L "$link" ] && ln -sf busybox "$link"; done
$3
chown -hR {IDS}:{IDS} .
echo ready
read _ || true
"""

# Calls system calls with nonsense in all arguments, and prints what each of them says. $1: a file with a seccomp
# program to install first.
CALLS = """
import ctypes, json, os, sys
calls, file = json.loads(sys.argv[1]), sys.argv[2:]
libc = ctypes.CDLL(None, use_errno=True)
libc.syscall.restype = ctypes.c_long
if file:
    class Program(ctypes.Structure):
        _fields_ = [("length", ctypes.c_ushort), ("filter", ctypes.c_void_p)]
    text = open(file[0], "rb").read()
    buffer = ctypes.create_string_buffer(text, len(text))
    program = Program(len(text) // 8, ctypes.addressof(buffer))
    assert libc.prctl(38, 1, 0, 0, 0) == 0
    assert libc.syscall(317, 1, 0, ctypes.byref(program)) == 0, os.strerror(ctypes.get_errno())
said = {}
for name, (number, first) in calls.items():
    words = [ctypes.c_long(first)] + [ctypes.c_long(-1)] * 5
    said[name] = ctypes.get_errno() if libc.syscall(ctypes.c_long(number), *words) < 0 else 0
print(json.dumps(said))
"""

# numbers on x86_64, and a first argument with which nothing happens
NUMBERS = {
    **{name: (number, -1) for name, number in (("read", 0), ("close", 3), ("fstat", 5), ("lseek", 8), ("mmap", 9))},
    **{name: (number, -1) for name, number in (("ioctl", 16), ("dup", 32), ("connect", 42), ("wait4", 61))},
    **{name: (number, -1) for name, number in (("chdir", 80), ("mknod", 133), ("futex", 202), ("openat", 257))},
    **{name: (number, -1) for name, number in (("ptrace", 101), ("chroot", 161), ("sched_setaffinity", 203))},
    **{name: (number, -1) for name, number in (("prlimit64", 302), ("pidfd_open", 434), ("openat2", 437))},
    **{name: (number, -1) for name, number in (("landlock_create_ruleset", 444), ("cachestat", 451))},
    **{name: (number, -1) for name, number in (("mount", 165), ("umount2", 166), ("pivot_root", 155))},
    **{name: (number, -1) for name, number in (("unshare", 272), ("setns", 308), ("fsopen", 430), ("open_tree", 428))},
    **{name: (number, -1) for name, number in (("init_module", 175), ("delete_module", 176), ("kexec_load", 246))},
    **{name: (number, -1) for name, number in (("add_key", 248), ("keyctl", 250), ("request_key", 249))},
    **{name: (number, -1) for name, number in (("bpf", 321), ("perf_event_open", 298), ("userfaultfd", 323))},
    **{name: (number, -1) for name, number in (("io_uring_setup", 425), ("io_uring_enter", 426), ("kcmp", 312))},
    **{name: (number, -1) for name, number in (("open_by_handle_at", 304), ("clock_settime", 227), ("syslog", 103))},
    **{name: (number, -1) for name, number in (("reboot", 169), ("swapon", 167), ("acct", 163), ("iopl", 172))},
    **{name: (number, -1) for name, number in (("modify_ldt", 154), ("clone3", 435), ("nothing", 1000))},
    "clone_user": (56, 0x10000000),
    "clone_net": (56, 0x40000011),
    "personality": (135, 0xFFFFFFFF),
    "personality_other": (135, 0x1234),
    "socket_unix": (41, 1),
    "socket_alg": (41, 38),
    "socket_vsock": (41, 40),
    "socket_packet": (41, 17),
    "socket_old": (41, 4),
    "socket_alg_hidden": (41, 0x100000026),
}


def need_programs(*names: str) -> None:
    """
    Skip where the programs that containers take are not there.
    """
    need_root()
    for name in ("unshare", "nsenter", "catatonit", *names):
        if find(name) is None:
            raise missing(f"needs {name}")
    if not os.path.exists(BUSYBOX):
        raise missing("needs busybox-static")


class _Holder(ProcessProtocol):
    """
    The process that holds a mount namespace.
    """

    def __init__(self) -> None:
        self.said = b""
        self.ready: Occurrence[bool] = Occurrence()
        self.ended: Occurrence[None] = Occurrence()

    def childDataReceived(self, childFD: int, data: bytes) -> None:
        """
        Twisted's hook.
        """
        self.said += data
        if b"ready\n" in self.said:
            self.ready.happen(True)

    def processEnded(self, reason: Failure) -> None:
        """
        Twisted's hook.
        """
        self.ready.happen(False)
        self.ended.happen(None)


class Box:
    """
    A place for one container.

    :ivar folder: what is kept of it on the host.
    :ivar spec: of a container here, confined, with nothing special.
    :ivar pid: of its first process, once it runs.
    """

    def __init__(self, case: "ContainersCase", runtime: Runtime) -> None:
        self._case = case
        self.id = f"core0-test-{secrets.token_hex(6)}"
        self.folder = Path(tempfile.mkdtemp(prefix="core0-box-"))
        self.folder.chmod(0o755)
        self.root = self.folder / "root"
        self.root.mkdir()
        self.cgroups = f"/{self.id}/1"
        self.runner = Runner(reactor, case.programs, runtime, str(self.folder / "runtime"))
        self.spec = self._spec()
        self.pid = 0
        self._holder = _Holder()
        self._child: Child | None = None

    def _spec(self) -> Spec:
        files = {name: self.folder / name for name in ("hosts", "hostname", "resolv")}
        for path in files.values():
            path.write_text(f"# {path.name} of {self.id}\n")
            os.chown(path, IDS, IDS)
        etc = Etc(**{name: str(path) for name, path in files.items()})
        return Spec(7, "box", str(self.root), IDS, self.cgroups, find_init() or "", etc)

    async def open(self, fill: str = "") -> None:
        """
        Make its root file system.

        :param fill: a script that adds to it, in its folder.
        """
        hide = groups.UNIFIED if self.runner.runtime.hide_unified else ""
        script = PLACE.replace("$3", fill)
        options = ["--mount", "--propagation", "private", "--", "/bin/sh", "-c", script, "sh", str(self.root), hide]
        path = find("unshare") or ""
        launch = Launch(path, [path, *options], {"PATH": os.environ["PATH"]}, "/")
        self._child = self._case.child(self._holder, launch)
        if not await within(reactor, GENEROUS, self._holder.ready.wait()):
            raise AssertionError(self._holder.said.decode())

    @property
    def namespace(self) -> str:
        """
        The file of its mount namespace.
        """
        assert self._child is not None
        return f"/proc/{self._child.pid}/ns/mnt"

    async def run(self, config: dict[str, Any] | None = None) -> int:
        """
        Start the container.

        :param config: another ``config.json`` than that of ``spec``.
        """
        found = bundle(self.spec, look()) if config is None else config
        (self.folder / "config.json").write_text(json.dumps(found))
        pid_file = str(self.folder / "pid")
        self.pid = await self.runner.run(
            self.id, str(self.folder), pid_file, cgroups=self.cgroups, mount_namespace=self.namespace
        )
        return self.pid

    async def exec(self, *argv: str) -> Said:
        """
        Run a program in the container, by the runtime.
        """
        runtime = self.runner.runtime
        command = [runtime.program, "--root", str(self.folder / "runtime"), "exec", self.id, *argv]
        return await self._case.programs.run(hidden(command) if runtime.hide_unified else command)

    async def sh(self, script: str) -> str:
        """
        What a script prints that runs in the container; it has to succeed.
        """
        said = await self.exec("sh", "-c", script)
        assert said.code == 0, said
        return said.out.decode()

    async def delete(self) -> None:
        """
        End the container.
        """
        await self.runner.delete(self.id, cgroups=self.cgroups)

    async def close(self) -> None:
        """
        Leave nothing.
        """
        await self.delete()
        groups.remove_empty(os.path.dirname(self.cgroups))
        if self._child is not None:
            self._child.closeStdin()
            await within(reactor, GENEROUS, self._holder.ended.wait())
        shutil.rmtree(self.folder)


class ContainersCase(TestCase):
    """
    Tests with containers, on the real reactor.
    """

    def setUp(self) -> None:
        """
        What starts programs.
        """
        need_programs()
        prctl(PR_SET_CHILD_SUBREAPER, 1)
        self.addCleanup(prctl, PR_SET_CHILD_SUBREAPER, 0)
        self.reaper = Reaper(reactor)  # type: ignore[arg-type] # it is more than mypy knows
        self.surroundings = Surroundings(files=(1024, 20000))
        self.programs = Programs(reactor, self.reaper, self.surroundings)
        self._installed = False

    async def install(self) -> None:
        """
        Take over SIGCHLD; only once the reactor runs, because it takes it itself then.
        """
        if not self._installed:
            self._installed = True
            await pause(reactor, 0)
            self.addCleanup(signal.signal, signal.SIGCHLD, signal.getsignal(signal.SIGCHLD))
            self.reaper.install()

    async def failing(self, work: Coroutine[Any, Any, object], kind: type[E]) -> E:
        """
        The error that something ends with.
        """
        try:
            found = await work
        except kind as error:
            return error
        raise AssertionError(f"expected {kind.__name__}, got {found!r}")

    def child(self, protocol: ProcessProtocol, launch: Launch) -> Child:
        """
        Start a program whose stdin stays open.
        """
        return Child(reactor, self.reaper, self.surroundings, protocol, launch, {0: "w", 1: "r", 2: "r"})

    async def box(self, runtime: Runtime, fill: str = "") -> Box:
        """
        A place for a container; it goes with the test.
        """
        await self.install()
        box = Box(self, runtime)
        self.addCleanup(box.close)
        await box.open(fill)
        return box


def cgroups_of(path: str) -> list[str]:
    """
    The folders of a cgroup that are there.
    """
    return [folder for folder in groups.mounted(path) if os.path.isdir(folder)]


def command_line(pid: str) -> str:
    """
    Of a process; empty if it has ended.
    """
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().decode(errors="replace")
    except OSError:
        return ""


def mounts() -> list[str]:
    """
    What is mounted for this process.
    """
    return Path("/proc/self/mountinfo").read_text().splitlines()
