"""
What cannot be run: every payload ends in exactly one result or exactly one entry on ``core:rejected``.
"""

import json
from typing import Any

from tests.functional.served import ServedTestCase
from tests.valkey import NODE, ServedDaemon

LARGEST = 8192  # bytes
SURROGATE = '"\\ud800"'


class RejectingCase(ServedTestCase):
    """
    A core0 with a small ``max_command`` that serves a Valkey.
    """

    redis = f"max_command = {LARGEST}"

    def outcome(self, payload: str | bytes) -> tuple[dict[str, Any] | None, dict[str, Any] | None]:
        """
        What becomes of a payload: its result, or its entry on ``core:rejected``; never both, never none.
        """
        self.daemon.push_raw(payload)
        self.daemon.settle()
        results = [result for found in self.daemon.results().values() for result in found]
        rejected = self.daemon.rejected()
        self.daemon.forget()
        self.assertEqual(1, len(results) + len(rejected), f"{payload[:200]!r}: {results} {rejected}")
        return (results[0] if results else None), (rejected[0] if rejected else None)

    def rejected(self, payload: str | bytes) -> dict[str, Any]:
        """
        Its entry on ``core:rejected``.
        """
        result, entry = self.outcome(payload)
        if entry is None:
            raise AssertionError(f"{payload[:200]!r} was answered: {result}")
        self.assertEqual({"time", "node", "id", "state", "reason", "payload"}, set(entry))
        self.assertEqual((NODE, "ERROR"), (entry["node"], entry["state"]))
        self.assertGreater(entry["time"], 1_000_000_000_000)
        return entry

    def refused(self, payload: str | bytes, state: str = "ERROR", code: int = 400) -> str:
        """
        The reason in its result.
        """
        result, entry = self.outcome(payload)
        if result is None:
            raise AssertionError(f"{payload[:200]!r} was rejected: {entry}")
        self.assertEqual((state, code, 20, 0), (result["state"], result["code"], result["level"], result["runs"]))
        reason: str = json.loads(result["data"])
        return reason


