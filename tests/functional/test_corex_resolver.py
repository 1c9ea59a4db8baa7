"""
Containers follow the host's own resolv.conf.
"""

import os
import shutil
import tempfile
from pathlib import Path
from typing import ClassVar

from tests.daemon import Daemon, eventually
from tests.functional.corex_network import ConnectedTestCase

FIRST, SECOND, THIRD = (f"nameserver 192.0.2.{number}\n" for number in (1, 2, 3))


class ResolverTests(ConnectedTestCase):
    """
    On a host whose ``/etc`` is a copy of this machine's.
    """

    etc: ClassVar[Path]

    @classmethod
    def make_daemon(cls) -> Daemon:
        """
        With a file of its own from the start.
        """
        daemon = super().make_daemon()
        place = Path(tempfile.mkdtemp(prefix="core0-etc-"))
        cls.addClassCleanup(shutil.rmtree, place)
        cls.etc = place / "etc"
        shutil.copytree("/etc", cls.etc, symlinks=True, ignore_dangling_symlinks=True)
        cls.replace(FIRST)
        cls.host.run("mount", "--bind", str(cls.etc), "/etc")
        return daemon

    @classmethod
    def replace(cls, text: str) -> None:
        """
        Another file in its place, in one step.
        """
        (cls.etc / "new").write_text(text)
        os.replace(cls.etc / "new", cls.etc / "resolv.conf")

    def assert_told(self, expected: str, *numbers: int) -> None:
        """
        All of them have this in their own file, sooner or later.
        """
        for number in numbers:
            path = self.daemon.state / "containers" / str(number) / "etc" / "resolv.conf"
            eventually(lambda path=path: path.read_text() == expected, f"container {number} is told {expected!r}")
            self.assertEqual(expected, self.inside_sh(number, "cat /etc/resolv.conf"))

    def test_followed(self) -> None:
        """
        With the host's network, or with ports alone, a container has what the host has, however that comes to be: by
        another file, another text in the same one, a symlink, or nothing at all.
        """
        self.replace("")
        numbers = self.create(host_network=True), self.create(port={"8080": 80})
        self.assert_told("", *numbers)
        self.replace(FIRST)
        self.assert_told(FIRST, *numbers)
        (self.etc / "resolv.conf").write_text(SECOND)
        self.assert_told(SECOND, *numbers)
        (self.etc / "resolv.conf").unlink()
        self.assert_told("", *numbers)
        (self.etc / "one").write_text(FIRST)
        (self.etc / "two").write_text(THIRD)
        (self.etc / "resolv.conf").symlink_to("two")
        self.assert_told(THIRD, *numbers)
        (self.etc / "link").symlink_to("one")
        os.replace(self.etc / "link", self.etc / "resolv.conf")
        self.assert_told(FIRST, *numbers)

    def test_left_alone(self) -> None:
        """
        A container that does not ask the host's servers keeps what it has written into its file itself.
        """
        self.replace(FIRST)
        self.bridge()
        follower = self.create(port={"8080": 80})
        others = self.create(network={"bridge": ["br9"]}), self.create()
        for number in others:
            self.inside_sh(number, "echo '# mine' > /etc/resolv.conf")
        self.replace(SECOND)
        self.assert_told(SECOND, follower)
        self.assert_told("# mine\n", *others)

    def test_restarted(self) -> None:
        """
        What has changed while core0 was away is told by the next one; what a container has written meanwhile stays if
        nothing has.
        """
        self.replace(FIRST)
        changed, kept = self.create(port={"8080": 80}), self.create(host_network=True)
        self.assert_told(FIRST, changed, kept)
        self.daemon.stop()
        self.replace(SECOND)
        self.daemon.start()
        self.assert_told(SECOND, changed, kept)
        self.inside_sh(kept, "echo '# mine' > /etc/resolv.conf")
        self.daemon.stop()
        self.daemon.start()
        self.replace(SECOND + "search example.com\n")
        self.assert_told(SECOND + "search example.com\n", changed)

    def test_removed(self) -> None:
        """
        A container whose own files were removed is told of once, however often the host's file changes, and
        keeps no other from following.
        """
        self.replace(FIRST)
        removed, follower = self.create(port={"8080": 80}), self.create(host_network=True)
        self.assert_told(FIRST, removed, follower)
        shutil.rmtree(self.daemon.state / "containers" / str(removed) / "etc")
        for text in (SECOND, THIRD, FIRST):
            self.replace(text)
            self.assert_told(text, follower)
        log = self.daemon.output()
        self.assertEqual(1, log.count(f"cannot write into the /etc of container {removed}"), log)
        self.assertNotIn("something of containers failed", log)
