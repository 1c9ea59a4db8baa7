"""
Programs are started by ``posix_spawn``, in a session and surroundings of their own. This is where core0 overrides hooks
of Twisted that are private: if a new Twisted does not call them any more, these tests fail.
"""

import errno
import os
import resource
import signal
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

from twisted.internet import reactor
from twisted.internet.error import ProcessDone, ProcessTerminated
from twisted.internet.process import Process, ProcessReader, reapProcessHandlers
from twisted.internet.protocol import ProcessProtocol
from twisted.python.failure import Failure
from twisted.trial.unittest import TestCase

from core0 import procfs
from core0.reaper import Reaper
from core0.spawn import Child, Launch, NoDirectory, NotExecuted, Surroundings
from core0.waiting import Occurrence, pause

ENV = {"PATH": "/usr/bin:/bin", "WHO": "me"}
BIG = 3_000_000  # bytes; more than any pipe holds


class Protocol(ProcessProtocol):
    """
    Collects what a program says.
    """

    def __init__(self) -> None:
        self.said = {1: b"", 2: b""}
        self.exited: Occurrence[BaseException | None] = Occurrence()
        self.ended: Occurrence[BaseException | None] = Occurrence()
        self.times = 0

    def childDataReceived(self, childFD: int, data: bytes) -> None:
        """
        Twisted's hook.
        """
        self.said[childFD] += data

    def processExited(self, reason: Failure) -> None:
        """
        Twisted's hook.
        """
        self.times += 1
        self.exited.happen(reason.value)

    def processEnded(self, reason: Failure) -> None:
        """
        Twisted's hook.
        """
        self.ended.happen(reason.value)


def inheritable(number: int) -> bool:
    """
    Whether programs inherit a descriptor; one that has been closed meanwhile they do not.
    """
    try:
        return os.get_inheritable(number)
    except OSError:
        return False


