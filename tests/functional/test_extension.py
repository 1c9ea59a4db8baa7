"""
Commands from packages of their own: the example of the documentation, installed beside core0, and one that is broken.
"""

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from core0.messages import State
from tests.daemon import ROOT, Daemon
from tests.functional.shared import DaemonTestCase, answer_of

EXAMPLE = ROOT / "docs" / "example-command"
BROKEN = {
    "broken.py": "raise ImportError('this package needs something that is not there')\n",
    "taken.py": "from core0.commands.core import Ping as Taken\n",
    "other.py": "class Other:\n    name = 'other.thing'\n",
    "broken-1.dist-info/METADATA": "Metadata-Version: 2.1\nName: broken\nVersion: 1\n",
    "broken-1.dist-info/entry_points.txt": (
        "[core0.commands]\nbroken = broken:Broken\ntaken = taken:Taken\nother = other:Other\n"
    ),
}


class ExtendedDaemon(Daemon):
    """
    A core0 that has the example installed, and a package whose commands cannot be offered.
    """

    def __init__(self) -> None:
        super().__init__()
        self.packages = self.folder / "packages"
        install(EXAMPLE, self.packages)
        for name, text in BROKEN.items():
            path = self.packages / name
            path.parent.mkdir(exist_ok=True)
            path.write_text(text)

    def command(self) -> list[str]:
        """
        Its command line, with the packages on the way.
        """
        return ["env", f"PYTHONPATH={ROOT}:{self.packages}", *super().command()]


def install(package: Path, target: Path) -> None:
    """
    Install a package by what is there already: no index, no build environment. Building leaves files beside the source.
    """
    with tempfile.TemporaryDirectory(prefix="core0-package-") as folder:
        source = shutil.copytree(package, Path(folder) / "source")
        words = ["install", "--quiet", "--no-index", "--no-deps", "--no-build-isolation", "--target", str(target)]
        pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", *words, str(source)]
        done = subprocess.run(pip, capture_output=True, text=True, check=False)
    if done.returncode:
        raise AssertionError(f"cannot install {package}:\n{done.stdout}{done.stderr}")


class ExtensionTests(DaemonTestCase):
    """
    A core0 with commands of other packages.
    """

    @classmethod
    def make_daemon(cls) -> Daemon:
        """
        The daemon, not yet started.
        """
        return ExtendedDaemon()

    def test_example(self) -> None:
        """
        The command of an installed package is offered like those of core0.
        """
        file = self.folder() / "file"
        file.write_text("hello")
        result = self.daemon.run_command("file.checksum", {"path": str(file)})
        self.assert_success(result, '"2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824"')
        result = self.daemon.run_command("file.checksum", {"path": str(file), "algorithm": "md5"})
        self.assert_success(result, '"5d41402abc4b2a76b9719d911017c592"')

    def test_refusal(self) -> None:
        """
        What the command refuses comes back with its code and its reason.
        """
        path = str(self.folder() / "nothing")
        self.assert_refused(404, path, self.daemon.run_command("file.checksum", {"path": path}))
        self.assert_refused(400, "", self.daemon.run_command("file.checksum", {"path": str(self.folder())}))

    def test_arguments(self) -> None:
        """
        Its arguments are checked before it runs.
        """
        result = self.daemon.run_command("file.checksum", {"path": "/", "algorithm": "crc"})
        self.assert_refused(400, "arguments.algorithm", result)
        self.assertEqual(0, result["runs"])
        self.assert_refused(400, "arguments.path: required", self.daemon.run_command("file.checksum"))

    def test_broken(self) -> None:
        """
        A command that cannot be loaded, and a class that is none, are logged, and core0 serves all others.
        """
        for value in ("broken:Broken", "other:Other"):
            self.assertIn(f"cannot offer the command {value.partition(':')[0]} of {value}", self.daemon.output())
        self.assertIn("this package needs something that is not there", self.daemon.output())
        self.assertEqual(State.UNKNOWN_CMD, self.daemon.run_command("other.thing")["state"])
        self.assertEqual("pong", answer_of(self.daemon.run_command("core.ping")))

    def test_taken(self) -> None:
        """
        A package cannot replace a command that is there already.
        """
        self.assertIn("cannot offer the command taken of taken:Taken", self.daemon.output())
        self.assertIn("there is a command core.ping already", self.daemon.output())
