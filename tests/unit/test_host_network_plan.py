"""
The plan of the host's network: which steps lead from how it is to how it should be, and how it has turned out.
"""

from collections.abc import Mapping
from dataclasses import replace
from ipaddress import IPv4Interface, ip_address, ip_interface

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from core0.network.host_machine import Address, Lease, Link, Machine, Resolver, Route
from core0.network.host_outcome import Outcome, outcomes
from core0.network.host_plan import (
    AddAddress,
    AddRoute,
    AskDhcp,
    BringUp,
    LeaveResolver,
    RemoveAddress,
    RemoveRoute,
    SetMtu,
    Step,
    WriteResolver,
    named_links,
    plan,
    withdrawal,
)
from core0.network.host_settings import HostSettings, LinkSettings

FIVE, SIX, FAR = ip_interface("10.0.0.5/24"), ip_interface("10.0.0.6/24"), ip_interface("192.0.2.7/32")
GATEWAY, OTHER = ip_address("10.0.0.1"), ip_address("10.0.0.2")
STATIC = LinkSettings("e", "static", 0, (FIVE,), (GATEWAY,))
DHCP = LinkSettings("e", "dhcp")
LEASE = Lease(IPv4Interface("10.0.0.5/24"), ip_address("10.0.0.1"), (ip_address("10.0.0.1"),), "example.org")  # type: ignore[arg-type] # of IPv4
DOWN = Link("e", 2)
NOBODY = Resolver()
UP = Link("e", 2, up=True, cable=True, card=True)
IPS = st.sampled_from([FIVE, SIX, FAR, ip_interface("10.0.0.5/16"), ip_interface("fd00::5/64")])


def said(*links: LinkSettings, auto: bool = False) -> HostSettings:
    """
    A file that names these.
    """
    return HostSettings("n.toml", auto, links)


def machine(*links: Link, routes: tuple[Route, ...] = (), resolver: Resolver = NOBODY) -> Machine:
    """
    A machine that has these.
    """
    return Machine({link.name: link for link in links}, routes, resolver)


def after(steps: list[Step], found: Machine) -> Machine:
    """
    The machine once the kernel has taken these steps.
    """
    links: dict[str, Link] = dict(found.links)
    routes, resolver = list(found.routes), found.resolver
    for step in steps:
        link = links.get(step.link, DOWN)
        if isinstance(step, SetMtu):
            links[step.link] = replace(link, mtu=step.mtu)
        elif isinstance(step, BringUp):
            links[step.link] = replace(link, up=True)
        elif isinstance(step, AddAddress | RemoveAddress):
            others = tuple(address for address in link.addresses if address.ip != step.address)
            added = (Address(step.address, own=True),) if isinstance(step, AddAddress) else ()
            links[step.link] = replace(link, addresses=others + added)
        elif isinstance(step, AddRoute):
            routes.append(Route(step.link, step.gateway, step.metric, own=True))
        elif isinstance(step, RemoveRoute):
            routes.remove(Route(step.link, step.gateway, step.metric, own=True))
        elif isinstance(step, WriteResolver):
            resolver = Resolver(step.text)
    return Machine(links, tuple(routes), resolver)


