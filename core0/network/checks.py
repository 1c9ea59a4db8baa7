"""
Whether bridges may be made and removed: functions of what is desired and what there is.
"""

from collections.abc import Iterator

from core0.errors import Refusal
from core0.messages import shown
from core0.network.desired import Bridge, Desired, Network
from core0.network.plan import Kernel
from core0.network.subnets import overlapping

MOST = 1000  # bridges that core0 has made
SERVED = (53, 67, 547)  # ports of a bridge that hands out addresses and names


def check_bridge(bridge: Bridge, desired: Desired, kernel: Kernel) -> None:
    """
    Whether there is room for one more.

    :raises Refusal: 409, something is in its way.
    """
    if bridge.name in kernel.links:
        kind = kernel.links[bridge.name].kind
        raise Refusal(
            409, f"arguments.name: there is a {'bridge' if kind == 'bridge' else 'link'} {bridge.name} already"
        )
    if len(desired.bridges) >= MOST:
        raise Refusal(503, f"there are {MOST} bridges already; delete one")
    if bridge.subnet is None:
        return
    if kernel.no_ipv6 and bridge.subnet.interface.version == 6:
        text = f"{kernel.no_ipv6}; switch it on, or choose an IPv4 network"
        raise Refusal(503, f"arguments.network.settings.cidr: {text}")
    if bridge.subnet.start:
        _check_served(desired)
    wanted = bridge.subnet.network
    for network, where in _networks(desired, kernel, bridge.name):
        if overlapping(wanted, [network]):
            text = f"arguments.network.settings.cidr: {wanted} has addresses of {network}, which is behind {where}"
            raise Refusal(409, text)


def _check_served(desired: Desired) -> None:
    """
    Whether what the bridge is asked at its own address is not led to a container.
    """
    for forward in desired.forwards:
        if forward.host_port in SERVED and not forward.host_address:
            port = f"{forward.host_port}/{forward.protocol}"
            text = f"port {port} of the host leads to container {forward.container}, and would at the bridge"
            raise Refusal(409, f"arguments.network.mode: {text}; give that port an address of the host")


def _networks(desired: Desired, kernel: Kernel, but: str) -> Iterator[tuple[Network, str]]:
    yield from kernel.routes
    for link in kernel.links.values():
        for address in link.addresses:
            if not address.ip.is_link_local:
                yield address.network, link.name
    for bridge in desired.bridges:
        if bridge.subnet is not None and bridge.name != but:
            yield bridge.subnet.network, bridge.name


def check_removal(name: str, desired: Desired, kernel: Kernel) -> None:
    """
    Whether a bridge may go.

    :raises Refusal: 404, there is none; 400, it is none; 409, a container is attached.
    """
    found = kernel.links.get(name)
    if found is None and desired.bridge(name) is None:
        raise Refusal(404, f"arguments.name: there is no bridge {shown(name)}; see bridge.list")
    if found is not None and found.kind != "bridge":
        raise Refusal(400, f"arguments.name: {name} is no bridge; see bridge.list")
    attached = sorted({link.container for link in desired.on(name)})
    if attached:
        numbers = ", ".join(map(str, attached))
        what = "container" if len(attached) == 1 else "containers"
        raise Refusal(409, f"arguments.name: {what} {numbers} attached to {name}; terminate {numbers} first")
