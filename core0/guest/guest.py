"""
A guest: a process forked for one container, which mounts its root file system, waits until the runtime has started it,
joins it, and is its CoreX from then on.
"""

import os
from collections.abc import Callable, Iterator

import msgspec

from core0.containers import kernel, rootfs
from core0.containers.orders import Answer, Join, Order, Prepare, Request
from core0.guest import join, preload

NAME = "corex"
MAX_ORDER = 1 << 20  # bytes

Tell = Callable[[Answer], None]
_decode = msgspec.json.Decoder(Order).decode


def run(request: Request, tell: Tell) -> None:
    """
    Do what is ordered, to the end of the CoreX or of the orders.
    """
    join.hide(NAME)
    orders = os.open(f"/proc/{request.parent}/fd/{request.orders}", os.O_RDONLY | os.O_CLOEXEC)
    tell(Answer(number=request.number, state="ready", pid=os.getpid()))
    home = os.open("/proc/self/ns/mnt", os.O_RDONLY | os.O_CLOEXEC)
    for order in _read(orders):
        if isinstance(order, Prepare):
            rootfs.prepare(order.setup)
            tell(Answer(number=request.number, state="prepared", pid=os.getpid()))
        else:
            os.close(orders)
            # what is mounted for it is the container's by now
            kernel.setns(home, kernel.CLONE_NEWNS)
            os.close(home)
            _become(request.number, order, tell)
            return


def _read(fd: int) -> Iterator[Order]:
    rest = b""
    while True:
        data = os.read(fd, 1 << 16)
        if not data:
            return
        *lines, rest = (rest + data).split(b"\n")
        for line in lines:
            yield _decode(line)
        if len(rest) > MAX_ORDER:
            raise ValueError("an order is too long")


def _become(number: int, order: Join, tell: Tell) -> None:
    confinement = join.Confinement.read(order.bundle)
    way = os.open(os.path.dirname(order.socket), os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    socket = f"/proc/self/fd/{way}/{os.path.basename(order.socket)}"
    join.enter(order.init, confinement, order.cgroups)
    pid = os.fork()
    if pid:
        tell(Answer(number=number, state="joined", pid=pid))
        os._exit(0)
    kernel.prctl(kernel.PR_SET_DUMPABLE, 0)
    _close_all_but(way)
    join.confine(confinement)
    _serve(order, socket)


def _close_all_but(kept: int) -> None:
    """
    No descriptor of the host's but one; 0 to 2 are /dev/null.
    """
    null = os.open("/dev/null", os.O_RDWR)
    for number in range(3):
        os.dup2(null, number)
    os.closerange(3, kept)
    os.closerange(kept + 1, os.sysconf("SC_OPEN_MAX"))


def _serve(order: Join, socket: str) -> None:
    from core0 import corex  # preloaded: it is above what starts the zygote

    reactor = preload.make_reactor()
    corex.run(reactor, order.settings, socket)
