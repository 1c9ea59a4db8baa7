"""
``core.system`` on a running core0: what programs read, and what becomes of what they print.
"""

import hashlib

from tests.functional.shared import DaemonTestCase, kilobytes, python, sh

MIB = 1 << 20
ENDLESS = f"head -c {64 * MIB} /dev/zero | tr '\\0' x"
SPARE = 16 * 1024  # kB that core0 may grow by while it deals with hundreds of megabytes
SPARE_FOR_RECORDS = 96 * 1024  # the same, if all of it is kept as log records on their way to two places


class InputTests(DaemonTestCase):
    """
    What a program reads.
    """

    config = f"[jobs]\nstream_buffer = {16 * MIB}"
    text = "".join(f"{number} é 漢\n" for number in range(360_000))[: 5 * MIB]

    def test_all_of_it(self) -> None:
        """
        Five megabytes pass through a program unchanged.
        """
        self.assertEqual(self.text, self.run_program("cat", stdin=self.text)["streams"][0])

    def test_slow_reader(self) -> None:
        """
        They do so through one that reads little by little, too.
        """
        program = python(
            """
            import hashlib, os, select
            digest = hashlib.sha256()
            while data := os.read(0, 5000):
                digest.update(data)
                select.select([], [], [], 0.0001)
            print(digest.hexdigest())
            """
        )
        result = self.daemon.run_command("core.system", {**program, "stdin": self.text})
        self.assertEqual(hashlib.sha256(self.text.encode()).hexdigest() + "\n", result["streams"][0], result)

    def test_never_read(self) -> None:
        """
        A program that does not read its input ends as it would without.
        """
        for script in ("true", "exec <&-; echo on", "head -c 1 > /dev/null"):
            self.assertEqual(
                "SUCCESS", self.daemon.run_command("core.system", {**sh(script), "stdin": self.text})["state"]
            )

    def test_nothing(self) -> None:
        """
        Without input, or with an empty one, there is nothing to read.
        """
        for fields in ({}, {"stdin": ""}, {"stdin": None}):
            self.assertEqual("0\n", self.run_program("wc", "-c", **fields)["streams"][0])

    def test_background_reader(self) -> None:
        """
        The input of a program that ends without having read it does not keep the result back.
        """
        result = self.daemon.run_command("core.system", {**sh("sleep 1000 & echo $$"), "stdin": self.text})
        self.assertEqual("SUCCESS", result["state"])


