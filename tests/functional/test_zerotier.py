"""
Containers in ZeroTier networks: with a program that stands in for ``zerotier-one``, and with that itself where it is
installed.
"""

import os
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import textwrap
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any, TypeVar
from unittest import SkipTest

from twisted.internet import reactor
from twisted.internet.defer import CancelledError, ensureDeferred, gatherResults
from twisted.internet.process import ProcessReader
from twisted.trial.unittest import TestCase

from core0.agent import in_pool
from core0.network import helper, zerotiers
from core0.network.helper import NotServed
from core0.network.zerotier import PID, PORT, TOKEN
from core0.network.zerotiers import ZeroTiers
from core0.reaper import Reaper
from core0.spawn import Surroundings
from core0.waiting import pause
from tests.functional import zerotier_one
from tests.functional.network_shared import Host
from tests.functional.shared import GENEROUS, lives, missing, need_root

T = TypeVar("T")
E = TypeVar("E", bound=Exception)

ITS: Any = reactor
NETWORK = "8056c2e21c000001"
AT_ONCE = 2.0  # seconds until core0 knows that it is not told how it is
# what somebody in a container is answered: the code; and who waits there for what comes
ASK = """
    import http.client, sys
    connection = http.client.HTTPConnection("127.0.0.1", int(sys.argv[1]), timeout=5)
    connection.request(sys.argv[2], sys.argv[3], b"{}", {"X-ZT1-Auth": sys.argv[4]} if sys.argv[4] else {})
    print(connection.getresponse().status)
"""
SIT = """
    import socket, sys
    heard = socket.create_server(("127.0.0.1", 0))
    print(heard.getsockname()[1], flush=True)
    peer, _ = heard.accept()
    print("came", flush=True)
    print(peer.recv(65536), flush=True)
"""


