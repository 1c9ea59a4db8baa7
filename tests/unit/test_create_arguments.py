"""
Tests of the arguments of ``corex.create`` and the others of its family.
"""

from typing import Any

import msgspec
from hypothesis import given
from hypothesis import strategies as st
from msgspec import Raw
from twisted.trial.unittest import SynchronousTestCase

from core0.commands.corex import DispatchArguments, TerminateArguments
from core0.commands.create_arguments import MAX_VARIABLE, CreateArguments
from core0.containers.ground import Places
from core0.containers.nursery import MAX_ORDER
from core0.containers.orders import Join, Prepare
from core0.containers.request import Mount
from core0.containers.rootfs import Bind, Setup
from core0.corex_settings import Limits, Settings
from core0.errors import Refusal
from core0.network.wishes import Wish
from core0.reading import read_arguments

PLIST = "/images/base.plist"
LONG = "/x" * 2047  # as long as a path can be
ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=20),
    lambda children: st.lists(children, max_size=4) | st.dictionaries(st.text(max_size=10), children, max_size=4),
    max_leaves=8,
)


def read(**arguments: Any) -> CreateArguments:
    """
    As core0 reads them.
    """
    return read_arguments(Raw(msgspec.json.encode(arguments)), CreateArguments)


UNITS: dict[str, dict[Any, Any]] = {
    "memory": {
        **dict.fromkeys(("512M", "512m", "512MB", "512MiB", "512 MiB", "536870912", "0.5g", 536870912.0), 512 << 20),
        "1g": 1 << 30,
        "65536K": 64 << 20,
        "8388608b": 8 << 20,
        "0.5T": 1 << 39,
        8 << 20: 8 << 20,
    },
    "cpu": {**dict.fromkeys(("50%", "500m", "0.5", 0.5), 0.5), "2": 2.0, "150%": 1.5, 1: 1.0},
    "pids": {"100": 100, 100: 100, 200.0: 200},
}
NO_UNITS = {
    "memory": (
        "",
        "M",
        "512X",
        "1e9",
        "-1",
        "max",
        "512M ",
        "5G5",
        "0x10",
        "1.5.5G",
        "٥M",
        "1T1",
        "9999P",
        1,
        2**60,
    ),
    "cpu": ("", "%", "half", "0", "-1", "50 %", "1,5", "5000000", "nan", "inf", 1e308, True),
    "pids": ("", "1.5", "-1", "7", 1e300, "٣٣", "unlimited", "1K"),
}