class OutputTests(DaemonTestCase):
    """
    What becomes of what a program prints.
    """

    def test_streams(self) -> None:
        """
        Both streams are kept apart, complete, with or without a newline at the end.
        """
        self.assertEqual(["a\n\nb", "c\n"], self.run_sh("echo a; echo c >&2; printf '\\nb'")["streams"])

    def test_binary(self) -> None:
        """
        What is not UTF-8 becomes U+FFFD, and the rest stays what it is.
        """
        result = self.run_sh(r"printf 'a\377\376b\000c\303'; printf '\355\240\200é' >&2")
        self.assertEqual(["a\ufffd\ufffdb\0c\ufffd", "\ufffd\ufffd\ufffdé"], result["streams"])

    def test_messages_are_apart(self) -> None:
        """
        Lines with a level above 2 are not part of the streams, and those that only look like it are.
        """
        levels = [*range(3, 12), 20, 21, 22, 23, 30]
        messages = "".join(f"echo '{level}::message'; echo '{level}::message' >&2\n" for level in levels)
        plain = ["a", "12::x", "24::x", "0::x", "01::x", "3:x", " 3::x", "x 3::x", "3 ::x"]
        result = self.run_sh(messages.join(f"echo '{line}'\n" for line in plain))
        self.assertEqual(["\n".join(plain) + "\n", ""], result["streams"])

    def test_result(self) -> None:
        """
        The last message at a result level is the result, whichever stream it comes from and however the program ends.
        """
        for script, expected in (
            ("echo '20::{\"a\": 1}'", (20, '{"a": 1}')),
            ("echo 20::1; echo '21::b: 2'", (21, "b: 2")),
            ("echo '22::c = 3' >&2", (22, "c = 3")),
            ("echo 23::hrd; exit 3", (23, "hrd")),
            ("echo '30::{}'; kill -9 $$", (30, "{}")),
            ("printf '20::no newline'", (20, "no newline")),
            ("printf '20:::\n{\n}\n:::\n'", (20, "\n{\n}")),
            ("echo 9::critical; echo plain", (0, "")),
        ):
            result = self.run_sh(script)
            self.assertEqual(expected, (result["level"], result["data"]), script)
        last = self.run_sh("echo 20::first >&2; exec >&2; echo 20::second")
        self.assertEqual("second", last["data"])

    def test_critical(self) -> None:
        """
        The last critical message is kept.
        """
        result = self.run_sh("echo 9::first; printf '9:::second\nline\n:::\n' >&2; exit 1")
        self.assertEqual(("second\nline", ["", ""], 1), (result["critical"], result["streams"], result["code"]))

    def test_unclosed(self) -> None:
        """
        A message that is not closed ends with the stream.
        """
        result = self.run_sh("printf '20:::a\nb\n3::c\n'")
        self.assertEqual((20, ["", ""]), (result["level"], result["streams"]))
        self.assertEqual("a\nb\n3::c", result["data"].rstrip("\n"))


class BoundTests(DaemonTestCase):
    """
    Memory is bounded, whatever is printed.
    """

    config = "[jobs]\nstream_buffer = 4096"

    def test_cut(self) -> None:
        """
        The ends of long streams are kept, from a whole character on, and ``truncated`` counts the bytes before.
        """
        result = self.run_sh("printf 'x%.0s' $(seq 4097); printf 'x' >&2; printf 'é%.0s' $(seq 5000) >&2")
        self.assertEqual(["x" * 4096, "é" * 2048], result["streams"])
        self.assertEqual([1, 10001 - 4096], result["truncated"])
        half = self.run_sh("printf 'é%.0s' $(seq 5000); printf y; printf 'x%.0s' $(seq 4096) >&2")
        self.assertEqual(["é" * 2047 + "y", "x" * 4096], half["streams"])
        self.assertEqual([10001 - 4096, 0], half["truncated"])

    def test_flood(self) -> None:
        """
        200 MB of lines, and lines of 64 MiB in every form, take little memory and keep their ends.
        """
        self.flood(
            SPARE,
            {
                f"yes {'x' * 99} | head -c 200000000; echo; echo end": "end\n",
                f"{ENDLESS}; printf end": "end",
                f"printf 3::; {ENDLESS}; printf '\nend'": "end",
                f"printf '9:::\n'; {ENDLESS}; printf '\n:::\nend'": "end",
            },
        )

    def test_flood_of_records(self) -> None:
        """
        That goes for output which is kept as log records, too: what is too much of it is dropped.
        """
        self.flood(
            SPARE_FOR_RECORDS,
            {f"{{ {ENDLESS}; printf end; }} >&2": "end", f"yes {'x' * 999} | head -c {64 * MIB} >&2": "x"},
        )

    def flood(self, spare: int, scripts: dict[str, str]) -> None:
        """
        Run scripts, of which each prints more than 60 MB that end as said.
        """
        before = kilobytes(self.daemon.pid, "VmHWM")
        for script, end in scripts.items():
            result = self.run_sh(script)
            self.assertTrue("".join(result["streams"]).endswith(end), script)
            self.assertLessEqual(max(map(len, [*result["streams"], result["critical"]])), 4096, script)
            self.assertGreater(sum(result["truncated"]), 60_000_000, script)
        self.assertLess(kilobytes(self.daemon.pid, "VmHWM") - before, spare)
