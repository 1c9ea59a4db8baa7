"""
What a container's own files in ``/etc`` say.
"""

import fcntl
import os
import shutil
import signal
import tempfile
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace
from twisted.trial.unittest import SynchronousTestCase

from core0.containers import etc
from core0.network.attached import Attached
from tests.unit.network import LINK


class TextTests(SynchronousTestCase):
    """
    From what it has of the network to texts.
    """

    def test_hosts(self) -> None:
        """
        A container's name is its own address; without one, an address of its loopback.
        """
        self.assertIn("127.0.1.1\tone\n", etc.hosts("one", ()))
        found = etc.hosts("one", (LINK, replace(LINK, index=1, address="fd07::2/64")))
        self.assertTrue(found.endswith("10.7.0.2\tone\nfd07::2\tone\n"), found)
        self.assertNotIn("127.0.1.1", found)

    def test_resolver(self) -> None:
        """
        Bridges that answer are asked, three at most; else whom the host asks, but for those at its own loopback.
        """
        host = "# mine\nnameserver 127.0.0.53\nnameserver 192.0.2.53\nsearch example.com\noptions edns0\nsortlist 1\n"
        self.assertEqual(etc.UNCONNECTED, etc.resolver((), (), host))
        expected = "nameserver 192.0.2.53\nsearch example.com\noptions edns0\n"
        self.assertEqual(expected, etc.resolver((LINK,), (), host))
        servers = [f"10.0.0.{number}" for number in range(1, 6)]
        asked = "nameserver 10.0.0.1\nnameserver 10.0.0.2\nnameserver 10.0.0.3\n"
        self.assertEqual(asked, etc.resolver((LINK,), servers, host))
        domain = replace(LINK, domain="example.net")
        self.assertEqual("search example.net\n" + asked, etc.resolver((domain,), servers, host))

    @given(st.text())
    def test_any_host(self, text: str) -> None:
        """
        Whatever the host's file says, nobody at its loopback is asked.
        """
        lines = etc.resolver((LINK,), (), text).splitlines()
        self.assertFalse([line for line in lines if line.startswith(("nameserver 127.", "nameserver ::1"))])


class FileTests(SynchronousTestCase):
    """
    The files themselves.
    """

    def setUp(self) -> None:
        """
        Those of a container.
        """
        self.place = Path(tempfile.mkdtemp(prefix="core0-etc-"))
        self.addCleanup(shutil.rmtree, self.place)
        etc.make(str(self.place), os.geteuid(), "one", etc.UNCONNECTED)

    def test_same(self) -> None:
        """
        What is written goes into the same files, which are mounted in the container.
        """
        path = self.place / "etc" / "resolv.conf"
        before = path.stat().st_ino
        etc.write(str(self.place), "one", Attached((LINK,), (), ("10.7.0.1",)))
        self.assertEqual((before, "nameserver 10.7.0.1\n"), (path.stat().st_ino, path.read_text()))
        self.assertEqual("one\n", (self.place / "etc" / "hostname").read_text())

    def test_leased(self) -> None:
        """
        Whoever has a lease on one of them keeps nobody waiting.
        """
        # by which the kernel says that the lease is wanted back
        self.addCleanup(signal.signal, signal.SIGIO, signal.signal(signal.SIGIO, signal.SIG_IGN))
        fd = os.open(self.place / "etc" / "hosts", os.O_RDONLY)
        self.addCleanup(os.close, fd)
        fcntl.fcntl(fd, fcntl.F_SETLEASE, fcntl.F_RDLCK)
        self.assertRaises(BlockingIOError, etc.write, str(self.place), "one", Attached((LINK,), (), ()))
