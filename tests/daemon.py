"""
A real core0 for tests: started with ``twistd`` in folders of its own, commanded through a stock Redis client.
"""

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import uuid
from pathlib import Path
from typing import Any, Self

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

ROOT = Path(__file__).resolve().parent.parent
STARTED = "takes commands at"
TAIL_BYTES = 1 << 20  # of an append-only file, searched for what was written last
PATIENCE = 60.0  # seconds for what takes milliseconds on an idle machine
ONCE = Retry(NoBackoff(), 0)  # for a client that shall be refused: the usual one tries again, with pauses


SEED = "CORE0_TEST_SEED"  # the variable whose value decides what tests choose


def chance(name: str) -> random.Random:
    """
    What a test chooses with: the same for the same seed, which is told at the end of a run.

    :param name: of the test.
    """
    return random.Random(f"{os.environ.get(SEED, '')} {name}")


def eventually(look: Any, what: str, seconds: float = PATIENCE) -> Any:
    """
    Look again and again until it gives something true.
    """
    deadline = time.monotonic() + seconds
    while True:
        started = time.monotonic()
        found = look()
        if found:
            return found
        now = time.monotonic()
        if now > deadline:
            raise AssertionError(f"{what}: not within {seconds:.0f} s")
        time.sleep(max(0.01, 2 * (now - started)))  # what runs programs to look leaves others room


