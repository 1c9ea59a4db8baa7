"""
A core0 on a host that cannot have containers: it says what is missing, and does everything else.
"""

import os
from pathlib import Path
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from tests.daemon import Daemon
from tests.functional.apart import NOBODY, Apart
from tests.functional.containers import image, need_containers
from tests.functional.shared import answer_of


class WithoutTests(SynchronousTestCase):
    """
    Hosts that lack something.
    """

    def refused(self, daemon: Daemon, *about: str) -> None:
        """
        There are no containers, and all else is there.
        """
        with daemon:
            result = self.create(daemon)
            self.assertEqual(("ERROR", 503), (result["state"], result["code"]), result)
            for word in about:
                self.assertIn(word, answer_of(result))
            self.assertEqual({}, answer_of(daemon.run_command("corex.list")))
            for name, more in (("corex.terminate", {}), ("corex.dispatch", {"command": {"command": "core.ping"}})):
                self.assertEqual(404, daemon.run_command(name, {"container": 1, **more})["code"])
            self.assertEqual("pong", answer_of(daemon.run_command("core.ping")))
            self.assertEqual("SUCCESS", daemon.run_command("core.system", {"name": "true"})["state"])

    def create(self, daemon: Daemon) -> dict[str, Any]:
        """
        The result of ``corex.create``.
        """
        return daemon.run_command("corex.create", {"plist": image().plist})

    def test_user(self) -> None:
        """
        A core0 that is not root says that containers need root.
        """
        self.refused(Apart(user=NOBODY), "root")

    def test_no_runtime(self) -> None:
        """
        A runtime that is configured and not there is named.
        """
        need_containers()
        self.refused(Daemon('[containers]\nruntime = "no-such-runtime"\n'), "[containers] runtime", "no-such-runtime")

    def test_broken_runtime(self) -> None:
        """
        A runtime that is configured and does not work is named, with what it says.
        """
        need_containers()
        daemon = Daemon()
        program = daemon.folder / "broken"
        program.write_text("#!/bin/sh\necho 'cannot do anything' >&2\nexit 1\n")
        program.chmod(0o755)
        daemon.write_config(f'[containers]\nruntime = "{program}"\n')
        self.refused(daemon, str(program), "cannot do anything")


class Full(Apart):
    """
    A core0 whose folder of containers is on a file system with little room.
    """

    def command(self) -> list[str]:
        """
        Its command line.
        """
        folder = self.state / "containers"
        script = f'mkdir -p "{folder}" && mount -t tmpfs -o size=32k tmpfs "{folder}" && exec "$@"'
        command = super().command()
        start = command.index("private") + 1
        return [*command[:start], "sh", "-c", script, "sh", *command[start:]]


class FullTests(SynchronousTestCase):
    """
    No room for containers.
    """

    def test_full(self) -> None:
        """
        Where there is no room for a container, that is said, and nothing is left of it.
        """
        need_containers()
        with Full() as daemon:
            for _ in range(3):
                result = daemon.run_command("corex.create", {"plist": image().plist})
                self.assertEqual(("ERROR", 503), (result["state"], result["code"]), result)
                self.assertIn("No space left", answer_of(result))
                place = Path(f"/proc/{daemon.pid}/root{daemon.state}/containers")
                self.assertEqual(["last"], os.listdir(place))
