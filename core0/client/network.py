"""
``corectl network``: what core0 would make of the network of this host.
"""

import click

from core0.errors import ConfigError


@click.group()
def network() -> None:
    """
    Look at what core0 makes of the network of this host.
    """


@network.command()
@click.argument("file", type=click.Path())
def plan(file: str) -> None:
    """
    Print what core0 would do if it started now with FILE as its `[network] file`. Nothing is changed.

    It looks at the host that it is called on, whether core0 runs there or not. A link whose address comes by DHCP has
    those steps, too, that follow from the answer. Exits with 1 if there is an error in FILE.
    """
    try:
        for line in _lines(file):
            click.echo(line)
    except ConfigError as error:
        raise click.ClickException(str(error)) from error
    except OSError as error:
        raise click.ClickException(f"cannot look at the network: {error.strerror}") from error


def _lines(file: str) -> list[str]:
    """
    One for each step, and for each link that is not there.
    """
    import asyncio

    from core0.network.host_kernel import machine_now
    from core0.network.host_plan import named_links, plan
    from core0.network.host_settings import read_settings

    settings = read_settings(file)
    machine = asyncio.run(machine_now())
    lines = [str(step) for step in plan(settings, machine)]
    absent = [link.name for link in named_links(settings, machine) if link.name not in machine.links]
    lines += [f"{name}: wait until there is such a link" for name in absent]
    return lines or ["nothing to do: all is as the file says"]
