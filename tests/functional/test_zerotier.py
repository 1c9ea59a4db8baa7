"""
Containers in ZeroTier networks: with a program that stands in for ``zerotier-one``, and with that itself where it is
installed.
"""

import json
import os
import shutil
import signal
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

from twisted.internet import reactor
from twisted.internet.defer import ensureDeferred, gatherResults

from core0.jobs.process import PATH
from core0.network import zerotiers
from core0.network.helper import NotServed
from core0.network.zerotier import LOCAL, PID, PORT, PORTS
from core0.waiting import pause
from tests.functional import zerotier_one
from tests.functional.shared import lives
from tests.functional.zerotier_shared import StandInCase, ZeroTierCase

ITS: Any = reactor
NET_ADMIN, NET_RAW = 12, 13  # capabilities
# has a port as soon as it can: one that was killed just now may still have it
SIT = """
    import socket, sys, time
    sitting = socket.socket(type=getattr(socket, sys.argv[2]))
    sitting.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    end = time.monotonic() + 30
    while True:
        try:
            sitting.bind(("", int(sys.argv[1])))
            if sitting.type == socket.SOCK_STREAM:
                sitting.listen()
            break
        except OSError:
            if time.monotonic() > end:
                raise
            time.sleep(0.01)
    print("has", flush=True)
    sys.stdin.read()
"""


class RealTests(ZeroTierCase):
    """
    With the program itself, on machines that have it: no package of Debian's does, so nothing can ask for it.
    """

    __test__ = shutil.which(zerotier_one.NAME, path=f"{os.environ.get('PATH', '')}:{PATH}") is not None

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
        closed = self.mood.with_suffix(".closed")
        closed.touch()
        await self.zerotiers.join(*self.place())
        found = await self.zerotiers.described(7)
        assert found is not None
        self.assertEqual(("REQUESTING_CONFIGURATION", []), (found["status"], found["addresses"]))
        closed.unlink()
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

    async def test_rights(self) -> None:
        """
        The program has the rights to do with networks, no other ones, and no way to get any.
        """
        await self.install()
        await self.zerotiers.join(*self.place())
        await self.told()
        fields = dict(line.split(":\t", 1) for line in Path(f"/proc/{self.pid()}/status").read_text().splitlines())
        own = sum(1 << number for number in (NET_ADMIN, NET_RAW))
        self.assertEqual("1", fields["NoNewPrivs"])
        self.assertEqual({own}, {int(fields[name], 16) for name in ("CapBnd", "CapEff", "CapPrm")})
        self.assertEqual({0}, {int(fields[name], 16) for name in ("CapInh", "CapAmb")})


class PortTests(StandInCase):
    """
    The ports by which neighbours know a member.
    """

    def ports(self) -> list[int]:
        """
        Those that the program was told to use.
        """
        settings = json.loads((self.home() / LOCAL).read_text())["settings"]
        return [settings[name] for name in PORTS]

    async def away(self) -> None:
        """
        Another core0 follows one that is away, and the program has been killed meanwhile.
        """
        await self.zerotiers.stop()
        pid = self.pid()
        os.kill(pid, signal.SIGKILL)
        await self.until(lambda: not lives(pid), "ended")
        self.zerotiers = self.another()

    def taken(self, port: int, kind: str) -> None:
        """
        Somebody in the container has a port.
        """
        words = [*self.containers[7].inside(), sys.executable, "-ISc", textwrap.dedent(SIT), str(port), kind]
        sitting = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.addCleanup(sitting.communicate)
        assert sitting.stdout is not None
        self.assertEqual("has\n", sitting.stdout.readline())

    async def test_kept(self) -> None:
        """
        A program that is started again, by the same core0 or by the next one, has all three ports that it had.
        """
        await self.install()
        await self.zerotiers.join(*self.place())
        await self.told()
        before = self.ports()
        self.assertEqual(3, len(set(before)))
        self.assertEqual(str(before[0]), (self.home() / PORT).read_text())
        self.assertEqual(0o600, (self.home() / LOCAL).stat().st_mode & 0o777)
        os.kill(self.pid(), signal.SIGKILL)
        await self.told("NOT_RUNNING")
        await self.told()
        self.assertEqual(before, self.ports())
        await self.away()
        await self.zerotiers.recover(*self.place())
        await self.told()
        self.assertEqual((before, str(before[0])), (self.ports(), (self.home() / PORT).read_text()))

    async def test_taken(self) -> None:
        """
        Where one of them is taken when it is started again, it gets others, as the same member.
        """
        await self.install()
        await self.zerotiers.join(*self.place())
        before = await self.told()
        for place, kind in ((0, "SOCK_STREAM"), (1, "SOCK_DGRAM"), (2, "SOCK_DGRAM")):
            ports = self.ports()
            await self.away()
            self.taken(ports[place], kind)
            await self.zerotiers.recover(*self.place())
            self.assertEqual(before, await self.told())
            self.assertFalse(set(ports) & set(self.ports()))


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
