"""
What tests of a running core0 have in common: one daemon for a class, programs to run, and looks at their processes.
"""

import json
import os
import re
import sys
import textwrap
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ClassVar
from unittest import SkipTest

from twisted.trial.unittest import SynchronousTestCase

from tests.daemon import PATIENCE, Daemon, eventually

OWN_OF_LIBC = 0b11 << 31  # signals 32 and 33: glibc's posix_spawn leaves them ignored in every program
GENEROUS = PATIENCE  # seconds that nothing here takes unless it hangs


def missing(what: str) -> Exception:
    """
    What to raise where a test cannot be run: in continuous integration everything is there.
    """
    return AssertionError(what) if os.environ.get("CI") == "true" else SkipTest(what)


def need_root() -> None:
    """
    Skip what only root can do.
    """
    if os.geteuid() != 0:
        raise missing("needs root")


def sh(script: str) -> dict[str, Any]:
    """
    The arguments of ``core.system`` for a script.
    """
    return {"name": "sh", "args": ["-c", textwrap.dedent(script)]}


def python(script: str, *arguments: object) -> dict[str, Any]:
    """
    The arguments of ``core.system`` for a Python program that starts as quickly as one can.
    """
    return {"name": sys.executable, "args": ["-ISc", textwrap.dedent(script), *map(str, arguments)]}


def status(pid: int | str) -> dict[str, str]:
    """
    What ``/proc/<pid>/status`` says; empty if there is no such process.
    """
    try:
        return parse_status(Path(f"/proc/{pid}/status").read_text())
    except (FileNotFoundError, ProcessLookupError):
        return {}


def parse_status(text: str) -> dict[str, str]:
    """
    The fields of the text of ``/proc/<pid>/status``.
    """
    return {name: value.strip() for name, _, value in (line.partition(":") for line in text.splitlines())}


def lives(pid: int | str) -> bool:
    """
    Whether a process is there and is no zombie.
    """
    return status(pid).get("State", "X")[0] not in "ZX"


def zombies(parent: int) -> list[int]:
    """
    The children of a process that it has not reaped.
    """
    words = Path(f"/proc/{parent}/task/{parent}/children").read_text().split()
    return [int(pid) for pid in words if status(pid).get("State", "X")[0] == "Z"]


def kilobytes(pid: int, field: str) -> int:
    """
    A size in ``/proc/<pid>/status``.
    """
    return int(re.sub(r"\D", "", status(pid)[field]))


def descriptors(pid: int) -> int:
    """
    How many a process has.
    """
    return len(os.listdir(f"/proc/{pid}/fd"))


class Mark:
    """
    A variable in the environment of a job by which its processes are known, whatever they do to their parents.
    """

    def __init__(self) -> None:
        self._value = uuid.uuid4().hex
        self.env = {"CORE0_TEST_MARK": self._value}

    def processes(self) -> list[int]:
        """
        Those that live.
        """
        return [int(name) for name in os.listdir("/proc") if name.isdigit() and self._carried_by(name)]

    def _carried_by(self, pid: str) -> bool:
        try:
            return self._value.encode() in Path(f"/proc/{pid}/environ").read_bytes()
        except OSError:
            return False


class Gate:
    """
    Something that jobs wait at: a FIFO that holds no line until it is opened.

    :ivar wait: shell code that does so.
    """

    def __init__(self, path: Path) -> None:
        os.mkfifo(path)
        path.chmod(0o666)
        self._fd = os.open(path, os.O_RDWR | os.O_CLOEXEC)
        self.wait = f"read _ < '{path}'"

    def open(self, times: int = 1) -> None:
        """
        Let so many pass.
        """
        os.write(self._fd, b"\n" * times)

    def close(self) -> None:
        """
        Nobody uses it any more.
        """
        os.close(self._fd)


