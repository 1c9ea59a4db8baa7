"""
Bridges, as clients ask a running core0 for them: on a host that is a namespace of its own.
"""

import json
from typing import Any

from tests.daemon import eventually
from tests.functional.network_shared import Connected, Driver, NetworkTestCase, Refused, helpers
from tests.functional.shared import answer_of


class BridgeTestCase(NetworkTestCase):
    """
    Tests with a host and a core0 on it.
    """

    def setUp(self) -> None:
        """
        Start it.
        """
        super().setUp()
        self.daemon = Connected(self.host)
        self.addCleanup(self.daemon.close)
        self.daemon.start()

    def do(self, command: str, **arguments: Any) -> Any:
        """
        The answer of a command that goes well.
        """
        result = self.daemon.run_command(command, arguments)
        self.assertEqual(("SUCCESS", 0), (result["state"], result["code"]), result)
        return answer_of(result)

    def refused(self, code: int, about: str, command: str, **arguments: Any) -> None:
        """
        A command is refused for a reason that names this, and leaves all as it was.
        """
        before = self.host.everything()
        result = self.daemon.run_command(command, arguments)
        self.assertEqual(("ERROR", code), (result["state"], result["code"]), result)
        self.assertIn(about, answer_of(result))
        self.assertEqual(before, self.host.everything())


