"""
Containers in ZeroTier networks, as clients see them; with a program that stands in for ``zerotier-one``.
"""

import os
from pathlib import Path
from typing import Any

from tests.daemon import Daemon, eventually
from tests.functional import zerotier_one
from tests.functional.corex_network import ConnectedTestCase
from tests.functional.shared import lives, missing

NETWORK = "8056c2e21c000001"


class ZeroTierTests(ConnectedTestCase):
    """
    A core0 that finds the program.
    """

    @classmethod
    def make_daemon(cls) -> Daemon:
        """
        With the program on its ``PATH``.
        """
        if not os.path.exists("/dev/net/tun"):
            raise missing("needs /dev/net/tun")
        daemon = super().make_daemon()
        folder = daemon.folder / "bin"
        folder.mkdir()
        daemon.environment = {"PATH": f"{zerotier_one.install(folder, daemon.folder / 'mood')}:{os.environ['PATH']}"}
        (daemon.folder / "mood").touch()
        return daemon

    def member(self, number: int) -> dict[str, Any]:
        """
        What ``corex.list`` says of a container in the network, once it has been let in.
        """

        def look() -> dict[str, Any] | None:
            *_, found = self.listed()[str(number)]["network"]
            return dict(found) if found.get("status") == "OK" else None

        found: dict[str, Any] = eventually(look, "it is let in")
        return found

    def pid(self, number: int) -> int:
        """
        Of the program of a container.
        """
        home = self.daemon.state / "containers" / str(number) / "zerotier"
        return int((home / "zerotier-one.pid").read_text())

    def test_life(self) -> None:
        """
        A container joins a network over the default bridge, is shown in it, and leaves it with its identity.
        """
        number = self.create(network={"zerotier": NETWORK.upper()})
        found, pid = self.member(number), self.pid(number)
        self.assertEqual(NETWORK, found["zerotier"])
        (link, _) = self.listed()[str(number)]["network"]
        self.assertEqual("core0", link["bridge"])
        inside = self.inside_sh(number, f"ip -o -4 addr show dev {found['interface']} | awk '{{print $4}}'").split()
        self.assertEqual(inside, found["addresses"])
        self.assertNotIn(found["interface"], self.host.links())
        # nobody in there sees the program
        self.assertNotIn("zerotier", self.inside_sh(number, "ps"))
        self.terminate(number)
        eventually(lambda: not lives(pid), "the program has ended")
        other = self.create(network={"zerotier": NETWORK})
        self.assertNotEqual(found["address"], self.member(other)["address"])

    def test_restart(self) -> None:
        """
        A container stays in its network while core0 is away, however it went, and is looked after by the next one.
        """
        number = self.create(network={"zerotier": NETWORK})
        found, pid = self.member(number), self.pid(number)
        for end in (self.daemon.stop, self.daemon.crash):
            end()
            self.assertTrue(lives(pid))
            self.daemon.start()
            self.assertEqual((found, pid), (self.member(number), self.pid(number)))

    def test_dies_meanwhile(self) -> None:
        """
        The program of a container that dies while core0 is away is ended by the next core0.
        """
        number = self.create(network={"zerotier": NETWORK})
        pid = self.pid(number)
        init = self.listed()[str(number)]["pid"]
        self.daemon.crash()
        os.kill(init, 9)
        eventually(lambda: not Path(f"/proc/{init}").exists(), "it is dead")
        self.daemon.start()
        eventually(lambda: not lives(pid), "the program has ended")
        eventually(lambda: not self.listed() and not self.traces.left(), "nothing is left")