class ZeroTierCase(TestCase):
    """
    Tests with the network of a container, on the real reactor.
    """

    def setUp(self) -> None:
        """
        What starts programs.
        """
        need_root()
        if not os.path.exists("/dev/net/tun"):
            raise missing("needs /dev/net/tun")
        self.folder = Path(tempfile.mkdtemp(prefix="core0-zt-"))
        self.addCleanup(shutil.rmtree, self.folder, ignore_errors=True)
        self.reaper = Reaper(ITS)
        self.surroundings = Surroundings(files=resource.getrlimit(resource.RLIMIT_NOFILE))
        self.all: list[ZeroTiers] = []
        self.containers = {7: self.container()}
        self.zerotiers = self.another()

    def container(self) -> Host:
        """
        The network of one.
        """
        host = Host()
        self.addCleanup(host.close)
        return host

    async def install(self) -> None:
        """
        Take over SIGCHLD; only once the reactor runs, because it takes it itself then.
        """
        await pause(ITS, 0)
        self.addCleanup(signal.signal, signal.SIGCHLD, signal.getsignal(signal.SIGCHLD))
        self.reaper.install()
        self.addCleanup(self.clean)

    def another(self) -> ZeroTiers:
        """
        That of another core0.
        """
        self.all.append(ZeroTiers(ITS, self.in_thread, self.reaper, self.surroundings))
        return self.all[-1]

    async def in_thread(self, work: Callable[..., T], *arguments: Any) -> T:
        """
        Calls in one of some threads.
        """
        return await in_pool(ITS, ITS.getThreadPool(), work, *arguments)

    async def clean(self) -> None:
        """
        All of them end, with all that they have.
        """
        for each in self.all:
            for container in self.containers:
                await each.leave(container)
        await self.nothing_left()
        await self.until(lambda: not any(isinstance(each, ProcessReader) for each in ITS.getReaders()), "closed")

    async def nothing_left(self) -> None:
        """
        Until no process is left, and nothing in the networks and in the folder.
        """
        await self.until(lambda: not self.processes(), "ended")
        await self.until(lambda: all(host.links() == ["lo"] for host in self.containers.values()), "no links")
        self.assertEqual(
            [], [str(self.home(container)) for container in self.containers if self.home(container).exists()]
        )

    def home(self, container: int = 7) -> Path:
        """
        The folder of one.
        """
        return self.folder / f"home{container}"

    def place(self, container: int = 7) -> tuple[int, str, str, str]:
        """
        The arguments for one.
        """
        return container, NETWORK, f"/proc/{self.containers[container].pid}/ns/net", str(self.home(container))

    def processes(self) -> list[int]:
        """
        Those that have to do with the folder of the test.
        """
        found = []
        for name in os.listdir("/proc"):
            try:
                if name.isdigit() and os.fsencode(self.folder) in Path(f"/proc/{name}/cmdline").read_bytes():
                    found.append(int(name))
            except OSError:
                pass
        return [pid for pid in found if lives(pid)]

    def pid(self, container: int = 7) -> int:
        """
        The process of a container.
        """
        return int((self.home(container) / PID).read_text())

    async def until(self, look: Callable[[], object], what: str) -> None:
        """
        Until it is so.
        """
        end = ITS.seconds() + GENEROUS
        while not look():
            if ITS.seconds() > end:
                raise AssertionError(f"{what}: not within {GENEROUS:.0f} s")
            await pause(ITS, 0.02)

    async def told(self, status: str = "OK", container: int = 7, by: ZeroTiers | None = None) -> dict[str, Any]:
        """
        How it is with a container, as soon as its status is this.
        """
        end = ITS.seconds() + GENEROUS
        while True:
            found = await (by or self.zerotiers).described(container)
            if found is not None and found["status"] == status:
                return found
            if ITS.seconds() > end:
                raise AssertionError(f"{status}: not within {GENEROUS:.0f} s, but {found}")
            await pause(ITS, 0.02)

    async def failing(self, work: Coroutine[Any, Any, object], kind: type[E]) -> E:
        """
        The error that something ends with.
        """
        try:
            found = await work
        except kind as error:
            return error
        raise AssertionError(f"expected {kind.__name__}, got {found!r}")

    async def assert_life(self, status: str) -> None:
        """
        A container joins, is told of, and leaves.
        """
        await self.install()
        self.assertIsNone(await self.zerotiers.described(7))
        await self.zerotiers.leave(7)
        container, network, namespace, home = self.place()
        await self.zerotiers.join(container, network.upper(), namespace, home)
        found = await self.told(status)
        self.assertEqual(NETWORK, found["network"])
        self.assertRegex(found["address"], r"\A[0-9a-f]{10}\Z")
        self.assertRegex(found["interface"], r"\Azt.+\Z")
        self.assertEqual([found["interface"], "lo"], sorted(self.containers[7].links(), reverse=True))
        self.assertEqual(0o700, self.home().stat().st_mode & 0o777)
        self.assertEqual(os.readlink(namespace), os.readlink(f"/proc/{self.pid()}/ns/net"))
        self.assertNotIn(found["interface"], os.listdir("/sys/class/net"))
        await self.zerotiers.leave(7)
        self.assertIsNone(await self.zerotiers.described(7))
        await self.nothing_left()


class RealTests(ZeroTierCase):
    """
    With the program itself.
    """

    def setUp(self) -> None:
        """
        Have it.
        """
        if shutil.which(zerotier_one.NAME, path=f"{os.environ.get('PATH', '')}:{helper.PATH}") is None:
            raise SkipTest("needs zerotier-one, from zerotier.com")
        super().setUp()

    async def test_life(self) -> None:
        """
        A container joins a network, and waits there to be let in; when it has left nothing is left of it.
        """
        # the way to its controller may be there or not: nothing here leads out of the container
        await self.assert_life("REQUESTING_CONFIGURATION")

    async def test_again(self) -> None:
        """
        The program is found by the next core0, and started again when it ends, by the same identity.
        """
        await self.install()
        await self.zerotiers.join(*self.place())
        before, pid = await self.told("REQUESTING_CONFIGURATION"), self.pid()
        await self.zerotiers.stop()
        self.zerotiers = self.another()
        await self.zerotiers.recover(*self.place())
        self.assertEqual(before, await self.told("REQUESTING_CONFIGURATION"))
        self.assertEqual(pid, self.pid())
        os.kill(pid, signal.SIGKILL)
        await self.told("NOT_RUNNING")
        after = await self.told("REQUESTING_CONFIGURATION")
        self.assertEqual(before["address"], after["address"])


