"""
Containers that cannot be connected: whatever step fails, the client is told which, and the host is as it was.
"""

from tests.daemon import eventually
from tests.functional.containers import image
from tests.functional.corex_network import ConnectedTestCase
from tests.functional.network_shared import Broken


class StepsTests(ConnectedTestCase):
    """
    Each step of a connection fails in turn.
    """

    def setUp(self) -> None:
        """
        With a bridge, and once a container, so that all that is kept is there.
        """
        super().setUp()
        self.bridge()
        self.terminate(self.create(network={"bridge": ["br9"]}, port={"8079": 80}))
        self.before = self.host.everything()

    def next_number(self) -> int:
        """
        The number of the next container.
        """
        return int((self.daemon.state / "containers" / "last").read_text()) + 1

    def assert_as_before(self) -> None:
        """
        Links, addresses, routes and the firewall are as they were, and there is no container.
        """
        self.assertEqual(self.before, self.host.everything())
        self.assertEqual({}, self.listed())
        self.assert_nothing_left()

    def test_firewall(self) -> None:
        """
        A firewall that does not take the ports.
        """
        with Broken(self.host, "nft", self.folder()):
            self.refused_create(503, "nft is broken", network={"bridge": ["br9"]}, port={"8080": 80})
        self.assert_as_before()

    def test_name_taken(self) -> None:
        """
        A link of the host that has the name of one that the container would have.
        """
        name = f"c{self.next_number()}v1"
        self.host.ip("link", "add", name, "type", "bridge")
        self.refused_create(409, f"there is a link {name}", network={"bridge": ["br9", "br9"]})
        self.host.ip("link", "del", name)
        self.assert_as_before()

    def test_disk(self) -> None:
        """
        What is desired cannot be written down.
        """
        obstacle = self.daemon.state / "network.json.new"
        obstacle.mkdir()
        self.refused_create(503, "network.json", network={"bridge": ["br9"]})
        obstacle.rmdir()
        self.assert_as_before()

    def test_port_in_use(self) -> None:
        """
        A port of the host at which somebody listens; of IPv4, of IPv6, and over UDP.
        """
        self.bridge("br6", {"mode": "static", "settings": {"cidr": "fd07::1/64"}})
        both = {"bridge": ["br9", ["br6", "fd07::2/64"]]}
        for address, kind in (("0.0.0.0", "tcp"), ("0.0.0.0", "udp"), ("::", "tcp")):
            port = {"8080": 80} if kind == "tcp" else {"8080/udp": 80}
            self.host.serve(address, kind, 8080)
            self.refused_create(409, f"8080/{kind}", network=both, port=port)
            self.host.end_served()
        self.command("bridge.delete", {"name": "br6"})
        self.assert_as_before()
        self.terminate(self.create(network={"bridge": ["br9"]}, port={"8080": 80, "8080/udp": 80}))

    def test_no_server(self) -> None:
        """
        A bridge of others behind which no server hands out addresses.
        """
        self.host.ip("link", "add", "br5", "address", "02:00:00:00:00:05", "type", "bridge")
        self.host.ip("link", "set", "br5", "up")
        self.before = self.host.everything()
        self.refused_create(503, "no DHCP server gives eth1", network={"bridge": ["br9", ["br5", "dhcp"]]})
        self.assert_as_before()

    def test_no_zerotier(self) -> None:
        """
        ZeroTier that is not installed is named, even while the image does not come.
        """
        self.world.serve("192.0.2.2", "tcp", 99)  # waits for more than it is asked
        arguments = {"plist": "http://192.0.2.2:99/x.plist", "network": {"zerotier": "8056c2e21c000001"}}
        self.assert_refused(503, "zerotier-one", self.daemon.run_command("corex.create", arguments))
        self.world.end_served()
        self.assert_as_before()

    def test_bridge_goes(self) -> None:
        """
        A bridge that somebody removes while the container is made.
        """
        self.host.ip("link", "add", "br5", "address", "02:00:00:00:00:05", "type", "bridge")
        id = self.waiting_create()
        self.host.ip("link", "del", "br5")
        self.assert_refused(503, "no DHCP server gives eth0 an address", self.daemon.result(id))
        self.assert_as_before()

    def waiting_create(self) -> str:
        """
        A container whose address is waited for.
        """
        self.host.ip("link", "set", "br5", "up")
        number = self.next_number()
        network = {"bridge": [["br5", "dhcp"], "br9"]}
        arguments = {"plist": image().plist, "network": network, "port": {"8080": 80}}
        id = self.daemon.push("corex.create", arguments)
        eventually(lambda: self.asks(f"c{number}v0"), "it waits")
        return id

    def asks(self, link: str) -> bool:
        """
        Whether something has come from a container by its link.
        """
        return any(
            int(each["stats64"]["rx"]["packets"]) for each in self.host.look("-s", "link") if each["ifname"] == link
        )

    def test_killed(self) -> None:
        """
        A creation that is killed while it waits for an address.
        """
        self.host.ip("link", "add", "br5", "address", "02:00:00:00:00:05", "type", "bridge")
        id = self.waiting_create()
        self.assert_success(self.daemon.run_command("core.kill", {"id": id}), "true")
        self.assertEqual("KILLED", self.daemon.result(id)["state"])
        self.host.ip("link", "del", "br5")
        self.assert_as_before()

    def test_core0_dies(self) -> None:
        """
        A core0 that is killed while a container waits for an address: the next one leaves nothing of it.
        """
        self.host.ip("link", "add", "br5", "address", "02:00:00:00:00:05", "type", "bridge")
        id = self.waiting_create()
        self.daemon.crash()
        self.daemon.start()
        self.assertEqual("INTERRUPTED", self.daemon.result(id)["state"])
        eventually(lambda: not self.traces.left(), "nothing is left")
        self.host.ip("link", "del", "br5")
        self.assert_as_before()