class DaemonTestCase(SynchronousTestCase):
    """
    Tests that share one core0.

    :cvar config: see :class:`tests.daemon.Daemon`.
    """

    config: ClassVar[str] = ""
    daemon: ClassVar[Daemon]

    @classmethod
    def make_daemon(cls) -> Daemon:
        """
        The daemon, not yet started.
        """
        return Daemon(cls.config)

    @classmethod
    def setUpClass(cls) -> None:
        """
        Start it.
        """
        cls.daemon = cls.make_daemon()
        try:
            cls.daemon.start()
        except BaseException:
            cls.daemon.close()
            raise

    @classmethod
    def tearDownClass(cls) -> None:
        """
        End it.
        """
        cls.daemon.close()

    def folder(self) -> Path:
        """
        An empty folder that jobs may write to; goes with the daemon.
        """
        path = self.daemon.folder / f"test-{uuid.uuid4().hex}"
        path.mkdir()
        path.chmod(0o777)
        return path

    def gate(self) -> Gate:
        """
        A gate that nobody has passed.
        """
        gate = Gate(self.folder() / "gate")
        self.addCleanup(gate.close)
        return gate

    def run_program(self, name: str, *args: str, **arguments: Any) -> dict[str, Any]:
        """
        The result of a program.
        """
        return self.daemon.run_command("core.system", {"name": name, "args": list(args), **arguments})

    def run_sh(self, script: str, **fields: Any) -> dict[str, Any]:
        """
        The result of a script.
        """
        return self.daemon.run_command("core.system", sh(script), **fields)

    def push_sh(self, script: str, **fields: Any) -> str:
        """
        Have a script run; gives its id.
        """
        return self.daemon.push("core.system", sh(script), **fields)

    def kill(self, id: str) -> dict[str, Any]:
        """
        End a job; gives its result.
        """
        self.assert_success(self.daemon.run_command("core.kill", {"id": id}), "true")
        return self.daemon.result(id)

    def known(self, id: str) -> dict[str, Any] | None:
        """
        What core0 says of a job that is not finished.
        """
        answer = self.daemon.run_command("process.list", {"id": id})
        found: list[dict[str, Any]] = answer_of(answer) if answer["state"] == "SUCCESS" else []
        return found[0] if found else None

    def until(self, id: str, state: str) -> dict[str, Any]:
        """
        Wait until a job is waiting, running, retrying or sleeping.
        """

        def look() -> dict[str, Any] | None:
            found = self.known(id)
            return found if found is not None and found["state"] == state else None

        found: dict[str, Any] = eventually(look, f"{id} {state}")
        return found

    @contextmanager
    def running(self, script: str, **fields: Any) -> Iterator[str]:
        """
        A script that runs meanwhile; it says so by ``$ready``, a file to make.
        """
        ready = self.folder() / "ready"
        arguments = sh(script)
        arguments["env"] = {"ready": str(ready)}
        id = self.daemon.push("core.system", arguments, **fields)
        eventually(ready.exists, "the script is ready")
        try:
            yield id
        finally:
            if self.known(id) is not None:
                self.kill(id)

    def assert_success(self, result: dict[str, Any], data: str = "") -> None:
        """
        It went well, and answers this.
        """
        self.assertEqual(("SUCCESS", 0, data), (result["state"], result["code"], result["data"]), result)

    def assert_refused(self, code: int, about: str, result: dict[str, Any]) -> None:
        """
        core0 said no, for a reason that names this.
        """
        self.assertEqual(("ERROR", code, 20), (result["state"], result["code"], result["level"]), result)
        self.assertIn(about, answer_of(result))
        self.assertEqual(["", ""], result["streams"])


def answer_of(result: dict[str, Any]) -> Any:
    """
    The answer of a command of core0's own.
    """
    return json.loads(result["data"])


def lines(path: Path) -> list[str]:
    """
    The complete lines of a file; none if it is not there.
    """
    try:
        return path.read_text().split("\n")[:-1]
    except FileNotFoundError:
        return []
