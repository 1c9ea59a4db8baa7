"""
Packets that go where ports lead now, though they have gone elsewhere before. Hosts and containers are namespaces.
"""

import json
import subprocess
import sys
import textwrap
from typing import Any

from tests.daemon import ROOT, eventually
from tests.functional.network_shared import Host, NetworkTestCase

QUICK = 2.0  # seconds of processor time for one call, with many flows
MANY = 3000  # flows
STEADY = 8  # packets
# answers with its name
RECEIVER = """
    import socket, sys
    address, port, name = sys.argv[1], int(sys.argv[2]), sys.argv[3].encode()
    heard = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, socket.SOCK_DGRAM)
    if ":" in address:
        heard.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
    heard.bind((address, port))
    print("ready", flush=True)
    while True:
        heard.sendto(name, heard.recvfrom(100)[1])
"""
# sends from one and the same port, and goes on; says who answers
SENDER = """
    import socket, sys, time
    address, port = sys.argv[1], int(sys.argv[2])
    sending = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, socket.SOCK_DGRAM)
    sending.settimeout(0.03)
    print("ready", flush=True)
    while True:
        try:
            sending.sendto(b"x", (address, port))
            print(sending.recvfrom(100)[0].decode(), flush=True)
            time.sleep(0.03)
        except OSError:
            print("nobody", flush=True)
"""
# sends one packet each from many ports
FILLER = """
    import socket, sys
    address, port, count = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    for number in range(count):
        with socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, socket.SOCK_DGRAM) as sending:
            sending.bind(("::" if ":" in address else "0.0.0.0", 1024 + number))
            sending.sendto(b"x", (address, port))
"""
FORGET = """
    import json, sys, time
    from core0.network.conntrack import forget
    begun = time.process_time()
    forget([tuple(port) for port in json.loads(sys.argv[1])])
    print(time.process_time() - begun)
"""
# says which flows there are, by the address and the port that they go to
FLOWS = """
    import json, socket
    from pyroute2 import NFCTSocket
    found = []
    for family in (socket.AF_INET, socket.AF_INET6):
        with NFCTSocket(nfgen_family=family) as asking:
            for message in asking.dump():
                there = message.get_attr("CTA_TUPLE_ORIG")
                ip, port = there.get_attr("CTA_TUPLE_IP"), there.get_attr("CTA_TUPLE_PROTO")
                to = ip.get_attr("CTA_IP_V4_DST") or ip.get_attr("CTA_IP_V6_DST")
                found.append([to, port.get_attr("CTA_PROTO_DST_PORT"), message.get_attr("CTA_ID")])
    print(json.dumps(found))
"""
CONNECTOR = """
    import socket, sys
    asking = socket.create_connection((sys.argv[1], int(sys.argv[2])), 60)
    for line in sys.stdin:
        asking.sendall(line.encode())
        print(asking.recv(100).decode().strip() or "over", flush=True)
"""
LISTENER = """
    import socket, sys
    heard = socket.create_server((sys.argv[1], int(sys.argv[2])))
    print("ready", flush=True)
    while True:
        peer, _ = heard.accept()
        while peer.recv(100):
            peer.sendall(sys.argv[3].encode() + b"\\n")
"""
ADDRESSES = {"first": ("10.7.0.2", "fd07::2"), "second": ("10.8.0.2", "fd08::2")}
OUTER, OUTER6 = "192.0.2.1", "2001:db8::1"


