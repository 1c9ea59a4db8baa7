"""
A Redis server that is not core0's own, and a core0 that serves its clients there: the test may look at every key.
"""

import json
import shutil
import signal
import socket
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import redis

from core0.redis.server_settings import find_program
from tests.daemon import PATIENCE, Daemon, eventually

NODE = "1:1"
QUEUES = ("core:default", f"core:default:{NODE}")


def free_port() -> int:
    """
    A port of this host that nobody listens on.
    """
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


class Valkey:
    """
    The packaged Valkey, in a folder of its own, without passwords, on a unix socket and a port of this host; what it
    holds survives a restart.

    :param options: of its command line, such as ``--maxmemory``.
    """

    def __init__(self, *options: str) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="valkey-"))
        self.socket = str(self.folder / "valkey.sock")
        self.port = free_port()
        self._options = options
        self._password: str | None = None
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """
        Of its socket, as core0 is told it.
        """
        return f"redis+unix://{self.socket}"

    @property
    def tcp(self) -> str:
        """
        Of its port.
        """
        return f"redis://127.0.0.1:{self.port}"

    def start(self, *, password: str | None = None) -> "Valkey":
        """
        Start it; returns once it answers.

        :param password: of its clients, if its options ask for one.
        """
        self._password = password or self._password
        options = ["--port", str(self.port), "--bind", "127.0.0.1", "--unixsocket", self.socket]
        options += ["--dir", str(self.folder), "--save", "", "--appendonly", "yes", "--loglevel", "warning"]
        self._process = subprocess.Popen(
            [find_program(""), *options, *self._options],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        eventually(self._answers, "Valkey has not started")
        return self

    def _answers(self) -> bool:
        try:
            with self.client() as client:
                return bool(client.ping())
        except redis.RedisError:
            return False

    def stop(self, number: int = signal.SIGTERM) -> None:
        """
        End it; with KILL nothing is put in order.
        """
        if self._process is not None:
            self._process.send_signal(number)
            self._process.wait(PATIENCE)
            self._process = None

    def client(self) -> redis.Redis:
        """
        A client that may do everything.
        """
        return redis.Redis(unix_socket_path=self.socket, password=self._password)

    def close(self) -> None:
        """
        End it and remove what it holds.
        """
        self.stop(signal.SIGKILL)
        shutil.rmtree(self.folder, ignore_errors=True)

    def __enter__(self) -> "Valkey":
        return self.start()

    def __exit__(self, *exception: object) -> None:
        self.close()


class ServedDaemon(Daemon):
    """
    A core0 whose clients use a Valkey; it serves both queues there.

    :param config: as of :class:`Daemon`.
    :param redis: keys of ``[redis]``.
    :param url: to connect to, if not the Valkey's socket.
    """

    def __init__(self, valkey: Valkey, config: str = "", *, redis: str = "", url: str = "", **keywords: Any) -> None:
        self.valkey = valkey
        served = f'[redis]\nurl = "{url or valkey.url}"\nshared_queue = true\n{redis}\n[reboot]\ncommand = ["true"]\n'
        super().__init__(f"{config}\n{served}", **keywords)

    def redis(self, **keywords: Any) -> redis.Redis:
        """
        A client of the Valkey.
        """
        return self.valkey.client()

    def unfinished(self) -> int:
        """
        How many commands lie in the queues or have been taken and not answered.
        """
        with self.redis() as client:
            look = client.pipeline(transaction=True)
            for queue in QUEUES:
                look.llen(queue)
            look.hlen(f"core0:unfinished:{NODE}")
            return sum(look.execute())

    def settle(self, seconds: float = PATIENCE) -> None:
        """
        Wait until everything that was pushed is answered.
        """
        eventually(lambda: self.unfinished() == 0, "core0 has not answered everything", seconds)

    def forget(self) -> None:
        """
        Remove all answers.
        """
        with self.redis() as client:
            client.delete("core:rejected", *client.keys("result:*"), *client.keys("core0:id:*"))

    def push_raw(self, *payloads: bytes | str, queue: str = "core:default") -> None:
        """
        Push these as they are, in one step.
        """
        with self.redis() as client:
            client.rpush(queue, *payloads)

    def results(self) -> dict[str, list[dict[str, Any]]]:
        """
        What is there of results, by their ids; one each if all is well.
        """
        with self.redis() as client:
            keys = client.keys("result:*")
            look = client.pipeline(transaction=False)
            for key in keys:
                look.lrange(key, 0, -1)
            lists = look.execute()
        names = [key.decode().removeprefix("result:") for key in keys]
        return {name: [json.loads(text) for text in texts] for name, texts in zip(names, lists, strict=True)}


def exactly_one(results: dict[str, list[dict[str, Any]]], ids: Sequence[str]) -> dict[str, dict[str, Any]]:
    """
    The results of these ids.

    :raises AssertionError: an id has none, or several.
    """
    counts = {id: len(results.get(id, ())) for id in ids}
    wrong = {id: count for id, count in counts.items() if count != 1}
    if wrong:
        raise AssertionError(f"expected one result of each, got: {wrong}")
    return {id: results[id][0] for id in ids}
