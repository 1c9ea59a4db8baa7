"""
What a container has of the network.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from core0.network.desired import Desired, Forward, Link
from core0.network.links import resolvers


@dataclass(frozen=True, slots=True)
class Attached:
    """
    What a container has.

    :ivar resolvers: addresses that answer DNS to it; empty: those of the host.
    """

    links: Sequence[Link] = ()
    forwards: Sequence[Forward] = ()
    resolvers: Sequence[str] = ()


def attached(desired: Desired, container: int) -> Attached:
    """
    Its part of all that is desired.
    """
    links = [link for link in desired.links if link.container == container]
    forwards = [forward for forward in desired.forwards if forward.container == container]
    return Attached(links, forwards, resolvers(links, desired))