class StandInCase(ZeroTierCase):
    """
    With a program that stands in for it.
    """

    def setUp(self) -> None:
        """
        Install it.
        """
        super().setUp()
        self.mood = self.folder / "mood"
        (self.folder / "bin").mkdir()
        self.path(zerotier_one.install(self.folder / "bin", self.mood))

    def path(self, folder: str) -> None:
        """
        Where programs are found first.
        """
        before = os.environ["PATH"]
        self.addCleanup(os.environ.__setitem__, "PATH", before)
        os.environ["PATH"] = f"{folder}:{before}"

    def program(self, *lines: str) -> None:
        """
        Have another program in its place.
        """
        path = self.folder / "bin" / zerotier_one.NAME
        path.write_text("\n".join(["#!/bin/sh", *lines, ""]))

    def uninstall(self) -> None:
        """
        There is no such program anywhere, but those that tests take.
        """
        nowhere = self.folder / "nowhere"
        nowhere.mkdir()
        for program in ("nsenter", "ip"):
            (nowhere / program).symlink_to(shutil.which(program) or "")
        self.patch(zerotiers, "PATH", str(nowhere))
        self.path(str(nowhere))
        os.environ["PATH"] = str(nowhere)


class LifeTests(StandInCase):
    """
    From joining to leaving.
    """

    async def test_life(self) -> None:
        """
        A container joins a network; when it has left nothing is left of it: no process, no folder, no link.
        """
        await self.assert_life("OK")

    async def test_addresses(self) -> None:
        """
        Joining does not wait until a container is let in; from then on its addresses are told, and its link has them.
        """
        await self.install()
        await self.zerotiers.join(*self.place())
        found = await self.zerotiers.described(7)
        assert found is not None
        self.assertEqual(("REQUESTING_CONFIGURATION", []), (found["status"], found["addresses"]))
        found = await self.told()
        self.assertEqual(found["addresses"], self.containers[7].addresses(found["interface"]))
        self.assertRegex(found["addresses"][0], r"\A10\.147\.17\.\d+/24\Z")

    async def test_two(self) -> None:
        """
        Each container is somebody else in a network, and one that leaves does not take another with it.
        """
        self.containers[8] = self.container()
        await self.install()
        await gatherResults([ensureDeferred(self.zerotiers.join(*self.place(number))) for number in (7, 8)])
        first, second = await self.told(container=7), await self.told(container=8)
        self.assertNotEqual(first["address"], second["address"])
        await self.zerotiers.leave(7)
        self.assertEqual(second, await self.zerotiers.described(8))

    async def test_twice(self) -> None:
        """
        A container that is in a network is left as it is when it is to join again.
        """
        await self.install()
        await self.zerotiers.join(*self.place())
        before = await self.told()
        error = await self.failing(self.zerotiers.join(*self.place()), NotServed)
        self.assertEqual("container 7 has joined a network already", str(error))
        self.assertEqual(before, await self.zerotiers.described(7))

    async def test_killed(self) -> None:
        """
        A program that is killed comes back with the same identity, in the same network.
        """
        await self.install()
        await self.zerotiers.join(*self.place())
        before, pid = await self.told(), self.pid()
        os.kill(pid, signal.SIGKILL)
        await self.told("NOT_RUNNING")
        self.assertEqual(before, await self.told())
        self.assertNotEqual(pid, self.pid())
        self.assertEqual(before["addresses"], self.containers[7].addresses(before["interface"]))


