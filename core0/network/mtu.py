"""
How long the packets of a link may be: functions of what is asked for, what is desired and what there is.
"""

from core0.errors import Refusal
from core0.network.desired import Bridge, Interface
from core0.network.plan import Kernel, KernelLink

LEAST, LEAST_IPV6, MOST = 576, 1280, 65_535  # bytes


def check_mtu(mtu: int, *, ipv6: bool) -> None:
    """
    Whether a link can have it.

    :raises ValueError: it cannot.
    """
    least = LEAST_IPV6 if ipv6 else LEAST
    if not least <= mtu <= MOST:
        what = "bytes with IPv6" if ipv6 else "bytes"
        raise ValueError(f"expected {least} to {MOST} {what}, got {mtu}")


def link_mtu(
    asked: int, bridge: Bridge, known: KernelLink, interface: Interface | None, kernel: Kernel, *, leads_out: bool
) -> int:
    """
    That of a container's link.

    :param asked: 0 for none.
    :param leads_out: what comes from it goes on by the uplink of the host, whatever else it does.
    :returns: 0 for that of the bridge, whatever that is when the link is made.
    :raises Refusal: 400, it cannot be had.
    """
    version = interface.version if interface is not None else 4
    # neighbours on one bridge send one another packets of one size: nobody tells them to send shorter ones
    most = known.mtu if bridge.mtu or kernel.ports(bridge.name) else MOST
    if asked:
        field = "arguments.network.mtu"
        try:
            check_mtu(asked, ipv6=version == 6)
        except ValueError as error:
            raise Refusal(400, f"{field}: {error}") from error
        if asked > most:
            text = f"expected at most {most}, that of the bridge {bridge.name}, got {asked}"
            raise Refusal(400, f"{field}: {text}; choose that, or make a bridge with another one (bridge.create, mtu)")
        return asked
    uplink = kernel.uplinks.get(version, 0)
    if bridge.mtu or not leads_out or not uplink:
        return 0
    return max(min(uplink, most, MOST), LEAST_IPV6 if version == 6 else LEAST)
