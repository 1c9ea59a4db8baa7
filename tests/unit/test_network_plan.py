"""
What is desired of the network, and the steps that lead there.
"""

from dataclasses import replace
from ipaddress import ip_interface

from hypothesis import given
from msgspec.structs import replace as replace_fields
from twisted.trial.unittest import SynchronousTestCase

from core0.network.desired import Desired, Forward, decode, encode
from core0.network.plan import (
    AddAddress,
    AllowLocal,
    BringUp,
    ForbidLocal,
    Join,
    Kernel,
    KernelLink,
    MakeBridge,
    Remove,
    Route,
    difference,
    late,
    strangers,
    withdrawal,
)
from core0.network.validity import check
from tests.unit.network import ALL, BARE, BR0, BR6, LINK, LINK6, MAC, PORT, ends, pictures, taken


class PlanTests(SynchronousTestCase):
    """
    From what there is to what is desired.
    """

    def test_from_nothing(self) -> None:
        """
        A bridge is made, gets its address and is brought up, in this order.
        """
        expected = [
            MakeBridge("br0", MAC),
            AddAddress("br0", ip_interface("10.7.0.1/24")),
            BringUp("br0"),
            Route(4),
        ]
        self.assertEqual(expected, difference(Desired(bridges=(BR0,)), Kernel()))
        self.assertEqual([MakeBridge("bare", MAC), BringUp("bare")], difference(Desired(bridges=(BARE,)), Kernel()))

    def test_missing_only(self) -> None:
        """
        What is there already is left, whoever else has added to it.
        """
        more = (ip_interface("10.7.0.1/24"), ip_interface("192.0.2.7/24"))
        known = KernelLink("br0", 2, kind="bridge", hwaddr="other", up=False, addresses=more)
        self.assertEqual([BringUp("br0"), Route(4)], difference(Desired(bridges=(BR0,)), Kernel({"br0": known})))

    def test_something_else(self) -> None:
        """
        What has the name of a bridge, and is none, is not touched.
        """
        card = KernelLink("br6", 2)
        self.assertEqual([], difference(Desired(bridges=(BR6,)), Kernel({"br6": card})))
        self.assertEqual([], withdrawal(Desired(bridges=(BR6,)), Desired(), Kernel({"br6": card})))

    def test_links(self) -> None:
        """
        The end of a container's link is connected again; one that is not there is not made.
        """
        steps = difference(ALL, ends(LINK))
        self.assertIn(Join("c1v0", "br0", back=True), steps)
        self.assertIn(BringUp("c1v0"), steps)
        self.assertNotIn("c1v1", {step.link for step in steps if not isinstance(step, Route)})

    def test_local(self) -> None:
        """
        Packets from 127.0.0.1 are let out where ports of IPv4 lead to, and nowhere else.
        """
        self.assertEqual([AllowLocal("br0")], late(ALL, Kernel()))
        kernel = taken(Kernel(), [*difference(ALL, Kernel()), *late(ALL, Kernel())])
        self.assertEqual([], late(ALL, kernel))
        # also if core0 did not come to take it back
        without = replace_fields(ALL, forwards=())
        self.assertEqual([ForbidLocal("br0")], difference(without, kernel))
        self.assertEqual([ForbidLocal("br0")], withdrawal(ALL, without, kernel))

    def test_strangers(self) -> None:
        """
        A link with the name of a bridge that is another link is told by its MAC address.
        """
        kernel = taken(Kernel(), difference(ALL, Kernel()))
        self.assertEqual([], strangers(ALL, kernel))
        other = replace(kernel.links["br0"], hwaddr="02:00:00:00:99:99")
        card = replace(kernel.links["br6"], kind="")
        changed = replace(kernel, links={**kernel.links, "br0": other, "br6": card})
        self.assertEqual(["br0", "br6"], strangers(ALL, changed))

    @given(pictures(), pictures())
    def test_idempotent(self, before: Desired, after: Desired) -> None:
        """
        After the steps there is nothing left to do, and what is not desired any more is gone.
        """
        kernel = ends(LINK, LINK6)
        kernel = taken(kernel, [*difference(before, kernel), *late(before, kernel)])
        kernel = taken(kernel, withdrawal(before, after, kernel))
        kernel = taken(kernel, [*difference(after, kernel), *late(after, kernel)])
        self.assertEqual([], difference(after, kernel) + late(after, kernel))
        self.assertEqual([], withdrawal(before, after, kernel))
        wanted = {bridge.name for bridge in after.bridges}
        self.assertEqual(wanted, {link.name for link in kernel.links.values() if link.kind == "bridge"})

    def test_withdrawal(self) -> None:
        """
        Links go before bridges, and strangers stay.
        """
        kernel = taken(ends(LINK, LINK6), difference(ALL, ends(LINK, LINK6)))
        kernel = replace(kernel, links={**kernel.links, "other": KernelLink("other", 9, kind="bridge")})
        self.assertEqual([Remove("c1v0"), Remove("c1v1")], withdrawal(ALL, ALL.without_container(1), kernel))
        removed = withdrawal(ALL, Desired(), kernel)
        self.assertEqual(
            ["c1v0", "c1v1", "br0", "br6", "bare"], [step.link for step in removed if isinstance(step, Remove)]
        )


class DesiredTests(SynchronousTestCase):
    """
    The picture, and its file.
    """

    @given(pictures())
    def test_file(self, desired: Desired) -> None:
        """
        What is read from the file is what was written.
        """
        self.assertEqual(desired, decode(encode(desired)))

    def test_broken_file(self) -> None:
        """
        A file that says something else is refused, not guessed at.
        """
        for text in (b"", b"{", b"[]", b'{"bridges": [{"name": 1}]}', encode(ALL).replace(b"10.7.0.1", b"10.7.0.x")):
            self.assertRaises(ValueError, lambda text: check(decode(text)), text)

    def test_changes(self) -> None:
        """
        A picture is never changed: each change gives another one.
        """
        less = ALL.without_bridge("br0").without_container(1)
        self.assertEqual(["br6", "bare"], [bridge.name for bridge in less.bridges])
        self.assertEqual(((), ()), (less.links, less.forwards))
        self.assertEqual(ALL.bridges[0], ALL.bridge("br0"))
        self.assertEqual(1, len(less.with_bridge(BARE).with_bridge(BARE).bridges) - 1)

    def test_meets(self) -> None:
        """
        Ports meet if a packet could be for both: on all addresses or the same one, of one protocol.
        """

        def port(address: str = "", number: int = 8080, protocol: str = "tcp", target: str = "10.7.0.3") -> Forward:
            return Forward(
                container=2,
                host_port=number,
                port=1,
                address=target,
                bridge="br0",
                host_address=address,
                protocol=protocol,  # type: ignore[arg-type] # one of two
            )

        self.assertTrue(PORT.meets(port()))
        self.assertTrue(PORT.meets(port("192.0.2.1")))
        self.assertTrue(port("192.0.2.1").meets(port("192.0.2.1")))
        for other in (port(number=8081), port(protocol="udp"), port(target="fd07::3")):
            self.assertFalse(PORT.meets(other))
        self.assertFalse(port("192.0.2.1").meets(port("192.0.2.2")))
