"""
What becomes of the output of programs, on the host and in a container alike.
"""

import hashlib
import json
from typing import Any

from tests.functional.containers import ContainerTestCase
from tests.functional.shared import DaemonTestCase, sh

MIB = 1 << 20
CONFIG = f"[jobs]\nresult_buffer = {2 * MIB}"


class OutputCase:
    """
    The tests.
    """

    assertEqual: Any
    assertIn: Any

    def ran(self, script: str, **fields: Any) -> dict[str, Any]:
        """
        The result of a shell script.
        """
        raise NotImplementedError

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

    config = CONFIG

    def ran(self, script: str, **fields: Any) -> dict[str, Any]:
        """
        By core0 itself.
        """
        return self.run_sh(script, **fields)


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
        self.number = self.create()

    def ran(self, script: str, **fields: Any) -> dict[str, Any]:
        """
        By its CoreX.
        """
        return self.inside(self.number, "core.system", sh(script), **fields)
