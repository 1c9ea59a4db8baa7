"""
Answers as tables.
"""

import sys
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from core0.log_text import escaped

MOST_PORTS = 12  # of a container that are printed; a range may be of a thousand
WIDE = 10_000  # columns, where there is no terminal to fit into
KIB = 1024


def size(count: Any) -> str:
    """
    Bytes, in the unit that suits.
    """
    number = float(count)
    for unit in ("B", "KiB", "MiB", "GiB", "TiB"):
        if number < KIB or unit == "TiB":
            break
        number /= KIB
    return f"{number:.0f} {unit}" if unit == "B" else f"{number:.1f} {unit}"


def moment(millis: Any) -> str:
    """
    A time in ms since the epoch, as it is here; nothing for 0.
    """
    return datetime.fromtimestamp(millis / 1000).strftime("%Y-%m-%d %H:%M:%S") if millis else ""


def text(value: Any) -> str:
    """
    Any value, on one line.
    """
    if isinstance(value, (list, tuple)):
        return ", ".join(map(text, value))
    if isinstance(value, Mapping):
        return " ".join(f"{key}={text(each)}" for key, each in value.items())
    if isinstance(value, float):
        return f"{value:.6g}"
    # of a container, perhaps: it shall not steer the terminal
    return "" if value is None else escaped(" ".join(str(value).split()))


def percent(value: Any) -> str:
    """
    A share of one core.
    """
    return f"{value:.1f}"


Column = tuple[str, Callable[[Any], str]]
JOBS: Sequence[Column] = (
    ("id", text),
    ("command", text),
    ("state", text),
    ("runs", text),
    ("started", moment),
    ("cpu", percent),
    ("rss", size),
)
CONTAINERS: Sequence[Column] = (
    ("container", text),
    ("hostname", text),
    ("plist", text),
    ("pid", text),
    ("started", moment),
    ("cpu", percent),
    ("rss", size),
    ("addresses", text),
    ("ports", text),
)
USAGE: Sequence[Column] = (("", text), ("cpu", percent), ("rss", size), ("vms", size), ("swap", size))
SIZES = frozenset({"total", "available", "used", "free", "active", "inactive", "buffers", "cached", "shared", "size"})


def print_table(columns: Sequence[Column], rows: Sequence[Mapping[str, Any]]) -> None:
    """
    Print rows under the names of the columns.
    """
    table = Table(box=None, pad_edge=False, header_style="bold")
    for name, form in columns:
        table.add_column(name, justify="left" if form in (text, moment) else "right", overflow="fold")
    for row in rows:
        table.add_row(*(Text(form(row[name])) for name, form in columns))
    terminal = sys.stdout.isatty()
    Console(width=None if terminal else WIDE, highlight=False, soft_wrap=not terminal).print(table)


def print_jobs(jobs: Sequence[Mapping[str, Any]]) -> None:
    """
    Print the answer of ``process.list``.
    """
    print_table(JOBS, [{**job, **_described(job["cmd"]), "started": job["starttime"]} for job in jobs])


def _described(command: Mapping[str, Any]) -> dict[str, Any]:
    what, arguments = command["command"], command["arguments"]
    if what == "core.system" and isinstance(arguments, Mapping):
        what = " ".join([str(arguments.get("name", "")), *map(str, arguments.get("args") or ())])
    return {"id": command["id"], "command": what}


def print_containers(containers: Mapping[str, Mapping[str, Any]]) -> None:
    """
    Print the answer of ``corex.list``.
    """
    print_table(CONTAINERS, [{**each, "container": number, **_reached(each)} for number, each in containers.items()])


def _reached(container: Mapping[str, Any]) -> dict[str, Any]:
    """
    Where a container is reached: its addresses without their lengths, its ports as they are published.
    """
    links = container.get("network") or ()
    addresses = [str(address).partition("/")[0] for link in links for address in link.get("addresses") or ()]
    ports = [f"{host.partition('/')[0]}:{port}{_protocol(host)}" for host, port in container.get("port", {}).items()]
    more = ["…"] if len(ports) > MOST_PORTS else []
    return {"addresses": addresses, "ports": [*ports[:MOST_PORTS], *more]}


def _protocol(host: str) -> str:
    return f"/{host.partition('/')[2]}" if "/" in host else ""


def print_state(state: Mapping[str, Any]) -> None:
    """
    Print the answer of ``core.state``.
    """
    print_table(USAGE, [{**state, "": "all"}, {**state["core0"], "": "core0"}])
    print(f"{state['jobs']} jobs, up {state['core0']['uptime']:.0f} s")


def print_facts(facts: Any) -> None:
    """
    Print the answer of an ``info`` command: one thing, or a list of things of a kind.
    """
    if isinstance(facts, Mapping):
        print_table((("name", text), ("value", text)), [{"name": k, "value": _fact(k, v)} for k, v in facts.items()])
    elif facts:
        names = [name for name in facts[0] if name != "flags"]  # too many to read
        rows = [{name: _fact(name, fact.get(name)) for name in names} for fact in facts]
        print_table([(name, text) for name in names], rows)


def _fact(name: str, value: Any) -> str:
    if isinstance(value, Mapping):
        return " ".join(f"{key}={_fact(key, each)}" for key, each in value.items())
    return size(value) if name in SIZES and isinstance(value, (int, float)) else text(value)
