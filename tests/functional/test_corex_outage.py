"""
Containers that end while the server of the clients is away: what they have answered is not lost.
"""

import time
from pathlib import Path
from typing import ClassVar

import redis

from core0.redis import keys
from tests.daemon import eventually
from tests.functional.containers import (
    OBSERVER,
    ContainerTestCase,
    FirstProcess,
    Traces,
    inner_socket,
    kill,
    need_containers,
    observed_server,
)
from tests.functional.shared import lives
from tests.valkey import ServedDaemon, Valkey

WAITS = "touch /tmp/wait-{0} $ready; while [ -e /tmp/wait-{0} ]; do sleep 0.02; done; echo {0}"
STUBBORN = "trap '' TERM; " + WAITS
LONG = 12.0  # seconds that the server is away


class TerminatingDaemon(ServedDaemon):
    """
    One that takes its containers with it.
    """

    def command(self) -> list[str]:
        """
        The command line.
        """
        return [*super().command(), "--terminate-containers"]


class OutageTestCase(ContainerTestCase):
    """
    A core0 whose clients have a server that comes and goes.
    """

    valkey: ClassVar[Valkey]
    kind: ClassVar[type[ServedDaemon]] = ServedDaemon

    @classmethod
    def make_daemon(cls) -> ServedDaemon:
        """
        With that server.
        """
        need_containers()
        cls.valkey = Valkey().start()
        cls.addClassCleanup(cls.valkey.close)
        daemon = cls.kind(cls.valkey)
        server = observed_server(daemon)
        served = f'[redis]\nurl = "{cls.valkey.url}"\nshared_queue = true\nserver = "{server}"\n'
        daemon.write_config(f"{cls.config}\n{served}")
        cls.traces = Traces(daemon)
        return daemon

    @classmethod
    def setUpClass(cls) -> None:
        """
        Start it, and what reaps its orphans.
        """
        super().setUpClass()
        cls.addClassCleanup(FirstProcess(lambda: cls.daemon.pid).close)

    def end(self) -> None:
        """
        Whatever became of it, there is a core0 and a server.
        """
        if not self.valkey_lives():
            self.valkey.start()
        assert self.daemon.process is not None
        if self.daemon.process.poll() is not None:
            self.daemon.start()
        super().end()

    def valkey_lives(self) -> bool:
        """
        Whether the server of the clients is there.
        """
        try:
            with self.valkey.client() as client:
                return bool(client.ping())
        except redis.RedisError:
            return False

    def answer(self, number: int, init: int, *words: str) -> None:
        """
        Let jobs in a container come to their end, one after another, and see them answered on its list.
        """
        with redis.Redis(unix_socket_path=inner_socket(self.daemon), username=OBSERVER, password="-") as inner:
            for place, word in enumerate(words, 1):
                Path(f"/proc/{init}/root/tmp/wait-{word}").unlink()
                eventually(lambda place=place: inner.llen(keys.corex_results(number)) == place, "it has answered")

    def assert_done(self, number: int, ids: dict[str, str]) -> None:
        """
        Jobs have the results that they have had in the container.
        """
        for word, id in ids.items():
            result = self.daemon.result(id)
            found = (result["state"], result["streams"][0], result["container"])
            self.assertEqual(("SUCCESS", f"{word}\n", number), found, result)


class OutageTests(OutageTestCase):
    """
    One that leaves its containers alone.
    """

    def test_away_for_long(self) -> None:
        """
        Commands that were done when their container ended have their results once the clients' server is back.
        """
        number = self.create()
        ids = {word: self.running_inside(number, WAITS.format(word)) for word in ("one", "two")}
        init = self.listed()[str(number)]["pid"]
        self.valkey.stop()
        self.answer(number, init, *ids)
        kill(init)
        time.sleep(LONG)
        self.assertFalse(self.traces.processes())
        self.valkey.start()
        self.assert_done(number, ids)
        eventually(lambda: not self.traces.left(), "nothing is left")

    def test_stopped_meanwhile(self) -> None:
        """
        A core0 that is stopped meanwhile does not wait for ever; the next one tells the results.
        """
        number = self.create()
        ids = {word: self.running_inside(number, WAITS.format(word)) for word in ("one", "two")}
        init = self.listed()[str(number)]["pid"]
        self.valkey.stop()
        self.answer(number, init, *ids)
        kill(init)
        eventually(lambda: not self.traces.processes(), "its processes are gone")
        self.daemon.stop()
        self.valkey.start()
        self.daemon.start()
        self.assert_done(number, ids)
        eventually(lambda: not self.traces.left(), "nothing is left")

    def test_terminated(self) -> None:
        """
        Nor does one that is stopped while it terminates a container; that is done, and answered, by the next one.
        """
        number = self.create()
        ids = [self.running_inside(number, STUBBORN.format(word)) for word in ("one", "two")]
        init = self.listed()[str(number)]["pid"]
        terminating = self.daemon.push("corex.terminate", {"container": number})
        eventually(lambda: not self.listed(), "it is removed")
        self.valkey.stop()
        eventually(lambda: not lives(init), "it is gone")
        self.daemon.stop()
        self.valkey.start()
        self.daemon.start()
        for id in ids:
            result = self.daemon.result(id)
            self.assertEqual(("INTERRUPTED", number), (result["state"], result["container"]), result)
        self.assertIn(self.daemon.result(terminating)["state"], ("INTERRUPTED", "SUCCESS"))
        eventually(lambda: not self.traces.left(), "nothing is left")


class TerminatingTests(OutageTestCase):
    """
    One that takes its containers with it.
    """

    kind = TerminatingDaemon

    def test_stopped(self) -> None:
        """
        It does not wait for ever for what its containers have said; the next one tells it.
        """
        number = self.create()
        ids = [self.running_inside(number, WAITS.format(word)) for word in ("one", "two")]
        self.valkey.stop()
        self.daemon.stop()
        self.assertFalse(self.traces.processes())
        self.valkey.start()
        self.daemon.start()
        for id in ids:
            result = self.daemon.result(id)
            self.assertEqual(("INTERRUPTED", number), (result["state"], result["container"]), result)
        eventually(lambda: not self.traces.left(), "nothing is left")
