"""
Tests of a core0 whose clients use a Valkey of their own, where everything can be looked at.
"""

import uuid
from typing import Any, ClassVar

from twisted.trial.unittest import SynchronousTestCase

from tests.daemon import Daemon, eventually
from tests.functional.shared import DaemonTestCase, Gate, answer_of
from tests.valkey import ServedDaemon, Valkey


class ServedTestCase(DaemonTestCase):
    """
    Tests that share one core0 and its clients' Valkey.

    :cvar config: see :class:`tests.daemon.Daemon`.
    :cvar redis: keys of ``[redis]``.
    """

    redis: ClassVar[str] = ""
    valkey: ClassVar[Valkey]
    daemon: ClassVar[ServedDaemon]

    @classmethod
    def make_daemon(cls) -> ServedDaemon:
        """
        The daemon, not yet started.
        """
        return ServedDaemon(cls.valkey, cls.config, redis=cls.redis)

    @classmethod
    def setUpClass(cls) -> None:
        """
        Start both.
        """
        cls.valkey = Valkey().start()
        try:
            super().setUpClass()
        except BaseException:
            cls.valkey.close()
            raise

    @classmethod
    def tearDownClass(cls) -> None:
        """
        End both.
        """
        try:
            super().tearDownClass()
        finally:
            cls.valkey.close()


class RestartTestCase(SynchronousTestCase):
    """
    Tests that end core0 and start it again; what clients use stays.
    """

    valkey: ClassVar[Valkey]

    @classmethod
    def setUpClass(cls) -> None:
        """
        Start the Valkey.
        """
        cls.valkey = Valkey().start()

    @classmethod
    def tearDownClass(cls) -> None:
        """
        End it.
        """
        cls.valkey.close()

    def setUp(self) -> None:
        """
        Begin with nothing.
        """
        with self.valkey.client() as client:
            client.flushall()

    def daemon(self, config: str = "", **keywords: Any) -> ServedDaemon:
        """
        A core0 of this test, started.
        """
        daemon = ServedDaemon(self.valkey, config, **keywords)
        self.addCleanup(daemon.close)
        return daemon.start()

    def gate(self, daemon: Daemon) -> Gate:
        """
        A gate that nobody has passed.
        """
        gate = Gate(daemon.folder / f"gate-{uuid.uuid4().hex}")
        self.addCleanup(gate.close)
        return gate

    def assert_ended(self, expected: tuple[str, int, int], result: dict[str, Any]) -> None:
        """
        This is the state, the code, and the number of runs of a result.
        """
        self.assertEqual(expected, (result["state"], result["code"], result["runs"]), result)


def state_of(daemon: Daemon, id: str) -> str | None:
    """
    What a job is doing; None if there is no such job.
    """
    answer = daemon.run_command("process.list", {"id": id})
    return answer_of(answer)[0]["state"] if answer["state"] == "SUCCESS" else None


def until(daemon: Daemon, id: str, state: str) -> None:
    """
    Wait until a job does this.
    """
    eventually(lambda: state_of(daemon, id) == state, f"{id} {state}")
