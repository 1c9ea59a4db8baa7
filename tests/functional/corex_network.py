"""
What tests of the networks of containers have in common: a core0 on a host that is a namespace of its own, with another
host beyond a cable.
"""

import sys
from typing import Any, ClassVar

from tests.daemon import Daemon, eventually
from tests.functional.containers import ContainerTestCase, FirstProcess, Traces, need_containers, observed_server
from tests.functional.network_shared import Connected, Host
from tests.functional.shared import answer_of

HANDING = {"mode": "dnsmasq", "nat": True, "settings": {"cidr": "10.7.9.1/24"}}
NEAR, FAR = "192.0.2.1/24 2001:db8::1/64", "192.0.2.2/24 2001:db8::2/64"
GET = "import sys, urllib.request; print(urllib.request.urlopen(sys.argv[1], timeout=2).read().decode())"
PAGE = "mkdir -p /tmp/www; echo {text} > /tmp/www/index.html; httpd -f -p {port} -h /tmp/www"


class HostTraces(Traces):
    """
    What there is of containers on such a host: its links are looked at, not those of this machine.
    """

    def __init__(self, daemon: Daemon, host: Host) -> None:
        super().__init__(daemon)
        self.host = host
        self.ground = host.everything()

    def links(self) -> list[str]:
        """
        Ends of links of containers.
        """
        return [name for name in self.host.links() if name[0] == "c" and name[1:2].isdigit()]


class ConnectedTestCase(ContainerTestCase):
    """
    Tests with containers that have links. Each test finds the host without bridges, and leaves it so.
    """

    host: ClassVar[Host]
    world: ClassVar[Host]

    @classmethod
    def make_daemon(cls) -> Daemon:
        """
        On a host that is connected to another one.
        """
        need_containers()
        cls.host, cls.world = Host(), Host()
        cls.addClassCleanup(cls.host.close)
        cls.addClassCleanup(cls.world.close)
        cls.host.cable(cls.world, NEAR, FAR)
        daemon = Connected(cls.host)
        daemon.write_config(f'{cls.config}\n[redis]\nserver = "{observed_server(daemon)}"\n')
        cls.traces = HostTraces(daemon, cls.host)
        return daemon

    @classmethod
    def setUpClass(cls) -> None:
        """
        What core0 leaves behind is reaped.
        """
        super().setUpClass()
        cls.addClassCleanup(FirstProcess(lambda: cls.daemon.pid).close)

    def end(self) -> None:
        """
        Terminate all containers and delete all bridges; nothing may be left.
        """
        for number in self.listed():
            self.terminate(int(number))
        for name in self.command("bridge.list"):
            self.command("bridge.delete", {"name": name})
        self.assert_nothing_left()

    def command(self, name: str, arguments: Any = None) -> Any:
        """
        The answer of a command that has to succeed.
        """
        result = self.daemon.run_command(name, arguments)
        self.assertEqual("SUCCESS", result["state"], result)
        return answer_of(result)

    def bridge(self, name: str = "br9", network: Any = None) -> None:
        """
        Make a bridge that hands out addresses, or another one.
        """
        self.command("bridge.create", {"name": name, "network": network or HANDING})

    def serve(self, number: int, text: str, port: int = 80) -> None:
        """
        Have a container serve a page.
        """
        self.dispatch(number, "core.system", {"name": "sh", "args": ["-c", PAGE.format(text=text, port=port)]})

    def fetched(self, host: Host, url: str) -> str:
        """
        A page, as a host gets it; waits until it is there.
        """
        return str(eventually(lambda: self.fetch(host, url), url))

    def fetch(self, host: Host, url: str) -> str:
        """
        A page, as a host gets it; empty if there is none.
        """
        try:
            return host.run(sys.executable, "-ISc", GET, url).strip()
        except AssertionError:
            return ""