class PlanTests(SynchronousTestCase):
    """
    Steps.
    """

    def test_static(self) -> None:
        """
        A link is given its MTU, set up, given its addresses, and its route.
        """
        expected = [
            SetMtu("e", 9000),
            BringUp("e"),
            AddAddress("e", FIVE),
            AddRoute("e", GATEWAY, 50),
        ]
        self.assertEqual(expected, plan(said(replace(STATIC, mtu=9000)), machine(DOWN)))

    def test_so_already(self) -> None:
        """
        What is so already is no step, whoever has done it.
        """
        for own in (True, False):
            found = replace(UP, addresses=(Address(FIVE, own=own),))
            route = Route("e", GATEWAY, 50 if own else 0, own=own)
            self.assertEqual([], plan(said(STATIC), machine(found, routes=(route,))))

    def test_only_own_is_removed(self) -> None:
        """
        Of what is not asked for only that is removed which core0 has added, and it is removed first.
        """
        found = replace(UP, addresses=(Address(SIX, own=True), Address(FAR)))
        routes = (Route("e", OTHER, 50, own=True), Route("e", OTHER, 100), Route("f", OTHER, 50, own=True))
        expected = [
            RemoveRoute("e", OTHER, 50),
            RemoveAddress("e", SIX),
            AddAddress("e", FIVE),
            AddRoute("e", GATEWAY, 50),
        ]
        self.assertEqual(expected, plan(said(STATIC), machine(found, routes=routes)))

    def test_made_to_last(self) -> None:
        """
        An address that would vanish some time is made to last.
        """
        found = replace(UP, addresses=(Address(FIVE, lasting=False),))
        self.assertEqual(AddAddress("e", FIVE), plan(said(STATIC), machine(found))[0])

    def test_gateway_out_of_networks(self) -> None:
        """
        A gateway that is in none of the link's networks is reached nevertheless; one of the kernel's own needs no help.
        """
        link = replace(STATIC, addresses=(FAR,), gateways=(GATEWAY,))
        self.assertEqual(AddRoute("e", GATEWAY, 50, onlink=True), plan(said(link), machine(UP))[-1])
        near = ip_address("fe80::1")
        link = replace(STATIC, addresses=(ip_interface("fd00::5/64"),), gateways=(near,))
        self.assertEqual(AddRoute("e", near, 50), plan(said(link), machine(UP))[-1])

    def test_order_is_preference(self) -> None:
        """
        The first link of the file is the one that everything goes through.
        """
        other = LinkSettings("f", "static", 0, (ip_interface("10.1.0.5/24"),), (ip_address("10.1.0.1"),))
        steps = plan(said(other, STATIC), machine(UP, Link("f", 3, up=True)))
        metrics = {step.link: step.metric for step in steps if isinstance(step, AddRoute)}
        self.assertEqual({"f": 50, "e": 51}, metrics)

    def test_set_down(self) -> None:
        """
        A link that was up and that somebody has set down is left alone; one that has come anew is not.
        """
        self.assertEqual([], plan(said(STATIC), machine(DOWN), raised={2}))
        self.assertEqual(BringUp("e"), plan(said(STATIC), machine(DOWN), raised={3})[0])

    def test_absent(self) -> None:
        """
        For a link that is not there nothing is done.
        """
        self.assertEqual([], plan(said(STATIC, DHCP), machine(Link("f", 3))))

    def test_dhcp(self) -> None:
        """
        What a link has stays until a server has answered; the lease is made so as if the file said it.
        """
        found = replace(UP, addresses=(Address(SIX, own=True),))
        routes = (Route("e", OTHER, 50, own=True),)
        self.assertEqual([AskDhcp("e")], plan(said(DHCP), machine(found, routes=routes)))
        steps = plan(said(DHCP), machine(found, routes=routes), {"e": LEASE})
        expected = [
            RemoveRoute("e", OTHER, 50),
            RemoveAddress("e", SIX),
            AddAddress("e", FIVE),
            AddRoute("e", GATEWAY, 50),
        ]
        self.assertEqual(expected, steps[:-1])
        self.assertIsInstance(steps[-1], WriteResolver)

    def test_none(self) -> None:
        """
        A link of protocol none is set up, and keeps nothing that core0 has added before.
        """
        found = replace(DOWN, addresses=(Address(SIX, own=True), Address(FAR)))
        self.assertEqual([BringUp("e"), RemoveAddress("e", SIX)], plan(said(LinkSettings("e", "none")), machine(found)))

    def test_withdrawal(self) -> None:
        """
        When the address is somebody else's all goes that core0 has added, and nothing else.
        """
        found = replace(UP, addresses=(Address(SIX, own=True), Address(FAR)))
        routes = (Route("e", OTHER, 50, own=True), Route("e", GATEWAY, 0))
        expected = [RemoveRoute("e", OTHER, 50), RemoveAddress("e", SIX)]
        self.assertEqual(expected, withdrawal("e", machine(found, routes=routes)))
        self.assertEqual([], withdrawal("f", machine(found, routes=routes)))

    @given(
        st.lists(IPS, max_size=3, unique=True),
        st.lists(st.tuples(IPS, st.booleans(), st.booleans()), max_size=3, unique_by=lambda each: each[0]),
        st.booleans(),
    )
    def test_idempotent(
        self, wanted: list[IPv4Interface], there: list[tuple[IPv4Interface, bool, bool]], up: bool
    ) -> None:
        """
        However it was: once all steps are taken there are no more, and what others have added is still there.
        """
        link = replace(STATIC, addresses=tuple(wanted), gateways=(GATEWAY,) if wanted else (), dns=(GATEWAY,))
        addresses = tuple(Address(ip, own=own, lasting=lasting) for ip, own, lasting in there)
        before = machine(replace(DOWN, up=up, addresses=addresses), routes=(Route("e", OTHER, 7, own=True),))
        steps = plan(said(link), before)
        found = after(steps, before)
        self.assertEqual([], plan(said(link), found))
        has = {address.ip for address in found.links["e"].addresses}
        self.assertEqual(set(wanted) | {ip for ip, own, _ in there if not own}, has)


class AutoTests(SynchronousTestCase):
    """
    Links that the file does not name.
    """

    def names(self, *links: Link, auto: bool = True) -> list[tuple[str, str]]:
        """
        Which are looked after, and how.
        """
        return [(link.name, link.protocol) for link in named_links(said(STATIC, auto=auto), machine(*links))]

    def test_cards(self) -> None:
        """
        Network cards get DHCP, behind those that are named, in the kernel's order; nothing made of software does.
        """
        links = (Link("z", 3, card=True), Link("a", 4, card=True), Link("br0", 5), UP)
        self.assertEqual([("e", "static"), ("z", "dhcp"), ("a", "dhcp")], self.names(*links))

    def test_not_auto(self) -> None:
        """
        Without `auto` nothing is touched that is not named.
        """
        self.assertEqual([("e", "static")], self.names(Link("z", 3, card=True), auto=False))

    def test_bound(self) -> None:
        """
        However many there are, some 64 are looked after.
        """
        self.assertEqual(64, len(self.names(*(Link(f"n{n}", n, card=True) for n in range(3, 300)))))


