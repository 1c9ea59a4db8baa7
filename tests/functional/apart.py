"""
A core0 that has no cgroups, as root or as an ordinary user: it starts in a mount namespace of its own, without them.
"""

import os
import subprocess
import sys
from pathlib import Path

from tests.daemon import Daemon
from tests.functional.shared import missing, need_root

NOBODY = 65534


def apart(user: int, scratch: Path) -> list[str]:
    """
    The words before a command that runs in a mount namespace of its own, without cgroups.

    :param user: who runs it.
    :param scratch: a folder that may be made. The environment of the command needs ``PYTHONPATH``.
    """
    need_root()
    probe = subprocess.run(["unshare", "--mount", "true"], check=False, capture_output=True)
    if probe.returncode:
        raise missing(f"needs a mount namespace: {probe.stderr.decode(errors='replace').strip()}")
    program = str(Path(__file__).with_name("inside.py"))
    return ["unshare", "--mount", "--propagation", "private", sys.executable, program, str(user), str(scratch)]


class Apart(Daemon):
    """
    :param user: of core0; 0 for root. Only root can start one.
    """

    def __init__(self, config: str = "", *, user: int = 0) -> None:
        need_root()
        super().__init__(config)
        self._uid = user
        os.chown(self.folder, user, user)

    def command(self) -> list[str]:
        """
        Its command line, in a namespace.
        """
        return [*apart(self._uid, self.folder / "shown"), *super().command()]
