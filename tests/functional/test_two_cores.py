"""
Two core0 on one machine: neither touches what is the other's, whatever their folders are called.
"""

import hashlib
import os
import shutil
import subprocess
from pathlib import Path

from tests.daemon import Daemon, eventually
from tests.functional.apart import NOBODY, Apart
from tests.functional.shared import DaemonTestCase, lives, need_root, sh


def short_hash(folder: Path) -> int:
    """
    By what former versions told core0 apart.
    """
    return int.from_bytes(hashlib.sha256(os.path.realpath(folder).encode()).digest()[:2])


class Hidden(Daemon):
    """
    One whose folders are at the paths of another one's, in a mount namespace of its own.
    """

    def __init__(self, other: Daemon) -> None:
        super().__init__()
        shutil.copy(other.config, self.config)
        self._other = other

    def command(self) -> list[str]:
        """
        The command line.
        """
        script = f'mount -t tmpfs core0-test "{self._other.folder}" && exec "$@"'
        return ["unshare", "--mount", "sh", "-c", script, "sh", *super().command()]


class TwoCoresTests(DaemonTestCase):
    """
    One that runs a job while another one starts.
    """

    def setUp(self) -> None:
        """
        A job that waits.
        """
        self.gate_of_job = self.gate()
        self.job = self.daemon.push("core.system", sh(f"echo $$ > {self.daemon.folder}/pid; {self.gate_of_job.wait}"))
        path = self.daemon.folder / "pid"
        self.pid = int(eventually(lambda: path.exists() and path.read_text().strip(), "it runs"))
        path.unlink()

    def another(self) -> Daemon:
        """
        Another core0, not yet started.
        """
        return Daemon(type(self).config)

    def assert_untouched(self) -> None:
        """
        It runs, and ends well.
        """
        self.assertTrue(lives(self.pid))
        self.gate_of_job.open()
        self.assertEqual("SUCCESS", self.daemon.result(self.job)["state"])

    def make(self, daemon: Daemon) -> Daemon:
        """
        The other one, which has what the class says.
        """
        self.addCleanup(daemon.close)
        return daemon

    def start(self, other: Daemon) -> None:
        """
        Start it, twice: it is a successor, too.
        """
        for _ in range(2):
            other.start()
            other.crash()
        self.assertNotIn("had left", other.output())

    def test_short_hashes(self) -> None:
        """
        Paths of which a short hash is the same.
        """
        other = self.make(self.another())
        other.state = self.colliding(other)
        other.write_config(type(self).config)
        self.start(other)
        self.assert_untouched()

    def colliding(self, other: Daemon) -> Path:
        """
        A folder with the short hash of the first one's.
        """
        wanted, number = short_hash(self.daemon.state), 0
        while short_hash(path := other.folder / f"state-{number}") != wanted:
            number += 1
        return path

    def test_same_path(self) -> None:
        """
        The same path in two roots.
        """
        need_root()
        other = self.make(Hidden(self.daemon))
        other.start()
        other.stop()
        self.assertNotIn("had left", other.output())
        self.assert_untouched()

    def test_copy(self) -> None:
        """
        A copy of the folder of one that lives.
        """
        other = self.make(self.another())
        subprocess.run(["cp", "-a", str(self.daemon.state), str(other.state)], check=True)
        shutil.rmtree(other.state / "redis", ignore_errors=True)  # else it would run the same commands
        self.start(other)
        self.assertIn("was copied or moved", other.output())
        self.assert_untouched()

    def test_recorded(self) -> None:
        """
        A folder of a former version that names the cgroup of one that lives.
        """
        record = self.daemon.state / "cgroup"
        other = self.make(self.another())
        other.state.mkdir(mode=0o700)
        if record.exists():
            shutil.copy(record, other.state)
        owner = other.folder.stat()
        for path in (other.state, *other.state.iterdir()):
            os.chown(path, owner.st_uid, owner.st_gid)
        self.start(other)
        self.assert_untouched()


class ByTagTests(TwoCoresTests):
    """
    The same where jobs are found by tags: this user may not have cgroups.
    """

    @classmethod
    def make_daemon(cls) -> Daemon:
        """
        One of a user who is not root.
        """
        need_root()
        return Apart(cls.config, user=NOBODY)

    def another(self) -> Daemon:
        """
        Of the same user.
        """
        return Apart(type(self).config, user=NOBODY)