class RecoveryTests(StandInCase):
    """
    From one core0 to the next one.
    """

    def setUp(self) -> None:
        """
        Without waiting.
        """
        super().setUp()
        self.patch(zerotiers, "FIRST_WAIT", 0.05)

    async def joined(self) -> tuple[dict[str, Any], int]:
        """
        How it is with a container that has joined, and its process, after its core0 has ended.
        """
        await self.install()
        await self.zerotiers.join(*self.place())
        before = await self.told()
        await self.zerotiers.stop()
        self.zerotiers = self.another()
        return before, self.pid()

    async def test_adopted(self) -> None:
        """
        A program is left running by a core0 that ends, and found by the next one, which starts it when it ends.
        """
        before, pid = await self.joined()
        self.assertEqual([pid], self.processes())
        await self.zerotiers.recover(*self.place())
        self.assertEqual(before, await self.told())
        self.assertEqual((pid, [pid]), (self.pid(), self.processes()))
        os.kill(pid, signal.SIGKILL)
        await self.told("NOT_RUNNING")
        self.assertEqual(before, await self.told())

    async def test_ended_meanwhile(self) -> None:
        """
        A program that has ended while no core0 was there is started again, with the same identity.
        """
        before, pid = await self.joined()
        os.kill(pid, signal.SIGKILL)
        await self.until(lambda: not lives(pid), "ended")
        await self.zerotiers.recover(*self.place())
        self.assertEqual(before, await self.told())

    async def test_lost_home(self) -> None:
        """
        A container whose identity is lost joins its network with another one.
        """
        before, pid = await self.joined()
        os.kill(pid, signal.SIGKILL)
        await self.until(lambda: not lives(pid), "ended")
        shutil.rmtree(self.home())
        await self.zerotiers.recover(*self.place())
        self.assertNotEqual(before["address"], (await self.told())["address"])

    async def test_uninstalled_meanwhile(self) -> None:
        """
        A core0 that finds no program starts all the same; as soon as it is there the container is in its network.
        """
        before, pid = await self.joined()
        os.kill(pid, signal.SIGKILL)
        path = os.environ["PATH"]
        self.uninstall()
        await self.zerotiers.recover(*self.place())
        self.assertEqual("NOT_RUNNING", (await self.zerotiers.described(7) or {})["status"])
        await pause(ITS, 0.2)
        os.environ["PATH"] = path
        self.assertEqual(before, await self.told())

    async def test_another_network(self) -> None:
        """
        A container that has got another network namespace is there with the same identity, and no more where it was.
        """
        old, new = self.containers[7], self.container()
        before, pid = await self.joined()
        self.containers[7] = new
        await self.zerotiers.recover(*self.place())
        self.assertEqual(before, await self.told())
        self.assertFalse(lives(pid))
        self.assertEqual((["lo"], ["lo", before["interface"]]), (old.links(), self.containers[7].links()))

    async def test_left_at_once(self) -> None:
        """
        A container that goes while what it had is looked for leaves nothing.
        """
        await self.joined()
        await self.zerotiers.recover(*self.place())
        await self.zerotiers.leave(7)
        await self.nothing_left()

    async def test_stray(self) -> None:
        """
        What is left of a container that there is no more can be removed by its folder alone.
        """
        await self.joined()
        await self.zerotiers.clear(str(self.home()))
        await self.nothing_left()
        await self.zerotiers.clear(str(self.home()))

    async def test_left_over(self) -> None:
        """
        A container that joins is nobody who was there before, even if a folder and a process of such a one are left.
        """
        before, pid = await self.joined()
        (self.home() / "networks.d" / "8056c2e21c000002.conf").touch()
        await self.zerotiers.join(*self.place())
        after = await self.told()
        self.assertNotEqual(before["address"], after["address"])
        self.assertFalse(lives(pid))
        self.assertEqual(["lo", after["interface"]], self.containers[7].links())

    async def test_somebody_elses_pid(self) -> None:
        """
        A process that only has the number of one that was there is left alone.
        """
        await self.install()
        self.home().mkdir()
        (self.home() / PID).write_text(str(self.containers[7].pid))
        await self.zerotiers.join(*self.place())
        await self.told()
        self.assertTrue(lives(self.containers[7].pid))


