"""
Running programs and reading what they print.
"""

import os
import subprocess
import time
from statistics import median

from bench.host import collect, cpu, host, percentile, push, rss, timed
from bench.table import Row, in_turns
from bench.taking import names

JOBS = 1000
ALIVE = 8
PRINTED = 50_000_000  # bytes
PRINT = f"yes {'x' * 99} | head -c {PRINTED}"
MANY = 100_000
SLEEPERS = 1000
CROWD = 5000


def spawned() -> float:
    """
    The yardstick: bare posix_spawn with eight alive.
    """
    null = os.open(os.devnull, os.O_RDWR)
    actions = [(os.POSIX_SPAWN_DUP2, null, number) for number in range(3)]
    alive = 0
    elapsed = timed()
    for _ in range(JOBS):
        if alive == ALIVE:
            os.wait()
            alive -= 1
        os.posix_spawn("/bin/true", ["true"], {}, file_actions=actions)
        alive += 1
    for _ in range(alive):
        os.wait()
    seconds: float = elapsed()
    os.close(null)
    return JOBS / seconds


def programs() -> list[Row]:
    """
    Many short programs, with and without a directory, with and without cgroups.
    """
    rows = []
    for cgroups, goal in ((True, 0.4), (False, 0.5)):
        with host(cgroups=cgroups) as (_, client):
            for arguments in ({"name": "/bin/true"}, {"name": "/bin/true", "dir": "/tmp"}):

                def core0(arguments: dict[str, str] = arguments) -> float:
                    ids = names(JOBS)
                    elapsed = timed()
                    push(client, ids, "core.system", arguments)
                    collect(client, ids)
                    seconds: float = elapsed()
                    return JOBS / seconds

                figures, yardsticks = in_turns(core0, spawned)
                what = f"{JOBS:,} /bin/true{' with dir' if 'dir' in arguments else ''}"
                kind = "a cgroup each" if cgroups else "no cgroups"
                ratio = median(figures) / median(yardsticks)
                rows.append(Row(f"{what}, {kind}", "a second", figures, yardsticks, f"≥ {goal} of it", ratio >= goal))
    return rows


def piped() -> float:
    """
    The yardstick: the same through cat and a pipe into Python.
    """
    elapsed = timed()
    with subprocess.Popen(["sh", "-c", f"{PRINT} | cat"], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        while os.read(process.stdout.fileno(), 1 << 16):
            pass
    seconds: float = elapsed()
    return PRINTED / seconds / 1e6


def printing() -> list[Row]:
    """
    A program that prints a lot, in lines of 100 bytes.
    """
    grown = []
    with host() as (daemon, client):

        def core0() -> float:
            ids = names(1)
            before = rss(daemon.pid)
            elapsed = timed()
            push(client, ids, "core.system", {"name": "sh", "args": ["-c", PRINT]})
            collect(client, ids)
            seconds: float = elapsed()
            grown.append((rss(daemon.pid) - before) / 1e6)
            return PRINTED / seconds / 1e6

        figures, yardsticks = in_turns(core0, piped)
    return [
        Row("50 MB in 100-byte lines", "MB/s", figures, yardsticks, "≥ 90 MB/s", median(figures) >= 90),
        Row("RSS grows by, meanwhile", "MB", grown, [], "≤ 10 MB", max(grown) <= 10),
    ]


def memory() -> list[Row]:
    """
    What it takes idle, after many jobs, and with many alive.
    """
    with host() as (daemon, client):
        time.sleep(1)
        idle = rss(daemon.pid)
        server = rss(_server(daemon.run / "redis" / "server.json"))
        for _ in range(MANY // JOBS):
            ids = names(JOBS)
            push(client, ids, "core.system", {"name": "/bin/true"})
            collect(client, ids)
        time.sleep(3)
        after = rss(daemon.pid)
    with host() as (daemon, client):
        before = rss(daemon.pid)
        push(client, names(SLEEPERS), "core.system", {"name": "/bin/sleep", "args": ["600"]})
        _alive(client, SLEEPERS)
        alive = (rss(daemon.pid) - before) / SLEEPERS / 1000
    return [
        Row("idle RSS (its Valkey beside it)", "MB", [idle / 1e6], [server / 1e6], "≤ 60 MB", idle <= 60e6),
        Row(f"more after {MANY:,} jobs", "MB", [(after - idle) / 1e6], [], "≤ 3 MB", after - idle <= 3e6),
        Row(f"each of {SLEEPERS:,} live jobs", "kB", [alive], [], "≤ 25 kB", alive <= 25),
    ]


def _server(record: "os.PathLike[str]") -> int:
    import json

    with open(record) as file:
        return int(json.load(file)["pid"])


def _alive(client: object, count: int) -> None:
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        found = subprocess.run(["pgrep", "-c", "-x", "-f", "/bin/sleep 600"], capture_output=True, text=True)
        if int(found.stdout or 0) >= count:
            time.sleep(1)
            return
        time.sleep(0.2)
    raise AssertionError(f"{count} jobs are not alive")


def crowd() -> list[Row]:
    """
    A host full of jobs that do nothing: CPU while nothing happens, over one interval of sampling; then pings.
    """
    with host(f"[jobs]\nmax = {CROWD + 100}") as (daemon, client):
        push(client, names(CROWD), "core.system", {"name": "/bin/sleep", "args": ["600"]})
        _alive(client, CROWD)
        before, elapsed = cpu(daemon.pid), timed()
        time.sleep(60)
        used = 100 * (cpu(daemon.pid) - before) / elapsed()
        times = []
        for id in names(2000):
            started = timed()
            push(client, [id], "core.ping", {})
            client.blpop([f"result:{id}"], 10)
            times.append(1000 * started())
        client.rpush("core:default", '{"id": "end", "command": "core.killall"}')
        client.blpop(["result:end"], 60)
    slow = percentile(times, 0.99)
    return [
        Row(f"{CROWD:,} live jobs, idle, sampling included", "% of a core", [used], [], "≤ 1 %", used <= 1),
        Row(f"ping among {CROWD:,} live jobs, p99", "ms", [slow], [], "≤ 5 ms", slow <= 5),
    ]