class BridgeTests(BridgeTestCase):
    """
    Bridges without addresses.
    """

    def test_create_list_delete(self) -> None:
        """
        A bridge is made with the MAC address that is asked for, is up and listed, and goes when it is deleted.
        """
        before = self.host.everything()
        self.assertEqual([], self.do("bridge.list"))
        self.assertIs(True, self.do("bridge.create", name="br1", hwaddr="02:00:00:00:00:AB"))
        self.assertIs(True, self.do("bridge.create", name="br0"))
        self.assertEqual(["br0", "br1"], self.do("bridge.list"))
        found = self.host.look("-d", "link", "show", "br1")[0]
        self.assertEqual("bridge", found["linkinfo"]["info_kind"])
        self.assertEqual("02:00:00:00:00:ab", found["address"])
        self.assertIn("UP", found["flags"])
        for name in ("br0", "br1"):
            self.assertIs(True, self.do("bridge.delete", name=name))
        self.assertEqual([], self.do("bridge.list"))
        self.assertEqual(before, self.host.everything())

    def test_refused(self) -> None:
        """
        What the kernel would not take, or would take for something else, is refused with the argument's name.
        """
        self.do("bridge.create", name="br0")
        for name in (
            "",
            "x" * 16,
            "é" * 8,
            "a/b",
            "../../x",
            "a b",
            "a\n",
            ".",
            "..",
            "all",
            "default",
            "br%d",
            "a:1",
            "c2v0",
        ):
            self.refused(400, "arguments.name: ", "bridge.create", name=name)
        for hwaddr in ("02:00", "01:00:00:00:00:01", "00:00:00:00:00:00", "zz:00:00:00:00:01", "$(reboot)"):
            self.refused(400, "arguments.hwaddr: ", "bridge.create", name="br1", hwaddr=hwaddr)
        self.refused(409, "arguments.name: there is a bridge br0 already", "bridge.create", name="br0")
        self.refused(409, "arguments.name: there is a link lo already", "bridge.create", name="lo")
        self.refused(404, "arguments.name: there is no bridge 'br1'", "bridge.delete", name="br1")
        self.refused(404, "arguments.name: ", "bridge.delete", name="x" * 300)
        self.refused(400, "arguments.name: lo is no bridge", "bridge.delete", name="lo")
        self.refused(400, "arguments.name: ", "bridge.delete", name="")
        self.refused(400, "arguments.name: required", "bridge.create")

    def test_odd_names(self) -> None:
        """
        Names that mean something to a shell or another program are just names.
        """
        names = sorted(["$(reboot)", ";halt", "-h", "a*", "-rf", "x" * 15, "éééééé", "`id`", "'", '"'])
        for name in names:
            self.do("bridge.create", name=name)
        self.assertEqual(names, self.do("bridge.list"))
        self.daemon.stop()
        self.daemon.start()
        self.assertEqual(names, self.do("bridge.list"))
        for name in names:
            self.do("bridge.delete", name=name)
        self.assertEqual(["lo"], self.host.links())

    def test_strangers(self) -> None:
        """
        Bridges that others have made are listed, left alone, and deleted if asked for, with links attached to them.
        """
        self.host.ip("link", "add", "other", "type", "bridge")
        self.host.ip("link", "add", "v0", "type", "veth", "peer", "name", "v1")
        self.host.ip("link", "set", "v0", "master", "other")
        self.do("bridge.create", name="br0")
        self.host.ip("link", "set", "v1", "master", "br0")
        self.assertEqual(["br0", "other"], self.do("bridge.list"))
        self.daemon.stop()
        self.daemon.start()
        self.assertEqual(["br0", "other"], self.do("bridge.list"))
        self.do("bridge.delete", name="other")
        self.do("bridge.delete", name="br0")
        self.assertEqual(["lo", "v0", "v1"], self.host.links())

    def test_deleted_by_others(self) -> None:
        """
        A bridge that somebody else has deleted can be deleted, or made anew.
        """
        for name in ("br0", "br1"):
            self.do("bridge.create", name=name)
            self.host.ip("link", "del", name)
        self.do("bridge.delete", name="br0")
        self.do("bridge.create", name="br1", hwaddr="02:00:00:00:00:01")
        self.daemon.stop()
        self.daemon.start()
        self.assertEqual(["br1"], self.do("bridge.list"))
        self.assertEqual("02:00:00:00:00:01", self.host.look("link", "show", "br1")[0]["address"])

    def test_again(self) -> None:
        """
        What was made is there as it was after core0 has been killed, and after a start of the machine.
        """
        self.do("bridge.create", name="br0", network={"mode": "static", "settings": {"cidr": "10.7.0.1/24"}})
        self.do("bridge.create", name="br1", network={"mode": "static", "nat": True, "settings": {"cidr": "fd07::/64"}})
        before, address = self.host.everything(), self.host.look("link", "show", "br0")[0]["address"]
        self.daemon.crash()
        self.daemon.start()
        self.assertEqual(before, self.host.everything())
        self.daemon.crash()
        for name in ("br0", "br1"):
            self.host.ip("link", "del", name)
        self.host.run("nft", "flush", "ruleset")
        self.daemon.start()
        self.assertEqual(["10.7.0.1/24"], self.host.addresses("br0"))
        self.assertEqual(["fd07::1/64"], self.host.addresses("br1"))
        self.assertEqual(address, self.host.look("link", "show", "br0")[0]["address"])
        self.assertEqual(["core0"], self.host.tables())

    def test_two(self) -> None:
        """
        A second core0 on the same host is refused what the first one looks after, and has it when that has ended.
        """
        self.do("bridge.create", name="br0", network={"mode": "static", "settings": {"cidr": "10.7.0.1/24"}})
        other = Driver(self.host, self.folder)
        self.addCleanup(other.close)
        self.assertEqual(["br0"], other.call("listed"))
        error = self.assertRaises(Refused, other.call, "create", "br1", None)
        self.assertEqual(503, error.args[0])
        self.assertIn(str(self.daemon.state), error.args[1])
        self.daemon.stop()
        other.call("create", "br1", None)
        self.assertEqual(["br0", "br1"], other.call("listed"))

    def test_taken_name(self) -> None:
        """
        A bridge that others have made in the place of one of core0's is left alone, and listed.
        """
        served = {"mode": "dnsmasq", "nat": True, "settings": {"cidr": "10.7.0.1/24"}}
        self.do("bridge.create", name="br0", network=served)
        self.daemon.stop()
        self.host.ip("link", "del", "br0")
        self.host.ip("link", "add", "br0", "address", "02:00:00:00:99:99", "type", "bridge")
        self.host.ip("addr", "add", "192.168.5.1/24", "dev", "br0")
        before = self.host.ground()
        self.daemon.start()
        self.assertEqual(before, self.host.ground())
        self.assertEqual(({}, []), (helpers(self.daemon.state), self.host.tables()))
        self.assertEqual(["br0"], self.do("bridge.list"))

    def test_edited(self) -> None:
        """
        core0 starts whatever its file of the network says; what it has made by another one is not desired any more.
        """
        served = {"mode": "dnsmasq", "nat": True, "settings": {"cidr": "10.7.0.1/24"}}
        self.do("bridge.create", name="br0", network=served)
        self.daemon.stop()
        path = self.daemon.state / "network.json"
        path.write_text(path.read_text().replace("10.7.0.2", "10.7.0.x"))
        self.daemon.start()
        self.assertEqual(["br0"], self.do("bridge.list"))
        self.assertEqual(({}, []), (helpers(self.daemon.state), self.host.tables()))
        self.do("bridge.delete", name="br0")
        self.do("bridge.create", name="br0", network=served)

    def test_cannot_be_read(self) -> None:
        """
        As long as its file of the network cannot be read core0 runs, changes nothing of it and says why; once it can be
        read all is as it was.
        """
        served = {"mode": "dnsmasq", "nat": True, "settings": {"cidr": "10.7.0.1/24"}}
        self.do("bridge.create", name="br0", network=served)
        self.daemon.stop()
        path = self.daemon.state / "network.json"
        text = path.read_text()
        path.rename(path.with_name("aside"))
        path.mkdir()
        self.daemon.start()
        self.assertEqual(["br0"], self.do("bridge.list"))
        for command, arguments in (("bridge.create", {"name": "br1"}), ("bridge.delete", {"name": "br0"})):
            self.refused(503, f"cannot read {path}: Is a directory", command, **arguments)
        path.rmdir()
        path.with_name("aside").rename(path)
        eventually(lambda: self.daemon.run_command("bridge.create", {"name": "br1"})["code"] == 0, "it is read")
        self.assertEqual(["br0", "br1"], self.do("bridge.list"))
        self.assertIn('"br0"', path.read_text())
        self.assertFalse(path.with_name("network.json.broken").exists())
        self.do("bridge.delete", name="br1")
        self.assertEqual(json.loads(text), json.loads(path.read_text()))
        self.assertEqual({"br0"}, set(helpers(self.daemon.state)))
