"""
The file of the host's network: what it says, and what is wrong with it.
"""

import os
import re
import tempfile
import tomllib
from ipaddress import ip_address, ip_interface
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st
from msgspec import Struct
from msgspec.structs import fields
from twisted.trial.unittest import SynchronousTestCase

from core0.config_reader import settings
from core0.errors import ConfigError
from core0.network.host_settings import (
    MAX_FILE,
    SECTIONS,
    HostSettings,
    InterfaceTable,
    LinkSettings,
    NetworkTable,
    StaticTable,
    name_obstacle,
    parse_settings,
    read_settings,
)
from tests.daemon import ROOT

ADDRESS = 'an address such as "10.0.0.5/24", or a list of at most 16'
GATEWAY = 'an address such as "10.0.0.1", or a list of one of IPv4 and one of IPv6'
SERVERS = 'an address such as "10.0.0.1", or a list of at most 3'
PROTOCOL = '"static", "dhcp" or "none"'
STATIC = '[interface.e]\nprotocol = "static"\n[static.e]\n'
IP = 'ip = "10.0.0.5/24"\n'
LONG = "x" * 300
MISFITS = [
    ("auto = true", "auto: no such section; there are [network], [interface], [static]"),
    ("[interfaces.e]", "[interfaces]: no such section; did you mean [interface]?"),
    ("network = 1", "[network]: expected a table, got 1"),
    ("[network]\nauto = 1", "[network] auto: expected true or false, got 1"),
    ("[interface]\ne = 1", "[interface.e]: expected a table, got 1"),
    ("[interface.e]", f"[interface.e] protocol: required, but missing; expected {PROTOCOL}"),
    ('[interface.e]\nprotocol = "bootp"', f'[interface.e] protocol: expected {PROTOCOL}, got "bootp"'),
    ("[interface.e]\nprotocol = []", f"[interface.e] protocol: expected {PROTOCOL}, got []"),
    (
        '[interface.e]\nprotocol = "dhcp"\nmtu = 67',
        "[interface.e] mtu: expected 0, or a whole number from 68 to 65535, got 67: no packet would fit",
    ),
    (
        '[interface.e]\nprotocol = "dhcp"\nmtu = "x"',
        '[interface.e] mtu: expected 0, or a whole number from 68 to 65535, got "x"',
    ),
    ('[interface.e]\nprotocol = "dhcp"\nmut = 9', '[interface.e] mut: no such key; did you mean "mtu"?'),
    (
        '[interface.e]\nprotocol = "static"',
        '[interface.e] protocol: "static" needs a table [static.e] with ip',
    ),
    (
        f'[interface.e]\nprotocol = "dhcp"\n[static.e]\n{IP}',
        '[static.e]: expected protocol = "static" in [interface.e], got "dhcp"',
    ),
    (f"[static.e]\n{IP}", '[static.e]: there is no [interface.e]; add it, with protocol = "static"'),
    (STATIC, f"[static.e] ip: required, but missing; expected {ADDRESS}"),
    (f'{STATIC}ip = ""', f'[static.e] ip: expected {ADDRESS}, got ""'),
    (f"{STATIC}ip = []", f"[static.e] ip: expected {ADDRESS}, got []: there are 0"),
    (f"{STATIC}ip = 7", f"[static.e] ip: expected {ADDRESS}, got 7"),
    (f'{STATIC}ip = "10.0.0.5"', f'[static.e] ip: expected {ADDRESS}, got "10.0.0.5": "10.0.0.5" has no length'),
    (f'{STATIC}ip = "10.0.0.256/24"', f'[static.e] ip: expected {ADDRESS}, got "10.0.0.256/24": '),
    (f'{STATIC}ip = "10.0.0.0/24"', "10.0.0.0 is the network itself, not an address in it"),
    (f'{STATIC}ip = "fd00::/64"', "fd00:: is the network itself, not an address in it"),
    (f'{STATIC}ip = "10.0.0.255/24"', "10.0.0.255 is the broadcast address of its network"),
    (f'{STATIC}ip = "127.0.0.2/8"', "127.0.0.2 is no address of one machine"),
    (f'{STATIC}ip = "0.0.0.0/32"', "0.0.0.0 is no address of one machine"),
    (f'{STATIC}ip = "224.0.0.9/24"', "224.0.0.9 is no address of one machine"),
    (f'{STATIC}ip = "255.255.255.255/32"', "255.255.255.255 is no address of one machine"),
    (f'{STATIC}ip = "10.0.0.5/0"', 'the network of "10.0.0.5/0" would be everything'),
    (f'{STATIC}ip = "fe80::5/64"', "fe80::5 is one that the kernel gives a link itself"),
    (f'{STATIC}ip = ["10.0.0.5/24", "10.0.0.5/16"]', "10.0.0.5 is there twice"),
    (f'{STATIC}ip = "; reboot/24"', f'[static.e] ip: expected {ADDRESS}, got "; reboot/24": '),
    (f"{STATIC}{IP}gateway = 1", f"[static.e] gateway: expected {GATEWAY}, got 1"),
    (
        f'{STATIC}{IP}gateway = "10.1.0.1"',
        "[static.e] gateway: 10.1.0.1 cannot be reached: expected an address in 10.0",
    ),
    (f'{STATIC}{IP}gateway = "10.0.0.5"', "[static.e] gateway: 10.0.0.5 cannot be reached: it is the address of this"),
    (f'{STATIC}{IP}gateway = "fd00::1"', "[static.e] gateway: fd00::1 cannot be reached: there is no address of IPv6"),
    (f'{STATIC}{IP}gateway = ["10.0.0.1", "10.0.0.2"]', "there are two of one kind"),
    (f'{STATIC}{IP}gateway = "127.0.0.1"', "it is this machine itself"),
    (f'{STATIC}{IP}dns = "ns.example.org"', f'[static.e] dns: expected {SERVERS}, got "ns.example.org": '),
    (f'{STATIC}{IP}dns = ["1.1.1.1", "1.1.1.2", "1.1.1.3", "1.1.1.4"]', "there are 4"),
    (f'{STATIC}{IP}dns = "1.1.1.1\\nnameserver 6.6.6.6"', f"[static.e] dns: expected {SERVERS}, got"),
    (
        '[interface.e]\nprotocol = "static"\nmtu = 1000\n[static.e]\nip = "fd00::5/64"',
        "[interface.e] mtu: expected at least 1280, since [static.e] has an IPv6 address; got 1000",
    ),
    (
        f'{STATIC}{IP}[interface.f]\nprotocol = "static"\n[static.f]\n{IP}',
        "[static.f] ip: 10.0.0.5 is that of [static.e]; expected another one",
    ),
    ('[interface.lo]\nprotocol = "dhcp"', '[interface.lo]: expected the name of a link, got "lo": it is left alone'),
    (f'[interface.{LONG}]\nprotocol = "dhcp"', "a name has 1 to 15 bytes"),
    ('[interface.ééééééééé]\nprotocol = "dhcp"', "not TOML"),
    ('[interface."ééééééééé"]\nprotocol = "dhcp"', "a name has 1 to 15 bytes"),
    (
        '[interface."../e"]\nprotocol = "dhcp"',
        '[interface."../e"]: expected the name of a link, got "../e": a name has',
    ),
    ('[interface.".."]\nprotocol = "dhcp"', "a name has no space, and none of / : %"),
    ('[interface."a b"]\nprotocol = "dhcp"', "a name has no space, and none of / : %"),
    ('[interface."a%d"]\nprotocol = "dhcp"', "a name has no space, and none of / : %"),
    ('[interface."a\\u0000"]\nprotocol = "dhcp"', "a name has no space, and none of / : %"),
    ('[interface.""]\nprotocol = "dhcp"', "a name has 1 to 15 bytes"),
    (
        "\n".join(f'[interface.e{n}]\nprotocol = "dhcp"' for n in range(65)),
        "[interface]: expected at most 64 links, got 65",
    ),
    ("[network", "not TOML: "),
    ("a = " + "[" * 5000, "n.toml: n"),
]


