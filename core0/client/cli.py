"""
``corectl``: talks to core0 from a shell.
"""

import json
import math
import os
import sys
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, NoReturn

try:
    import click
except ModuleNotFoundError:
    raise SystemExit("corectl: click is missing: pip install 'core0[cli]'") from None

from core0.client.bridges import bridge
from core0.client.containers import container
from core0.client.network import network
from core0.client.options import as_json, contained, patience, payload_of, placed, text_of, variables
from core0.client.plist import plist
from core0.client.store import store

if TYPE_CHECKING:
    from twisted.python.failure import Failure

    from core0.client.client import Client
    from core0.client.live import Screen
    from core0.client.run import Target
    from core0.client.signals import Signals
    from core0.messages import Result

BROKEN_PIPE = 128 + 13
FACTS = ("os", "cpu", "mem", "disk", "nic")
Work = Callable[["Signals", "Client"], Awaitable[int]]


def drive(work: Work) -> NoReturn:
    """
    Connect, do it, and exit with the status it gives.

    :param work: called with the signals of this process, and the client.
    """
    from twisted.internet import reactor
    from twisted.internet.defer import Deferred

    from core0.client.client import Client
    from core0.client.find import find
    from core0.client.signals import Signals

    places = dict(click.get_current_context().obj or {})
    node = places.pop("node", "")
    places.pop("container", None)
    codes: list[int] = []

    async def session() -> int:
        place = find(**places, environ=os.environ, root=os.geteuid() == 0)
        async with await Client.connect(reactor, place.url, node=node or place.node) as client:
            if node:
                await client.reach(node)
            return await work(signals, client)

    async def main() -> None:
        try:
            await _settle(session(), codes)
        finally:
            reactor.callLater(0, reactor.stop)

    def cancel(number: int) -> None:
        codes.append(128 + number)
        task.cancel()

    signals = Signals(reactor, cancel)
    task = Deferred.fromCoroutine(main())
    task.addErrback(_report)
    reactor.run(installSignalHandlers=False)  # type: ignore[call-arg] # not in its interface
    leave(codes[0] if codes else 1)


async def _settle(session: Awaitable[int], codes: list[int]) -> None:
    """
    Do it; its exit status, or what stands for its failure, is added to ``codes`` unless it was cancelled.
    """
    from twisted.internet.defer import CancelledError

    from core0.client.errors import NoAnswer, TakenBack
    from core0.client.run import TIMED_OUT
    from core0.errors import Core0Error

    try:
        codes.append(await session)
    except TakenBack as error:
        tell(str(error))
    except CancelledError:
        pass
    except BrokenPipeError:
        codes.append(BROKEN_PIPE)
    except NoAnswer as error:
        fail(str(error), codes, TIMED_OUT)
    except (Core0Error, OSError) as error:
        fail(str(error), codes)


def _report(failure: "Failure") -> None:
    failure.printTraceback(file=sys.stderr)


def fail(text: str, codes: list[int], code: int = 1) -> None:
    """
    Say why, and have the exit status say so.
    """
    tell(text)
    codes.append(code)


def tell(text: str) -> None:
    """
    Say something on stderr. Some of it may come from a container: it shall not steer the terminal.
    """
    from core0.log_text import escaped

    click.echo(f"corectl: {escaped(text)}", err=True)


def leave(code: int) -> NoReturn:
    """
    Exit; whoever reads stdout may be gone by now.
    """
    try:
        sys.stdout.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    sys.exit(code)


def ask(command: str, arguments: Any, timeout: float, show: Callable[[Any], object] | None) -> NoReturn:
    """
    Have core0 answer, and print the answer.

    :param show: prints it; None for JSON.
    """

    async def work(signals: "Signals", client: "Client") -> int:
        result = await target_of(client).run(command, arguments, timeout=timeout)
        return _answered(result, show)

    drive(work)


def target_of(client: "Client") -> "Target":
    """
    What is to do it: the container that an option names, else the host.
    """
    from core0.client.inside import Inside

    number = (click.get_current_context().obj or {}).get("container")
    return Inside(client, number) if number else client


def _answered(result: "Result", show: Callable[[Any], object] | None) -> int:
    from core0.client.run import exit_code, reason

    why = reason(result)
    if result.state != "SUCCESS":
        tell(why or result.data or result.state)
    elif show is None:
        click.echo(result.data)
    else:
        show(json.loads(result.data))
    return exit_code(result)


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@placed
def corectl() -> None:
    """
    Talk to core0, the process manager of a host.

    Without an option that says where core0 is, it is looked for where the configuration of this host puts it.
    """


@corectl.command()
@placed
@contained
@patience
def ping(timeout: float) -> None:
    """
    Ask whether core0 is there.
    """
    ask("core.ping", {}, timeout, click.echo)


