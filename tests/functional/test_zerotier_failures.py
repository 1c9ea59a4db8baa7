"""
ZeroTier that fails, and answers of whoever is there instead.
"""

import os
import signal
import subprocess
import sys
import textwrap
from typing import Any

from twisted.internet import reactor
from twisted.internet.defer import CancelledError, ensureDeferred, gatherResults
from twisted.logger import ILogObserver, LogEvent, formatEvent, globalLogPublisher
from zope.interface import implementer

from core0.network import helper, zerotiers
from core0.network.helper import NotServed
from core0.network.zerotier import PORT, TOKEN
from core0.waiting import pause, within
from tests.functional.shared import GENEROUS
from tests.functional.zerotier_shared import StandInCase

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

    async def test_no_tun(self) -> None:
        """
        A missing device is named before anything is started: the program itself answers as if all were well.
        """
        await self.install()
        self.patch(zerotiers, "TUN", str(self.folder / "tun"))
        self.assertEqual(
            f"cannot open {self.folder}/tun: no such file or directory; ZeroTier makes its interface with that; "
            "load the module (modprobe tun)",
            await self.refused(),
        )
        await self.failing(self.zerotiers.check(), NotServed)

    async def test_last_words(self) -> None:
        """
        What a program says on its stderr while it does not join is told, and so is what it says before it ends.
        """
        await self.install()
        self.patch(zerotiers, "JOINING", 0.3)
        self.mood.write_text("without tun")
        self.assertIn("it says: ERROR: unable to configure virtual network port: could not open", await self.refused())
        self.program('echo -n $$ > "$3/zerotier-one.pid"', "sleep 0.1", "echo the disk is full >&2", "exit 1")
        self.patch(zerotiers, "JOINING", 3.0)
        events: list[LogEvent] = []

        @implementer(ILogObserver)
        def observe(event: LogEvent) -> None:
            events.append(event)

        globalLogPublisher.addObserver(observe)
        self.addCleanup(globalLogPublisher.removeObserver, observe)
        self.assertIn("it says: the disk is full", await self.refused())
        self.assertIn("/zerotier-one has exited: the disk is full; restarting in", "\n".join(map(formatEvent, events)))

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
        container, network, namespace, _ = self.place()
        home = self.home() / "gone" / "zerotier"
        error = await self.failing(self.zerotiers.join(container, network, namespace, str(home)), NotServed)
        self.assertIn(f"cannot make {home}: ", str(error))
        self.assertFalse(self.home().exists(), "the folder of a container that is gone is not made anew")

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
        In such a mood nothing is told.
        """
        self.mood.write_text(mood)
        found = await self.zerotiers.described(7)
        expected = {"network": NETWORK, "address": "", "status": "NOT_RUNNING", "addresses": [], "interface": ""}
        self.assertEqual(expected, found, mood)

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
        asking = [ensureDeferred(self.zerotiers.described(7)) for _ in range(100)]
        # one after another they would take longer
        self.assertLess(GENEROUS, len(asking) * AT_ONCE)
        self.assertEqual("OK", (await within(ITS, GENEROUS, self.zerotiers.described(8)) or {})["status"])
        found = await within(ITS, GENEROUS, gatherResults(asking))
        self.assertEqual({"NOT_RUNNING"}, {each["status"] for each in found if each is not None})
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
