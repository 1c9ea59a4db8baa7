"""
What core0 keeps on the host may be taken away at any time: it is made anew, or refused in words, and never told as a
fault of a program.
"""

import json
import os
import shutil
import signal
import socket
from pathlib import Path

import redis

from tests.daemon import Daemon, eventually
from tests.functional.shared import DaemonTestCase, missing, sh


class CgroupsTests(DaemonTestCase):
    """
    Cgroups of jobs, and the one that core0 is in.
    """

    def setUp(self) -> None:
        """
        One is kept.
        """
        if "following processes by a tag" in self.daemon.output():
            raise missing("needs a cgroup v2 hierarchy")
        self.path = Path((self.daemon.state / "cgroup").read_text())
        self.assert_runs()

    def assert_runs(self) -> None:
        """
        Programs run, in cgroups.
        """
        result = self.daemon.run_command("core.system", sh("grep 0:: /proc/self/cgroup"))
        self.assertEqual("SUCCESS", result["state"], result)
        self.assertIn(f"{self.path.name}/job-", result["streams"][0])

    def remove_kept(self) -> int:
        """
        Remove the cgroups that are kept, as anybody with the right to may; how many there were.
        """
        places = list(self.path.glob("job-*"))
        for place in places:
            eventually(lambda place=place: "populated 0" in (place / "cgroup.events").read_text(), "it is empty")
            place.rmdir()
        return len(places)

    def test_kept(self) -> None:
        """
        A kept cgroup that is removed is not missed, however often; it is logged once.
        """
        for _ in range(3):
            self.assertGreater(self.remove_kept(), 0)
            self.assert_runs()
        self.assertEqual(1, self.daemon.output().count("were removed or changed by something other than core0"))

    def test_own(self) -> None:
        """
        So is core0's own, once core0 has been moved out of it.
        """
        outside = self.path.parent / "cgroup.procs"
        for pid in (self.path / "cgroup.procs").read_text().split():
            outside.write_text(pid)
        self.remove_kept()
        self.path.rmdir()
        self.assert_runs()
        self.assertIn(str(self.daemon.pid), (self.path / "cgroup.procs").read_text().split())

    def test_refused(self) -> None:
        """
        While no cgroup can be made programs are refused in words that say so, 503; then they run again.
        """
        limit = self.path / "cgroup.max.descendants"
        running = self.gate()
        ids = [self.daemon.push("core.system", sh(running.wait)) for _ in range(len(list(self.path.glob("job-*"))))]
        limit.write_text("0")
        try:
            eventually(lambda: self.daemon.run_command("core.system", sh("true"))["state"] == "ERROR", "none is left")
            for name in ("true", "/bin/true"):
                result = self.daemon.run_command("core.system", {"name": name})
                self.assertEqual(("ERROR", 503), (result["state"], result["code"]), result)
                self.assertIn(f"no cgroup for it at {self.path}", result["data"])
                self.assertNotIn("interpreter", result["data"])
        finally:
            limit.write_text("max")
            running.open(len(ids))
        self.assert_runs()
        for id in ids:
            self.assertEqual("SUCCESS", self.daemon.result(id)["state"])
        self.assertEqual(1, self.daemon.output().count("cannot start programs: core0 has no cgroup"))


