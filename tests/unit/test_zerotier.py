"""
What a ``zerotier-one`` is asked, and what is made of its answers.
"""

import json
import os
import tempfile
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from core0.network.helper import NotServed
from core0.network.zerotier import (
    LOCAL,
    PORTS,
    Membership,
    Node,
    absent,
    arguments,
    body_of,
    choose_ports,
    described,
    listeners,
    membership_of,
    node_of,
    request,
)

NETWORK = "8056c2e21c000001"
MEMBERSHIP: dict[str, Any] = {
    "id": NETWORK,
    "nwid": NETWORK,
    "name": "earth",
    "status": "OK",
    "assignedAddresses": ["10.147.17.5/24", "FD80::5/88"],
    "portDeviceName": "zt0",
    "routes": [{"target": "10.147.17.0/24", "via": None, "metric": 0}],
}
# two that listen at port 40000, at all addresses and at one that is not 127.0.0.1, and a connection from there
TABLE = b"""\
  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 00000000:9C40 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 11 1 0 100 0 0 10 0
   1: 0500000A:9C40 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 12 1 0 100 0 0 10 0
   2: 0100007F:9C40 0100007F:8000 01 00000000:00000000 00:00000000 00000000     0        0 13 1 0 100 0 0 10 0
   3: 0100007F:9C41 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 14 1 0 100 0 0 10 0
"""
VALUES = st.none() | st.integers() | st.text() | st.lists(st.text() | st.integers(), max_size=5)


def answer(body: bytes, code: bytes = b"200 OK", **headers: bytes) -> bytes:
    """
    A whole one.
    """
    lines = [b"HTTP/1.1 " + code, *(name.encode() + b": " + value for name, value in headers.items()), b"", body]
    return b"\r\n".join(lines)


class AnswerTests(SynchronousTestCase):
    """
    From answers to facts.
    """

    def found(self, **changed: Any) -> Membership:
        """
        What is made of an answer that is right but for these.
        """
        return membership_of(json.dumps({**MEMBERSHIP, **changed}).encode(), NETWORK)

    def refuse(self, **changed: Any) -> str:
        """
        Why an answer is not believed.
        """
        return str(self.assertRaises(NotServed, self.found, **changed))

    def test_described(self) -> None:
        """
        A container is told of by its network, who it is there, the status, the addresses and the interface.
        """
        node = node_of(b'{"address": "89e92ceee5", "online": true, "version": "1.14.2", "config": {"settings": {}}}')
        expected = {
            "network": NETWORK,
            "address": "89e92ceee5",
            "status": "OK",
            "addresses": ["10.147.17.5/24", "fd80::5/88"],
            "interface": "zt0",
        }
        self.assertEqual(expected, described(NETWORK, node, self.found()))
        self.assertEqual(expected.keys(), absent(NETWORK).keys())
        self.assertEqual("NOT_RUNNING", absent(NETWORK)["status"])

    def test_waiting(self) -> None:
        """
        A container that nobody has let into the network yet has no addresses.
        """
        found = self.found(status="REQUESTING_CONFIGURATION", assignedAddresses=[], portDeviceName="")
        self.assertEqual(("REQUESTING_CONFIGURATION", (), ""), (found.status, found.addresses, found.interface))

    def test_untrue(self) -> None:
        """
        An answer with what cannot be is not believed, and it is said what is wrong with it.
        """
        wrong: list[dict[str, Any]] = [
            {"status": ""},
            {"status": "OK\n"},
            {"status": "\x1b[31m"},
            {"status": "x" * 65},
            {"status": None},
            {"assignedAddresses": {}},
            {"assignedAddresses": [5]},
            {"assignedAddresses": ["x" * 100]},
            {"assignedAddresses": ["10.0.0.1/24"] * 65},
            {"portDeviceName": "zt0\n"},
            {"portDeviceName": "a/b"},
            {"portDeviceName": "x" * 16},
            {"id": 5},
        ]
        for changed in wrong:
            self.assertIn("cannot be understood: ", self.refuse(**changed), changed)
        for address in ("", "x", "10.0.0.256/24", "10.0.0.1/33", "fe80::1%eth0/64", "10.0.0.1/24\n"):
            self.assertIn("addresses that are none", self.refuse(assignedAddresses=[address]), address)
        self.assertIn(f"another network than {NETWORK}", self.refuse(id="8056c2e21c000002"))

    def test_unreadable(self) -> None:
        """
        What is no JSON, or nothing like what was asked for, is not believed.
        """
        for body in (b"", b"x", b"[]", b"5", b"{", b"{}", b"\xff", b'{"address": "\xff"}', b"[" * 60000, b'"' * 60000):
            self.assertRaises(NotServed, node_of, body)
            self.assertRaises(NotServed, membership_of, body, NETWORK)
        deep = b'{"address": "89e92ceee5", "config": ' + b'{"a":' * 10000 + b"1" + b"}" * 10001
        self.assertRaises(NotServed, node_of, deep)
        for address in ("", "89e92ceee", "89e92ceee55", "89E92CEEE5", "89e92ceee5\n", None, 5):
            self.assertRaises(NotServed, node_of, json.dumps({"address": address}).encode())

    @given(st.dictionaries(st.sampled_from([*MEMBERSHIP]), VALUES))
    def test_whatever(self, changed: dict[str, Any]) -> None:
        """
        Whatever is answered, it is believed or refused.
        """
        try:
            found = self.found(**changed)
        except NotServed:
            return
        self.assertTrue(found.status.isprintable())
        self.assertLessEqual(len(found.addresses), 64)

    @given(st.binary())
    def test_any_bytes(self, data: bytes) -> None:
        """
        Whatever bytes are answered, they are no answer, or a body.
        """
        for whole in (data, answer(data), answer(b"", data), answer(b"", x=data)):
            try:
                self.assertLessEqual(len(body_of(whole)), len(whole))
            except NotServed as error:
                self.assertIn("zerotier-one", str(error))


