"""
corectl with containers, as somebody uses it in a shell, against a real core0.
"""

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import uuid
from pathlib import Path
from typing import Any

from tests.daemon import PATIENCE, ROOT, eventually
from tests.functional.containers import ContainerTestCase, image

CORECTL = (sys.executable, "-m", "core0.client")


class CorectlContainerTests(ContainerTestCase):
    """
    ``corectl container``, and ``--container`` of other commands.
    """

    def environment(self) -> dict[str, str]:
        """
        Of corectl: it finds this core0.
        """
        return {**os.environ, "PYTHONPATH": str(ROOT), "CORE0_URL": self.daemon.socket}

    def corectl(self, *words: str, **more: Any) -> "subprocess.CompletedProcess[str]":
        """
        Run it to its end.
        """
        return subprocess.run(
            [*CORECTL, *words], env=self.environment(), capture_output=True, text=True, timeout=PATIENCE, **more
        )

    def assert_done(self, done: Any, code: int = 0, out: str = "", err: str = "") -> None:
        """
        It ended so, and printed this and nothing else.
        """
        self.assertEqual((code, out, err), (done.returncode, done.stdout, done.stderr))

    def assert_failed(self, done: Any, code: int, about: str) -> None:
        """
        It ended so, printed nothing on stdout, and one sentence on stderr that speaks of this.
        """
        self.assertEqual((code, ""), (done.returncode, done.stdout), done.stderr)
        self.assertIn(about, done.stderr)
        self.assertEqual(1, len(done.stderr.splitlines()), done.stderr)

    def folder(self) -> Path:
        """
        One of this test.
        """
        folder = Path(tempfile.mkdtemp(prefix="core0-corectl-"))
        self.addCleanup(shutil.rmtree, folder)
        return folder

    def made(self, *options: str) -> str:
        """
        The number of a container that corectl has made.
        """
        done = self.corectl("container", "create", image().plist, *options)
        self.assertEqual(0, done.returncode, done.stderr)
        return done.stdout.strip()

    def begin(self, *words: str) -> "subprocess.Popen[str]":
        """
        Have it run meanwhile.
        """
        process = subprocess.Popen(
            [*CORECTL, *words], env=self.environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        self.addCleanup(process.communicate)
        self.addCleanup(process.kill)
        return process

    def test_life(self) -> None:
        """
        A container is made, listed, used and ended.
        """
        number = self.made()
        self.assertEqual([number], list(self.listed()))
        self.assert_done(self.corectl("ping", "--container", number), out="pong\n")
        self.assert_done(self.corectl("run", "--container", number, "--", "hostname"), out=f"corex-{number}\n")
        listed = self.corectl("container", "list")
        self.assertEqual(["container", "hostname", "plist", "pid"], listed.stdout.split()[:4])
        self.assertEqual([number, f"corex-{number}", image().plist], listed.stdout.splitlines()[1].split()[:3])
        self.assertEqual([number], list(json.loads(self.corectl("container", "list", "--json").stdout)))
        self.assert_done(self.corectl("container", "terminate", number))
        self.assertEqual({}, self.listed())

    def test_escapes(self) -> None:
        """
        Text of a container does not steer the terminal: not what it says of itself, nor what runs in there.
        """
        number = self.made()
        self.inside_sh(int(number), r"printf 'ID=\033[5mx\n' > /etc/os-release")
        done = self.corectl("info", "--container", number, "os")
        self.assertIn(r"\x1b[5mx", done.stdout)
        id = self.corectl("run", "--container", number, "--detach", "--", "sh", "-c", "sleep 600 #\x1b").stdout.strip()
        eventually(lambda: id in self.corectl("ps", "--container", number).stdout, "it runs")
        shown = self.corectl("ps", "--container", number).stdout
        self.assertIn(r"sleep 600 #\x1b", shown)
        failed = self.corectl("run", "--container", number, "--", "/etc/os-release\x9b")
        for text in (done.stdout, shown, failed.stdout, failed.stderr):
            self.assertNotRegex(text, "[\x1b\x9b]")

    def test_options(self) -> None:
        """
        A container is made as the options say; paths are those of the folder that corectl is in.
        """
        folder = self.folder()
        (folder / "shared").mkdir()
        (folder / "shared" / "file").write_text("of the host\n")
        shutil.copy(image().plist, folder / "here.plist")
        words = ["here.plist", "--storage", str(image().store), "--hostname", "box", "--env", "A=1"]
        words += ["--mount", "shared:/data/shared:ro", "--memory", str(64 << 20), "--cpu", "0.5", "--pids", "40"]
        done = self.corectl("container", "create", *words, cwd=folder)
        self.assertEqual(0, done.returncode, done.stderr)
        number = done.stdout.strip()
        found = self.listed()[number]
        self.assertEqual({str(folder / "shared"): "/data/shared:ro"}, found["mount"])
        self.assertEqual(str(folder / "here.plist"), found["plist"])
        script = "hostname; echo $A; cat /data/shared/file; cat /nowhere"
        done = self.corectl("run", "--container", number, "--", "sh", "-c", script)
        self.assertEqual((1, "box\n1\nof the host\n"), (done.returncode, done.stdout))
        self.assertIn("/nowhere", done.stderr)
        memory = json.loads(self.corectl("info", "--container", number, "--json", "mem").stdout)
        self.assertEqual(64 << 20, memory["total"])

    def test_exit_status(self) -> None:
        """
        What runs in a container ends corectl as it does on the host.
        """
        number = self.made()
        for script, code in (("exit 3", 3), ("kill -9 $$", 137)):
            done = self.corectl("run", "--container", number, "--", "sh", "-c", script)
            self.assertEqual(code, done.returncode, done)
        done = self.corectl("run", "--container", number, "--", "nosuchprogram")
        self.assert_failed(done, 127, "no such program")

    def test_interrupt(self) -> None:
        """
        Ctrl-C ends the program in the container.
        """
        number = self.made()
        process = self.begin("run", "--container", number, "--", "sh", "-c", "echo up; sleep 1000")
        assert process.stdout is not None
        self.assertEqual("up\n", process.stdout.readline())
        process.send_signal(signal.SIGINT)
        self.assertEqual(130, process.wait(PATIENCE))
        jobs = json.loads(self.corectl("ps", "--container", number, "--json").stdout)
        self.assertEqual(["process.list"], [job["cmd"]["command"] for job in jobs])

    def test_detached(self) -> None:
        """
        A detached program is listed, killed and asked for its result.
        """
        number = self.made()
        id = self.corectl("run", "--container", number, "--detach", "--", "sleep", "1000").stdout.strip()
        eventually(lambda: id in self.corectl("ps", "--container", number).stdout, "it is listed")
        self.assertNotIn(id, self.corectl("ps").stdout)
        self.assert_failed(self.corectl("kill", id), 1, "cannot find job")
        self.assert_done(self.corectl("kill", "--container", number, id))
        self.assertEqual(143, self.corectl("result", "--timeout", "10", id).returncode)

    def test_id_of_another(self) -> None:
        """
        In a container, too, an id that stands for another program is told, and the same program again is not run again.
        """
        run = ("run", "--container", self.made(), "--id", str(uuid.uuid4()), "--")
        for _ in range(2):
            done = self.corectl(*run, "echo", "hi")
            self.assertEqual((0, "hi\n"), (done.returncode, done.stdout), done.stderr)
        done = self.corectl(*run, "echo", "ho")
        self.assertEqual((1, ""), (done.returncode, done.stdout), done.stderr)
        self.assertIn("other content", done.stderr)

    def test_no_container(self) -> None:
        """
        A container that is not there is a refusal, with what to do.
        """
        for words in (("run", "--container", "999", "--", "ls"), ("ps", "--container", "999")):
            self.assert_failed(self.corectl(*words), 1, "no container 999")
        self.assert_failed(self.corectl("container", "terminate", "999"), 1, "no container 999")

    def test_refused(self) -> None:
        """
        A container that cannot be made is a refusal, with the reason.
        """
        create = ("container", "create")
        self.assert_failed(self.corectl(*create, "/nowhere.plist"), 1, "/nowhere.plist")
        self.assert_failed(self.corectl(*create, image().plist, "--mount", "/nowhere:/data"), 1, "/nowhere")
        twice = ("--mount", "/usr:/a", "--mount", "/usr/:/b")
        for mounts, about in ((("--mount", "/usr"), "HOST:CONTAINER"), (twice, "each path of the host once")):
            done = self.corectl(*create, image().plist, *mounts)
            self.assertEqual(2, done.returncode)
            self.assertIn(f"expected {about}", done.stderr)
