"""
Reads what core0 keeps of what jobs print.
"""

import json
from pathlib import Path
from typing import Any

from tests.daemon import eventually
from tests.functional.shared import DaemonTestCase, lines


class RecordsTestCase(DaemonTestCase):
    """
    Reads log records.
    """

    def logs(self, id: str | None = None) -> list[dict[str, Any]]:
        """
        The records in ``core.logs``, of one command or of all.
        """
        with self.daemon.redis() as client:
            records = [json.loads(text) for text in client.lrange("core.logs", 0, -1)]
        return [record for record in records if id is None or record["command"] == id]

    def messages(self, id: str) -> list[tuple[int, str]]:
        """
        Level and text of the records of a command, all those that there will be.
        """
        self.barrier()
        return [(record["message"]["level"], record["message"]["message"]) for record in self.logs(id)]

    def barrier(self) -> None:
        """
        Wait until whatever was printed before is in ``core.logs``.
        """
        id = self.run_sh("echo 3::barrier", log_levels=[3])["id"]
        eventually(lambda: self.logs(id), "the last record")

    def files(self) -> list[Path]:
        """
        The files with records, newest first.
        """
        folder = self.daemon.state / "logs"
        return sorted(folder.glob("jobs.log*"), key=lambda path: int(path.suffix[1:]) if path.suffix != ".log" else 0)

    def filed(self, id: str) -> list[dict[str, Any]]:
        """
        The records of a command in the files, oldest first.
        """
        found = []
        for path in reversed(self.files()):
            found += [json.loads(line) for line in lines(path)]
        return [record for record in found if record["command"] == id]