@corectl.command(context_settings={"allow_interspersed_args": False})
@placed
@contained
@click.option("--queue", help="Run after those that were sent to this queue before.")
@click.option("--max-time", type=float, help="End it after so many seconds.")
@click.option("--max-restart", type=int, help="Run it so many times more if it fails.")
@click.option("--dir", "directory", help="Its working directory. [default: /]")
@click.option("--env", multiple=True, metavar="NAME=VALUE", callback=variables, help="Add to its environment.")
@click.option("--stdin", callback=text_of, metavar="TEXT", help="What it reads from stdin; - for what corectl reads.")
@click.option("--timeout", type=float, default=math.inf, help="Wait so many seconds, then exit with 124.")
@click.option("--detach", is_flag=True, help="Print its id and do not wait.")
@click.option("--id", help="Its id. [default: a new UUID]")
@click.option("--tag", "tags", multiple=True, help="Handed back with the result.")
@click.option("--messages", is_flag=True, help="Read lines that begin with a level (LEVEL::TEXT) as messages.")
@click.option("--json", "raw", is_flag=True, help="Print the result as core0 sends it, and nothing before.")
@click.argument("program", nargs=-1, required=True, type=click.UNPROCESSED)
def run(directory: str | None, env: dict[str, str], stdin: str | None, **given: Any) -> None:
    """
    Run a program on the host of core0, or in a container, without a shell: corectl run -- ls -l

    Its stdout and stderr come out here while it runs, and corectl exits as it does: with its status, or with 128 + n if
    signal n ended it; 127 if there is no such program, 126 if it is not executable, 1 if core0 refuses or cannot be
    reached. Ctrl-C (and TERM, and HUP) kills it with all that it started, and exits with 130; once more leaves at once.

    \b
    With --messages, lines that it prints with a level (LEVEL::TEXT) come out without the level:
      1                                                    on stdout
      2                                                    on stderr
      3 user, 4 operator, 7 warning, 8 error, 9 critical   on stderr
      20 to 23 and 30, its result                          on stdout, at the end
      5, 6, 10, 11                                         not at all
    """
    from core0.client.client import Fields
    from core0.client.run import Request
    from core0.client.run import run as run_here

    name, *args = given["program"]
    arguments = {"name": name, "args": args, "dir": directory, "env": env, "stdin": stdin}
    fields = Fields(
        queue=given["queue"],
        max_time=given["max_time"],
        max_restart=given["max_restart"],
        messages=given["messages"],
        tags=list(given["tags"]),
    )
    request = Request(arguments, fields, given["id"], given["timeout"], given["raw"])

    async def work(signals: "Signals", client: "Client") -> int:
        target = target_of(client)
        if given["detach"]:
            click.echo(await target.submit("core.system", arguments, id=request.id, **fields))
            return 0
        return await run_here(signals.reactor, client, request, screen(), signals.on_signal, target)

    drive(work)


def screen() -> "Screen":
    """
    Stdout and stderr.
    """
    from core0.client.live import Screen

    return Screen(sys.stdout.buffer, sys.stderr.buffer)


def _print_result(result: "Result") -> int:
    from core0.client.run import exit_code
    from core0.messages import encode

    click.echo(encode(result))
    return exit_code(result)


@corectl.command()
@placed
@click.option("--timeout", type=float, default=math.inf, help="Seconds to wait for the result.")
@click.argument("command", callback=text_of)
def raw(command: str, timeout: float) -> None:
    """
    Push a command as it is, and print its result: corectl raw '{"command": "core.ping"}'

    COMMAND is JSON, or - to read it from stdin. It gets an id if it has none. Exits with 124 if there is no result in
    time, and with 1 if its id stands for another command.
    """
    payload, id, chosen = payload_of(command)

    async def work(signals: "Signals", client: "Client") -> int:
        sent = await client.send_as_is(payload, id, chosen=chosen)
        return _print_result(await client.answer(sent, timeout))

    drive(work)


@corectl.command()
@placed
@contained
@patience
@as_json
def state(timeout: float, raw: bool) -> None:
    """
    Show what core0 and all its jobs consume.
    """
    ask("core.state", {}, timeout, None if raw else tables().print_state)


@corectl.command()
@placed
@contained
@patience
@as_json
def ps(timeout: float, raw: bool) -> None:
    """
    List the jobs that are not finished.
    """
    ask("process.list", {}, timeout, None if raw else tables().print_jobs)


@corectl.command()
@placed
@contained
@patience
@as_json
@click.argument("what", type=click.Choice(FACTS))
def info(what: str, timeout: float, raw: bool) -> None:
    """
    Show facts about the host.
    """
    ask(f"info.{what}", {}, timeout, None if raw else tables().print_facts)


def tables() -> Any:
    """
    What prints answers as tables.
    """
    try:
        from core0.client import show
    except ModuleNotFoundError as error:
        raise click.ClickException("rich is missing: pip install 'core0[cli]'") from error
    return show


@corectl.command()
@placed
@contained
@patience
@click.option("--signal", "number", metavar="SIGNAL", help="Send only this. [default: TERM, then KILL]")
@click.argument("id")
def kill(id: str, number: str | None, timeout: float) -> None:
    """
    End a job and all its processes.
    """
    given = int(number) if number is not None and number.isdecimal() else number
    ask("core.kill", {"id": id, "signal": given}, timeout, lambda answer: None)


@corectl.command()
@placed
@click.option("--timeout", type=float, default=0.0, show_default=True, help="Seconds to wait for it.")
@as_json
@click.argument("id")
def result(id: str, timeout: float, raw: bool) -> None:
    """
    Show the result of a command: what it printed, at least the end of it. Exits as the command did.
    """

    async def work(signals: "Signals", client: "Client") -> int:
        from core0.client.run import show_all

        found = await client.result(id)
        if found is None and timeout > 0:
            found = await client.wait(id, timeout)
        if found is None:
            tell(f"no result of {id}: it has not ended, or too long ago")
            return 1
        return _print_result(found) if raw else show_all(found, screen())

    drive(work)


for group in (bridge, container, network, plist, store):
    corectl.add_command(group)


def main() -> NoReturn:
    """
    The entry point.
    """
    corectl(prog_name="corectl")
    sys.exit(0)
