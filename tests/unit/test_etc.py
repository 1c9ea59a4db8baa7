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
from tests.faults import STORAGE, Fault
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

    def test_short_name(self) -> None:
        """
        A name with a domain is known without it, too, unless that is no name.
        """
        self.assertIn("127.0.1.1\ta.b.c a\n", etc.hosts("a.b.c", ()))
        self.assertIn("10.7.0.2\tone.example one\n", etc.hosts("one.example", (LINK,)))
        self.assertIn("127.0.1.1\t1.example\n", etc.hosts("1.example", ()))

    def test_of_host(self) -> None:
        """
        The host's file is read whatever editor has written it; what is no file is none.
        """
        folder = Path(tempfile.mkdtemp(prefix="core0-etc-"))
        self.addCleanup(shutil.rmtree, folder)
        own, behind = folder / "own", folder / "behind"
        behind.write_text("nameserver 192.0.2.9\n")
        for data, expected in (
            (b"\xef\xbb\xbfnameserver 192.0.2.1\r\nsearch a\r\n", "nameserver 192.0.2.1\nsearch a\n"),
            (b"# caf\xe9\nnameserver 192.0.2.1", "# caf\ufffd\nnameserver 192.0.2.1\n"),
        ):
            own.write_bytes(data)
            found = etc.HostResolver.look(str(own), str(behind))
            self.assertEqual((expected, expected), (found.own, found.beyond))
        own.write_text("nameserver 127.0.0.53\n")
        found = etc.HostResolver.look(str(own), str(behind))
        self.assertEqual(("nameserver 127.0.0.53\n", "nameserver 192.0.2.9\n"), (found.own, found.beyond))
        own.unlink()
        self.assertEqual("", etc.HostResolver.look(str(own), str(folder / "none")).own)
        os.mkfifo(own)
        self.assertEqual("", etc.HostResolver.look(str(own), str(folder / "none")).own)
        own.unlink()
        own.mkdir()
        self.assertEqual("", etc.HostResolver.look(str(own), str(folder / "none")).beyond)

    def test_not_now(self) -> None:
        """
        What cannot be read for now is not taken for none; a container of which nothing is known then is told again.
        """
        folder = Path(tempfile.mkdtemp(prefix="core0-etc-"))
        self.addCleanup(shutil.rmtree, folder)
        own, behind = folder / "own", folder / "behind"
        own.write_text("nameserver 127.0.0.53\n")
        behind.write_text("nameserver 192.0.2.9\n")
        for error in STORAGE:
            for failing in (own, behind):
                fault = Fault(self, os, "open", error, where=lambda path, *_, failing=failing: path == str(failing))
                self.assertRaises(OSError, etc.HostResolver.look, str(own), str(behind))
                fault.mend()
                self.assertEqual(1, fault.failed)
            fault = Fault(self, os, "open", error, where=lambda path, *_: path == etc.RESOLV_CONF)
            self.assertEqual(etc.HostResolver(), etc.HostResolver.told(str(folder)))
            fault.mend()
            self.assertEqual(1, fault.failed)

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
        etc.write(str(self.place), "one", Attached((LINK,), (), ("10.7.0.1",)), "nameserver 10.7.0.1\n")
        self.assertEqual((before, "nameserver 10.7.0.1\n"), (path.stat().st_ino, path.read_text()))
        self.assertEqual("one\n", (self.place / "etc" / "hostname").read_text())

    def test_modes(self) -> None:
        """
        All users of the container read them, whatever the umask was when they were made.
        """
        old = os.umask(0o077)
        self.addCleanup(os.umask, old)
        other = self.place / "other"
        other.mkdir()
        etc.make(str(other), os.geteuid(), "one", "")
        self.assertEqual(0o755, (other / "etc").stat().st_mode & 0o7777)
        for name in etc.NAMES:
            self.assertEqual(0o644, (other / "etc" / name).stat().st_mode & 0o7777, name)

    def test_shorter(self) -> None:
        """
        Nothing of a longer text is left behind a shorter one.
        """
        path = self.place / "etc" / "resolv.conf"
        for text in ("nameserver 192.0.2.1\n" * 3, "", "nameserver 192.0.2.2\n"):
            etc.write(str(self.place), "one", Attached((LINK,)), text)
            self.assertEqual(text, path.read_text())

    def test_host_network(self) -> None:
        """
        With the network of the host only what it is told about DNS changes.
        """
        before = (self.place / "etc" / "hosts").read_text()
        etc.write(str(self.place), "other", Attached((LINK,)), "nameserver 192.0.2.1\n", host_network=True)
        self.assertEqual(before, (self.place / "etc" / "hosts").read_text())
        self.assertEqual("nameserver 192.0.2.1\n", (self.place / "etc" / "resolv.conf").read_text())

    def test_leased(self) -> None:
        """
        Whoever has a lease on one of them keeps nobody waiting.
        """
        # by which the kernel says that the lease is wanted back
        self.addCleanup(signal.signal, signal.SIGIO, signal.signal(signal.SIGIO, signal.SIG_IGN))
        fd = os.open(self.place / "etc" / "hosts", os.O_RDONLY)
        self.addCleanup(os.close, fd)
        fcntl.fcntl(fd, fcntl.F_SETLEASE, fcntl.F_RDLCK)
        self.assertRaises(BlockingIOError, etc.write, str(self.place), "one", Attached((LINK,), (), ()), "")
