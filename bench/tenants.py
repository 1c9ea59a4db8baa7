"""
A core0 with containers to measure.
"""

import json
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import redis

from bench.bare_runtime import BareRuntime, bare_runtime
from bench.host import PATIENCE, Host, push, running
from bench.table import Missing
from core0.containers import probe
from tests.functional.containers import BUSYBOX, Image, Traces

REST = 0.3  # seconds in which the kernel and core0 tidy up after the last container


class Landlord(Host):
    """
    One whose containers end with it.
    """

    def command(self) -> list[str]:
        """
        The command line.
        """
        return [*super().command(), "--terminate-containers"]


class Tenants:
    """
    The containers of a core0.

    :ivar image: with busybox and little else.
    :ivar traces: of all of them on this machine.
    """

    def __init__(self, daemon: Landlord, client: redis.Redis, traces: Traces) -> None:
        self.daemon = daemon
        self.client = client
        self.image = Image(daemon.folder / "image")
        self.traces = traces

    def ask(self, command: str, arguments: dict[str, Any]) -> str:
        """
        Push a command; gives its id.
        """
        id = uuid.uuid4().hex
        push(self.client, [id], command, arguments)
        return id

    def answer(self, *ids: str) -> tuple[str, Any]:
        """
        Wait for the first of these to succeed; gives its id and its answer.
        """
        reply = self.client.blpop([f"result:{id}" for id in ids], PATIENCE)
        assert reply is not None, f"no answer within {PATIENCE} s"
        result = json.loads(reply[1])
        assert result["state"] == "SUCCESS", result
        return result["id"], json.loads(result["data"])

    def create(self) -> int:
        """
        Make a container; gives its number.
        """
        number: int = self.answer(self.ask_for_one())[1]
        return number

    def ask_for_one(self) -> str:
        """
        Ask for a container; gives the id of the command.
        """
        return self.ask("corex.create", {"plist": self.image.plist})

    def dispatch(self, number: int, ids: list[str], command: str, arguments: dict[str, Any]) -> None:
        """
        Push one command for a container for each id, pipelined.
        """
        pipeline = self.client.pipeline(transaction=False)
        for id in ids:
            inner = {"id": id, "command": command, "arguments": arguments}
            outer = {"container": number, "command": inner}
            dispatch = {"id": f"{id}-dispatch", "command": "corex.dispatch", "arguments": outer}
            pipeline.rpush("core:default", json.dumps(dispatch))
        pipeline.execute()

    def ping(self, number: int) -> str:
        """
        Push a ping for a container; gives its id.
        """
        id = uuid.uuid4().hex
        self.dispatch(number, [id], "core.ping", {})
        return id

    def terminate(self, *numbers: int) -> None:
        """
        End containers, at once.
        """
        for id in [self.ask("corex.terminate", {"container": number}) for number in numbers]:
            self.answer(id)

    def place(self, number: int) -> Path:
        """
        The folder of a container.
        """
        return self.daemon.state / "containers" / str(number)

    def rest(self) -> None:
        """
        Before something is measured.
        """
        time.sleep(REST)

    @contextmanager
    def bare(self, count: int = 1) -> Iterator[BareRuntime]:
        """
        The yardstick: what makes them, by hand. From then on core0 has found it, and all else that it needs is there.
        """
        number = self.create()
        with bare_runtime(self.daemon.folder / "bare", self.place(number), count) as bare:
            self.terminate(number)
            yield bare


@contextmanager
def tenants(make: Callable[[], Landlord] = Landlord) -> Iterator[Tenants]:
    """
    A running core0 without containers, and what asks for some. None outlives it.

    :param make: gives one that has not been started.
    """
    lacks = probe.missing() or ("" if Path(BUSYBOX).exists() else "busybox: apt-get install busybox-static")
    if lacks:
        raise Missing(lacks)
    daemon = make()
    traces = Traces(daemon)
    try:
        with running(daemon) as client:
            yield Tenants(daemon, client, traces)
    finally:
        traces.clear()
