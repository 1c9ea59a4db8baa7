"""
``corectl store``: what this host keeps of root file systems.
"""

import os

import click

from core0.errors import ConfigError

MEGA = 1_000_000


@click.group()
def store() -> None:
    """
    Look after the root file systems, and the contents of files, that core0 keeps on this host.
    """


@store.command()
@click.option("--all", "everything", is_flag=True, help="Remove all that no container uses.")
@click.option("--config", metavar="FILE", help="The configuration file of core0, which says where it keeps things.")
@click.pass_context
def gc(context: click.Context, everything: bool, config: str | None) -> None:
    """
    Remove what no container uses, until the rest is not larger than `max_store` in the configuration.

    core0 does so by itself, too. What was not used for long goes first. It works whether core0 runs or not, on the host
    of core0, as the user that core0 runs as.
    """
    try:
        folder, max_bytes = _place(config or (context.obj or {}).get("config"))
        click.echo(_collect(folder, 0 if everything else max_bytes))
    except ConfigError as error:
        raise click.ClickException(str(error)) from error
    except OSError as error:
        raise click.ClickException(f"{error.filename or folder}: {error.strerror}") from error


def _place(config: str | None) -> tuple[str, int]:
    """
    The folder of all that is kept, and how many bytes that may be.
    """
    from core0.config import load
    from core0.images.store import FOLDER

    found = load(config, root=os.geteuid() == 0, environ=os.environ)
    return os.path.join(found.core.state_dir, FOLDER), found.containers.max_store


def _collect(folder: str, max_bytes: int) -> str:
    """
    :returns: what it did, for the user.
    """
    from core0.images.collect import collect
    from core0.images.store import Store

    if not os.path.isdir(folder):
        return f"nothing is kept in {folder}"
    kept = Store(folder)
    try:
        freed = collect(kept, max_bytes)
        if freed is None:
            click.echo("waiting for a root file system that is being laid out", err=True)
            freed = collect(kept, max_bytes, wait=True)
    finally:
        kept.close()
    assert freed is not None  # it has waited
    what = f"{freed.roots} root file systems and {freed.contents} contents"
    return f"removed {what}: {freed.bytes / MEGA:.1f} MB; {freed.left / MEGA:.1f} MB are left"
