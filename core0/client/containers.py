"""
``corectl container``: makes containers, lists them, and ends them.
"""

import math
import os
import re
from typing import TYPE_CHECKING, Any

import click

from core0.client.options import as_json, patience, placed, variables

if TYPE_CHECKING:
    from core0.client.client import Client
    from core0.client.signals import Signals

URL = ("http://", "https://", "file://")
END = 60.0  # seconds: the jobs in it get their grace


@click.group()
def container() -> None:
    """
    Make containers, list them, and end them. What runs in one: corectl run --container N -- ls -l
    """


def _address(context: click.Context, parameter: click.Parameter, value: str | None) -> str | None:
    """
    A URL, or a path as core0 needs it: it works in another folder.
    """
    return value if value is None or value.startswith(URL) else os.path.abspath(value)


def _mounts(context: click.Context, parameter: click.Parameter, values: tuple[str, ...]) -> dict[str, str]:
    """
    Read ``HOST:CONTAINER``, several times.
    """
    pairs = [value.partition(":") for value in values]
    for host, colon, inside in pairs:
        if not host or not inside:
            raise click.BadParameter(f"expected HOST:CONTAINER, got {host + colon + inside!r}")
    found = {os.path.abspath(host): inside for host, _, inside in pairs}
    if len(found) < len(pairs):
        raise click.BadParameter("expected each path of the host once")
    return found


def _links(context: click.Context, parameter: click.Parameter, values: tuple[str, ...]) -> list[Any]:
    """
    Read ``NAME`` or ``NAME=ADDRESS``, several times.
    """
    pairs = [value.partition("=") for value in values]
    for name, equals, address in pairs:
        if not name:
            raise click.BadParameter(f"expected NAME or NAME=ADDRESS, got {name + equals + address!r}")
    return [[name, address] if equals else name for name, equals, address in pairs]


def _ports(context: click.Context, parameter: click.Parameter, values: tuple[str, ...]) -> dict[str, int | str]:
    """
    Read ``HOST:CONTAINER``, perhaps with an address before it and ``/udp`` behind it, several times; core0 judges both.
    """
    found: dict[str, int | str] = {}
    for value in values:
        host, _, rest = value.rpartition(":")
        port, slash, transport = rest.partition("/")
        if not host or not re.fullmatch("[0-9]+(-[0-9]+)?", port, re.ASCII):
            raise click.BadParameter(f"expected [ADDRESS:]HOST:CONTAINER[/udp], got {value!r}")
        side = f"{host}{slash}{transport}"
        if side in found:
            raise click.BadParameter(f"expected each port of the host once, got {side} twice")
        found[side] = int(port) if port.isdecimal() else port
    return found


@container.command()
@placed
@click.option("--storage", callback=_address, help="Where the contents of files are. [default: store beside PLIST]")
@click.option("--hostname", help="[default: corex-N]")
@click.option("--env", multiple=True, metavar="NAME=VALUE", callback=variables, help="Set for all that runs in it.")
@click.option("--mount", multiple=True, metavar="HOST:CONTAINER", callback=_mounts, help=":ro behind it: read-only.")
@click.option("--bridge", multiple=True, metavar="NAME[=ADDRESS]", callback=_links, help="Connect it to this bridge.")
@click.option("--port", multiple=True, metavar="HOST:CONTAINER", callback=_ports, help="Lead a port of the host to it.")
@click.option("--mtu", type=int, metavar="BYTES", help="Of its links. [default: that of the bridge or the uplink]")
@click.option("--zerotier", metavar="ID", help="Join this ZeroTier network.")
@click.option("--memory", metavar="BYTES", help="How much memory it may use, such as 512M.")
@click.option("--shm", metavar="BYTES", help="Size of /dev/shm, such as 256M; counts to its memory. [default: 64M]")
@click.option("--cpu", metavar="CORES", help="How many processors it may use: 0.5, or 50%.")
@click.option("--pids", type=int, help="How many processes and threads it may have.")
@click.option("--host-network", is_flag=True, help="With the network of the host instead of its own.")
@click.option("--privileged", is_flag=True, help="Not confined at all: only for what you trust like yourself.")
@click.option("--timeout", type=float, default=math.inf, help="Wait so many seconds, then exit with 124.")
@click.argument("plist", callback=_address)
def create(plist: str, timeout: float, **given: Any) -> None:
    """
    Make a container and print its number: corectl container create X.plist

    PLIST is a URL or a path, of a plist or of a tar archive, compressed or not. Ctrl-C undoes what was begun.

    --bridge br0 gives it an address if the bridge hands out some, --bridge br0=10.0.0.2/24 this one, --bridge br0=dhcp
    one of a server behind the bridge, --bridge br0= none. --port 8080:80 leads port 8080 of the host to port 80 of the
    container, --port 127.0.0.1:8080:80 at that address of the host alone, --port 5353:53/udp for UDP, and --port
    8000-8010:9000-9010 a range. --bridge, --env, --mount and --port may be there several times.
    """
    from core0.client.cli import drive, screen
    from core0.client.client import Fields
    from core0.client.run import Request, run

    limits = {name: given.pop(name) for name in ("memory", "cpu", "pids")}
    network = {name: given.pop(name) for name in ("bridge", "zerotier", "mtu")}
    arguments = {"plist": plist, "limits": limits, "network": network, **given}
    request = Request(arguments, Fields(), timeout=timeout, command="corex.create")

    async def work(signals: "Signals", client: "Client") -> int:
        return await run(signals.reactor, client, request, screen(), signals.on_signal)

    drive(work)


@container.command("list")
@placed
@patience
@as_json
def list_(timeout: float, raw: bool) -> None:
    """
    List the containers that live.
    """
    from core0.client.cli import ask, tables

    ask("corex.list", {}, timeout, None if raw else tables().print_containers)


@container.command()
@placed
@click.option("--timeout", type=float, default=END, show_default=True, help="Seconds to wait until it is gone.")
@click.argument("number", metavar="N", type=click.IntRange(min=1))
def terminate(number: int, timeout: float) -> None:
    """
    End a container: TERM for what runs in it, some seconds' grace, KILL; then all of it is removed.
    """
    from core0.client.cli import ask

    ask("corex.terminate", {"container": number}, timeout, lambda answer: None)