class ConntrackTestCase(NetworkTestCase):
    """
    Tests with a client outside and two containers.
    """

    def setUp(self) -> None:
        """
        Make them.
        """
        super().setUp()
        self.outside, self.first, self.second = self.another(), self.another(), self.another()
        self.host.cable(self.outside, f"{OUTER}/24 {OUTER6}/64", "192.0.2.2/24 2001:db8::2/64")
        for number, inside in ((7, self.first), (8, self.second)):
            self.host.cable(inside, f"10.{number}.0.1/24 fd0{number}::1/64", f"10.{number}.0.2/24 fd0{number}::2/64")
            inside.ip("route", "add", "default", "via", f"10.{number}.0.1")
            inside.ip("-6", "route", "add", "default", "via", f"fd0{number}::1")
        for setting in ("ipv4/ip_forward", "ipv6/conf/all/forwarding"):
            self.host.run("sh", "-c", f"echo 1 > /proc/sys/net/{setting}")
        for host in (self.host, self.outside, self.first, self.second):
            eventually(lambda host=host: "tentative" not in host.run("ip", "-6", "addr"), "IPv6 is ready")
        self.lead({})

    def lead(self, ports: dict[int, str], kind: str = "udp") -> None:
        """
        Have ports of the host lead to containers, from now on; all others nowhere.
        """
        rules = ["ct state new counter"]  # without any rule like it the kernel looks at no flows
        for port, name in ports.items():
            address, address6 = ADDRESSES[name]
            rules.append(f"meta nfproto ipv4 {kind} dport {port} dnat ip to {address}")
            rules.append(f"meta nfproto ipv6 {kind} dport {port} dnat ip6 to {address6}")
        chains = ["chain led {", *rules, "}"]
        for hook in ("prerouting", "output"):
            chains += [f"chain {hook} {{", f"type nat hook {hook} priority -100", "fib daddr type local jump led", "}"]
        text = "\n".join(["table inet t", "delete table inet t", "table inet t {", *chains, "}\n"])
        self.host.run("nft", "-f", "-", stdin=text)

    def start(self, host: Host, script: str, *arguments: object, **pipes: Any) -> subprocess.Popen[str]:
        """
        Have a program run there until the end of the test.
        """
        words = [*host.inside(), sys.executable, "-ISc", textwrap.dedent(script), *map(str, arguments)]
        program = subprocess.Popen(words, text=True, **{"stdout": subprocess.PIPE, **pipes})
        self.addCleanup(self.end, program)
        return program

    def end(self, program: subprocess.Popen[str]) -> None:
        """
        End it.
        """
        program.kill()
        program.communicate()

    def ready(self, program: subprocess.Popen[str]) -> None:
        """
        It is.
        """
        assert program.stdout is not None
        self.assertEqual("ready\n", program.stdout.readline())

    def send(self, host: Host, address: str, port: int) -> "Answers":
        """
        Begin to send.
        """
        answers = Answers()
        with open(self.folder / f"answers{id(answers)}", "w+") as file:
            answers.path = file.name
            self.start(host, SENDER, address, port, stdout=file)
        eventually(lambda: answers.all(), "sent")
        return answers

    def inside(self, script: str, *arguments: str) -> Any:
        """
        What a program that uses core0 says, on the host.
        """
        env = f"PYTHONPATH={ROOT}"
        words = ["env", env, "PYTHONDONTWRITEBYTECODE=1", sys.executable, "-c", textwrap.dedent(script), *arguments]
        return json.loads(self.host.run(*words))

    def forget(self, *ports: tuple[str, int]) -> float:
        """
        Gives how many seconds of processor time it took.
        """
        return float(self.inside(FORGET, json.dumps(ports)))

    def flows(self, port: int) -> set[tuple[str, int]]:
        """
        The flows to a port, anywhere: the address, and the number that the kernel has given it.
        """
        return {(to, number) for to, there, number in self.inside(FLOWS) if there == port}


class Answers:
    """
    Who has answered.
    """

    path = ""

    def all(self) -> list[str]:
        """
        Since the beginning.
        """
        with open(self.path) as file:
            return file.read().split()[1:]

    def latest(self, name: str) -> bool:
        """
        Whether this one has answered some packets, one after another. An answer may be late.
        """
        return [each for each in self.all() if each != "nobody"][-STEADY:] == [name] * STEADY

    def next(self) -> set[str]:
        """
        Who answers some more packets that are sent now; nobody, if none of them is answered.
        """
        before = len(self.all()) + 1
        eventually(lambda: len(self.all()) >= before + STEADY, "some packets are sent")
        return {*self.all()[before:]} - {"nobody"}


