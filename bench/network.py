"""
Bridges, links of containers and ports that lead to them: on hosts that are network namespaces, never on this one.
"""

import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from statistics import median
from typing import Any
from unittest import SkipTest

import redis

from bench.host import collect, push, running, timed
from bench.table import Missing, Row, in_turns
from bench.taking import names
from bench.tenants import Landlord, Tenants, tenants
from tests.daemon import ROOT
from tests.functional.network_shared import Connected, Driver, Host

BRIDGE, OWN, FREE = "br9", "10.7.9.1/24", "10.7.9.2/24"
SECOND = "br8"
STATIC = {"mode": "static", "settings": {"cidr": OWN}}
PAIRS = 50
SLOWER = 3  # times what programs take
CONNECTED, LINK = 15, 15  # runs; ms that a link may add
NEAR, FAR = "192.0.2.1", "192.0.2.2"  # the ends of a cable
LAST = "10.1.2.3"  # the end of a row without core0
PORT, OTHER = 5001, 8080  # where a stream is received, and the port of the host that leads there
SECONDS, BEST = 1.0, 8  # of one stream; of so many
FORWARDS, ONE = 500, 20  # ports that there are; ms that one more may add
TIMES = 15


@contextmanager
def hosts(count: int) -> Iterator[list[Host]]:
    """
    Some without any links.
    """
    with ExitStack() as stack:
        try:
            found = [stack.enter_context(closing(Host())) for _ in range(count)]
        except SkipTest as error:
            raise Missing(str(error).removeprefix("needs ")) from error
        yield found


def bridges() -> list[Row]:
    """
    Bridges that come and go, one after another; beside programs that do the same on a host of their own.
    """
    rows = []
    with hosts(2) as (host, bare), running(Connected(host)) as client:
        for what, network, addressed in (
            ("bridge.create and bridge.delete", None, ""),
            ("the same with an address", STATIC, f"ip addr add {OWN} dev {BRIDGE};"),
        ):
            script = f"ip link add name {BRIDGE} type bridge; {addressed} ip link set {BRIDGE} up; ip link del {BRIDGE}"

            def core0(network: Any = network) -> float:
                elapsed = timed()
                for _ in range(PAIRS):
                    ask(client, "bridge.create", {"name": BRIDGE, **({"network": network} if network else {})})
                    ask(client, "bridge.delete", {"name": BRIDGE})
                return 1000 * float(elapsed()) / PAIRS

            def yardstick(script: str = script) -> float:
                elapsed = timed()
                bare.run("sh", "-ec", f"for n in $(seq {PAIRS}); do {script}; done")
                return 1000 * float(elapsed()) / PAIRS

            figures, yardsticks = in_turns(core0, yardstick)
            reached = median(figures) <= SLOWER * median(yardsticks)
            rows.append(Row(what, "ms", figures, yardsticks, f"≤ {SLOWER} × it", reached))
    return rows


def ask(client: redis.Redis, command: str, arguments: dict[str, Any]) -> None:
    """
    Have a command done.
    """
    (id,) = names(1)
    push(client, [id], command, arguments)
    collect(client, [id])


class Connection(Connected, Landlord):
    """
    A core0 with containers on such a host.
    """


@contextmanager
def connected(host: Host) -> Iterator[Tenants]:
    """
    Its containers, and a bridge for them.
    """
    with tenants(lambda: Connection(host)) as house:
        house.answer(house.ask("bridge.create", {"name": BRIDGE, "network": STATIC}))
        yield house


def connecting() -> list[Row]:
    """
    A container with a link, beside one without. The root file system is laid out, and everything has been used before.
    """
    with hosts(1) as (host,), connected(host) as house:

        def created(**arguments: Any) -> float:
            house.rest()
            elapsed = timed()
            id = house.ask("corex.create", {"plist": house.image.plist, **arguments})
            number = house.answer(id)[1]
            seconds: float = elapsed()
            house.terminate(number)
            return 1000 * seconds

        def linked() -> float:
            return created(network={"bridge": [[BRIDGE, FREE]]})

        linked()
        figures, yardsticks = in_turns(linked, created, CONNECTED)
    reached = median(figures) <= median(yardsticks) + LINK
    name = "corex.create with a link to a bridge, beside one without"
    return [Row(name, "ms", figures, yardsticks, f"≤ it + {LINK} ms", reached)]


