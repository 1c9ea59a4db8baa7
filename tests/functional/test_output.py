"""
What becomes of the output of programs, on the host and in a container alike.
"""

import hashlib
import json
import os
import random
import subprocess
import time
from collections.abc import Sequence
from typing import Any

from tests.daemon import ROOT, eventually
from tests.functional.containers import ContainerTestCase
from tests.functional.corectl_shared import CORECTL
from tests.functional.shared import DaemonTestCase, sh

MIB = 1 << 20
MUCH = 30 * MIB  # more than is kept for a reader
CONFIG = f"[jobs]\nresult_buffer = {2 * MIB}"


class OutputCase:
    """
    The tests.
    """

    assertEqual: Any
    assertIn: Any
    assertRegex: Any
    addCleanup: Any
    daemon: Any

    def ran(self, script: str, **fields: Any) -> dict[str, Any]:
        """
        The result of a shell script.
        """
        raise NotImplementedError

    def corectl(self, *words: str) -> "subprocess.Popen[bytes]":
        """
        ``corectl run`` with this, where these tests run programs.
        """
        process = subprocess.Popen(
            [*CORECTL, "run", *self.options(), *words],
            env={**os.environ, "PYTHONPATH": str(ROOT), "CORE0_URL": self.daemon.socket},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        self.addCleanup(process.communicate)
        self.addCleanup(process.kill)
        return process

    def options(self) -> Sequence[str]:
        """
        Where that is.
        """
        raise NotImplementedError

    def test_parts(self) -> None:
        """
        A part of a line is there while the program waits for an answer to it, and so is progress without newlines.
        """
        # one for each answer: who writes to the first may still have it open when the second is waited for
        one, two = f"{self.pipe()}-1", f"{self.pipe()}-2"
        script = f"printf 'Password: '; read -r _ < {one}; printf '10%%\\r20%%\\r'; read -r _ < {two}; echo done"
        process = self.corectl("--", "sh", "-c", f"mkfifo {one} {two}; {script}")
        assert process.stdout is not None
        for expected, pipe in ((b"Password: ", one), (b"10%\r20%\r", two)):
            self.assertEqual(expected, process.stdout.read(len(expected)))
            self.ran(f"echo > {pipe}")
        self.assertEqual(b"done\n", process.stdout.read())

    def pipe(self) -> str:
        """
        The path of a FIFO, as programs see it.
        """
        raise NotImplementedError

    def test_bytes(self) -> None:
        """
        ``corectl run -- cat FILE`` gives the bytes as they are, also to a reader that is much slower.
        """
        data = random.Random(7).randbytes(MUCH)
        with open(self.host_file(), "wb") as file:
            file.write(data)
        for pause in (0.0, 0.05):
            process = self.corectl("--", "cat", self.file())
            assert process.stdout is not None and process.stderr is not None
            digest, size = hashlib.md5(), 0
            while piece := process.stdout.read(MIB):
                digest.update(piece)
                size += len(piece)
                time.sleep(pause)
            self.assertEqual((b"", 0), (process.stderr.read(), process.wait()))
            self.assertEqual((MUCH, hashlib.md5(data).hexdigest()), (size, digest.hexdigest()))

    def file(self) -> str:
        """
        The path of a file, as programs see it.
        """
        raise NotImplementedError

    def host_file(self) -> str:
        """
        The same, as this process sees it.
        """
        raise NotImplementedError

    def test_unread(self) -> None:
        """
        Live output that nobody reads holds up no program for long, and the result has the end of it.
        """
        found = self.ran(f"head -c {MUCH} /dev/zero | tr '\\0' x; echo end", stream=True)
        self.assertEqual(("SUCCESS", True), (found["state"], found["streams"][0].endswith("xend\n")))

    def test_left_behind(self) -> None:
        """
        What a program has left running is ended with it, and the result says what that was; a message of its own counts
        more there, and nothing is said where nothing was left, or where the job was killed.
        """
        text = r"ended 1 process that the program had left running: sleep \(pid \d+\)"
        found = self.ran("sleep 1000 & until grep -q sleep /proc/$!/comm; do :; done; echo on")
        self.assertEqual(("SUCCESS", "on\n"), (found["state"], found["streams"][0]))
        self.assertRegex(found["critical"], text)
        found = self.ran("sleep 1000 & echo 9::mine")
        self.assertEqual("mine", found["critical"])
        for script, fields in (("sleep 0.01 & wait", {}), ("sleep 1000 & wait", {"max_time": 0.2})):
            self.assertEqual("", self.ran(script, **fields)["critical"])

    def test_daemon(self) -> None:
        """
        A program that daemonises itself is ended, too; at most five processes are named. ``corectl`` shows it.
        """
        script = "for n in 1 2 3 4 5 6 7; do setsid sleep 1000 & done; sleep 0.2"
        process = self.corectl("--", "sh", "-c", script)
        out, err = process.communicate()
        self.assertEqual((b"", 0), (out, process.returncode))
        self.assertRegex(err.decode(), r"^ended 7 processes that .*: (sleep \(pid \d+\)(, )?){5} and 2 more\n$")

    def test_streams_by_number(self) -> None:
        """
        A line with level 1 or 2 is in the stream of that number, without the prefix, whichever pipe it came by.
        """
        found = self.ran("echo a; echo 2::b; echo 1::c; printf '2:::d\\ne\\n:::\\n'; printf '1::f\\n2::g' >&2")
        self.assertEqual(
            ["a\nc\nf\n", "b\nd\ne\ng"],
            [
                "".join(sorted(found["streams"][0].splitlines(True))),
                found["streams"][1],
            ],
        )

    def test_no_messages(self) -> None:
        """
        With ``"messages": false`` all of it is output, as it came.
        """
        lines = "1::a\n2::b\n20::{}\n9::c\n10::k:1|c\n7:::\nd\n"
        for fields, expected in (
            ({"messages": False}, (lines, 0, "", "")),
            ({"messages": True}, ("a\n", 20, "{}", "c")),
        ):
            found = self.ran(f"printf '%s' '{lines}'", **fields)
            got = (found["streams"][0], found["level"], found["data"], found["critical"])
            self.assertEqual(expected, got)

    def test_whole_result(self) -> None:
        """
        A result larger than what is kept of a stream is whole, be it one line, several, or one without an end.
        """
        size = 2 * MIB - 2
        text = f"printf '\"'; head -c {size} /dev/zero | tr '\\0' x; printf '\"'"
        expected = hashlib.md5(b'"' + b"x" * size + b'"').hexdigest()
        for script in (
            f"printf 20::; {text}; echo",
            f"printf 20:::; {text}; printf '\\n:::\\n'",
            f"printf 20::; {text}",
        ):
            found = self.ran(script)
            got = (found["state"], found["level"], hashlib.md5(found["data"].encode()).hexdigest())
            self.assertEqual(("SUCCESS", 20, expected), got, script)

    def test_too_large_result(self) -> None:
        """
        A larger one is left out: the command fails with 413 and the reason, and what else it printed is there.
        """
        text = f"head -c {2 * MIB + 1} /dev/zero | tr '\\0' 1"
        for script in (
            f"printf 20::; {text}; echo",
            f"printf 21:::; {text}; printf '\\n:::\\n'",
            f"printf 30::; {text}",
        ):
            found = self.ran(f"echo before >&2; {script}", max_restart=3)
            got = (found["state"], found["code"], found["level"], found["streams"][1], found["runs"])
            self.assertEqual(("ERROR", 413, 20, "before\n", 1), got, found["data"][:200])
            self.assertIn("result_buffer", json.loads(found["data"]))


class OnHostTests(OutputCase, DaemonTestCase):
    """
    On the host.
    """

    config = f"""{CONFIG}
        [startup.plain]
        command = "bash"
        arguments = {{ script = "echo 20::text" }}
        messages = false
        log_levels = [1, 20]
    """

    def test_service(self) -> None:
        """
        A startup service may have its output left alone, too.
        """

        def look() -> list[dict[str, Any]]:
            with self.daemon.redis() as client:
                found = [json.loads(line) for line in client.lrange("core.logs", 0, -1)]
            return [record["message"] for record in found if record["command"] == "plain"]

        (message,) = eventually(look, "what it has printed")
        self.assertEqual((1, "20::text"), (message["level"], message["message"]))

    def ran(self, script: str, **fields: Any) -> dict[str, Any]:
        """
        By core0 itself.
        """
        return self.run_sh(script, **fields)

    def options(self) -> Sequence[str]:
        """
        Here.
        """
        return ()

    def pipe(self) -> str:
        """
        Beside core0.
        """
        return str(self.daemon.folder / "pipe")

    def file(self) -> str:
        """
        Beside core0.
        """
        return str(self.daemon.folder / "file")

    def host_file(self) -> str:
        """
        The same.
        """
        return self.file()


class InContainerTests(OutputCase, ContainerTestCase):
    """
    In a container.
    """

    config = CONFIG

    def setUp(self) -> None:
        """
        A container.
        """
        super().setUp()
        self.shared = self.folder()
        self.number = self.create(mount={str(self.shared): "/shared"})

    def ran(self, script: str, **fields: Any) -> dict[str, Any]:
        """
        By its CoreX.
        """
        return self.inside(self.number, "core.system", sh(script), **fields)

    def options(self) -> Sequence[str]:
        """
        In there.
        """
        return ("--container", str(self.number))

    def pipe(self) -> str:
        """
        In a folder of the host.
        """
        return "/shared/pipe"

    def file(self) -> str:
        """
        In a folder of the host.
        """
        return "/shared/file"

    def host_file(self) -> str:
        """
        As the host sees it.
        """
        return str(self.shared / "file")