class FailureTests(StandInCase):
    """
    A container that cannot join.
    """

    async def refused(self) -> str:
        """
        Why it cannot; nothing is left.
        """
        error = await self.failing(self.zerotiers.join(*self.place()), NotServed)
        await self.nothing_left()
        self.assertIsNone(await self.zerotiers.described(7))
        return str(error)

    async def test_missing(self) -> None:
        """
        A program that is not installed is named, and where it comes from.
        """
        await self.install()
        self.uninstall()
        self.assertEqual("there is no zerotier-one; install it from zerotier.com", await self.refused())

    async def test_ends_at_once(self) -> None:
        """
        Of a program that ends at once the last words are told.
        """
        await self.install()
        self.program("echo this is out of order >&2", "exit 3")
        self.assertRegex(await self.refused(), r"/zerotier-one has ended: this is out of order\Z")

    async def test_never_serves(self) -> None:
        """
        A program that never serves is not waited for.
        """
        await self.install()
        self.patch(helper, "START", 0.3)
        self.program('exec sleep 600 "$@"')
        self.program('exec tail -f /dev/null --pid=$$ "$0"')
        self.assertIn("does not serve within", await self.refused())

    async def test_ends_later(self) -> None:
        """
        A program that ends again and again before it can be told to join is not waited for.
        """
        await self.install()
        self.patch(zerotiers, "JOINING", 0.5)
        self.program('echo -n $$ > "$3/zerotier-one.pid"', "sleep 0.1")
        self.assertRegex(await self.refused(), r"\Acannot join 8056c2e21c000001 within .*: zerotier-one ")

    async def test_does_not_join(self) -> None:
        """
        A program that does not do what it is told to is not waited for.
        """
        await self.install()
        self.patch(zerotiers, "JOINING", 0.3)
        for mood, about in (
            ("failing 500", "answers 500"),
            ("failing 302", "answers 302"),
            ("saying {}", "understood"),
        ):
            self.mood.write_text(mood)
            self.assertIn(about, await self.refused())
        self.mood.write_text("hanging")
        self.assertIn("cannot join", await self.refused())

    async def test_no_network(self) -> None:
        """
        A container that has gone meanwhile joins nothing.
        """
        await self.install()
        container, network, _, home = self.place()
        gone = "/proc/4194305/ns/net"
        error = await self.failing(self.zerotiers.join(container, network, gone, home), NotServed)
        self.assertIn(gone, str(error))
        await self.nothing_left()

    async def test_no_folder(self) -> None:
        """
        A folder that cannot be made is named; what is in its way is left there.
        """
        await self.install()
        self.home().write_text("in the way")
        error = await self.failing(self.zerotiers.join(*self.place()), NotServed)
        self.assertIn(f"cannot make {self.home()}: ", str(error))
        self.assertEqual("in the way", self.home().read_text())
        self.home().unlink()

    async def test_cancelled(self) -> None:
        """
        Whenever joining is cancelled nothing is left of it.
        """
        await self.install()
        self.mood.write_text("hanging")
        for delay in (0.0, 0.001, 0.005, 0.02, 0.05, 0.1, 0.2, 0.4, 0.8):
            joining = ensureDeferred(self.zerotiers.join(*self.place()))
            await pause(ITS, delay)
            joining.cancel()
            try:
                await joining
            except CancelledError:
                pass
            else:
                raise AssertionError(f"it has joined within {delay} s")
            await self.nothing_left()
        self.mood.unlink()
        await self.zerotiers.join(*self.place())
        await self.told()