class ResolverPlanTests(SynchronousTestCase):
    """
    Who knows names.
    """

    def steps(self, *links: LinkSettings, resolver: Resolver = NOBODY, leases: Mapping[str, Lease] = {}) -> list[Step]:
        """
        Those that concern the resolver.
        """
        steps = plan(said(*links), machine(resolver=resolver), leases)
        return [step for step in steps if isinstance(step, WriteResolver | LeaveResolver)]

    def test_nobody_named(self) -> None:
        """
        Without a server in the file or from DHCP the resolver's file is left alone.
        """
        self.assertEqual([], self.steps(STATIC, DHCP, resolver=Resolver("x")))
        self.assertEqual([], self.steps(DHCP, leases={"e": replace(LEASE, dns=())}))

    def test_order(self) -> None:
        """
        The servers of the first link come first, each once, three of them.
        """
        first = replace(STATIC, name="f", dns=tuple(ip_address(f"10.0.0.{n}") for n in (9, 1)))
        last = replace(STATIC, name="g", dns=tuple(ip_address(f"10.0.0.{n}") for n in (7, 8)))
        (step,) = self.steps(first, DHCP, last, leases={"e": LEASE})
        lines = ["# core0 wrote this; see n.toml", "search example.org"]
        lines += [f"nameserver 10.0.0.{n}" for n in (9, 1, 7)]
        expected = "\n".join([*lines, ""])
        self.assertEqual(WriteResolver(expected), step)
        self.assertEqual([], self.steps(first, DHCP, last, leases={"e": LEASE}, resolver=Resolver(expected)))
        self.assertEqual("/etc/resolv.conf: write it, with 10.0.0.9, 10.0.0.1, 10.0.0.7", str(step))

    def test_link(self) -> None:
        """
        A file that is a link to elsewhere is left alone, and that is said.
        """
        (step,) = self.steps(replace(STATIC, dns=(GATEWAY,)), resolver=Resolver(target="/run/x"))
        self.assertEqual("/etc/resolv.conf: left alone, since it is a link to /run/x", str(step))


class OutcomeTests(SynchronousTestCase):
    """
    How a link has turned out.
    """

    def outcome(self, link: LinkSettings, *links: Link, lease: bool = False, failure: str = "") -> tuple[str, str]:
        """
        Its state and the reason.
        """
        found = outcomes(said(link), machine(*links), {"e": LEASE} if lease else {}, {"e": failure} if failure else {})
        return found["e"].state, found["e"].reason

    def test_up(self) -> None:
        """
        A link with cable and all that it should have is up, and tells all addresses that it has.
        """
        link = replace(UP, addresses=(Address(FIVE), Address(FAR)))
        for settings, leases in ((STATIC, {}), (DHCP, {"e": LEASE})):
            found = outcomes(said(settings), machine(link), leases, {})
            expected = Outcome(settings.protocol, "up", ("10.0.0.5/24", "192.0.2.7/32"))
            self.assertEqual({"e": expected}, found)
        self.assertEqual(("up", ""), self.outcome(LinkSettings("e", "none"), replace(UP, cable=False)))

    def test_waiting(self) -> None:
        """
        What is missing may come yet, and is said.
        """
        tentative = replace(UP, addresses=(Address(FIVE, ready=False),))
        kept = replace(UP, addresses=(Address(FIVE, own=True),))
        cases = [
            (self.outcome(STATIC), "there is no such link"),
            (self.outcome(STATIC, DOWN), "it is set down"),
            (self.outcome(STATIC, replace(UP, cable=False)), "there is no cable, or nobody at its other end"),
            (self.outcome(STATIC, tentative), "it does not have 10.0.0.5/24 yet"),
            (self.outcome(DHCP, UP), "no DHCP server has answered"),
            (self.outcome(DHCP, kept), "no DHCP server has answered; it keeps its last address"),
            (self.outcome(DHCP, UP, lease=True), "it does not have 10.0.0.5/24 yet"),
        ]
        for found, reason in cases:
            self.assertEqual(("waiting", reason), found)

    def test_failed(self) -> None:
        """
        What the kernel refuses has failed, and so has an address that another machine has.
        """
        self.assertEqual(("failed", "no"), self.outcome(STATIC, UP, failure="no"))
        taken = replace(UP, addresses=(Address(FIVE, ready=False, taken=True),))
        self.assertEqual(("failed", "another machine has 10.0.0.5"), self.outcome(STATIC, taken))