class DatagramTests(ConntrackTestCase):
    """
    UDP.
    """

    def receive(self, host: Host, port: int, name: str) -> None:
        """
        Have it answered there.
        """
        for address in ("0.0.0.0", "::"):
            self.ready(self.start(host, RECEIVER, address, port, name))

    def senders(self, port: int) -> list[Answers]:
        """
        One for each kind of address, outside.
        """
        return [self.send(self.outside, OUTER, port), self.send(self.outside, OUTER6, port)]

    def test_followed(self) -> None:
        """
        Whoever goes on sending reaches a container whose port is published meanwhile, then the one that replaces it,
        then what listens on the host itself; without it none of them.
        """
        self.receive(self.first, 5353, "first")
        self.receive(self.second, 5353, "second")
        senders = [*self.senders(5353), self.send(self.host, "127.0.0.9", 5353)]
        before: set[str] = set()
        for name in ("first", "second"):
            self.lead({5353: name})
            for sender in senders[:2]:
                self.assertLessEqual(sender.next(), before)
            self.forget(("udp", 5353))
            self.reach(name, *senders[:2])
            before = {name}
        self.receive(self.host, 5353, "host")
        self.lead({})
        self.assertLessEqual(senders[0].next(), before)
        self.forget(("udp", 5353))
        self.reach("host", *senders)

    def reach(self, name: str, *senders: Answers) -> None:
        """
        All of them are answered by this one from now on.
        """
        for sender in senders:
            eventually(lambda sender=sender: sender.latest(name), f"{name} is reached")

    def test_others(self) -> None:
        """
        Flows to other ports of the host, and through it to the same port elsewhere, are as they were.
        """
        self.lead({5353: "first", 5354: "first"})
        for port in (5353, 5354):
            self.receive(self.first, port, "first")
            self.reach("first", *self.senders(port))
        for address in ("192.0.2.2", "2001:db8::2"):
            self.send(self.first, address, 5353)
            self.send(self.host, address, 5353)
        led, others, before = {OUTER, OUTER6}, self.flows(5354), self.flows(5353)
        self.assertEqual(({*led, "192.0.2.2", "2001:db8::2"}, 6), ({to for to, _ in before}, len(before)))
        self.forget(("udp", 5353), ("tcp", 5354), ("udp", 9))
        after = self.flows(5353)
        self.assertEqual(others, self.flows(5354))
        self.assertEqual(
            {flow for flow in before if flow[0] not in led}, {flow for flow in after if flow[0] not in led}
        )

    def test_many(self) -> None:
        """
        With thousands of flows it is quick, whether those are to be forgotten or not; and with many ports.
        """
        self.fill()
        for ports in ([4001], range(4001, 5001)):
            self.assertLess(self.forget(*(("udp", port) for port in ports)), QUICK)
        self.assertGreaterEqual(self.count(), 2 * MANY)
        for ports in ([4000], range(4000, 4100)):
            self.assertLess(self.forget(*(("udp", port) for port in ports)), QUICK)
            # the kernel lets go of them a little later
            eventually(lambda: self.count() < 100, "they are forgotten")
            self.fill()

    def fill(self) -> None:
        """
        Have many flows to one port.
        """
        for address in (OUTER, OUTER6):
            self.outside.run(sys.executable, "-ISc", textwrap.dedent(FILLER), address, "4000", str(MANY))

    def count(self) -> int:
        """
        How many flows there are.
        """
        return int(self.host.run("cat", "/proc/sys/net/netfilter/nf_conntrack_count"))

    def test_nothing(self) -> None:
        """
        Where the kernel looks at no flows, or there are no ports, nothing happens.
        """
        self.forget()
        self.host.run("nft", "flush", "ruleset")
        self.forget(("udp", 5353), ("tcp", 5353))
        self.assertEqual([], self.host.rules())


class ConnectionTests(ConntrackTestCase):
    """
    TCP.
    """

    def test_established(self) -> None:
        """
        A connection to what listens on the host is not lost when its port is published.
        """
        self.ready(self.start(self.host, LISTENER, "0.0.0.0", 8080, "host"))
        client = self.start(self.outside, CONNECTOR, OUTER, 8080, stdin=subprocess.PIPE)
        self.said(client, "host")
        self.lead({8080: "first"}, "tcp")
        self.forget(("tcp", 8080))
        self.said(client, "host")

    def test_unanswered(self) -> None:
        """
        Whoever asks for a connection while the container goes gets one to the next one.
        """
        self.ready(self.start(self.second, LISTENER, "0.0.0.0", 8080, "second"))
        self.lead({8080: "first"}, "tcp")
        # answers nothing any more; but its address is known, for however long this takes
        deaf = "table inet t { chain heard { type filter hook input priority 0; meta l4proto tcp drop; }; }"
        self.first.run("nft", "-f", "-", stdin=deaf)
        client = self.start(self.outside, CONNECTOR, OUTER, 8080, stdin=subprocess.PIPE)
        eventually(lambda: self.flows(8080), "asked")
        self.lead({8080: "second"}, "tcp")
        self.forget(("tcp", 8080))
        self.said(client, "second")

    def said(self, client: subprocess.Popen[str], name: str) -> None:
        """
        This one answers it.
        """
        assert client.stdin is not None and client.stdout is not None
        client.stdin.write("x\n")
        client.stdin.flush()
        self.assertEqual(f"{name}\n", client.stdout.readline())