class SpawnTests(TestCase):
    """
    Programs on the real reactor.
    """

    def setUp(self) -> None:
        """
        A reaper, and no way to fork.
        """
        self.reaper = Reaper(reactor)  # type: ignore[arg-type] # it is more than mypy knows
        self.surroundings = Surroundings(files=resource.getrlimit(resource.RLIMIT_NOFILE))
        self.null = os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)
        self.addCleanup(os.close, self.null)
        self.folder = os.path.realpath(tempfile.mkdtemp(prefix="core0-spawn-"))
        self.addCleanup(os.rmdir, self.folder)

        def fork() -> NoReturn:
            raise AssertionError("Twisted forked: it does not call _trySpawnInsteadOfFork any more")

        self.patch(os, "fork", fork)

    async def install(self) -> None:
        """
        Take over SIGCHLD; only once the reactor runs, because it takes it itself then.
        """
        await pause(reactor, 0)
        self.addCleanup(signal.signal, signal.SIGCHLD, signal.getsignal(signal.SIGCHLD))
        self.reaper.install()

    def child(self, *argv: str, cwd: str = "", stdin: bytes | None = None, **keywords: Any) -> tuple[Child, Protocol]:
        """
        Start a program.
        """
        protocol = Protocol()
        pipes: dict[int, int | str] = {0: self.null if stdin is None else "w", 1: "r", 2: "r"}
        launch = Launch(argv[0], argv, ENV, cwd)
        child = Child(reactor, self.reaper, self.surroundings, protocol, launch, pipes, **keywords)
        if stdin is not None:
            child.write(stdin)
            child.closeStdin()
        return child, protocol

    async def run_program(self, *argv: str, **keywords: Any) -> Protocol:
        """
        Run a program to its end.
        """
        await self.install()
        _, protocol = self.child(*argv, **keywords)
        await protocol.ended.wait()
        return protocol

    async def shell(self, script: str, **keywords: Any) -> str:
        """
        Run a script to its end: what it prints.
        """
        protocol = await self.run_program("/bin/sh", "-c", script, **keywords)
        self.assertEqual(b"", protocol.said[2])
        return protocol.said[1].decode()

    async def test_posix_spawn(self) -> None:
        """
        The process is created by posix_spawn, inside of whatever has to be prepared for that, and never by fork.
        """
        spawned: list[int] = []
        steps: list[str] = []
        real = os.posix_spawn

        def posix_spawn(*arguments: Any, **keywords: Any) -> int:
            steps.append("spawn")
            spawned.append(real(*arguments, **keywords))
            return spawned[-1]

        def around(start: Callable[[], int]) -> int:
            steps.append("before")
            pid = start()
            steps.append("after")
            return pid

        self.patch(os, "posix_spawn", posix_spawn)
        await self.install()
        child, protocol = self.child("/bin/true", around=around)
        self.assertEqual(["before", "spawn", "after"], steps)
        self.assertIn(child.pid, (spawned[0], None))
        await protocol.ended.wait()
        self.assertEqual(1, protocol.times)

    async def test_hook_is_twisteds(self) -> None:
        """
        The hooks that are overridden exist in Twisted's own class.
        """
        for name in (
            "_trySpawnInsteadOfFork",
            "reapProcess",
            "processReaderFactory",
            "processWriterFactory",
            "processEnded",
        ):
            self.assertTrue(hasattr(Process, name), name)
        self.assertTrue(hasattr(ProcessReader, "doRead"))

    async def test_exit_status(self) -> None:
        """
        How the program ended is told once.
        """
        for script, kind, code, number in (
            ("exit 0", ProcessDone, 0, None),
            ("exit 7", ProcessTerminated, 7, None),
            ("kill -9 $$", ProcessTerminated, None, 9),
        ):
            protocol = await self.run_program("/bin/sh", "-c", script)
            reason: Any = await protocol.exited.wait()
            self.assertIsInstance(reason, kind)
            self.assertEqual((code, number, 1), (reason.exitCode, reason.signal, protocol.times))

    async def test_session(self) -> None:
        """
        It leads a session and a group of its own.
        """
        found = procfs.parse_stat((await self.shell("exec cat /proc/self/stat")).encode())
        assert found is not None
        parent, group, session = (int(word) for word in found[1][:3])
        self.assertEqual((os.getpid(), group), (parent, session))
        self.assertNotEqual(os.getsid(0), session)

    async def test_directory(self) -> None:
        """
        It starts where it is told, else at the root, and core0 itself stays where it was.
        """
        here = os.getcwd()
        self.assertEqual("/\n", await self.shell("pwd -P"))
        self.assertEqual(f"{self.folder}\n", await self.shell("pwd -P", cwd=self.folder))
        self.assertEqual(here, os.getcwd())

    async def test_environment(self) -> None:
        """
        It sees the environment that it is given, nothing of core0's own.
        """
        protocol = await self.run_program("/usr/bin/env")
        self.assertEqual({f"{name}={value}" for name, value in ENV.items()}, set(protocol.said[1].decode().split()))

    async def test_descriptors(self) -> None:
        """
        It has descriptors 0, 1 and 2, and no other but those that were meant to be inherited: core0 has none.
        """
        found = (await self.shell("ls /proc/$$/fd; true")).split()
        inherited = [name for name in os.listdir("/proc/self/fd") if int(name) > 2 and inheritable(int(name))]
        self.assertEqual({"0", "1", "2", *inherited}, set(found))

    async def test_signals(self) -> None:
        """
        It ignores and blocks no signal, even those that Python does.
        """
        self.assertEqual(signal.SIG_IGN, signal.getsignal(signal.SIGPIPE))
        text = await self.shell("exec grep -E 'Sig(Blk|Ign)' /proc/self/status")
        blocked, ignored = (int(word, 16) for word in text.split()[1::2])
        internal = 1 << 31 | 1 << 32  # signals 32 and 33, which glibc keeps to itself
        self.assertEqual((0, 0), (blocked, ignored & ~internal))

    async def test_limits(self) -> None:
        """
        It has the limit on open files from before it was raised, and a usual umask; core0 keeps its own.
        """
        before = resource.getrlimit(resource.RLIMIT_NOFILE)
        umask = os.umask(0o077)
        self.addCleanup(os.umask, umask)
        self.surroundings = Surroundings(files=(999, before[1]))  # more than are open here: see test_pipes
        self.assertEqual("999 0022\n", await self.shell("echo $(ulimit -n) $(umask)"))
        self.assertEqual(before, resource.getrlimit(resource.RLIMIT_NOFILE))
        self.assertEqual(0o077, os.umask(0o077))

    def crowd(self, limit: int) -> None:
        """
        Have as many files open, or some more, as a limit of programs allows; those may have more themselves.
        """
        before = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (before[1], before[1]))
        self.addCleanup(resource.setrlimit, resource.RLIMIT_NOFILE, before)
        held = [os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)]
        self.addCleanup(lambda: list(map(os.close, held)))
        while held[-1] < limit:
            held.append(os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC))
        self.surroundings = Surroundings(files=(limit, before[1]))

    async def test_window(self) -> None:
        """
        While a program is created other threads can open files, however many are open; it has its own limit all the
        same.
        """
        real = os.posix_spawn
        opened = 0

        def posix_spawn(*arguments: Any, **keywords: Any) -> int:
            nonlocal opened
            for fd in [os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC) for _ in range(50)]:
                os.close(fd)
                opened += 1
            return real(*arguments, **keywords)

        self.patch(os, "posix_spawn", posix_spawn)
        limit = 300
        self.surroundings = Surroundings(files=(limit, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
        self.assertEqual(f"{limit}\n", await self.shell("ulimit -n"))
        for size in (limit - 50, limit, limit + 100):
            self.crowd(size)
            self.surroundings = Surroundings(files=(limit, self.surroundings.files[1]))
            # it may look before it has its limit, which comes from outside here
            self.assertEqual(f"{limit}\n", await self.shell("sleep 0.5; exec sh -c 'ulimit -n'"))
        self.assertEqual(200, opened)

    async def test_pipes(self) -> None:
        """
        Pipes of programs do not take the upper half of the descriptors below the limit of those.
        """
        await self.install()
        hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
        before = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
        self.addCleanup(resource.setrlimit, resource.RLIMIT_NOFILE, before)
        self.crowd(60)
        self.surroundings = Surroundings(files=(100, hard))
        child, protocol = self.child("/bin/cat", stdin=b"x" * 100_000)
        self.assertEqual([], [pipe.fileno() for pipe in child.pipes.values() if pipe.fileno() < 100])
        self.assertTrue(child.pipes)
        await protocol.ended.wait()
        self.assertEqual(b"x" * 100_000, protocol.said[1])

    async def test_oom_score(self) -> None:
        """
        It has the score that the kernel ends processes by when memory is full that it shall have; core0 keeps its own.
        """
        own = Path("/proc/self/oom_score_adj").read_text()
        self.assertEqual(own, await self.shell("cat /proc/$$/oom_score_adj"))
        self.surroundings = Surroundings(resource.getrlimit(resource.RLIMIT_NOFILE), 900)
        self.assertEqual("900\n", await self.shell("sleep 0.1; cat /proc/self/oom_score_adj"))
        self.assertEqual(own, Path("/proc/self/oom_score_adj").read_text())

    async def test_stdin(self) -> None:
        """
        It reads what it is given, of any length, then the end; its output is read to the end, too.
        """
        data = os.urandom(BIG)
        protocol = await self.run_program("/bin/cat", stdin=data)
        self.assertEqual(data, protocol.said[1])
        protocol = await self.run_program("/bin/cat")
        self.assertEqual(b"", protocol.said[1])

    async def test_does_not_read(self) -> None:
        """
        A program that does not read what it is given ends all the same.
        """
        protocol = await self.run_program("/bin/true", stdin=b"x" * BIG)
        self.assertIsInstance(await protocol.exited.wait(), ProcessDone)

    async def test_both_streams(self) -> None:
        """
        Its two streams are told apart.
        """
        protocol = await self.run_program("/bin/sh", "-c", "echo out; echo err >&2")
        self.assertEqual({1: b"out\n", 2: b"err\n"}, protocol.said)

    async def test_drain(self) -> None:
        """
        When somebody holds its streams who will not write to them, what they still hold is taken, and they are closed.
        """
        await self.install()
        reader, writer = os.pipe()
        self.addCleanup(os.close, writer)
        os.set_blocking(reader, False)
        child, protocol = self.child("/bin/sh", "-c", "echo before; setsid sleep 600 & echo $!")
        await protocol.exited.wait()
        os.close(reader)
        self.assertFalse(protocol.ended.happened)
        child.drain()
        await protocol.ended.wait()
        before, pid = protocol.said[1].split()
        self.assertEqual(b"before", before)
        os.kill(int(pid), signal.SIGKILL)

    async def test_signal(self) -> None:
        """
        It can be signalled while it lives.
        """
        await self.install()
        child, protocol = self.child("/bin/sleep", "600")
        child.signalProcess("TERM")
        reason: Any = await protocol.exited.wait()
        self.assertEqual(signal.SIGTERM, reason.signal)
        await protocol.ended.wait()

    async def test_not_twisteds(self) -> None:
        """
        Twisted does not look for it whenever some child ends: the reaper does.
        """
        await self.install()
        child, protocol = self.child("/bin/sleep", "600")
        self.assertNotIn(child.pid, reapProcessHandlers)
        child.signalProcess("KILL")
        await protocol.ended.wait()

    def descriptors(self) -> int:
        """
        How many files are open.
        """
        return len(os.listdir("/proc/self/fd"))

    async def test_no_program(self) -> None:
        """
        A program or a directory that there is not is an error at once, and leaves nothing open or changed.
        """
        await self.install()
        open_files, here, umask = self.descriptors(), os.getcwd(), os.umask(0o022)
        limit = resource.getrlimit(resource.RLIMIT_NOFILE)
        for argv, cwd, kind, number in (
            (["/no/such/program"], "", NotExecuted, errno.ENOENT),
            (["/etc/passwd"], "", NotExecuted, errno.EACCES),
            (["/bin/true"], "/no/such/folder", NoDirectory, errno.ENOENT),
            (["/bin/true"], "/etc/passwd", NoDirectory, errno.ENOTDIR),
            (["/bin/true", "x" * 200_000], "", NotExecuted, errno.E2BIG),
        ):
            self.assertEqual(number, self.assertRaises(kind, self.child, *argv, cwd=cwd).errno)
        await pause(reactor, 0)
        self.assertEqual(open_files, self.descriptors())
        self.assertEqual((here, limit), (os.getcwd(), resource.getrlimit(resource.RLIMIT_NOFILE)))
        self.assertEqual(0o022, os.umask(umask))

    async def test_no_leak(self) -> None:
        """
        A program that has ended leaves nothing open.
        """
        await self.install()
        open_files = self.descriptors()
        for _ in range(10):
            _, protocol = self.child("/bin/true", stdin=b"x")
            await protocol.ended.wait()
        await pause(reactor, 0)
        self.assertEqual(open_files, self.descriptors())

    async def test_many(self) -> None:
        """
        Many at once all end, each with its own status.
        """
        await self.install()
        children = [(code, self.child("/bin/sh", "-c", f"exit {code}")[1]) for code in range(50)]
        for code, protocol in children:
            reason: Any = await protocol.ended.wait()
            self.assertEqual(code, reason.exitCode)
