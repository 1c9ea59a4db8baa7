"""
The bridge of containers that have ports and name no bridge: made when one needs it first.
"""

from dataclasses import replace

from msgspec.structs import replace as changed

from core0.errors import Refusal
from core0.network import subnets
from core0.network.checks import check_bridge
from core0.network.desired import Bridge, Desired
from core0.network.names import new_hwaddr
from core0.network.plan import Kernel, KernelLink

NAME = "core0"


def with_default(desired: Desired, kernel: Kernel, cidr: str, field: str) -> tuple[Desired, Kernel]:
    """
    What is desired, and what there is, once there is such a bridge.

    :param cidr: its network.
    :param field: of what is asked for, that it takes it.
    :raises Refusal: 409, something is in its way; 503, the network is none that can be had.
    """
    bridge = desired.bridge(NAME)
    if bridge is None:
        # addresses are chosen here: nobody else is on it
        try:
            subnet = changed(subnets.dnsmasq(cidr, None, None, nat=True), start="", end="")
        except ValueError as error:
            raise Refusal(503, f"[containers] subnet: {str(error).partition(': ')[2]}") from error
        bridge = Bridge(name=NAME, hwaddr=new_hwaddr(), subnet=subnet)
        try:
            check_bridge(bridge, desired, kernel)
        except Refusal as error:
            reason = str(error).partition(": ")[2]
            text = f"{field}: needs the bridge {NAME}, with the network of [containers] subnet: {reason}"
            raise Refusal(error.code, text) from error
        desired = desired.with_bridge(bridge)
    if NAME not in kernel.links:
        link = KernelLink(NAME, 0, kind="bridge", hwaddr=bridge.hwaddr)
        kernel = replace(kernel, links={**kernel.links, NAME: link})
    return desired, kernel
