"""
How each link of the host has turned out: a function from values to values.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from core0.network.host_machine import Lease, Link, Machine
from core0.network.host_plan import named_links
from core0.network.host_settings import HostSettings, LinkSettings

State = Literal["up", "waiting", "failed"]


@dataclass(frozen=True, slots=True)
class Outcome:
    """
    :ivar protocol: empty for what is no link.
    :ivar addresses: all that the link has, whoever has added them.
    :ivar reason: why it is not up; empty if it is.
    """

    protocol: str
    state: State
    addresses: tuple[str, ...] = ()
    reason: str = ""

    def as_json(self) -> dict[str, Any]:
        """
        As ``core.state`` tells it.
        """
        return {
            "protocol": self.protocol,
            "state": self.state,
            "addresses": list(self.addresses),
            "reason": self.reason,
        }


def outcomes(
    settings: HostSettings, machine: Machine, leases: Mapping[str, Lease], failures: Mapping[str, str]
) -> dict[str, Outcome]:
    """
    :param leases: those that still run.
    :param failures: what the kernel said to steps that it did not take, by link.
    """
    return {link.name: _outcome(link, machine, leases, failures) for link in named_links(settings, machine)}


def _outcome(link: LinkSettings, machine: Machine, leases: Mapping[str, Lease], failures: Mapping[str, str]) -> Outcome:
    found = machine.links.get(link.name)
    if found is None:
        return Outcome(link.protocol, "waiting", (), "there is no such link")
    addresses = tuple(str(address.ip) for address in found.addresses)
    if link.name in failures:
        return Outcome(link.protocol, "failed", addresses, failures[link.name])
    taken = [address.ip for address in found.addresses if address.taken and address.ip in link.addresses]
    if taken:
        return Outcome(link.protocol, "failed", addresses, f"another machine has {taken[0].ip}")
    reason = _waits_for(link, found, leases)
    return Outcome(link.protocol, "waiting" if reason else "up", addresses, reason)


def _waits_for(link: LinkSettings, found: Link, leases: Mapping[str, Lease]) -> str:
    if not found.up:
        return "it is set down"
    if link.protocol == "none":
        return ""
    if not found.cable:
        return "there is no cable, or nobody at its other end"
    ready: Collection[object] = {address.ip for address in found.addresses if address.ready}
    if link.protocol == "static":
        absent = [str(ip) for ip in link.addresses if ip not in ready]
        return f"it does not have {', '.join(absent)} yet" if absent else ""
    lease = leases.get(link.name)
    if lease is None:
        kept = any(address.own for address in found.addresses)
        return "no DHCP server has answered" + ("; it keeps its last address" if kept else "")
    return "" if lease.address in ready else f"it does not have {lease.address} yet"
