"""
Containers in ZeroTier networks: with a program that stands in for ``zerotier-one``, and with that itself where it is
installed.
"""

import os
import shutil
import signal
from typing import Any

from twisted.internet import reactor
from twisted.internet.defer import ensureDeferred, gatherResults

from core0.jobs.process import PATH
from core0.network import zerotiers
from core0.network.helper import NotServed
from core0.network.zerotier import PID
from core0.waiting import pause
from tests.functional import zerotier_one
from tests.functional.shared import lives
from tests.functional.zerotier_shared import StandInCase, ZeroTierCase

ITS: Any = reactor


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
