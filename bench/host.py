"""
A core0 to measure, and what the kernel says of processes.
"""

import json
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import redis

from tests.daemon import Daemon

WITHOUT_CGROUPS = 'for m in $(awk \'$3 == "cgroup2" {print $2}\' /proc/mounts); do umount "$m"; done; exec "$@"'
PATIENCE = 120  # seconds


class Host(Daemon):
    """
    :param cgroups: whether jobs get cgroups.
    """

    def __init__(self, config: str = "", *, cgroups: bool = True) -> None:
        super().__init__(config)
        self.cgroups = cgroups

    def command(self) -> list[str]:
        """
        The command line; without cgroups, in a mount namespace that has none.
        """
        command = super().command()
        return command if self.cgroups else ["unshare", "-m", "sh", "-c", WITHOUT_CGROUPS, "sh", *command]


@contextmanager
def host(config: str = "", *, cgroups: bool = True) -> Iterator[tuple[Host, redis.Redis]]:
    """
    A running one, and a client.
    """
    daemon = Host(config, cgroups=cgroups)
    with running(daemon) as client:
        yield daemon, client


@contextmanager
def running(daemon: Daemon) -> Iterator[redis.Redis]:
    """
    Start one; gives a client.
    """
    try:
        daemon.start()
        with daemon.redis() as client:
            yield client
    finally:
        daemon.close()


def push(client: redis.Redis, ids: list[str], command: str, arguments: dict[str, Any]) -> None:
    """
    Push one command for each id, pipelined.
    """
    pipeline = client.pipeline(transaction=False)
    for id in ids:
        pipeline.rpush("core:default", json.dumps({"id": id, "command": command, "arguments": arguments}))
    pipeline.execute()


def collect(client: redis.Redis, ids: list[str]) -> None:
    """
    Wait for the results of all, and check that all succeeded.
    """
    for first in range(0, len(ids), 500):
        pipeline = client.pipeline(transaction=False)
        for id in ids[first : first + 500]:
            pipeline.blpop([f"result:{id}"], PATIENCE)
        for reply in pipeline.execute():
            assert reply is not None and b'"SUCCESS"' in reply[1], reply


def rss(pid: int) -> int:
    """
    Resident bytes of a process.
    """
    with open(f"/proc/{pid}/statm") as statm:
        return int(statm.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def cpu(pid: int) -> float:
    """
    CPU seconds that a process has used.
    """
    with open(f"/proc/{pid}/stat") as stat:
        fields = stat.read().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def timed() -> Any:
    """
    A function that gives the seconds since now.
    """
    begin = time.perf_counter()
    return lambda: time.perf_counter() - begin


def percentile(values: list[float], share: float) -> float:
    """
    The value below which this share of all values is.
    """
    return sorted(values)[min(len(values) - 1, int(len(values) * share))]
