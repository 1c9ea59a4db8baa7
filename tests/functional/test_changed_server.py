"""
A Redis server of the clients that is not any more what it was when core0 connected.
"""

from tests.daemon import eventually
from tests.functional.served import ServedTestCase
from tests.functional.shared import sh


class ChangedServerTests(ServedTestCase):
    """
    core0 finds out by what the server refuses, and connects again.
    """

    def test_scripts_forgotten(self) -> None:
        """
        Commands are taken and answered, and samples written, by a server that was told to forget all scripts.
        """
        with self.daemon.redis() as client:
            client.script_flush()
            self.assert_success(self.daemon.run_command("core.ping"), '"pong"')
            client.script_flush()
            id = self.daemon.push("core.system", sh("sleep 1000"), stats_interval=1)
            eventually(lambda: client.xlen(f"stats:{id}"), "samples are written")
        self.kill(id)

    def test_replica_for_a_while(self) -> None:
        """
        A server that refuses writes for a while, since it is a replica, is served again as soon as it takes them.
        """
        id = self.daemon.push("core.system", sh("sleep 0.2; echo done"))
        with self.daemon.redis() as client:
            client.replicaof("127.0.0.1", "1")
            try:
                eventually(lambda: "READONLY" in self.daemon.output(), "core0 is refused")
            finally:
                client.replicaof("NO", "ONE")
        result = self.daemon.result(id)
        self.assertEqual(("SUCCESS", ["done\n", ""]), (result["state"], result["streams"]))
        self.assert_success(self.daemon.run_command("core.ping"), '"pong"')