class HttpTests(SynchronousTestCase):
    """
    What goes over the connection.
    """

    def test_body(self) -> None:
        """
        The body of an answer is what follows its headers.
        """
        self.assertEqual(b"{}\r\n\r\n", body_of(answer(b"{}\r\n\r\n", Content=b"json")))

    def test_codes(self) -> None:
        """
        An answer that is none is an error, which names the code; one that leads elsewhere is not followed.
        """
        for code in (b"401 Unauthorized", b"302 Found", b"500", b"204 No Content", b"100 Continue"):
            error = self.assertRaises(NotServed, body_of, answer(b"{}", code, Location=b"http://127.0.0.1/"))
            self.assertEqual(f"zerotier-one answers {code[:3].decode()}", str(error))
        for said in (b"", b"HTTP/1.1 200 OK\r\n", b"SSH-2.0-x\r\n\r\n", answer(b"", b"2000"), answer(b"", b"20")):
            error = self.assertRaises(NotServed, body_of, said)
            self.assertEqual("zerotier-one does not answer in HTTP", str(error))

    def test_request(self) -> None:
        """
        Whoever asks shows the token; an order has a body, a question has none.
        """
        head, _, body = request("POST", f"/network/{NETWORK}", 40000, "secret").partition(b"\r\n\r\n")
        self.assertEqual(b"{}", body)
        lines = head.split(b"\r\n")
        self.assertEqual(f"POST /network/{NETWORK} HTTP/1.0".encode(), lines[0])
        self.assertLessEqual({b"X-ZT1-Auth: secret", b"Content-Length: 2"}, {*lines})
        self.assertTrue(request("GET", "/status", 40000, "secret").endswith(b"\r\n\r\n"))

    def test_arguments(self) -> None:
        """
        It is told to take any port, and its folder.
        """
        self.assertEqual(["/sbin/zerotier-one", "-U", "-p0", "/home"], arguments("/sbin/zerotier-one", "/home"))

    def test_listeners(self) -> None:
        """
        Who listens where a connection to 127.0.0.1 ends is told from those who listen elsewhere, or are connected.
        """
        self.assertEqual({"socket:[11]"}, listeners(TABLE, 40000))
        self.assertEqual({"socket:[14]"}, listeners(TABLE, 40001))
        self.assertEqual(set(), listeners(TABLE, 40002))
        self.assertEqual(set(), listeners(TABLE[:100], 40000))

    def test_values(self) -> None:
        """
        What was found can be told in JSON.
        """
        shown = described(NETWORK, Node("89e92ceee5"), Membership(NETWORK, "OK", ("10.0.0.1/8",), "zt0"))
        self.assertEqual(shown, json.loads(json.dumps(shown)))


class PortsTests(SynchronousTestCase):
    """
    The ports that it is told to use.
    """

    def told(self, before: Any) -> Any:
        """
        What its file says once they are chosen.
        """
        with tempfile.TemporaryDirectory() as home:
            path = os.path.join(home, LOCAL)
            with open(path, "w", encoding="utf-8") as file:
                json.dump(before, file)
            choose_ports(home, anew=False)
            with open(path, encoding="utf-8") as file:
                return json.load(file)

    def test_kept(self) -> None:
        """
        Those that it has had stay.
        """
        before = {"settings": dict(zip(PORTS, (20001, 20002, 20003), strict=True))}
        self.assertEqual(before, self.told(before))

    def test_odd(self) -> None:
        """
        Whatever is none is replaced, and what else the file says stays.
        """
        odd: Any
        for odd in ([], {}, "20001", 1.5, True, None, 0, 65536, 20002):
            settings = {**dict(zip(PORTS, (odd, 20002, 20003), strict=True)), "softwareUpdate": "disable"}
            found = self.told({"settings": settings})["settings"]
            self.assertEqual("disable", found["softwareUpdate"])
            self.assertEqual(3, len({found[name] for name in PORTS}), odd)
            self.assertTrue(all(20_000 <= found[name] <= 32_767 for name in PORTS), found)
