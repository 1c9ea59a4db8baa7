"""
DHCP servers that want to keep core0 busy: whatever they say, it asks now and then only.
"""

import os
import subprocess
import sys
import textwrap
import time
from pathlib import Path

from tests.daemon import eventually
from tests.functional.network_shared import Host
from tests.functional.test_leases import LeasesDriver, LeasesTestCase, asked, place

WATCHED = 5.0  # seconds
# answers each question at once, another address each time, and each client with times of its own; says what it was
# asked, and by which client
SERVER = """
    import socket, struct, sys
    mode, *leases = sys.argv[1:]
    known = []
    server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    server.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
    server.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, b"peer")
    server.bind(("", 67))
    me, number = socket.inet_aton("10.9.0.1"), 0
    print("ready", flush=True)
    while True:
        data = server.recv(2000)
        number += 1
        kind = data[data.index(b"\\x35\\x01", 240) + 2]
        if data[28:34] not in known:
            known.append(data[28:34])
        which = known.index(data[28:34])
        print(which, {1: "D", 3: "R"}.get(kind, "?"), flush=True)
        lease, *first = map(int, leases[which].split(":"))
        answers = {1: 2, 3: 6 if mode == "no" or mode == "later" and number > 2 else 5}
        ip = bytes([10, 9, 0, 2 + number % 200])
        head = b"\\2" + data[1:4] + data[4:8] + bytes(8) + ip + me + bytes(4)
        options = b"\\x35\\1" + bytes([answers[kind]]) + b"\\x36\\4" + me
        times = [(51, lease), *((58 + index, seconds) for index, seconds in enumerate(first))]
        options += b"".join(bytes([code, 4]) + struct.pack("!I", n) for code, n in times)
        options += b"\\1\\4\\xff\\xff\\xff\\0"
        packet = head + data[28:44] + bytes(192) + b"c\\x82Sc" + options + b"\\xff"
        for _ in range(50 if mode == "storm" else 1):
            server.sendto(packet, ("255.255.255.255", 68))
"""
# as many packets as it can, for some seconds: offers and answers that are for nobody, and some that make no sense
FLOOD = """
    import os, socket, sys, time
    sending = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sending.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
    sending.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, b"peer")
    head = b"\\x02\\x01\\x06\\x00" + bytes(232) + b"\\x63\\x82\\x53\\x63"
    packets = [head + b"\\x35\\x01\\x02\\xff", head + b"\\x35\\x01\\x05\\xff", b"\\x02\\x01"]
    until = time.monotonic() + float(sys.argv[1])
    sent = 0
    while time.monotonic() < until:
        sending.sendto(packets[sent % 3], ("255.255.255.255", 68))
        sent += 1
    print(sent)
"""


class HostileServerTests(LeasesTestCase):
    """
    One server, one container.
    """

    def questions(self, mode: str, *leases: str) -> list[str]:
        """
        What such a server is asked in some seconds, by one container after another: ``D`` for an offer, ``R`` for an
        address.

        :param leases: for each container the seconds that a lease lasts, and those after which it is to be asked for
            again, and asked for from any server, if the server says that.
        """
        self.neighbour.ip("addr", "add", "10.9.0.1/24", "dev", "peer")
        words = [*self.neighbour.inside(), sys.executable, "-ISc", textwrap.dedent(SERVER), mode, *leases]
        with open(self.folder / "asked", "w") as heard:
            server = subprocess.Popen(words, stdout=heard)
        self.addCleanup(server.wait)
        self.addCleanup(server.kill)
        eventually(lambda: "ready" in (self.folder / "asked").read_text(), "a server")
        for number in range(len(leases)):
            self.leases.call("adopt", number, place(self.container(number)), asked())
        time.sleep(WATCHED)
        heard_of = [line.split() for line in (self.folder / "asked").read_text().splitlines()[1:]]
        return ["".join(what for which, what in heard_of if which == str(number)) for number in range(len(leases))]

    def test_no(self) -> None:
        """
        A server that offers an address, and refuses it then, is asked ever more seldom.
        """
        (questions,) = self.questions("no", "120")
        self.assertIn(len(questions), range(2, 14), questions[:40])

    def test_no_after_all(self) -> None:
        """
        One that gives an address, and takes it back whenever it is asked for again, is asked ever more seldom.
        """
        (questions,) = self.questions("later", "120:1:1")
        self.assertIn(len(questions), range(2, 14), questions[:40])

    def test_always_again(self) -> None:
        """
        No lease is so short, and to be asked for again so soon, that this happens more than about once in a second;
        one that lasts no time is none, and is not asked for at once either.
        """
        leases = f"120:0:0 1 1:0:0 1:1:1 2:1:1 1:120:120 0 0:1:1 {2**31}:0:0 3:9:9 9:2:1".split()
        for lease, questions in zip(leases, self.questions("yes", *leases), strict=True):
            # of those that last a second only: its server, any server, an offer, and the address again
            self.assertIn(len(questions), range(2, 20), (lease, questions[:40]))

    def test_storm(self) -> None:
        """
        Fifty offers, and fifty answers, are as one.
        """
        (questions,) = self.questions("storm", "120")
        # an offer is asked for again if the machine is slow; an address once
        self.assertRegex(questions, r"\AD{1,3}R\Z")


class WatchedDriver(LeasesDriver):
    """
    One whose time is known.
    """

    def used(self) -> float:
        """
        Seconds of processor time that it has had.
        """
        fields = Path(f"/proc/{self._program.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


class FloodTests(LeasesTestCase):
    """
    Packets that no reason can be for.
    """

    def test_flood(self) -> None:
        """
        They cost hardly any time; afterwards a lease is asked for again as before.
        """
        self.server.serve("10.9.0")
        inside = self.container(1)
        driver = WatchedDriver(self.host, self.folder)
        self.addCleanup(driver.close)
        (lease,) = driver.call("begin", 1, place(inside), asked(), 10.0).values()
        before = driver.used()
        self.assertGreater(flood(self.neighbour, WATCHED), 100)
        self.assertLess(driver.used() - before, WATCHED / 5)
        noted = self.server.noted("DHCPACK")
        eventually(lambda: self.server.noted("DHCPACK") > noted, "renewed", 15)
        self.assertEqual([lease["address"]], inside.addresses("eth0"))


def flood(host: Host, seconds: float) -> int:
    """
    How many packets there were.
    """
    return int(host.run(sys.executable, "-ISc", textwrap.dedent(FLOOD), str(seconds)))
