"""
``corectl plist``: makes root file systems for containers; core0 is not asked for that.
"""

import os
import shlex
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from core0.images.build import Built, Progress

SIGNALLED = 128  # + number
STORE = "store"  # beside a plist: where core0 looks for its contents unless it is told


@click.group()
def plist() -> None:
    """
    Make plists: root file systems for containers.
    """


@plist.command()
@click.option(
    "--store", type=click.Path(file_okay=False), help="Where the contents go. [default: store beside X.plist]"
)
@click.option("-o", "--output", metavar="X.plist", required=True, type=click.Path(dir_okay=False), help="The plist.")
@click.argument("source", metavar="DIR-or-TAR", type=click.Path(exists=True, readable=False))
def build(source: str, store: str | None, output: str) -> None:
    """
    Make a plist of a directory, or of a tar archive, compressed or not: corectl plist build DIR -o X.plist

    The plist has names, owners, permissions and times; the contents of the files go into the store, each under its
    SHA-256. The same source gives the same plist. If X.plist ends in .gz or .zst it is compressed. Owners are those
    of the files, as numbers: run it as root, or in fakeroot, for those of a whole system. Sockets and devices are left
    out. To serve them over HTTP, let a web server have X.plist and the store.
    """
    store = store or os.path.join(os.path.dirname(output), STORE)
    _end_cleanly()
    try:
        from core0.client.show import size
        from core0.errors import Core0Error
        from core0.images.build import build as build_here
    except ModuleNotFoundError as error:
        raise click.ClickException(f"{error.name} is missing: pip install 'core0[cli]'") from error
    try:
        with _progress() as progress:
            built = build_here(source, store, output, progress)
    except (Core0Error, OSError) as error:
        click.echo(f"corectl: {_reason(error)}", err=True)
        sys.exit(1)
    except KeyboardInterrupt:
        sys.exit(SIGNALLED + signal.SIGINT)
    click.echo(_summary(built, size(built.size), store, output))


def _end_cleanly() -> None:
    """
    Have what is begun removed when this is told to end.
    """
    for number in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) == signal.SIG_IGN:  # nohup
            continue
        signal.signal(number, lambda number, frame: sys.exit(SIGNALLED + number))


def _reason(error: Exception) -> str:
    if not isinstance(error, OSError):
        return str(error)
    place = "" if error.filename is None else f" {os.fsdecode(error.filename)!r}"
    return f"cannot build{place}: {error.strerror}"


@contextmanager
def _progress() -> "Iterator[Progress]":
    """
    Show a progress bar, on terminals that can erase it.
    """
    from rich.console import Console
    from rich.progress import (
        DownloadColumn,
        Progress,
        SpinnerColumn,
        TextColumn,
        TimeElapsedColumn,
        TransferSpeedColumn,
    )

    console = Console(stderr=True)
    if not console.is_terminal or console.is_dumb_terminal:  # it could not erase the progress bar
        yield lambda files, bytes: None
        return
    columns: list[Any] = [SpinnerColumn(), TextColumn("{task.fields[files]} files"), DownloadColumn(binary_units=True)]
    columns += [TransferSpeedColumn(), TimeElapsedColumn()]
    with Progress(*columns, console=console, transient=True) as shown:
        task = shown.add_task("", total=None, files=0)
        yield lambda files, bytes: shown.update(task, files=files, completed=bytes)


def _summary(built: "Built", size: str, store: str, output: str) -> str:
    skipped = f"; {built.skipped} sockets and devices left out" if built.skipped else ""
    words = [os.path.abspath(output)]
    if os.path.realpath(store) != os.path.join(os.path.realpath(os.path.dirname(output)), STORE):
        words = ["--storage", os.path.abspath(store), *words]
    counts = f"{built.entries} entries, {built.files} files, {size}; {built.new} new contents in {store}{skipped}"
    text = f"{output}: {counts}\nStart a container: corectl container create {shlex.join(words)}"
    return text.encode("utf-8", "replace").decode()