class HostileTests(StandInCase):
    """
    Whoever answers is not believed, and not waited for.
    """

    async def joined(self) -> dict[str, Any]:
        """
        How it is with a container that has joined.
        """
        await self.install()
        await self.zerotiers.join(*self.place())
        return await self.told()

    async def assert_silent(self, mood: str) -> None:
        """
        In such a mood nothing is told, and soon.
        """
        self.mood.write_text(mood)
        before = ITS.seconds()
        found = await self.zerotiers.described(7)
        took = ITS.seconds() - before
        expected = {"network": NETWORK, "address": "", "status": "NOT_RUNNING", "addresses": [], "interface": ""}
        self.assertEqual(expected, found, mood)
        self.assertLess(took, AT_ONCE + 1, mood)

    async def test_answers(self) -> None:
        """
        Whatever is answered instead of what was asked for, it is as if nothing had been answered.
        """
        before = await self.joined()
        moods = [f"failing {code}" for code in (500, 401, 404, 302)]
        moods += [f"saying {text}" for text in ("no JSON", "[]", '{"address": 5}', '{"address": "89e92ceee5"}')]
        for mood in [*moods, "saying " + "[" * 60000, "huge", "hanging", "slow"]:
            await self.assert_silent(mood)
        self.mood.unlink()
        self.assertEqual(before, await self.told())

    async def test_huge(self) -> None:
        """
        An answer without end is not taken to the end.
        """
        await self.joined()
        await self.assert_silent("huge")
        await self.until(self.mood.with_suffix(".stopped").exists, "stopped")

    async def test_many_ask(self) -> None:
        """
        A container that does not answer holds up nobody: many may ask at once, and others are told of meanwhile.
        """
        self.containers[8] = self.container()
        await self.joined()
        await self.zerotiers.join(*self.place(8))
        await self.told(container=8)
        os.kill(self.pid(7), signal.SIGSTOP)
        self.addCleanup(os.kill, self.pid(7), signal.SIGCONT)
        before = ITS.seconds()
        asking = [ensureDeferred(self.zerotiers.described(7)) for _ in range(100)]
        self.assertEqual("OK", (await self.zerotiers.described(8) or {})["status"])
        self.assertLess(ITS.seconds() - before, AT_ONCE)
        found = await gatherResults(asking)
        self.assertEqual({"NOT_RUNNING"}, {each["status"] for each in found if each is not None})
        self.assertLess(ITS.seconds() - before, AT_ONCE + 1)
        os.kill(self.pid(7), signal.SIGCONT)
        await self.told()

    def ask(self, method: str, path: str, token: str) -> str:
        """
        What somebody in the container is answered.
        """
        port = (self.home() / PORT).read_text()
        script = textwrap.dedent(ASK)
        return self.containers[7].run(sys.executable, "-ISc", script, port, method, path, token).strip()

    async def test_container_asks(self) -> None:
        """
        Who is in the container can tell the program nothing: the token is out of its reach.
        """
        await self.joined()
        for token in ("", "x"):
            self.assertEqual("401", self.ask("GET", "/status", token))
            self.assertEqual("401", self.ask("POST", "/network/8056c2e21c000002", token))
            self.assertEqual("401", self.ask("DELETE", f"/network/{NETWORK}", token))
        self.assertEqual("200", self.ask("GET", "/status", (self.home() / TOKEN).read_text()))
        await self.told()

    async def test_sitting(self) -> None:
        """
        Whoever listens in the container where the program did before is not told the token.
        """
        before = await self.joined()
        words = [*self.containers[7].inside(), sys.executable, "-ISc", textwrap.dedent(SIT)]
        sitting = subprocess.Popen(words, stdout=subprocess.PIPE, text=True)
        assert sitting.stdout is not None
        port, own = sitting.stdout.readline().strip(), (self.home() / PORT).read_text()
        (self.home() / PORT).write_text(port)
        found = await self.zerotiers.described(7)
        self.assertEqual("NOT_RUNNING", (found or {})["status"])
        self.assertEqual(("came\n", "b''\n"), (sitting.stdout.readline(), sitting.stdout.readline()))
        sitting.stdout.close()
        sitting.wait()
        (self.home() / PORT).write_text(own)
        self.assertEqual(before, await self.told())

    async def test_odd_files(self) -> None:
        """
        Whatever is in the files of the program, at worst it is not asked.
        """
        before = await self.joined()
        for name, texts in ((PORT, ("", "x", "0", "-1", "99999", "1" * 1000)), (TOKEN, ("", "a b", "ü", "x\r\nY: z"))):
            path = self.home() / name
            kept = path.read_text()
            for text in texts:
                path.write_text(text)
                self.assertEqual("NOT_RUNNING", (await self.zerotiers.described(7) or {})["status"], text)
            path.write_text(kept)
        self.assertEqual(before, await self.zerotiers.described(7))