def parse(text: str) -> HostSettings:
    """
    What a file of this content says.
    """
    return parse_settings(text.encode(), "n.toml")


class ParseTests(SynchronousTestCase):
    """
    The content.
    """

    def test_all(self) -> None:
        """
        Links are in the order of the file, each with all that is said of it.
        """
        text = """
            [network]
            auto = true
            [interface.wan]
            protocol = "dhcp"
            mtu = 1492
            [interface.e]
            protocol = "static"
            [interface.port]
            protocol = "none"
            [static.e]
            ip = ["10.0.0.5/24", "fd00::5/64", "192.0.2.1/32"]
            gateway = ["10.0.0.1", "fe80::1"]
            dns = ["127.0.0.53", "fd00::53"]
        """
        static = LinkSettings(
            "e",
            "static",
            0,
            (ip_interface("10.0.0.5/24"), ip_interface("fd00::5/64"), ip_interface("192.0.2.1/32")),
            (ip_address("10.0.0.1"), ip_address("fe80::1")),
            (ip_address("127.0.0.53"), ip_address("fd00::53")),
        )
        links = (LinkSettings("wan", "dhcp", 1492), static, LinkSettings("port", "none"))
        self.assertEqual(HostSettings("n.toml", True, links), parse(text))

    def test_single(self) -> None:
        """
        A single value stands for a list of one; a gateway may be outside of a network of one address.
        """
        found = parse(f'{STATIC}ip = "192.0.2.1/32"\ngateway = "10.0.0.1"\ndns = "10.0.0.1"').links[0]
        self.assertEqual((ip_interface("192.0.2.1/32"),), found.addresses)
        self.assertEqual(((ip_address("10.0.0.1"),), (ip_address("10.0.0.1"),)), (found.gateways, found.dns))

    def test_empty(self) -> None:
        """
        A file without anything in it names no link.
        """
        self.assertEqual(HostSettings("n.toml"), parse(""))

    def test_misfits(self) -> None:
        """
        What is wrong is told with the file, the table, the key, what was there and what is expected, in one short line.
        """
        for text, expected in MISFITS:
            error = str(self.assertRaises(ConfigError, parse, text))
            self.assertIn(expected, error, text[:200])
            self.assertTrue(error.startswith("n.toml: "), error)
            self.assertLess(len(error), 500)
            self.assertTrue(error.isprintable(), error)

    def test_encodings(self) -> None:
        """
        A byte order mark, lines as on Windows, and a last line without an end are read; other encodings are named.
        """
        data = "\ufeff[network]\r\nauto = true\r\n# é".encode()
        self.assertEqual(HostSettings("n.toml", True), parse_settings(data, "n.toml"))
        for data, words in (
            ("# \n# é".encode("latin-1"), "n.toml: not UTF-8 (at line 2: byte 0xe9"),
            ("[network]".encode("utf-16"), "n.toml: not UTF-8 but UTF-16"),
            (b"[network]\n\0", "n.toml: expected text, got a NUL byte (at line 2)"),
            (b"[network\n", "n.toml: not TOML: Expected"),
        ):
            self.assertIn(words, str(self.assertRaises(ConfigError, parse_settings, data, "n.toml")))

    @given(st.binary() | st.text().map(str.encode))
    def test_any_content(self, data: bytes) -> None:
        """
        Whatever is in the file, it is read, or said to be wrong.
        """
        try:
            parse_settings(data, "n.toml")
        except ConfigError:
            pass

    @given(
        st.recursive(
            st.none() | st.booleans() | st.integers() | st.text(),
            lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
        )
    )
    def test_any_value(self, value: object) -> None:
        """
        Whatever is given where an address belongs, it is one, or said to be wrong.
        """
        for key in ("ip", "gateway", "dns"):
            try:
                text = f"{STATIC}{IP if key != 'ip' else ''}{key} = {_toml(value)}"
                found = parse(text).links[0]
            except ConfigError:
                continue
            self.assertTrue(found.addresses)

    @given(st.text(max_size=20))
    def test_any_name(self, name: str) -> None:
        """
        A name that is taken is one that the kernel takes, too.
        """
        if not name_obstacle(name):
            self.assertLessEqual(len(name.encode()), 15)
            self.assertIsNone(re.search(r"[\s/:\0]", name))