class RejectedTests(RejectingCase):
    """
    One payload at a time.
    """

    def test_no_command(self) -> None:
        """
        What is no JSON object goes to ``core:rejected`` with the reason and the payload.
        """
        payloads = (
            "{",
            "",
            "nonsense",
            "[]",
            "[1, 2]",
            '"text"',
            "7",
            "-1.5e3",
            "null",
            "true",
            "{}",
            "\0",
            "{} {}",
            "'",
        )
        for payload in payloads:
            entry = self.rejected(payload)
            self.assertEqual((None, payload), (entry["id"], entry["payload"]))
            self.assertRegex(entry["reason"], "^(not JSON in UTF-8|command): .")

    def test_own_mark(self) -> None:
        """
        What looks like core0's own mark of a payload that is too large is a payload like others, whatever it says.
        """
        for payload in (
            '\0009999 8192\n{"id": "b", "command": "core.ping"}',
            f"\0{'9' * 5000} 8192\n",
            f"\0{'9' * 21} {'9' * 21}\n",
            "\0\0009999 8192\n",
        ):
            entry = self.rejected(payload)
            self.assertEqual((None, payload[:4096]), (entry["id"], entry["payload"]))
            self.assertRegex(entry["reason"], "^not JSON in UTF-8: .")

    def test_no_utf8(self) -> None:
        """
        Bytes that are no UTF-8 are shown with replacement characters.
        """
        for payload in (b"\xff\xfe{}", b'{"id": "a\xff", "command": "core.ping"}', b'{"command": "core.\xc3"}'):
            entry = self.rejected(payload)
            self.assertEqual(payload.decode("utf-8", "replace"), entry["payload"])

    def test_answerable(self) -> None:
        """
        The sender of something broken that has an id finds a result there.
        """
        for payload in (
            '{"id": "b", "command": 5}',
            '{"id": "b", "command": null}',
            '{"id": "b", "command": "core.ping", "max_time": NaN}',
            '{"id": "b", "command": "core.ping", "max_time": -Infinity}',
            f'{{"id": "b", "command": {SURROGATE}}}',
            f'{{"id": "b", "command": "core.ping", "tags": {SURROGATE}}}',
        ):
            self.assertRegex(self.refused(payload), "^(command|max_time|tags): expected .")

    def test_broken_with_an_id(self) -> None:
        """
        So does the sender of what is not even JSON, or nested too deeply, if the id can be read before that.
        """
        for payload in (
            '{"id": "b", "command": "core.ping"',
            '{"id": "b", "command": "core.ping"} {}',
            '{"id": "b", "command": "core.ping", }',
            '{"id": "b", command: "core.ping"}',
            b'{"id": "b", "command": "core.\xff"}',
        ):
            self.assertRegex(self.refused(payload), "^not JSON in UTF-8: .")
        deep = "[" * 2000 + "]" * 2000
        self.assertIn("nested too deeply", self.refused(f'{{"id": "b", "command": "core.ping", "x": {deep}}}'))

    def test_fields(self) -> None:
        """
        A field of the wrong type, or out of its range, is named in the answer, with what was there.
        """
        wrong: dict[str, tuple[Any, ...]] = {
            "command": (5, None, [], {}),
            "queue": (5, [], {}, True),
            "stats_interval": ("5", -1, [], True, 1e300),
            "max_time": ("5", [], {}, False, 1e300, 10**400),
            "max_restart": (-1, 1.5, "1", [], 10**30, True),
            "recurring_period": (-1, "1", {}, 1e300),
            "log_levels": (5, "all", {}, ["1"], [1.5], [None]),
            "stream": ("yes", 1, []),
            "tags": (5, {}, [5], [None], [["a"]]),
        }
        for field, values in wrong.items():
            for value in values:
                reason = self.refused(json.dumps({"id": "f", "command": "core.ping", field: value}))
                self.assertRegex(reason, rf"^{field}(\[0\])?: ")

    def test_id(self) -> None:
        """
        An id is text of 1 to 1,024 bytes; anything else is rejected with the reason.
        """
        wrong: tuple[Any, ...] = (5, 0, [], {}, True, 1.5, "x" * 1025, "é" * 513)
        for id in wrong:
            entry = self.rejected(json.dumps({"id": id, "command": "core.ping"}))
            self.assertIsNone(entry["id"])
            self.assertRegex(entry["reason"], "^id: expected ")
        entry = self.rejected(f'{{"id": {SURROGATE}, "command": "core.ping"}}')
        self.assertIsNone(entry["id"])

    def test_kept_ids(self) -> None:
        """
        Any other text is an id, kept to the letter: numbers, spaces, NUL and control characters included.
        """
        ids = (
            "x" * 1024,
            "é" * 512,
            "007",
            "1.0",
            "1e5",
            "-0",
            " a ",
            "a\nb",
            "\0",
            "null",
            "*",
            "../../x",
            "😀",
            "a:b",
            "%s {x}",
        )
        for id in ids:
            for ascii in (True, False):
                result, _ = self.outcome(json.dumps({"id": id, "command": "core.ping"}, ensure_ascii=ascii))
                self.assertEqual((id, "SUCCESS"), (result and result["id"], result and result["state"]))

    def test_result_key(self) -> None:
        """
        The id is the end of the result's key, to the letter.
        """
        for id in ("007", "a b", "é", "x\r\ny"):
            self.daemon.push_raw(json.dumps({"id": id, "command": "core.ping"}))
            self.assertEqual(id, self.daemon.result(id)["id"])
        self.daemon.settle()
        self.daemon.forget()

    def test_unknown(self) -> None:
        """
        A command that does not exist, exact as it is spelled, gets UNKNOWN_CMD with its name.
        """
        for name in ("core.pong", "Core.Ping", "core.ping ", "", "__class__", "core.reboot\0", "*"):
            reason = self.refused(json.dumps({"id": "u", "command": name}), "UNKNOWN_CMD", 404)
            self.assertIn(repr(name), reason)

    def test_arguments(self) -> None:
        """
        Arguments are checked before anything starts; the answer names the one that is wrong.
        """
        wrong: dict[str, Any] = {
            "name": ({}, {"name": None}, {"name": 5}, {"name": ""}, {"name": "a\0b"}),
            "args": ({"name": "true", "args": "x"}, {"name": "true", "args": {}}),
            "args[1]": ({"name": "true", "args": ["a", 5]}, {"name": "true", "args": ["", "b\0"]}),
            "dir": ({"name": "true", "dir": 5}, {"name": "true", "dir": "/\0"}, {"name": "true", "dir": "/no/such"}),
            "env": (
                {"name": "true", "env": []},
                {"name": "true", "env": {"A=B": ""}},
                {"name": "true", "env": {"": ""}},
            ),
            "env['A']": ({"name": "true", "env": {"A": "\0"}},),
            "stdin": ({"name": "true", "stdin": 5}, {"name": "true", "stdin": ["x"]}),
            "arg": ({"name": "true", "arg": []},),
            "user": ({"name": "true", "user": None},),
        }
        for field, examples in wrong.items():
            for arguments in examples:
                result, _ = self.outcome(json.dumps({"id": "a", "command": "core.system", "arguments": arguments}))
                self.assertEqual((400, "ERROR"), result and (result["code"], result["state"]), f"{arguments}: {result}")
                reason = json.loads((result or {})["data"])
                self.assertTrue(reason.startswith(f"arguments.{field}: "), f"{arguments}: {reason}")

    def test_arguments_shape(self) -> None:
        """
        Arguments that are no object, or text that is no text, are refused, and missing ones are none.
        """
        for arguments in (
            "5",
            "[]",
            '"x"',
            "true",
            f'{{"name": {SURROGATE}}}',
            f'{{"name": "x", "args": [{SURROGATE}]}}',
        ):
            payload = f'{{"id": "s", "command": "core.system", "arguments": {arguments}}}'
            self.assertRegex(self.refused(payload), r"^arguments(.name|.args\[0\])?: expected ")
        for arguments in ("null", '{"name": null}'):
            payload = f'{{"id": "s", "command": "core.system", "arguments": {arguments}}}'
            self.assertRegex(self.refused(payload), "^arguments.name: ")

    def test_too_long_for_the_kernel(self) -> None:
        """
        Arguments that the kernel would not take are refused, and core0 goes on.
        """
        with ServedDaemon(self.valkey, "nid = 2") as daemon:
            for arguments in (
                {"args": ["x" * (1 << 18)]},
                {"args": ["x"] * 1_000_000},
                {"env": {"A": "x" * (1 << 18)}},
            ):
                content = {"id": "k", "command": "core.system", "arguments": {"name": "true", **arguments}}
                daemon.push_raw(json.dumps(content), queue="core:default:1:2")
                result = daemon.result("k")
                self.assertEqual(("ERROR", 400), (result["state"], result["code"]))
                self.assertRegex(json.loads(result["data"]), "^arguments: ")
                self.daemon.forget()

    def test_too_deep(self) -> None:
        """
        Nesting without end is answered like everything else.
        """
        nested = "[" * (LARGEST // 2 - 100) + "]" * (LARGEST // 2 - 100)
        for payload in (
            "[" * LARGEST,
            '{"a":' * (LARGEST // 6),
            nested,
            f'{{"id": "d", "command": "core.ping", "arguments": {nested}}}',
            f'{{"id": "d", "command": "core.system", "arguments": {{"name": "true", "args": {nested}}}}}',
            f'{{"id": "d", "command": "core.ping", "unknown": {nested}}}',
            f'{{"id": {nested}, "command": "core.ping"}}',
        ):
            result, entry = self.outcome(payload)
            self.assertEqual("ERROR", (result or entry or {})["state"])

    def test_too_large(self) -> None:
        """
        A payload beyond ``max_command`` is refused unread, with 413, under the id that its first 4 KiB hold.
        """
        start = '{"id": "l", "command": "core.ping", "tags": "'
        fits = f'{start}{"x" * (LARGEST - len(start) - 2)}"}}'
        self.assertEqual(LARGEST, len(fits))
        result, _ = self.outcome(fits)
        self.assertEqual("SUCCESS", (result or {})["state"])
        for filling in ("x", "é", '"', "\\", "\0", "😀"):
            payload = f"{start}{filling * LARGEST}"
            reason = self.refused(payload, code=413)
            self.assertIn(f"{len(payload.encode())} bytes", reason)
            self.assertIn("[redis] max_command", reason)

    def test_too_large_without_id(self) -> None:
        """
        If its first 4 KiB do not hold its id it is on ``core:rejected``, with its beginning.
        """
        filling = "x" * LARGEST
        for start, end in (
            ('{"command": "core.ping", "tags": "', ""),
            ('{"command": "core.kill", "arguments": {"id": "l", "x": "', ""),
            ('{"command": "core.ping", "tags": "', '", "id": "l"}'),
            ('{"id": "', '"}'),
        ):
            payload = f"{start}{filling}{end}"
            entry = self.rejected(payload)
            self.assertIsNone(entry["id"])
            self.assertIn(f"{len(payload.encode())} bytes", entry["reason"])
            self.assertEqual(payload[:4096], entry["payload"])
        self.assertIsNone(self.rejected(b"\xff" * LARGEST * 2)["id"])

    def test_too_large_repeated(self) -> None:
        """
        Too large a payload under an id that stands for something else leaves that alone; pushed twice it has one
        refusal.
        """
        large = '{"id": "l", "command": "core.ping", "tags": "' + "x" * LARGEST
        self.daemon.push_raw('{"id": "l", "command": "core.ping"}', large)
        self.daemon.settle()
        self.assertEqual(["SUCCESS"], [result["state"] for result in self.daemon.results()["l"]])
        self.assertEqual([("DUPLICATE_ID", "l")], [(each["state"], each["id"]) for each in self.daemon.rejected()])
        self.daemon.forget()
        self.daemon.push_raw(large, large)
        self.daemon.settle()
        self.assertEqual([413], [result["code"] for result in self.daemon.results()["l"]])
        self.assertEqual([], self.daemon.rejected())
        self.daemon.forget()

    def test_twice_the_same_key(self) -> None:
        """
        Of a key that is there twice the last one counts.
        """
        result, _ = self.outcome('{"id": "one", "id": "two", "command": "no", "command": "core.ping"}')
        self.assertEqual(("two", "SUCCESS"), result and (result["id"], result["state"]))

    def test_unknown_fields(self) -> None:
        """
        Fields that core0 does not know do not matter, whatever they hold.
        """
        for extra in ("1e999", "123456789012345678901234567890", SURROGATE, '{"a": [null]}', '"\\u0000"'):
            result, entry = self.outcome(f'{{"id": "e", "command": "core.ping", "extra": {extra}}}')
            self.assertIn((result or entry or {})["state"], ("SUCCESS", "ERROR"))
        result, _ = self.outcome('\n\t {"id" : "e" , "command" : "core\\u002eping" , "unknown" : [ ] } \r\n')
        self.assertEqual("SUCCESS", (result or {})["state"])
