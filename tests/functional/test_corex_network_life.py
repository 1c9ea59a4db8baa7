"""
Networks of containers over restarts: of core0, of what it has made, and of the machine's whole network.
"""

from typing import Any

from tests.functional.corex_network import FAR, NEAR, ConnectedTestCase, HostTraces
from tests.functional.network_shared import Connected, Host


class RestartTests(ConnectedTestCase):
    """
    Two containers on a bridge, one with a port.
    """

    def setUp(self) -> None:
        """
        Make them.
        """
        super().setUp()
        self.bridge()
        self.one = self.create(hostname="one", network={"bridge": ["br9"]}, port={"8080": 80})
        self.two = self.create(hostname="two", network={"bridge": ["br9"]})
        self.serve(self.one, "hello")
        self.assertEqual("hello", self.fetched(self.world, "http://192.0.2.1:8080/"))

    def links(self) -> dict[str, Any]:
        """
        What ``corex.list`` says of links and ports.
        """
        return {number: (each["network"], each["port"]) for number, each in self.listed().items()}

    def assert_connected(self) -> None:
        """
        They reach each other by name, and the port leads to the page.
        """
        self.assertIn("1 packets received", self.inside_sh(self.two, "ping -c 1 -w 5 one"))
        self.assertIn("1 packets received", self.inside_sh(self.one, "ping -c 1 -w 5 two"))
        self.assertEqual("hello", self.fetched(self.host, "http://127.0.0.1:8080/"))
        self.assertEqual("hello", self.fetched(self.world, "http://192.0.2.1:8080/"))

    def test_core0(self) -> None:
        """
        A core0 that is stopped, or killed, leaves links, addresses, names and ports; the next one goes on with them.
        """
        before, ground = self.links(), self.host.everything()
        for end in (self.daemon.stop, self.daemon.crash):
            end()
            self.assertEqual(ground, self.host.everything())
            self.assertEqual("hello", self.fetched(self.world, "http://192.0.2.1:8080/"))
            self.daemon.start()
            self.assertEqual(before, self.links())
            self.assertEqual(ground, self.host.everything())
            self.assert_connected()
        self.terminate(self.one)
        self.assertEqual("", self.fetch(self.world, "http://192.0.2.1:8080/"))

    def test_without_core0(self) -> None:
        """
        Links that somebody has removed while core0 was away are there again with it, with the same addresses.
        """
        before, ground = self.links(), self.host.everything()
        self.daemon.stop()
        self.host.ip("link", "del", "br9")
        self.host.ip("link", "del", f"c{self.one}v0")
        self.host.run("nft", "flush", "ruleset")
        self.daemon.start()
        self.assertEqual(before, self.links())
        self.assertEqual(len(ground[0]), len(self.host.ground()[0]))
        self.assert_connected()

    def test_machine(self) -> None:
        """
        When all of the machine's network is made anew, bridges, links and ports come back with the same addresses.
        """
        before = self.links()
        self.daemon.stop()
        self.move_to(Host())
        self.daemon.start()
        self.assertEqual(before, self.links())
        self.assert_connected()

    def move_to(self, host: Host) -> None:
        """
        Have core0 started on another host next time, which takes the place of this one.
        """
        assert isinstance(self.daemon, Connected)
        self.addClassCleanup(host.close)
        self.world.ip("link", "del", "cable1")
        host.cable(self.world, NEAR, FAR)
        type(self).host = self.daemon.host = host
        assert isinstance(self.traces, HostTraces)
        self.traces.host = host
