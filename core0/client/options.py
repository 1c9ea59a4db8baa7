"""
What ``corectl`` is told on its command line.
"""

import json
import re
import sys
import uuid
from collections.abc import Callable
from typing import Any, TypeVar

import click

ANSWER = 10.0  # seconds for what core0 answers at once
MOST = 512 << 20  # bytes; a server takes no larger command
NODE = re.compile(r"[0-9]+:[0-9]+")
F = TypeVar("F", bound=Callable[..., Any])


def _remember(context: click.Context, parameter: click.Parameter, value: Any) -> None:
    places = context.ensure_object(dict)
    if value is not None and parameter.name is not None:
        places[parameter.name] = value


def _remember_node(context: click.Context, parameter: click.Parameter, value: str | None) -> None:
    if value is not None and not NODE.fullmatch(value):
        raise click.BadParameter(f"expected one node, <gid>:<nid>, such as 3:7, got {value!r}")
    _remember(context, parameter, value)


def placed(command: F) -> F:
    """
    Add the options that say where core0 is.
    """
    for name, text in (
        ("node", "Address this node, <gid>:<nid>, of those that share the server."),
        ("config", "The configuration file of core0, which says where it listens."),
        ("url", "Where core0 takes commands, as a URL: redis://host:port. [env: CORE0_URL]"),
        ("socket", "Where core0 takes commands, as the path of a unix socket."),
    ):
        remember = _remember_node if name == "node" else _remember
        option = click.option(f"--{name}", metavar=name.upper(), help=text, expose_value=False, callback=remember)
        command = option(command)
    return command


def contained(command: F) -> F:
    """
    Add the option that has a container do it instead of the host.
    """
    number = click.IntRange(min=1)
    text = "Have the container of this number do it, not the host."
    option = click.option("--container", type=number, metavar="N", help=text, expose_value=False, callback=_remember)
    return option(command)


as_json = click.option("--json", "raw", is_flag=True, help="Print the JSON that core0 sends.")
patience = click.option(
    "--timeout", type=float, default=ANSWER, show_default=True, help="Seconds to wait for the answer."
)


def variables(context: click.Context, parameter: click.Parameter, values: tuple[str, ...]) -> dict[str, str]:
    """
    Read ``NAME=VALUE``, several times.
    """
    pairs = [value.partition("=") for value in values]
    for name, equals, value in pairs:
        if not name or not equals:
            raise click.BadParameter(f"expected NAME=VALUE, got {name + equals + value!r}")
    return {name: value for name, _, value in pairs}


def text_of(context: click.Context, parameter: click.Parameter, value: str | None) -> str | None:
    """
    A text, or ``-`` for what there is on stdin.
    """
    if value != "-":
        return value
    data = sys.stdin.buffer.read(MOST + 1)
    if len(data) > MOST:
        raise click.BadParameter(f"more than {MOST} bytes cannot be sent; core0 takes fewer ([redis] max_command)")
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        raise click.BadParameter(f"core0 takes text in UTF-8 only: {error}") from error


def payload_of(text: str) -> tuple[bytes, str, bool]:
    """
    A command as it is to be pushed, its id, and whether it came with that.
    """
    try:
        content = json.loads(text)
    except ValueError as error:
        raise click.BadParameter(f"expected a command in JSON: {error}", param_hint="COMMAND") from None
    if not isinstance(content, dict):
        raise click.BadParameter(f"expected a JSON object, got {text[:40]!r}", param_hint="COMMAND")
    from core0.messages import MAX_ID, usable_id

    id = content.get("id")
    if id is not None and id != "":
        if not isinstance(id, str) or not usable_id(id):
            text = f"expected an id of 1 to {MAX_ID} bytes of text, got {str(id)[:40]!r}"
            raise click.BadParameter(text, param_hint="COMMAND")
        return text.encode("utf-8", "surrogateescape"), id, True
    id = str(uuid.uuid4())
    return json.dumps({**content, "id": id}).encode(), id, False
