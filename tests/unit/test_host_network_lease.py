"""
What a DHCP server says, and the resolver's file that comes of it.
"""

import os
import stat
import tempfile
from ipaddress import IPv4Address, IPv4Interface, ip_address
from pathlib import Path
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from core0.network import host_resolver
from core0.network.host_lease import lease_of
from core0.network.host_machine import Lease, Resolver

OPTIONS = {
    "subnet_mask": "255.255.255.0",
    "router": ["10.0.0.1", "10.0.0.2"],
    "name_server": ["10.0.0.1", "9.9.9.9"],
    "domain_name": "example.org",
}
TEXT = st.text() | st.sampled_from(["10.0.0.1", "255.255.255.0", "0.0.0.0", "example.org"])
VALUES = st.none() | st.integers() | TEXT | st.lists(TEXT | st.integers(), max_size=5)


def ack(ip: str = "10.0.0.5", **options: Any) -> dict[str, Any]:
    """
    An answer of a server.
    """
    return {"yiaddr": ip, "options": {**OPTIONS, **options}}


class LeaseTests(SynchronousTestCase):
    """
    What is made of an answer.
    """

    def test_all(self) -> None:
        """
        Address, network, the first router, the servers and the domain are taken.
        """
        dns = (IPv4Address("10.0.0.1"), IPv4Address("9.9.9.9"))
        expected = Lease(IPv4Interface("10.0.0.5/24"), IPv4Address("10.0.0.1"), dns, "example.org")
        self.assertEqual(expected, lease_of(ack()))

    def test_bare(self) -> None:
        """
        An answer without options gives an address that is alone in its network.
        """
        self.assertEqual(Lease(IPv4Interface("10.0.0.5/32")), lease_of({"yiaddr": "10.0.0.5"}))

    def test_no_address(self) -> None:
        """
        What no machine can have as its address is refused.
        """
        for ip in ("0.0.0.0", "127.0.0.1", "224.0.0.1", "255.255.255.255", "10.0.0.0", "10.0.0.255", "", "x", None):
            self.assertRaises(ValueError, lease_of, ack(ip))  # type: ignore[arg-type] # a server may say anything
        for mask in ("0.0.0.0", "255.0.255.0", "x", 7.5):
            self.assertRaises(ValueError, lease_of, ack(subnet_mask=mask))

    def test_router(self) -> None:
        """
        A router that cannot be reached, or is no router, is passed over.
        """
        for routers in (["192.0.2.1"], ["10.0.0.5"], ["0.0.0.0"], ["x"], [], None, "10.0.0.1"):
            self.assertIsNone(lease_of(ack(router=routers)).gateway)
        self.assertEqual(IPv4Address("10.0.0.2"), lease_of(ack(router=["192.0.2.1", "10.0.0.2"])).gateway)
        alone = lease_of(ack(subnet_mask="255.255.255.255", router=["192.0.2.1"]))
        self.assertEqual(IPv4Address("192.0.2.1"), alone.gateway)

    def test_domain(self) -> None:
        """
        A domain that is none does not come into the resolver's file.
        """
        for domain in ("a b", "a\nnameserver 6.6.6.6", "-a", ".", "a..b", "x" * 64, "a." * 200, "é", b"a", "a\0"):
            self.assertEqual("", lease_of(ack(domain_name=domain)).domain)

    @given(VALUES, st.dictionaries(st.sampled_from(sorted(OPTIONS)), VALUES))
    def test_anything(self, ip: Any, options: dict[str, Any]) -> None:
        """
        Whatever a server says, it makes a lease that is whole, or none.
        """
        try:
            lease = lease_of(ack(ip, **options))
        except ValueError:
            return
        self.assertLessEqual(len(lease.dns), 3)
        self.assertTrue(all(sign.isalnum() or sign in "-_." for sign in lease.domain))


class ResolverTests(SynchronousTestCase):
    """
    The file.
    """

    def setUp(self) -> None:
        """
        A place for it.
        """
        folder = tempfile.TemporaryDirectory(prefix="core0-")
        self.addCleanup(folder.cleanup)
        self.folder = Path(folder.name)
        self.path = self.folder / "resolv.conf"

    def test_render(self) -> None:
        """
        It says where it comes from, even if that has a strange name, and has one line for each server.
        """
        text = host_resolver.render("/a\nnameserver 6.6.6.6", [ip_address("10.0.0.1")], ["a.org", "b.org"])
        expected = "# core0 wrote this; see '/a\\nnameserver 6.6.6.6'\nsearch a.org b.org\nnameserver 10.0.0.1\n"
        self.assertEqual(expected, text)

    def test_write(self) -> None:
        """
        It is replaced as a whole, readable for all, and nothing is left beside it.
        """
        old = os.umask(0o077)
        self.addCleanup(os.umask, old)
        for text in ("nameserver 10.0.0.1\n", "nameserver 10.0.0.2\n"):
            host_resolver.write(text, str(self.path))
            self.assertEqual(Resolver(text), host_resolver.look(str(self.path)))
        self.assertEqual(0o644, stat.S_IMODE(self.path.stat().st_mode))
        self.assertEqual([self.path], list(self.folder.iterdir()))

    def test_reader_keeps_the_old_one(self) -> None:
        """
        Whoever has it open reads the old one to its end.
        """
        self.path.write_text("old")
        with self.path.open() as reader:
            host_resolver.write("new", str(self.path))
            self.assertEqual("old", reader.read())

    def test_cannot_be_written(self) -> None:
        """
        Where there is no folder for it the reason is told.
        """
        self.assertRaises(OSError, host_resolver.write, "x", str(self.folder / "none" / "resolv.conf"))

    def test_look(self) -> None:
        """
        A link is told with where it leads; what is no file, or not there, has no text, and is not waited for.
        """
        self.assertEqual(Resolver(), host_resolver.look(str(self.path)))
        self.path.symlink_to("/run/elsewhere")
        self.assertEqual(Resolver(target="/run/elsewhere"), host_resolver.look(str(self.path)))
        self.path.unlink()
        os.mkfifo(self.path)
        self.assertIn(host_resolver.look(str(self.path)), (Resolver(), Resolver("")))
        self.path.unlink()
        self.path.mkdir()
        self.assertEqual(Resolver(), host_resolver.look(str(self.path)))
