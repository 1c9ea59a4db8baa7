"""
Having packets go where the rules of the firewall lead. Those are for the first packet of a flow only: all others go
where that one went, for as long as they keep coming, whatever the rules are by now.
"""

import os
import socket
import sys
import time
from collections.abc import Collection, Iterator
from pathlib import Path

from twisted.logger import Logger

from core0.network.flows import DUMP, REQUEST, Flow, attributes, deletion, flow_of, message, messages, question
from core0.network.kernel import NotTaken

IN_ALL = 2.0  # seconds for one call
FEW = 4  # ports up to which the kernel is asked for the flows to each of them: it looks through all for each
AT_ONCE = 100  # flows that the kernel is told to forget in one go
MOST = 1 << 16  # bytes that the kernel says at a time
COUNT = Path("/proc/sys/net/netfilter/nf_conntrack_count")
PROTOCOLS = {"udp": socket.IPPROTO_UDP, "tcp": socket.IPPROTO_TCP}
FAMILIES = (socket.AF_INET, socket.AF_INET6)
NETLINK_ROUTE, NETLINK_NETFILTER = 0, 12
GET_ADDRESSES = 22  # RTM_GETADDR
ADDRESS, LOCAL = 1, 2  # IFA_
OF_ADDRESS = 8  # bytes before the attributes of an address
ERROR, DONE = 2, 3  # NLMSG_
LOOPBACK = 127  # with which addresses begin that are the host's, though no link has them

_log = Logger()


def forget(ports: Collection[tuple[str, int]]) -> None:
    """
    Have the packets to these ports of the host, at any of its addresses, go where the rules lead now. Of TCP only
    connections that nobody has answered yet: others are to a service of the host, or to a container that is still
    there, and whoever has lost one finds out. Takes a few seconds at most; if that is not enough it is logged. Blocks.

    :param ports: protocol, and port of the host.
    :raises NotTaken: the kernel does not do it.
    """
    until = time.monotonic() + IN_ALL
    try:
        if ports and _are_any():
            addresses = _addresses(until)
            with _Netlink(NETLINK_NETFILTER) as deleting:
                for flow in _flows(ports, until):
                    if flow.to in addresses or (len(flow.to) == 4 and flow.to[0] == LOOPBACK):
                        deleting.later(deletion(flow))
                deleting.flush()
    except TimeoutError:
        _log.warn("some packets to ports of containers may go on to where they went: there are too many flows")
    except OSError as error:
        reason = os.strerror(error.errno or 0).lower()
        raise NotTaken(f"cannot have packets go where ports lead now: {reason}") from error


def _are_any() -> bool:
    """
    Whether the kernel remembers flows: only where somebody wants it to. To ask for them would begin it.
    """
    try:
        return int(COUNT.read_text(encoding="ascii")) > 0
    except FileNotFoundError:
        return False


def _flows(ports: Collection[tuple[str, int]], until: float) -> Iterator[Flow]:
    for kind, protocol in PROTOCOLS.items():
        chosen = {port for of, port in ports if of == kind}
        unanswered = kind == "tcp"
        for port in chosen if len(chosen) <= FEW else (None,):
            for family in FAMILIES if chosen else ():
                with _Netlink(NETLINK_NETFILTER) as asking:
                    for body in asking.answers(question(family, protocol, port, unanswered=unanswered), until):
                        flow = flow_of(body, protocol, chosen)
                        if flow is not None and not (unanswered and flow.answered):
                            yield flow


def _addresses(until: float) -> set[bytes]:
    """
    Those of the host.
    """
    found = set()
    with _Netlink(NETLINK_ROUTE) as asking:
        for body in asking.answers(message(GET_ADDRESSES, REQUEST | DUMP, bytes(OF_ADDRESS)), until):
            said = dict(attributes(body, OF_ADDRESS))
            found.add(said.get(LOCAL) or said.get(ADDRESS, b""))
    return found


class _Netlink(socket.socket):
    """
    A connection to the kernel, without the many things that pyroute2 has in one.
    """

    def __init__(self, protocol: int) -> None:
        super().__init__(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, protocol)
        self._due: list[bytes] = []

    def answers(self, request: bytes, until: float) -> Iterator[bytes]:
        """
        :param until: when to give up, by the monotonic clock.
        :raises TimeoutError: it takes longer.
        :raises OSError: there is no answer.
        """
        self.send(request)
        while (left := until - time.monotonic()) > 0:
            self.settimeout(left)
            for kind, body in messages(self.recv(MOST)):
                if kind in (ERROR, DONE):
                    _check(body)
                    return
                yield body
        raise TimeoutError

    def later(self, request: bytes) -> None:
        """
        Something that is done soon.
        """
        self._due.append(request)
        if len(self._due) == AT_ONCE:
            self.flush()

    def flush(self) -> None:
        """
        Do it, as far as it can be done: a flow may have ended meanwhile.
        """
        if not self._due:
            return
        self.send(b"".join(self._due))
        self._due.clear()
        try:
            while self.recv(MOST, socket.MSG_DONTWAIT):
                pass
        except BlockingIOError:
            pass


def _check(body: bytes) -> None:
    """
    :raises OSError: it is an error.
    """
    code = int.from_bytes(body[:4], sys.byteorder, signed=True)
    if code < 0:
        raise OSError(-code, os.strerror(-code))
