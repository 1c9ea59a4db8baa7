"""
Network interfaces of the machine that the tests run on, and of made-up ones, compared with what others say of them.
"""

import json
import socket
from typing import Any

from core0.commands.info import InfoNic
from tests.functional.info import InfoTestCase, apart, need, output


class NicTests(InfoTestCase):
    """
    Network interfaces.
    """

    def test_interfaces(self) -> None:
        """
        The interfaces are those that the kernel names.
        """
        answer = {each["name"]: each for each in self.ask(InfoNic)}
        self.assertEqual({name for _, name in socket.if_nameindex()}, set(answer))
        self.assertEqual(("", ["up", "loopback"]), (answer["lo"]["hardwareaddr"], answer["lo"]["flags"]))

    def test_compared(self) -> None:
        """
        Everything is as iproute2 tells it.
        """
        need("ip")
        self.assertEqual(_of_iproute(json.loads(output("ip", "-j", "addr"))), _compared(self.ask(InfoNic)))

    def test_many_kinds(self) -> None:
        """
        Labels, peers, several addresses, links without hardware addresses, and hundreds of links are told right.
        """
        need("ip")
        expected, answer = apart(
            "-mn",
            """
            import json, subprocess
            # /sys shows the links of whoever mounted it; this is a mount namespace of its own
            subprocess.run(["mount", "-t", "sysfs", "sysfs", "/sys"], check=True)
            from core0.facts import nic
            from core0.messages import encode
            commands = [
                "link set lo up",
                "link add v0 type veth peer name v1",
                "link set v0 mtu 1400 up",
                "link set v1 up",
                "addr add 10.1.0.1/16 dev v0",
                "addr add 10.2.0.1/24 dev v0 label v0:alias",
                "addr add 10.3.0.1 peer 10.3.0.2/32 dev v1",
                "addr add fd00::5/48 dev v1 nodad",
                "addr add fd00::6 peer fd00::7/128 dev v1 nodad",
            ]
            commands += [f"link add pair{n} type veth peer name other{n}" for n in range(100)]
            subprocess.run(["ip", "-batch", "-"], input="\\n".join(commands), text=True, check=True)
            theirs = subprocess.run(["ip", "-j", "addr"], capture_output=True, check=True).stdout
            print(json.dumps([json.loads(theirs), json.loads(encode(nic.collect()))]))
            """,
        )
        self.assertGreaterEqual(len(answer), 203)
        self.assertEqual(_of_iproute(expected), _compared(answer))
        by_name = {each["name"]: each for each in answer}
        self.assertLessEqual(
            {"10.1.0.1/16", "10.2.0.1/24"}, {address["addr"] for address in by_name["v0"]["addrs"]}, by_name["v0"]
        )
        self.assertEqual({"up", "broadcast", "multicast"}, set(by_name["v0"]["flags"]))


def _of_iproute(links: list[dict[str, Any]]) -> dict[str, Any]:
    kinds = ["UP", "BROADCAST", "LOOPBACK", "POINTOPOINT", "MULTICAST"]
    return {
        link["ifname"]: (
            link["mtu"],
            link["operstate"].lower(),
            link["address"] if link["link_type"] == "ether" else "",
            [kind.lower().replace("pointopoint", "pointtopoint") for kind in kinds if kind in link["flags"]],
            sorted(f"{address['local']}/{address['prefixlen']}" for address in link["addr_info"]),
        )
        for link in links
    }


def _compared(answer: list[dict[str, Any]]) -> dict[str, Any]:
    return {
        nic["name"]: (
            nic["mtu"],
            nic["operstate"],
            nic["hardwareaddr"],
            nic["flags"],
            sorted(address["addr"] for address in nic["addrs"]),
        )
        for nic in answer
    }
