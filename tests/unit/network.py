"""
What tests of networks have in common: values, and a kernel that steps are taken in, in memory.
"""

from dataclasses import replace

from hypothesis import strategies as st

from core0.network.desired import Bridge, Desired, Forward, Link, Subnet
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
    Step,
)

MAC = "02:00:00:00:00:01"
BR0 = Bridge(name="br0", hwaddr=MAC, subnet=Subnet(address="10.7.0.1/24", nat=True))
BR6 = Bridge(name="br6", hwaddr=MAC, subnet=Subnet(address="fd07::1/64"))
BARE = Bridge(name="bare", hwaddr=MAC)
SERVED = Bridge(name="br9", hwaddr=MAC, subnet=Subnet(address="10.9.0.1/24", start="10.9.0.10", end="10.9.0.12"))
LINK = Link(container=1, index=0, bridge="br0", hwaddr=MAC, address="10.7.0.2/24", gateway="10.7.0.1")
LINK6 = Link(container=1, index=1, bridge="br6", hwaddr=MAC, address="fd07::2/64", gateway="fd07::1")
PORT = Forward(container=1, host_port=8080, port=80, address="10.7.0.2", bridge="br0")
PORT6 = Forward(container=1, host_port=8080, port=80, address="fd07::2", bridge="br6", protocol="udp")
ALL = Desired(bridges=(BR0, BR6, BARE), links=(LINK, LINK6), forwards=(PORT, PORT6))

bridges = st.sampled_from([BR0, BR6, BARE, SERVED])
links = st.sampled_from([LINK, LINK6])
forwards = st.sampled_from([PORT, PORT6])


@st.composite
def pictures(draw: st.DrawFn) -> Desired:
    """
    Some of all that there may be.
    """
    return Desired(
        bridges=tuple(draw(st.lists(bridges, unique=True))),
        links=tuple(draw(st.lists(links, unique=True))),
        forwards=tuple(draw(st.lists(forwards, unique=True))),
    )


def ends(*chosen: Link, master: str = "") -> Kernel:
    """
    A kernel in which only the ends of such links are, down.
    """
    found = {
        link.host_name: KernelLink(link.host_name, number, kind="veth", master=master)
        for number, link in enumerate(chosen)
    }
    return Kernel(found)


def taken(kernel: Kernel, steps: list[Step]) -> Kernel:
    """
    What a kernel is after some steps.
    """
    links, forwarding = dict(kernel.links), kernel.forwarding
    for step in steps:
        if isinstance(step, MakeBridge):
            assert step.link not in links
            links[step.link] = KernelLink(step.link, len(links), kind="bridge", hwaddr=step.hwaddr)
        elif isinstance(step, AddAddress):
            known = links[step.link]
            links[step.link] = replace(known, addresses=(*known.addresses, step.address))
        elif isinstance(step, BringUp):
            links[step.link] = replace(links[step.link], up=True)
        elif isinstance(step, Join):
            assert step.bridge in links
            links[step.link] = replace(links[step.link], master=step.bridge)
        elif isinstance(step, Remove):
            del links[step.link]
        elif isinstance(step, Route):
            forwarding |= {step.version}
        elif isinstance(step, AllowLocal):
            links[step.link] = replace(links[step.link], localnet=True)
        elif isinstance(step, ForbidLocal):
            links[step.link] = replace(links[step.link], localnet=False)
    return Kernel(links, kernel.routes, forwarding)
