"""
Two core0 on one machine: neither touches what is the other's, whatever their folders are called.
"""

import hashlib
import json
import os
import shutil
import subprocess
from pathlib import Path

from tests.daemon import STARTED, Daemon, eventually
from tests.functional.apart import NOBODY, Apart
from tests.functional.shared import DaemonTestCase, lives, need_root, sh


def short_hash(folder: str) -> int:
    """
    By what former versions told core0 apart; of a real path.
    """
    return int.from_bytes(hashlib.sha256(folder.encode()).digest()[:2])


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
        wanted, number, folder = short_hash(os.path.realpath(self.daemon.state)), 0, os.path.realpath(other.folder)
        while short_hash(path := f"{folder}/state-{number}") != wanted:
            number += 1
        return Path(path)

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

    def test_same_run_dir(self) -> None:
        """
        One with the same ``run_dir`` does not start, and leaves the server there alone.
        """
        other = self.make(self.another())
        other.run = self.daemon.run
        other.write_config(type(self).config)
        other.start(wait=False)
        self.assertNotEqual(0, other.wait())
        self.assertIn("set another [core] run_dir", other.output())
        other.run = other.folder / "run"
        self.assert_untouched()

    def test_lock_removed(self) -> None:
        """
        One with the same ``state_dir`` does not start, whatever has become of the file of the lock.
        """
        (self.daemon.state / "core0.lock").unlink()
        other = self.make(self.another())
        state, other.state = other.state, self.daemon.state
        other.write_config(type(self).config)
        other.start(wait=False)
        self.assertNotEqual(0, other.wait())
        self.assertIn("core0 runs already", other.output())
        other.state = state
        self.assert_untouched()

    def test_record_of_server(self) -> None:
        """
        One in whose ``run_dir`` the server of another one is written down does not end that.
        """
        other = self.make(self.another())
        shutil.copytree(self.daemon.run / "redis", other.run / "redis", ignore=shutil.ignore_patterns("*.sock", "sock"))
        owner = other.folder.stat()
        for path in (other.run, other.run / "redis", *(other.run / "redis").rglob("*")):
            os.chown(path, owner.st_uid, owner.st_gid)
            path.chmod(0o700)
        pid = json.loads((self.daemon.run / "redis" / "server.json").read_text())["pid"]
        self.start(other)
        self.assertTrue(lives(pid))
        self.assertNotIn("a server is left from before, process", other.output().partition(STARTED)[0])
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
