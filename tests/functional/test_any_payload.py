"""
Whatever is pushed is answered exactly once, and harms nobody.
"""

import json
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from tests.functional.served import ServedTestCase
from tests.valkey import ServedDaemon, Valkey

LARGEST = 8192  # bytes
DEEP = 1_000_000
SURROGATE = rb'"\ud800"'


class BrokenNeighbourTests(ServedTestCase):
    """
    What somebody else has sent harms nobody.
    """

    redis = f"max_command = {LARGEST}"

    def test_odd_arguments(self) -> None:
        """
        A job with broken text in arguments that nobody reads does not spoil the list of jobs.
        """
        for number, odd in enumerate((SURROGATE, b'"\xff"', b"[" * 500 + b"]" * 500, b"1e999", b"1" * 500)):
            id = f"odd-{number}"
            start = (
                b'{"id": "%s", "command": "core.system", "arguments": {"name": "sleep", "args": ["60"], "odd": '
                % id.encode()
            )
            self.daemon.push_raw(start + odd + b"}}")
            listed = self.daemon.run_command("process.list")
            self.assertEqual("SUCCESS", listed["state"], f"{odd[:20]!r}: {listed}")
        self.daemon.run_command("core.killall")
        self.daemon.settle()
        self.daemon.forget()

    def test_bounded(self) -> None:
        """
        ``core:rejected`` keeps the latest 1,000, newest first.
        """
        self.daemon.push_raw(*(f"broken {number}" for number in range(1300)))
        self.daemon.push_raw(f"large {'x' * LARGEST}", "broken at last")
        self.daemon.settle()
        payloads = [entry["payload"] for entry in self.daemon.rejected()]
        self.assertEqual("broken at last", payloads[0])
        self.assertEqual(1000, len(payloads))
        rest = [payload for payload in payloads[1:] if not payload.startswith("large")]
        self.assertEqual([f"broken {number}" for number in range(1299, 1299 - len(rest), -1)], rest)
        self.daemon.forget()

    def test_among_others(self) -> None:
        """
        A command between broken ones in one push is run.
        """
        good = json.dumps({"id": "good", "command": "core.system", "arguments": {"name": "true"}})
        self.daemon.push_raw("{", b"\xff", "[" * LARGEST, good, "x" * (LARGEST + 1), "null")
        self.assertEqual("SUCCESS", self.daemon.result("good")["state"])
        self.daemon.settle()
        self.assertEqual(5, len(self.daemon.rejected()))
        self.daemon.forget()


class DeepTests(SynchronousTestCase):
    """
    A core0 as it is configured by default.
    """

    def test_a_million(self) -> None:
        """
        A million opening brackets are rejected like any other nonsense.
        """
        with Valkey() as valkey, ServedDaemon(valkey) as daemon:
            deep = '{"id": "deep", "command": "core.ping", "arguments": ' + '{"a":' * DEEP
            daemon.push_raw("[" * DEEP, "[" * DEEP + "]" * DEEP, '{"a":' * DEEP, deep)
            daemon.settle()
            self.assertEqual(4, len(daemon.rejected()) + len(daemon.results()))
            self.assertEqual("SUCCESS", daemon.run_command("core.ping")["state"])


def _values() -> st.SearchStrategy[Any]:
    scalars = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8)
    return st.recursive(
        scalars, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3)
    )


def _or(valid: Any) -> st.SearchStrategy[Any]:
    return st.just(valid) | _values()


COMMANDS = ("core.ping", "core.state", "core.system", "info.os", "process.list", "core.kill", "bash", "core.nothing")
NEVER = st.none() | st.just(0) | st.text(max_size=3)  # what neither repeats nor delays a command
ARGUMENTS = st.fixed_dictionaries(
    {},
    optional={
        "name": st.sampled_from(["true", "/no/such", "/etc/passwd", ""]),
        "args": _or(["x"]),
        "env": _or({"A": "b"}),
        "dir": _or("/tmp"),
        "stdin": _or("text"),
        "id": _values(),
        "script": st.just("true") | st.integers(),
        "signal": _or(0),
    },
)
OBJECTS = st.fixed_dictionaries(
    {},
    optional={
        "command": st.sampled_from(COMMANDS) | _values(),
        "arguments": ARGUMENTS | _values(),
        "queue": _or("q"),
        "stats_interval": _or(0),
        "max_time": st.sampled_from([None, 0, -1, 60, "60", 1e300]),
        "max_restart": NEVER,
        "recurring_period": NEVER,
        "log_levels": _or([1, 2]),
        "stream": _or(False),
        "tags": _or(["a"]),
        "id": st.sampled_from([None, "", 5, "{unique}", "{unique}", "x" * 1025]),
    },
)


class AnyPayloadTests(ServedTestCase):
    """
    Whatever is pushed.
    """

    redis = f"max_command = {LARGEST}"

    @settings(max_examples=60, database=None, suppress_health_check=list(HealthCheck))
    @given(st.lists(st.binary(max_size=60) | OBJECTS, min_size=1, max_size=40))
    def test_answered_once(self, payloads: list[Any]) -> None:
        """
        Each payload is answered exactly once, and nothing of it stays among the unfinished ones.
        """
        self.daemon.push_raw(*(_payload(number, payload) for number, payload in enumerate(payloads)))
        self.daemon.settle()
        results, rejected = self.daemon.results(), self.daemon.rejected()
        self.daemon.forget()
        self.assertEqual({1}, {len(found) for found in results.values()} or {1})
        self.assertEqual(len(payloads), len(results) + len(rejected), f"{results} {rejected}")
        with self.daemon.redis() as client:
            lasting = [key for key in client.keys("core0:*") if client.ttl(key) < 0]
        self.assertEqual([b"core0:clock:1:1"], lasting)
        self.assertNotIn("Traceback", self.daemon.output())


def _payload(number: int, payload: Any) -> bytes:
    if isinstance(payload, bytes):
        return payload
    if payload.get("id") == "{unique}":
        payload = {**payload, "id": f"id-{number}"}
    return json.dumps(payload).encode("utf-8", "surrogatepass")