def _toml(value: object) -> str:
    if isinstance(value, dict):
        return "{" + ", ".join(f"{_toml(key)} = {_toml(inner)}" for key, inner in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(_toml, value)) + "]"
    if isinstance(value, str):
        return (
            '"' + "".join(sign if sign.isalnum() and sign.isascii() else f"\\U{ord(sign):08x}" for sign in value) + '"'
        )
    return str(value).lower()


class FileTests(SynchronousTestCase):
    """
    The file itself.
    """

    def setUp(self) -> None:
        """
        A place for it.
        """
        folder = tempfile.TemporaryDirectory(prefix="core0-")
        self.addCleanup(folder.cleanup)
        self.path = Path(folder.name) / "n.toml"

    def wrong(self) -> str:
        """
        What is wrong with it.
        """
        return str(self.assertRaises(ConfigError, read_settings, str(self.path))).removeprefix(f"{self.path}: ")

    def test_read(self) -> None:
        """
        It is read from where it is.
        """
        self.path.write_text("[network]\nauto = true\n")
        self.assertEqual(HostSettings(str(self.path), True), read_settings(str(self.path)))

    def test_no_file(self) -> None:
        """
        What is there and no file is not waited for.
        """
        self.assertEqual("cannot be read: No such file or directory", self.wrong())
        os.mkfifo(self.path)
        self.assertEqual("cannot be read: it is no file", self.wrong())
        self.path.unlink()
        self.path.mkdir()
        self.assertIn("cannot be read: ", self.wrong())

    def test_large(self) -> None:
        """
        A file that is far too large is not read to its end.
        """
        self.path.write_bytes(b"#" * (MAX_FILE + 1))
        self.assertEqual(f"expected at most {MAX_FILE} bytes", self.wrong())

    def test_not_utf8(self) -> None:
        """
        What is no UTF-8 is told with its line.
        """
        self.path.write_bytes(b"\n\n# \xff\n")
        self.assertEqual("not UTF-8 (at line 3: byte 0xff, which is ÿ in Latin-1); save it as UTF-8", self.wrong())


class ExampleTests(SynchronousTestCase):
    """
    ``etc/network.toml``.
    """

    def setUp(self) -> None:
        """
        Its text.
        """
        self.text = (ROOT / "etc" / "network.toml").read_text()

    def test_does_nothing(self) -> None:
        """
        As it is, it names no link.
        """
        self.assertEqual(HostSettings("n.toml"), parse(self.text))

    def test_readable(self) -> None:
        """
        Without the marks of comments it is a file that can be used, and has every key there is.
        """
        lines = [line.removeprefix("# ") for line in self.text.splitlines() if re.match(r"# (\[|\w+ = )|\[", line)]
        found = parse("\n".join(lines))
        self.assertEqual(["dhcp", "static", "none"], [link.protocol for link in found.links])
        tables = tomllib.loads("\n".join(lines))
        shapes: list[type[Struct]] = [NetworkTable, InterfaceTable, StaticTable]
        for section, shape in zip(SECTIONS, shapes, strict=True):
            self.assertEqual({field.name for field in fields(shape)}, set(settings(shape)))
            inside = [tables["network"]] if section == "network" else tables[section].values()
            self.assertEqual(set(settings(shape)), {key for table in inside for key in table})
