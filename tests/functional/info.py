"""
Asks the info commands on the machine that the tests run on.
"""

import json
import os
import shutil
import subprocess
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar, cast

from twisted.trial.unittest import SynchronousTestCase

import core0
from core0.commands.info import InfoCommand
from core0.corex_settings import Limits
from core0.interfaces import IAgent, IJob
from core0.messages import Level, State
from tests.functional.shared import missing, need_root

T = TypeVar("T")


class DirectAgent:
    """
    An agent whose one thread is the caller's.
    """

    limits = Limits()

    async def in_thread(self, work: Callable[..., T], *arguments: Any) -> T:
        """
        Call it.
        """
        return work(*arguments)


def need(*programs: str) -> None:
    """
    Skip a test that compares with the output of programs which are not there.
    """
    for program in programs:
        if not shutil.which(program):
            raise missing(f"needs {program} to compare with")


def output(*command: str) -> str:
    """
    What a program prints.
    """
    return subprocess.run(command, check=True, capture_output=True, text=True, timeout=60).stdout


def apart(kind: str, script: str, *arguments: str) -> Any:
    """
    What a script prints as JSON that runs in a namespace of its own.

    :param kind: an option of ``unshare``.
    """
    need("unshare")
    need_root()
    done = subprocess.run(
        ["unshare", kind, sys.executable, "-c", textwrap.dedent(script), *arguments],
        env={**os.environ, "PYTHONPATH": str(Path(core0.__file__).parents[1])},
        check=False,
        capture_output=True,
        text=True,
        timeout=60,
    )
    if done.returncode != 0:
        raise AssertionError(done.stderr)
    return json.loads(done.stdout)


class InfoTestCase(SynchronousTestCase):
    """
    Runs the commands.
    """

    def ask(self, command: type[InfoCommand]) -> Any:
        """
        The answer of a command.
        """
        outcome = self.successResultOf(command(cast(IAgent, DirectAgent())).run(cast(IJob, None)))
        self.assertEqual((State.SUCCESS, 0, Level.RESULT_JSON), (outcome.state, outcome.code, outcome.level))
        return json.loads(outcome.data)

    def assert_near(self, expected: float, actual: float, most: float) -> None:
        """
        They differ by less than ``most``.
        """
        self.assertLess(abs(expected - actual), most, f"{expected} and {actual}")