class Daemon:
    """
    :param config: TOML besides ``[core] state_dir`` and ``run_dir``, which are its own; may begin with keys of
        ``[core]``.
    :param user: run as this uid and gid.
    :ivar environment: variables of its own.
    """

    def __init__(
        self, config: str = "", *, user: int | None = None, limits: dict[int, tuple[int, int]] | None = None
    ) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="core0-"))
        self.state, self.run, self.log = self.folder / "state", self.folder / "run", self.folder / "log"
        self.config = self.folder / "core0.toml"
        self.user = user
        self.limits = limits or {}
        self.environment: dict[str, str] = {}
        self.process: subprocess.Popen[bytes] | None = None
        self.write_config(config)
        if user is not None:
            os.chown(self.folder, user, user)

    def write_config(self, config: str) -> None:
        """
        Replace the configuration.
        """
        self.config.write_text(f'[core]\nstate_dir = "{self.state}"\nrun_dir = "{self.run}"\n{config}\n')

    @property
    def socket(self) -> str:
        """
        Where its server listens.
        """
        return str(self.run / "redis" / "sock" / "redis.sock")

    def start(self, *, wait: bool = True) -> Self:
        """
        Start it; returns once it takes commands.
        """
        with open(self.log, "ab") as log:
            size = log.tell()
            self.process = subprocess.Popen(
                self.command(),
                cwd=ROOT,
                env={**os.environ, "PYTHONPATH": str(ROOT), "PYTHONDONTWRITEBYTECODE": "1", **self.environment},
                stdout=log,
                stderr=log,
                stdin=subprocess.DEVNULL,
                start_new_session=True,
                user=self.user,
                group=self.user,
                extra_groups=[] if self.user is not None else None,
                preexec_fn=self._limit if self.limits else None,
            )
        if wait:
            eventually(lambda: self._started(size), f"core0 has not started:\n{self.output()}")
        return self

    def _limit(self) -> None:
        import resource

        for which, limit in self.limits.items():
            resource.setrlimit(which, limit)

    def command(self) -> list[str]:
        """
        The command line.
        """
        # as twistd does; the garbage collector, of which nothing is made while modules are imported, would take a tenth
        script = (
            "import gc, sys; gc.set_threshold(10000); sys.argv[0] = 'twistd'; "
            "from twisted.scripts.twistd import run; run()"
        )
        return [sys.executable, "-c", script, "-n", "--pidfile=", "core0", "--config", str(self.config)]

    def _started(self, size: int) -> bool:
        assert self.process is not None
        if self.process.poll() is not None:
            raise AssertionError(f"core0 ended with {self.process.returncode}:\n{self.output()}")
        return STARTED in self.output()[size:]

    def output(self) -> str:
        """
        All that it has logged.
        """
        return self.log.read_text(errors="replace") if self.log.exists() else ""

    @property
    def pid(self) -> int:
        """
        Of core0.
        """
        assert self.process is not None
        return self.process.pid

    def signal(self, number: int) -> None:
        """
        Send it a signal.
        """
        os.kill(self.pid, number)

    def wait(self, seconds: float = PATIENCE) -> int:
        """
        Wait for its end; gives the exit status, negative for a signal.
        """
        assert self.process is not None
        return self.process.wait(seconds)

    def stop(self) -> None:
        """
        Stop it in order.
        """
        if self.process is not None and self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            self.wait()

    def crash(self) -> None:
        """
        Kill it, so that nothing is put in order.
        """
        self.signal(signal.SIGKILL)
        self.wait()

    def close(self) -> None:
        """
        End everything and remove it.
        """
        try:
            if self.process is not None and self.process.poll() is None:
                self.process.send_signal(signal.SIGTERM)
                try:
                    self.wait(20)
                except subprocess.TimeoutExpired:
                    self.process.kill()
                    self.wait()
            self._end_server()
            self._remove_cgroup()
        finally:
            shutil.rmtree(self.folder, ignore_errors=True)

    def _end_server(self) -> None:
        record = self.run / "redis" / "server.json"
        if record.exists():
            try:
                os.kill(json.loads(record.read_text())["pid"], signal.SIGKILL)
            except (ProcessLookupError, ValueError):
                pass

    def _remove_cgroup(self) -> None:
        recorded = self.state / "cgroup"
        if not recorded.exists():
            return
        path = Path(recorded.read_text().strip())
        for child in sorted(path.glob("job-*")):
            eventually(lambda child=child: _emptied(child), f"{child} is empty")
            child.rmdir()
        if path.exists():
            eventually(lambda: "populated 0" in (path / "cgroup.events").read_text(), f"{path} is empty")
            path.rmdir()

    def __enter__(self) -> Self:
        try:
            return self.start()
        except BaseException:
            self.close()
            raise

    def __exit__(self, *exception: object) -> None:
        self.close()

    def redis(self, **keywords: Any) -> redis.Redis:
        """
        A client of its server.
        """
        return redis.Redis(**{"unix_socket_path": self.socket, "socket_timeout": None, **keywords})

    def push(self, command: str, arguments: Any = None, *, id: str | None = None, **fields: Any) -> str:
        """
        Push a command; gives its id.
        """
        id = id if id is not None else str(uuid.uuid4())
        content = {"id": id, "command": command, "arguments": arguments or {}, **fields}
        with self.redis() as client:
            client.rpush("core:default", json.dumps(content))
        return id

    def wait_until_written(self) -> None:
        """
        Wait until everything the server has replied to is in its append-only file. While an fsync is in progress the
        server postpones writes by up to 2 s, and loses them if it is killed.
        """
        mark = uuid.uuid4().hex
        with self.redis() as client:
            client.rpush("result:written", mark)
        folder = self.state / "redis" / "appendonlydir"
        eventually(lambda: any(mark.encode() in _tail(file) for file in folder.glob("*.incr.aof")), "it is written")

    def result(self, id: str, seconds: float = PATIENCE) -> dict[str, Any]:
        """
        Wait for a result, and leave it there.
        """
        with self.redis() as client:
            text = client.brpoplpush(f"result:{id}", f"result:{id}", int(seconds))
        if text is None:
            raise AssertionError(f"no result of {id} within {seconds:.0f} s:\n{self.output()}")
        found: dict[str, Any] = json.loads(text)
        return found

    def run_command(self, command: str, arguments: Any = None, **fields: Any) -> dict[str, Any]:
        """
        Push a command and wait for its result.
        """
        return self.result(self.push(command, arguments, **fields))

    def rejected(self) -> list[dict[str, Any]]:
        """
        What is on ``core:rejected``, newest first.
        """
        with self.redis() as client:
            return [json.loads(entry) for entry in client.lrange("core:rejected", 0, -1)]


def _tail(file: Path) -> bytes:
    """
    The last part of a file.
    """
    with open(file, "rb") as stream:
        stream.seek(max(0, os.fstat(stream.fileno()).st_size - TAIL_BYTES))
        return stream.read()


def _emptied(cgroup: Path) -> bool:
    """
    Whether nothing is left in a cgroup: what is there is killed, and at the next look what it has begun meanwhile.
    """
    for pid in (cgroup / "cgroup.threads").read_text().split():
        try:
            os.kill(int(pid), signal.SIGKILL)
        except ProcessLookupError:
            pass
    return "populated 0" in (cgroup / "cgroup.events").read_text()