class FoldersTests(DaemonTestCase):
    """
    Sockets, log files and folders.
    """

    @classmethod
    def make_daemon(cls) -> Daemon:
        """
        One that listens at a port of its own.
        """
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        daemon = Daemon()
        password = daemon.folder / "password"
        password.write_text("secret of a test")
        password.chmod(0o600)
        daemon.write_config(f'[redis]\nlisten = "127.0.0.1:{port}"\npassword_file = "{password}"')
        return daemon

    def assert_serves(self) -> None:
        """
        It takes commands at its socket, and answers.
        """

        def answered() -> bool:
            try:
                return bool(self.daemon.run_command("core.ping")["state"] == "SUCCESS")
            except redis.exceptions.ConnectionError:
                return False

        eventually(answered, "it answers")

    def test_sockets(self) -> None:
        """
        A socket that is removed, or replaced, is there again soon, for those who come then; who was connected stays.
        """
        text = "was removed; it is there again"
        before = self.daemon.output().count(text)
        with self.daemon.redis() as client:
            client.ping()
            number = client.client_id()
            os.unlink(self.daemon.socket)
            self.assert_serves()
            self.assertEqual(number, client.client_id())
        os.unlink(self.daemon.socket)
        Path(self.daemon.socket).write_text("something else")
        self.assert_serves()
        self.assertEqual(before + 2, self.daemon.output().count(text))

    def test_run_dir(self) -> None:
        """
        So is all of ``run_dir``; jobs go on meanwhile.
        """
        gate = self.gate()
        id = self.daemon.push("core.system", sh(f"{gate.wait}; echo done"))
        with self.daemon.redis() as client:
            eventually(lambda: not client.llen("core:default"), "it is taken")
        StateTests.empty(self.daemon.run)
        self.assert_serves()
        gate.open()
        self.assertEqual("done\n", self.daemon.result(id)["streams"][0])

    def test_logs(self) -> None:
        """
        Log records go to a file of the same name as before, also when that, or its folder, was removed.
        """
        path = self.daemon.state / "logs" / "jobs.log"

        def logged(text: str) -> None:
            self.daemon.run_command("core.system", sh(f"echo {text} >&2"), log_levels=[2])
            eventually(lambda: path.exists() and text in path.read_text(), "it is logged")

        logged("first")
        path.unlink()
        logged("second")
        shutil.rmtree(path.parent)
        logged("third")
        self.assertNotIn("second", path.read_text())


class StateTests(DaemonTestCase):
    """
    What is in ``state_dir``, and that itself.
    """

    def test_state_dir(self) -> None:
        """
        Without any of it jobs go on, and programs run, also after the server was started again.
        """
        gate = self.gate()
        id = self.daemon.push("core.system", sh(f"{gate.wait}; echo done"))
        server = self.daemon.run / "redis" / "server.json"
        for remove in (lambda: self.empty(self.daemon.state), lambda: shutil.rmtree(self.daemon.state)):
            remove()
            self.assertEqual("SUCCESS", self.daemon.run_command("core.system", sh("true"))["state"])
            pid = json.loads(server.read_text())["pid"]
            os.kill(pid, signal.SIGTERM)
            eventually(lambda pid=pid: json.loads(server.read_text())["pid"] != pid, "it is started again")
            eventually(self.answers, "it answers")
        gate.open()
        self.assertEqual("done\n", self.daemon.result(id)["streams"][0])

    @staticmethod
    def empty(folder: Path) -> None:
        """
        Remove all that is in there.
        """
        for path in folder.iterdir():
            shutil.rmtree(path) if path.is_dir() else path.unlink()

    def answers(self) -> bool:
        """
        Whether it takes commands.
        """
        try:
            return bool(self.daemon.run_command("core.ping")["state"] == "SUCCESS")
        except redis.exceptions.RedisError:
            return False


class ServerTests(DaemonTestCase):
    """
    The socket of the server itself, where no password is needed.
    """

    def test_socket(self) -> None:
        """
        A server whose socket is removed is started again, which is logged, with all that it holds.
        """
        id = self.daemon.push("core.system", sh("echo kept"))
        self.daemon.result(id)
        os.unlink(self.daemon.socket)
        eventually(lambda: os.path.exists(self.daemon.socket), "it is there again")
        eventually(lambda: "kept\n" in self.result_of(id), "it holds what it held")
        self.assertEqual("SUCCESS", self.daemon.run_command("core.ping")["state"])
        self.assertEqual(1, self.daemon.output().count("was removed or replaced"))

    def result_of(self, id: str) -> str:
        """
        What a command has printed; empty if that cannot be had now.
        """
        try:
            return str(self.daemon.result(id)["streams"][0])
        except redis.exceptions.RedisError:
            return ""


class ProgramTests(DaemonTestCase):
    """
    What is the program's own fault is still told as that.
    """

    def test_interpreter(self) -> None:
        """
        A script whose interpreter is not there is refused with 127.
        """
        script = self.folder() / "script"
        script.write_text("#!/no/such/interpreter\n")
        script.chmod(0o755)
        result = self.daemon.run_command("core.system", {"name": str(script)})
        self.assertEqual(127, result["code"], result)
        self.assertIn("its interpreter or loader does not exist", result["data"])
