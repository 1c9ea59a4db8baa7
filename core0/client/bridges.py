"""
``corectl bridge``: makes bridges, lists them, and removes them.
"""

from typing import Any

import click

from core0.client.options import as_json, patience, placed

MODES = ("static", "dnsmasq")
STEPS = 60.0  # seconds: a program that serves it may have to start, or to end


@click.group()
def bridge() -> None:
    """
    Make bridges, list them, and remove them. A container is connected by corectl container create --bridge NAME
    """


_unhurried = click.option(
    "--timeout", type=float, default=STEPS, show_default=True, help="Seconds to wait for the answer."
)


@bridge.command()
@placed
@_unhurried
@click.option("--hwaddr", metavar="MAC", help="Its MAC address. [default: a new one, which stays]")
@click.option("--mtu", type=int, metavar="BYTES", help="Of its links and its own. [default: the least of its links]")
@click.option("--mode", type=click.Choice(MODES), help="static: it has an address; dnsmasq: it hands out others, too.")
@click.option("--cidr", metavar="ADDRESS/LENGTH", help="Its address, such as 10.0.0.1/24.")
@click.option("--start", metavar="ADDRESS", help="The first that it hands out. [default: the one after its own]")
@click.option("--end", metavar="ADDRESS", help="The last one. [default: the last of the network]")
@click.option("--nat", is_flag=True, default=None, help="What leaves the network gets the address of the host.")
@click.argument("name")
def create(
    name: str,
    timeout: float,
    hwaddr: str | None,
    mtu: int | None,
    mode: str | None,
    nat: bool | None,
    **settings: Any,
) -> None:
    """
    Make a bridge: corectl bridge create br0 --mode dnsmasq --cidr 10.0.0.1/24 --nat

    It is there again whenever core0 starts, until it is deleted. Without --mode it has no address.
    """
    from core0.client.cli import ask

    network = {"mode": mode, "nat": nat, "settings": settings}
    arguments = {"name": name, "hwaddr": hwaddr, "mtu": mtu, "network": network}
    ask("bridge.create", arguments, timeout, lambda answer: None)


@bridge.command("list")
@placed
@patience
@as_json
def list_(timeout: float, raw: bool) -> None:
    """
    List the bridges of the host, whoever has made them.
    """
    from core0.client.cli import ask

    ask("bridge.list", {}, timeout, None if raw else _print)


def _print(names: list[str]) -> None:
    for name in names:
        click.echo(name)


@bridge.command()
@placed
@_unhurried
@click.argument("name")
def delete(name: str, timeout: float) -> None:
    """
    Remove a bridge, whoever has made it. It stays while a container is attached to it.
    """
    from core0.client.cli import ask

    ask("bridge.delete", {"name": name}, timeout, lambda answer: None)
