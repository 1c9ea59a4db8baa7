"""
Programs that core0 runs for containers, and that do not behave.
"""

import os
from pathlib import Path

from core0.containers.programs import MOST_SAID, NotRun
from core0.jobs.process import PATH
from tests.functional.containers_shared import (
    ContainersCase,
    command_line,
)


class ProgramsTests(ContainersCase):
    """
    Programs that do not behave.
    """

    async def test_time(self) -> None:
        """
        A program that does not end in its time is killed, and named.
        """
        await self.install()
        error = await self.failing(self.programs.run(["/bin/sleep", "1000"], seconds=0.1), NotRun)
        self.assertIn("/bin/sleep", str(error))
        self.assertEqual([], [pid for pid in children() if command_line(pid).startswith("/bin/sleep")])

    async def test_much(self) -> None:
        """
        Of what a program prints no more is kept than a bound, however much it is.
        """
        await self.install()
        script = "head -c 3000000 /dev/zero; head -c 3000000 /dev/zero >&2; echo end >&2"
        said = await self.programs.run(["/bin/sh", "-c", script])
        self.assertEqual((MOST_SAID, MOST_SAID), (len(said.out), len(said.err)))
        self.assertTrue(said.err.endswith(b"end\n"))

    async def test_surroundings(self) -> None:
        """
        A program gets none of core0's variables.
        """
        await self.install()
        said = await self.programs.run(["/bin/sh", "-c", "env | sort"])
        lines = [
            line for line in said.out.decode().splitlines() if not line.startswith(("PWD=", "_=", "SHLVL=", "OLDPWD="))
        ]
        self.assertEqual(["LANG=C", f"PATH={PATH}"], lines)

    async def test_lasting(self) -> None:
        """
        What a program leaves behind does not keep core0 from going on.
        """
        await self.install()
        said = await self.programs.run(["/bin/sh", "-c", "sleep 1000 & echo $! >&2"], lasting=True)
        os.kill(int(said.err), 9)

    async def test_not_there(self) -> None:
        """
        A program that is not there is named.
        """
        error = await self.failing(self.programs.run(["/no/such"]), NotRun)
        self.assertIn("/no/such", str(error))


def children() -> list[str]:
    """
    The children of this process.
    """
    return Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()
