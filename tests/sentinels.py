"""
A store that survives its master: three Valkeys and three Sentinels, in a network namespace of their own. The test
reaches all of them by unix sockets, and may drop packets between them.
"""

import shutil
import signal
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

import redis
from twisted.trial.unittest import SynchronousTestCase

from core0.redis.server_settings import find_program
from tests.daemon import PATIENCE, Daemon, eventually
from tests.functional.shared import need_root

MASTER = "mymaster"
SERVERS, SENTINELS = (7001, 7002, 7003), (7011, 7012, 7013)  # ports
CLIENT, SERVER, SENTINEL = "127.0.0.1", "127.0.0.2", "127.0.0.4"  # where connections come from
DOWN_AFTER = 1000  # ms


class Sentinels:
    """
    :ivar address: what a URL of the store begins with, after the scheme.
    """

    def __init__(self) -> None:
        need_root()
        self.folder = Path(tempfile.mkdtemp(prefix="sentinels-"))
        self.processes: dict[int, subprocess.Popen[bytes]] = {}
        self.namespace = subprocess.Popen(["unshare", "--net", "sleep", "infinity"], start_new_session=True)
        self.url = f"redis+sentinel://{','.join(f'127.0.0.1:{port}' for port in SENTINELS)}/{MASTER}"

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def start(self) -> None:
        """
        Start all; returns once the Sentinels know each other and both replicas.
        """
        own = Path(f"/proc/{self.namespace.pid}/ns/net")
        eventually(lambda: own.exists() and not own.samefile("/proc/self/ns/net"), "there is a namespace")
        self.run("ip", "link", "set", "lo", "up")
        for port in SERVERS:
            self._start_server(port, SERVERS[0])
        for port in SERVERS[1:]:
            eventually(lambda port=port: self._replicates(port), "it replicates")
        for port in SENTINELS:
            self._start_sentinel(port)
        for port in SENTINELS:
            eventually(lambda port=port: self._sees_all(port), "the Sentinels see each other")

    def _start_server(self, port: int, master: int) -> None:
        options = ["--port", str(port), "--dir", str(self._home(port)), "--appendonly", "yes", "--save", ""]
        options += ["--unixsocket", self.socket(port), "--bind-source-addr", SERVER, "--repl-diskless-sync-delay", "0"]
        if port != master:
            options += ["--replicaof", "127.0.0.1", str(master)]
        self._spawn(port, [find_program(""), *options])

    def _start_sentinel(self, port: int) -> None:
        config = self._home(port) / "sentinel.conf"
        lines = [f"port {port}", f"unixsocket {self.socket(port)}", f"bind-source-addr {SENTINEL}"]
        lines += [f"sentinel monitor {MASTER} 127.0.0.1 {SERVERS[0]} 2"]
        lines += [f"sentinel down-after-milliseconds {MASTER} {DOWN_AFTER}", f"sentinel failover-timeout {MASTER} 5000"]
        config.write_text("\n".join([*lines, ""]))
        self._spawn(port, [find_program(""), str(config), "--sentinel"])

    def _home(self, port: int) -> Path:
        home = self.folder / str(port)
        home.mkdir(exist_ok=True)
        return home

    def _spawn(self, port: int, command: Sequence[str]) -> None:
        with open(self._home(port) / "log", "ab") as log:
            self.processes[port] = subprocess.Popen(
                self.inside(*command), stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
            )
        eventually(lambda: self._answers(port), f"the server at {port} answers")

    def inside(self, *command: str) -> list[str]:
        """
        The words of a command that runs in the namespace.
        """
        return ["nsenter", f"--net=/proc/{self.namespace.pid}/ns/net", *command]

    def run(self, *command: str) -> None:
        """
        Run something in the namespace.
        """
        subprocess.run(self.inside(*command), check=True, capture_output=True)

    def socket(self, port: int) -> str:
        """
        The unix socket of a server or a Sentinel.
        """
        return str(self.folder / f"{port}.sock")

    def client(self, port: int) -> redis.Redis:
        """
        A client of a server or of a Sentinel.
        """
        return redis.Redis(unix_socket_path=self.socket(port), socket_timeout=5)

    def _answers(self, port: int) -> bool:
        return self._ask(port, "PING") is not None

    def _ask(self, port: int, *words: str) -> Any:
        try:
            with self.client(port) as client:
                return client.execute_command(*words)
        except redis.RedisError:
            return None

    def _replicates(self, port: int) -> bool:
        role = self._ask(port, "ROLE")
        return bool(role) and role[0] == b"slave" and role[3] == b"connected"

    def _sees_all(self, port: int) -> bool:
        found = self._ask(port, "SENTINEL", "MASTER", MASTER)
        if not found:
            return False
        fields = found if isinstance(found, dict) else dict(zip(found[::2], found[1::2], strict=True))
        told = {_text(name): _text(value) for name, value in fields.items()}
        return (told["num-slaves"], told["num-other-sentinels"]) == ("2", "2")

    def master(self) -> int:
        """
        The port of the master, as the first Sentinel says.
        """
        with self.client(SENTINELS[0]) as client:
            address = client.execute_command("SENTINEL", "GET-MASTER-ADDR-BY-NAME", MASTER)
        return int(address[1])

    def another(self, before: int) -> int:
        """
        The port of the new master, once there is one that answers as such.
        """

        def look() -> int:
            port = self.master()
            if port == before:
                return 0
            role = self._ask(port, "ROLE")
            return port if role and role[0] == b"master" else 0

        port: int = eventually(look, "there is another master")
        return port

    def copied(self) -> None:
        """
        Wait until both replicas have all that the master has.
        """
        with self.client(self.master()) as client:
            client.incr("copied")
            assert client.wait(2, int(1000 * PATIENCE)) == 2

    def signal(self, port: int, number: int) -> None:
        """
        Send a server a signal.
        """
        self.processes[port].send_signal(number)
        if number == signal.SIGKILL:
            self.processes[port].wait(PATIENCE)

    def cut(self, port: int, *sources: str) -> None:
        """
        Drop all packets between a server and what connects to it from these addresses.
        """
        places = ", ".join(sources)
        rules = f"""
            table ip cut {{
                chain in {{
                    type filter hook input priority 0
                    ip saddr {{ {places} }} tcp dport {port} drop
                    ip daddr {{ {places} }} tcp sport {port} drop
                }}
            }}
        """
        path = self.folder / "rules"
        path.write_text(rules)
        self.run("nft", "-f", str(path))

    def heal(self) -> None:
        """
        Drop none any more.
        """
        self.run("nft", "delete", "table", "ip", "cut")

    def close(self) -> None:
        """
        End all, and remove what they hold.
        """
        for process in self.processes.values():
            process.kill()
            process.wait(PATIENCE)
        self.namespace.kill()
        self.namespace.wait(PATIENCE)
        shutil.rmtree(self.folder, ignore_errors=True)


class SentinelDaemon(Daemon):
    """
    A core0 whose clients use such a store.
    """

    def __init__(self, sentinels: Sentinels, config: str = "") -> None:
        self.sentinels = sentinels
        super().__init__(f'{config}\n[redis]\nurl = "{sentinels.url}"\nshared_queue = true\n')

    def command(self) -> list[str]:
        """
        Its command line, in the namespace.
        """
        return self.sentinels.inside(*super().command())

    def redis(self, **keywords: Any) -> redis.Redis:
        """
        A client of the master.
        """
        return self.sentinels.client(self.sentinels.master())


def _text(word: Any) -> str:
    return word.decode() if isinstance(word, bytes) else str(word)


class SentinelCase(SynchronousTestCase):
    """
    Each test has a store with a core0 of its own.
    """

    def setUp(self) -> None:
        """
        Start both.
        """
        self.store = Sentinels()
        self.addCleanup(self.store.close)
        self.store.start()
        self.daemon = SentinelDaemon(self.store)
        self.addCleanup(self.daemon.close)
        self.daemon.start()
