"""
The yardstick of containers: the runtime that core0 has chosen, run by hand, with bundles as core0 makes them.
"""

import os
import secrets
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec

from bench.host import timed
from core0.containers import groups
from core0.containers.rootfs import Bind, Setup
from core0.containers.runtime import NSENTER
from core0.containers.shelf import RECORD, Record
from tests.daemon import ROOT, eventually

ETC = ("hosts", "hostname", "resolv.conf")


class BareRuntime:
    """
    Containers by number, from 0 on. All have the same root file system, which is mounted already.

    :param place: an empty folder of its own.
    :param pattern: the folder of a container that core0 has made: what it looks like is copied.
    :param count: how many there may be at once.
    :ivar name: of the runtime.
    """

    def __init__(self, place: Path, pattern: Path, count: int) -> None:
        record = msgspec.json.decode((pattern / RECORD).read_bytes(), type=Record)
        config = msgspec.json.decode((pattern / "bundle" / "config.json").read_bytes(), type=dict[str, Any])
        self.name = record.runtime.name
        self._program = record.runtime.program
        self._place = place
        self._family = f"/core0-bench-{secrets.token_hex(4)}"
        for number in range(count):
            config["linux"]["cgroupsPath"] = self._cgroups(number)
            bundle = place / f"bundle-{number}"
            bundle.mkdir(parents=True)
            (bundle / "config.json").write_bytes(msgspec.json.encode(config))
        hide = [groups.UNIFIED] if record.runtime.hide_unified else []
        self._root = self._mount(self._setup(config, str((pattern / "root").resolve()), hide))

    def _setup(self, config: dict[str, Any], lower: str, hide: list[str]) -> Setup:
        owner = config["linux"]["uidMappings"][0]["hostID"]
        for name in ("upper", "work", "etc"):
            (self._place / name).mkdir()
        os.chown(self._place / "upper", owner, owner)
        for name in ETC:
            (self._place / "etc" / name).touch()
        return Setup(
            stage=os.path.dirname(config["root"]["path"]),
            lower=lower,
            own=str(self._place),
            first_id=owner,
            binds=[Bind(str(self._place / "etc" / name), name, mapped=False) for name in ETC],
            hide=hide,
        )

    def _mount(self, setup: Setup) -> "subprocess.Popen[bytes]":
        process = subprocess.Popen(
            [sys.executable, "-m", "bench.bare_root", msgspec.json.encode(setup).decode()],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            start_new_session=True,
        )
        assert process.stdout is not None
        if process.stdout.readline() != b"ready\n":
            process.communicate()
            raise AssertionError("the root file system of the yardstick cannot be mounted")
        return process

    def run(self, number: int) -> float:
        """
        Start a container; gives the seconds that ``run --detach`` takes.
        """
        bundle = str(self._place / f"bundle-{number}")
        options = ["--detach", "--bundle", bundle, "--pid-file", str(self._place / f"pid-{number}")]
        return self._timed("run", *options, self._id(number))

    def delete(self, number: int) -> float:
        """
        End a container; gives the seconds that ``delete --force`` takes.
        """
        seconds = self._timed("delete", "--force", self._id(number))
        self._clear(self._cgroups(number))
        return seconds

    def _timed(self, command: str, *options: str) -> float:
        argv = [NSENTER, f"--mount=/proc/{self._root.pid}/ns/mnt", "--"]
        argv += [self._program, "--root", str(self._place / "runtime"), command, *options]
        # pipes, since crun gives what it finds there to the container's root; that has them for as long as it lives
        pipes = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.PIPE)
        elapsed = timed()
        process = subprocess.Popen(argv, **pipes)  # type: ignore[call-overload]
        status = process.wait()
        seconds: float = elapsed()
        said = os.read(process.stderr.fileno(), 4096) if status else b""
        for pipe in (process.stdin, process.stdout, process.stderr):
            pipe.close()
        assert not status, f"{self.name} {command} failed: {said.decode(errors='replace')}"
        return seconds

    def _id(self, number: int) -> str:
        return f"{self._family[1:]}-{number}"

    def _cgroups(self, number: int) -> str:
        return f"{self._family}/{number}"

    def _clear(self, cgroups: str) -> None:
        eventually(lambda: groups.kill(cgroups) and groups.remove(cgroups), f"nothing is left of {cgroups}")

    def close(self) -> None:
        """
        End whatever there is, and remove it; its folder stays.
        """
        self._clear(self._family)
        self._root.communicate()


@contextmanager
def bare_runtime(place: Path, pattern: Path, count: int = 1) -> Iterator[BareRuntime]:
    """
    A runtime to measure; nothing is left of it.
    """
    runtime = BareRuntime(place, pattern, count)
    try:
        yield runtime
    finally:
        runtime.close()
