"""
Taking commands and answering them.
"""

import subprocess
import sys
import uuid
from statistics import median

from bench.host import Host, collect, host, percentile, push, timed
from bench.table import Row, in_turns
from tests.daemon import ROOT

PINGS = 5000
SINGLE = 2000


def names(count: int) -> list[str]:
    """
    Fresh ids.
    """
    prefix = uuid.uuid4().hex[:8]
    return [f"{prefix}-{number}" for number in range(count)]


def pipelined() -> list[Row]:
    """
    Many pings at once, beside a bare loop on the same server with the same file behind it.
    """
    with host() as (daemon, client):
        bare = subprocess.Popen([sys.executable, "-m", "bench.bare_loop", daemon.socket], cwd=ROOT)
        try:

            def core0() -> float:
                ids = names(PINGS)
                elapsed = timed()
                push(client, ids, "core.ping", {})
                client.blpop([f"result:{ids[-1]}"], 60)
                seconds: float = elapsed()
                collect(client, ids[:-1])
                return PINGS / seconds

            def yardstick() -> float:
                ids = names(PINGS)
                # the client's user has no list of that name: it goes by one that it has
                elapsed = timed()
                pipeline = client.pipeline(transaction=False)
                for id in ids:
                    pipeline.rpush("result:bare", f'{{"id": "{id}", "command": "core.ping", "arguments": {{}}}}')
                pipeline.execute()
                client.blpop([f"result:{ids[-1]}"], 60)
                seconds: float = elapsed()
                return PINGS / seconds

            figures, yardsticks = in_turns(core0, yardstick)
        finally:
            bare.kill()
            bare.wait()
    ratio = median(figures) / median(yardsticks)
    return [Row(f"{PINGS:,} core.ping, pipelined", "a second", figures, yardsticks, "≥ 0.5 of it", ratio >= 0.5)]


def single() -> list[Row]:
    """
    One ping at a time, beside a push and a pop between two connections.
    """
    with host() as (daemon, client), daemon.redis() as other:

        def core0() -> list[float]:
            times = []
            for id in names(SINGLE):
                elapsed = timed()
                push(client, [id], "core.ping", {})
                client.blpop([f"result:{id}"], 10)
                times.append(1000 * elapsed())
            return times

        def yardstick() -> list[float]:
            times = []
            for _ in range(SINGLE):
                elapsed = timed()
                client.rpush("result:bare", b"x")
                other.blpop(["result:bare"], 10)
                times.append(1000 * elapsed())
            return times

        runs = [(yardstick(), core0()) for _ in range(5)]
    middle = [percentile(times, 0.5) for _, times in runs]
    return [
        Row(
            "one core.ping at a time, p50",
            "ms",
            middle,
            [percentile(t, 0.5) for t, _ in runs],
            "≤ 0.5 ms",
            median(middle) <= 0.5,
        ),
        Row(
            "one core.ping at a time, p99",
            "ms",
            [percentile(times, 0.99) for _, times in runs],
            [percentile(times, 0.99) for times, _ in runs],
            "",
            True,
        ),
    ]


def starting() -> list[Row]:
    """
    From nothing to the first answer, beside what a bare reactor takes to be imported.
    """

    def core0() -> float:
        daemon = Host()
        try:
            elapsed = timed()
            daemon.start(wait=False)
            while True:
                try:
                    daemon.run_command("core.ping")
                    break
                except OSError:  # redis-py's ConnectionError is none
                    continue
                except Exception as error:
                    if "onnect" not in type(error).__name__:
                        raise
            seconds: float = elapsed()
            return seconds
        finally:
            daemon.close()

    def yardstick() -> float:
        elapsed = timed()
        subprocess.run([sys.executable, "-c", "import twisted.internet.reactor"], check=True)
        seconds: float = elapsed()
        return seconds

    figures, yardsticks = in_turns(core0, yardstick)
    return [Row("start to first answered ping", "s", figures, yardsticks, "≤ 0.8 s", median(figures) <= 0.8)]
