"""
What the documentation says of the rights that core0 needs on a Redis server of the clients.
"""

import re

from tests.daemon import ROOT, eventually
from tests.functional.served import ServedTestCase
from tests.functional.shared import sh
from tests.valkey import ServedDaemon

PAGE = __import__("pathlib").Path("/tmp/d/er.rst")


def documented() -> list[str]:
    """
    The rules of the user, as the page has them.
    """
    text = PAGE.read_text(encoding="utf-8")
    found = re.search(r"needs these rights on it:\n\n +\.\. code-block:: text\n\n(.*?)\n\n", text, re.DOTALL)
    assert found is not None
    return found[1].split()


class DocumentedRightsTests(ServedTestCase):
    """
    A core0 that has those rights and no others.
    """

    config = "[jobs]\nmax = 1\nwaiting = 1\n"

    @classmethod
    def make_daemon(cls) -> ServedDaemon:
        """
        The daemon, not yet started; it logs in as a user of its own.
        """
        with cls.valkey.client() as client:
            rules = ("on", ">secret", "resetkeys", "resetchannels", "-@all", *documented())
            client.execute_command("ACL", "SETUSER", "node", *rules)
        return ServedDaemon(cls.valkey, cls.config, url=f"redis://node:secret@127.0.0.1:{cls.valkey.port}")

    def denied(self) -> list[bytes]:
        """
        What the server has refused that user.
        """
        with self.daemon.redis() as client:
            return [entry["object"] for entry in client.acl_log() if entry["username"] == b"node"]

    def test_enough(self) -> None:
        """
        They suffice for everything: taking, urgent commands, results, rejections, live output, samples, recovery.
        """
        script = "echo out; echo '10::key:1|c'; echo 7::careful; sleep 1000"
        id = self.daemon.push("core.system", sh(script), stream=True, stats_interval=1)
        with self.daemon.redis() as client:
            eventually(lambda: client.xlen(f"stats:{id}") > 1, "there are samples")
            eventually(lambda: client.llen(f"stream:{id}"), "there is live output")
        self.daemon.push("core.system", sh("true"), id="waits")
        self.daemon.push("core.system", sh("true"), id="left", recurring_period=1000)
        self.assert_success(self.daemon.run_command("core.ping"), '"pong"')
        self.daemon.crash()
        self.daemon.start()
        self.assertEqual("INTERRUPTED", self.daemon.result(id)["state"])
        self.assertEqual("SUCCESS", self.daemon.result("left")["state"])
        self.daemon.push_raw(b"junk")
        self.daemon.push("core.system", sh("false"), id="left")
        eventually(lambda: len(self.daemon.rejected()) == 2, "both are rejected")
        self.assert_success(self.daemon.run_command("core.kill", {"id": "left"}), "true")
        self.assertEqual([], self.denied())