def streams() -> list[Row]:
    """
    What TCP carries into a container, beside as many namespaces in a row without core0: two for what comes from the
    host, three for what comes from beyond it. Programs that receive have nothing of a container but its network.
    """
    with hosts(5) as (world, host, first, middle, last):
        world.cable(host, f"{FAR}/24", f"{NEAR}/24")
        lay_out(first, middle, last)
        with connected(host) as house:
            connection = {"network": {"bridge": [[BRIDGE, FREE]]}, "port": {str(OTHER): PORT}}
            number = house.answer(house.ask("corex.create", {"plist": house.image.plist, **connection}))[1]
            init = house.answer(house.ask("corex.list", {}))[1][str(number)]["pid"]
            with receiver(init), receiver(last.pid):
                inner = FREE.partition("/")[0]
                near, far = (middle, LAST, PORT), (first, LAST, PORT)
                rows = [
                    compared("through a bridge", 0.95, (host, inner, PORT), near),
                    compared("through a port of the host", 0.9, (host, NEAR, OTHER), near),
                    compared("through that port from another host", 0.9, (world, NEAR, OTHER), far),
                ]
            house.terminate(number)
    return rows


def lay_out(first: Host, middle: Host, last: Host) -> None:
    """
    A row of hosts, in which the one in the middle passes on what is for others.
    """
    first.cable(middle, "10.1.1.1/24", "10.1.1.2/24")
    middle.cable(last, "10.1.2.2/24", f"{LAST}/24")
    middle.run("sh", "-c", "echo 1 > /proc/sys/net/ipv4/ip_forward")
    first.ip("route", "add", "default", "via", "10.1.1.2")
    last.ip("route", "add", "default", "via", "10.1.2.2")


@contextmanager
def receiver(pid: int) -> Iterator[None]:
    """
    A program that receives in the network of a process.
    """
    words = [
        "nsenter",
        f"--net=/proc/{pid}/ns/net",
        "--",
        sys.executable,
        "-m",
        "bench.stream",
        "receive",
        "0.0.0.0",
        str(PORT),
    ]
    program = subprocess.Popen(words, stdout=subprocess.PIPE, text=True, cwd=ROOT)
    assert program.stdout is not None
    try:
        assert program.stdout.readline() == "ready\n", "nobody receives"
        yield
    finally:
        program.kill()
        program.wait()
        program.stdout.close()


def compared(what: str, goal: float, ours: tuple[Host, str, int], bare: tuple[Host, str, int]) -> Row:
    """
    Each is from where to where. The best counts: whatever disturbs a stream makes it slower.
    """

    def sent(host: Host, address: str, port: int) -> Callable[[], float]:
        words = [*host.inside(), sys.executable, "-m", "bench.stream", "send", address, str(port), str(SECONDS)]
        return lambda: float(subprocess.run(words, stdout=subprocess.PIPE, cwd=ROOT, check=True).stdout) / 1e9

    figures, yardsticks = in_turns(sent(*ours), sent(*bare), BEST)
    best, other = max(figures), max(yardsticks)
    return Row(f"TCP {what}, the best of {BEST}", "GB/s", [best], [other], f"≥ {goal} of it", best >= goal * other)


def forwards() -> list[Row]:
    """
    A container that gets a link and a port while there are many ports, beside one that gets the same link alone. Only
    the networks of core0 are there, and a namespace for each container.
    """
    folder = Path(tempfile.mkdtemp(prefix="core0-net-"))
    try:
        with hosts(3) as (host, many, inside), closing(Driver(host, folder)) as driver:
            for bridge, address in ((BRIDGE, OWN), (SECOND, "10.7.8.1/24")):
                driver.call("create", bridge, {"address": address})
            taken = {str(OTHER + number): PORT + number for number in range(FORWARDS)}
            driver.call("attach", 1, many.pid, [[BRIDGE, FREE]], taken, "")
            return [
                one_more("a link and a port", driver, inside, [BRIDGE, "10.7.9.3/24"]),
                one_more("the same, the first port of another bridge", driver, inside, [SECOND, "10.7.8.3/24"]),
            ]
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def one_more(what: str, driver: Driver, inside: Host, link: list[str]) -> Row:
    """
    The link with a port, beside the link.
    """

    def attached(ports: dict[str, int]) -> float:
        elapsed = timed()
        driver.call("attach", 2, inside.pid, [link], ports, "")
        seconds: float = elapsed()
        driver.call("detach", 2)
        return 1000 * seconds

    attached({})
    figures, yardsticks = in_turns(lambda: attached({"80": 80}), lambda: attached({}), TIMES)
    reached = median(figures) <= median(yardsticks) + ONE
    name = f"{what}, among {FORWARDS} ports, beside the link alone"
    return Row(name, "ms", figures, yardsticks, f"≤ it + {ONE} ms", reached)