class CreateTests(SynchronousTestCase):
    """
    What may be asked for.
    """

    def refused(self, field: str, **arguments: Any) -> None:
        """
        The arguments are refused, and the text begins with the field.
        """
        error = self.assertRaises(Refusal, read, **{"plist": PLIST, **arguments})
        self.assertEqual(400, error.code)
        self.assertTrue(str(error).startswith(f"arguments.{field}"), error)

    def test_least(self) -> None:
        """
        A plist is enough; everything else has a default.
        """
        request = read(plist=PLIST).request()
        self.assertEqual(
            (PLIST, "", "", False, False), (request.plist, *(request.storage, request.hostname), *(False,) * 2)
        )
        self.assertEqual((Limits(), [], "corex-7"), (request.limits, request.mounts, request.name(7)))

    def test_null(self) -> None:
        """
        A field that is null is the same as one that is missing.
        """
        names = [name for name in CreateArguments.__struct_fields__ if name != "plist"]
        self.assertEqual(read(plist=PLIST), read(plist=PLIST, **dict.fromkeys(names)))

    def test_root(self) -> None:
        """
        ``root`` is another name of ``plist``; both are taken only if they say the same.
        """
        self.assertEqual("https://h/x", read(root="https://h/x").request().plist)
        self.assertEqual(PLIST, read(root=PLIST, plist=PLIST).request().plist)
        self.refused("root", root="/other")

    def test_missing(self) -> None:
        """
        Without a plist nothing can be made.
        """
        error = self.assertRaises(Refusal, read)
        self.assertEqual("arguments.plist: required, but missing", str(error))

    def test_urls(self) -> None:
        """
        Plists and storages are http, https or file URLs, or absolute paths.
        """
        for field in ("plist", "storage"):
            for value in ("relative", "ftp://h/x", "javascript:x", "-", "/a\0b"):
                self.refused(field, **{field: value})
        for value in ("/a folder/x", "/ä/x", "HTTPS://h/x", "file:///a%20folder/x", "https://h/a b"):
            request = read(plist=value, storage=value).request()
            self.assertEqual((value, value), (request.plist, request.storage))

    def test_secrets(self) -> None:
        """
        A refusal of a URL repeats no password.
        """
        for url in ("ftp://me:secret@h/x", "http://me:secret@h/\0"):
            error = self.assertRaises(Refusal, read, plist=url)
            self.assertNotIn("secret", str(error))

    def test_hostname(self) -> None:
        """
        Hostnames are what the kernel and the network take.
        """
        for name in ("a", "web-1", "a.b.c", "x" * 63):
            self.assertEqual(name, read(plist=PLIST, hostname=name).request().hostname)
        for name in ("-a", "a-", "a_b", "a b", "a\n", "x" * 64, "ä", "../x", "a..b", "123", "10.0.0.1", "localhost"):
            self.refused("hostname", hostname=name)

    def test_mounts(self) -> None:
        """
        Mounts are absolute on both sides; ``:ro`` makes them read-only.
        """
        found = read(plist=PLIST, mount={"/a": "/b", "/c": "/d/:ro", "/e": "//f//g"}).mounts()
        self.assertEqual([Mount("/a", "/b"), Mount("/c", "/d", True), Mount("/e", "/f/g")], found)

    def test_bad_mounts(self) -> None:
        """
        Nothing is mounted outside of the container, over its root or over what is its own, or twice at one place.
        """
        for mount in (
            {"a": "/b"},
            {"/a": "b"},
            {"/a": ""},
            {"/a": "/"},
            {"/a": "/:ro"},
            {"/a": "/x/../.."},
            {"/a": "/.."},
            {"/a": "/proc"},
            {"/a": "/proc/sys"},
            {"/a": "/sys/fs"},
            {"/a": "/dev"},
            {"/a": "//dev/null"},
            {"/a": "/./proc"},
            {"/a": "/b", "/c": "/b/"},
            {"/a\0": "/b"},
            {"/a": "/b\0"},
            {f"/{number}": f"/{number}" for number in range(101)},
        ):
            self.refused("mount", mount=mount)

    def test_mount_options(self) -> None:
        """
        Behind the colon of a mount is ``ro``, ``rw`` or what is refused, and named: it is never taken for a name.
        """
        for option, read_only in (("", False), (":rw", False), (":ro", True)):
            self.assertEqual([Mount("/a", "/b", read_only)], read(plist=PLIST, mount={"/a": f"/b{option}"}).mounts())
        for option in (
            *("ro,z", "z", "Z", "RO", "ro:ro", "rw,ro", "ro,ro", "U", "rshared", "nosuid", "cached", "delegated"),
            *("", "ro,", ",", " ro", "ro ", "readonly", "y", "y:ro", "size=1m", "idmap"),
        ):
            error = self.assertRaises(Refusal, read, plist=PLIST, mount={"/a": f"/b:{option}"})
            self.assertTrue(str(error).startswith("arguments.mount['/a']: expected"), error)
            self.assertIn(repr(f"/b:{option}"), str(error))
        for option, reason in (("ro,z", "SELinux"), ("RO", "small letters"), ("U", "owners"), ("y", "a colon")):
            self.assertIn(reason, str(self.assertRaises(Refusal, read, plist=PLIST, mount={"/a": f"/b:{option}"})))
        for option in (
            *(",ro", ",rw", ",readonly", ",z", ",ro:rw", ",RO", ",ro,x", ",readonly=true", ",ro=1", ",relabel=shared"),
            *(",bind-propagation=rslave", ",consistency=cached", ",cached", ",idmap", ",readonly=true:rw"),
        ):
            error = self.assertRaises(Refusal, read, plist=PLIST, mount={"/a": f"/b{option}"})
            self.assertIn("behind a colon", str(error))
        self.assertEqual([Mount("/a", "/b,c", True)], read(plist=PLIST, mount={"/a": "/b,c:ro"}).mounts())

    def test_mount_objects(self) -> None:
        """
        An object names any path, also one with a colon, and is what ``corex.list`` tells of it.
        """
        for path in ("/a:b", "/x:ro", "/c,d:ro,z", "/x,ro", "/plain"):
            for read_only in (False, True):
                given = {"path": path, "read_only": read_only}
                request = read(plist=PLIST, mount={"/h": given}).request()
                self.assertEqual([Mount("/h", path, read_only)], request.mounts)
                again = read(plist=PLIST, mount={"/h": request.mounts[0].asked}).request()
                self.assertEqual(request.mounts, again.mounts)
        self.assertEqual([Mount("/h", "/x")], read(plist=PLIST, mount={"/h": {"path": "/x"}}).mounts())
        for wrong in (
            {"path": "x"},
            {"path": "/proc"},
            {"read_only": True},
            {"path": "/x", "read_only": "yes"},
            ["/x"],
        ):
            self.refused("mount", mount={"/h": wrong})

    def test_env(self) -> None:
        """
        Variables have names without ``=`` and no NUL; there is a bound to them.
        """
        self.assertEqual({"A": "", "B": "x=y"}, read(plist=PLIST, env={"A": "", "B": "x=y"}).request().env)
        for env in ({"": "x"}, {"A=": "x"}, {"A": "\0"}, {"A\0": "x"}, {"A": "x" * (1 << 17)}):
            self.refused("env", env=env)
        self.refused("env", env={f"V{number}": "" for number in range(1001)})

    def test_largest_variable(self) -> None:
        """
        A variable is at most as long as the kernel takes, in bytes; a longer one is named.
        """
        for value in ("x" * MAX_VARIABLE, "ä" * (MAX_VARIABLE // 2)):
            self.refused("env['V']", env={"V": value})
        for value in ("x" * (MAX_VARIABLE - 1), "ä" * (MAX_VARIABLE // 2 - 1)):
            self.assertEqual({"V": value}, read(plist=PLIST, env={"V": value}).request().env)

    def test_most_mounts(self) -> None:
        """
        All mounts that are taken can be told to the process that becomes a CoreX; more are refused.
        """
        paths = [f"/{place:03}/{'x' * 1000}" for place in range(85)]
        mounts = read(plist=PLIST, mount={path: path for path in paths}).mounts()
        binds = [Bind(mount.source, f"mount-{place}", mount.read_only) for place, mount in enumerate(mounts)]
        targets = [mount.target for mount in mounts]
        setup = Setup(stage=LONG, lower=LONG, own=LONG, first_id=1, binds=binds, places=Places(targets))
        self.assertLess(len(msgspec.json.encode(Prepare(setup))), MAX_ORDER)
        self.refused("mount", mount={f"{path}{'y' * 500}": path for path in paths})

    def test_most_variables(self) -> None:
        """
        All variables that are taken can be told to the process that becomes a CoreX, whatever is in them; more are
        refused.
        """
        env = read(plist=PLIST, env={"V": "\1" * (32_000)}).request().env
        settings = Settings(number=1, node="1:1", user="corex-1", password="x" * 64, env=env)
        order = Join(init=1, bundle=LONG, cgroups=[LONG] * 12, socket=LONG, settings=settings)
        self.assertLess(len(msgspec.json.encode(order)), MAX_ORDER)
        self.refused("env", env={"V": "\1" * (33 << 10)})

    def test_limits(self) -> None:
        """
        Limits are such that a container can live with them.
        """
        limits = read(plist=PLIST, limits={"memory": 64 << 20, "cpu": 1.5, "pids": 100}).request().limits
        self.assertEqual(Limits(memory=64 << 20, cpu=1.5, pids=100), limits)
        for name, value in (("memory", 1), ("cpu", 0), ("cpu", -1), ("pids", 0), ("pids", 1.5)):
            self.refused(f"limits.{name}", limits={name: value})

    def test_units(self) -> None:
        """
        Limits may be text with the units that people write; everything else is refused with what there was.
        """
        for name, values in UNITS.items():
            for value, expected in values.items():
                limits = read(plist=PLIST, limits={name: value}).request().limits
                self.assertEqual(Limits(**{name: expected}), limits, value)
        for name, wrong in NO_UNITS.items():
            for value in wrong:
                error = self.assertRaises(Refusal, read, plist=PLIST, limits={name: value})
                self.assertTrue(str(error).startswith(f"arguments.limits.{name}: "), error)
                self.assertIn(str(value).lower(), str(error).lower())

    def test_links(self) -> None:
        """
        A link is the name of a bridge, with or without an address, or with one that is handed out.
        """
        bridges = ["br0", ["br1", "10.0.0.2/24"], ["br2", "dhcp"], ["br3", ""], ["br4"]]
        request = read(plist=PLIST, network={"bridge": bridges, "zerotier": "8056C2E21C000001"}).request()
        wishes = Wish("br0"), Wish("br1", "10.0.0.2/24"), Wish("br2", "dhcp"), Wish("br3", ""), Wish("br4")
        self.assertEqual((wishes, "8056c2e21c000001"), (request.links, request.zerotier))
        for empty in ({}, {"bridge": [], "zerotier": ""}, {"bridge": None, "zerotier": None}, None):
            self.assertIsNone(read(plist=PLIST, network=empty).request().wishes(1))

    def test_wrong_links(self) -> None:
        """
        What is no link is refused by its place in the list.
        """
        for place, wrong in enumerate(([], ["br0", "dhcp", ""], "", ["", "dhcp"], [[]], 5, {"br0": ""})):
            bridges = ["br0"] * place
            self.refused(f"network.bridge[{place}]", network={"bridge": [*bridges, wrong]})
        self.refused("network.bridge", network={"bridge": "br0"})
        self.refused("network.bridge", network={"bridge": ["br0"] * 65})
        self.refused("network", network=["br0"])
        for wrong in ("8056c2e21c00000", "8056c2e21c0000011", "8056c2e21c00000g", "../../../../etc/"):
            self.refused("network.zerotier", network={"zerotier": wrong})

    def test_ports(self) -> None:
        """
        A port is one of the host, with or without its address and its protocol.
        """
        given = {"8080": 80, "127.0.0.1:8081": 81, "[2001:db8::1]:8082": 82, "53/udp": 53, "0.0.0.0:8083/tcp": 83}
        request = read(plist=PLIST, port=given).request()
        shown = {"8080": 80, "127.0.0.1:8081": 81, "[2001:db8::1]:8082": 82, "53/udp": 53, "8083": 83}
        self.assertEqual(shown, {port.host: port.port for port in request.ports})
        for wrong in ("", "0", "65536", "80:80", "-1", "80/sctp", "host:80", "::1:80", "999.0.0.1:80", " 80"):
            self.refused("port", port={wrong: 80})
        given_ranges = read(plist=PLIST, port={"9000-9001/udp": "90-91", "8080": "80"}).request()
        self.assertEqual(
            {"9000/udp": 90, "9001/udp": 91, "8080": 80}, {port.host: port.port for port in given_ranges.ports}
        )
        for number in (0, 65536, -1, "x", 80.5, None):
            self.refused("port", port={"80": number})
        self.refused("port", port={str(number): 80 for number in range(1, 1002)})

    def test_host_network(self) -> None:
        """
        Who has the network of the host has no links and ports of its own.
        """
        self.refused("network.bridge", host_network=True, network={"bridge": ["br0"]})
        self.refused("network.zerotier", host_network=True, network={"zerotier": "8056c2e21c000001"})
        self.refused("port", host_network=True, port={"8080": 80})
        self.assertTrue(read(plist=PLIST, host_network=True, network={}, port={}).request().host_network)

    @given(st.dictionaries(st.sampled_from(CreateArguments.__struct_fields__), ANYTHING))
    def test_anything(self, arguments: dict[str, Any]) -> None:
        """
        Whatever is sent is a request, or a refusal that names a field.
        """
        try:
            read_arguments(Raw(msgspec.json.encode(arguments)), CreateArguments).request()
        except Refusal as error:
            self.assertEqual(400, error.code)
            self.assertTrue(str(error).startswith("arguments"), error)


class OthersTests(SynchronousTestCase):
    """
    The arguments of the rest of the family.
    """

    def test_number(self) -> None:
        """
        A container is named by a number from 1 up.
        """
        for shape, more in ((DispatchArguments, {"command": {}}), (TerminateArguments, {})):
            for value in (0, -1, 1.5, "1", None, True, 2**60):
                text = msgspec.json.encode({"container": value, **more})
                error = self.assertRaises(Refusal, read_arguments, Raw(text), shape)
                self.assertTrue(str(error).startswith("arguments.container"), error)
