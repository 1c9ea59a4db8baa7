"""
Tests of the unit for systemd.
"""

import os
import re
import shutil
import subprocess
import tempfile
from collections import defaultdict
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from core0.assembly import FILES_PER_JOB, FLUSH_TIMEOUT, SPARE_FILES
from core0.config import Jobs, load
from core0.jobs.process import UNKILLABLE
from core0.redis.server import STOP_TIMEOUT
from tests.functional.shared import missing

UNIT = Path(__file__).parents[2] / "etc" / "core0.service"
LOG_TIMEOUT = 5.0  # seconds for the last lines of the log files

# what gives a service a view of the file system of its own, or takes rights away from it and all that it starts
CONFINING = (
    r"Private\w+|Protect\w+|Read(Only|Write)\w+|Inaccessible\w+|Exec(Paths|SearchPath)|NoExecPaths|Bind\w+|TemporaryFileSystem|"
    r"Root\w+|Mount\w+|Extension\w+|DynamicUser|NoNewPrivileges|SystemCall\w+|Restrict\w+|CapabilityBoundingSet|"
    r"AmbientCapabilities|Lock\w+|MemoryDeny\w+|SecureBits|ProcSubset|IPAddress\w+|DevicePolicy|DeviceAllow|User|Group"
)


def read() -> dict[str, dict[str, list[str]]]:
    """
    Section → key → its values.
    """
    found: dict[str, dict[str, list[str]]] = defaultdict(lambda: defaultdict(list))
    section = ""
    for line in UNIT.read_text(encoding="utf-8").splitlines():
        if header := re.fullmatch(r"\[(\w+)\]", line):
            section = header[1]
        elif line and not line.startswith("#"):
            key, _, value = line.partition("=")
            found[section][key].append(value)
    return found


class UnitFileTests(SynchronousTestCase):
    """
    ``etc/core0.service``.
    """

    def setUp(self) -> None:
        """
        Read it.
        """
        unit = read()
        self.sections = set(unit)
        self.service = {key: values[0] for key, values in unit["Service"].items() if len(values) == 1}
        self.unit = unit

    def test_sections(self) -> None:
        """
        It can be enabled, and no key is said twice.
        """
        self.assertEqual({"Unit", "Service", "Install"}, self.sections)
        self.assertEqual(["multi-user.target"], self.unit["Install"]["WantedBy"])
        for section in self.unit.values():
            self.assertEqual([], [key for key, values in section.items() if len(values) > 1])

    def test_foreground(self) -> None:
        """
        core0 runs in the foreground without a pid file, and a reload sends it SIGHUP.
        """
        words = self.service["ExecStart"].split()
        self.assertTrue(words[0].startswith("/"))
        self.assertEqual(["twistd", "-n", "--pidfile=", "core0"], [Path(words[0]).name, *words[1:]])
        self.assertEqual("/bin/kill -HUP $MAINPID", self.service["ExecReload"])
        self.assertEqual("exec", self.service["Type"])

    def test_end(self) -> None:
        """
        Only core0 itself is told to end, it has the time that it takes, and it is started again only if it failed.
        """
        self.assertEqual("process", self.service["KillMode"])
        stop = Jobs().kill_grace + UNKILLABLE + 2 * FLUSH_TIMEOUT + LOG_TIMEOUT + STOP_TIMEOUT
        self.assertGreater(float(self.service["TimeoutStopSec"]), stop)
        self.assertEqual("on-failure", self.service["Restart"])

    def test_folders(self) -> None:
        """
        systemd makes the folders that core0 uses without a configuration, for root only, and keeps that of the socket.
        """
        core = load(None, root=True, environ={}, default="/dev/null").core
        self.assertEqual(core.run_dir, f"/run/{self.service['RuntimeDirectory']}")
        self.assertEqual(core.state_dir, f"/var/lib/{self.service['StateDirectory']}")
        self.assertEqual(("0700", "0700"), (self.service["RuntimeDirectoryMode"], self.service["StateDirectoryMode"]))
        self.assertEqual("yes", self.service["RuntimeDirectoryPreserve"])

    def test_jobs(self) -> None:
        """
        Jobs may have cgroups, enough descriptors for as many as the configuration allows, and one out of memory is one.
        """
        self.assertEqual("yes", self.service["Delegate"])
        self.assertEqual("continue", self.service["OOMPolicy"])
        self.assertEqual("infinity", self.service["TasksMax"])
        soft, hard = map(int, self.service["LimitNOFILE"].split(":"))
        self.assertEqual(1024, soft)
        self.assertGreaterEqual(hard, Jobs().max * FILES_PER_JOB + SPARE_FILES)

    def test_no_confinement(self) -> None:
        """
        Jobs see the host as it is, with all rights of root, and are not spared by the kernel when memory runs out.
        """
        confined = [key for key in self.service if re.fullmatch(CONFINING, key)]
        self.assertEqual([], confined)
        self.assertNotIn("OOMScoreAdjust", self.service)

    def test_understood(self) -> None:
        """
        systemd has nothing to say against it.
        """
        tool = shutil.which("systemd-analyze")
        if tool is None:
            raise missing("needs systemd-analyze (Debian package systemd)")
        if os.geteuid() != 0 and not os.path.isdir("/run/systemd"):
            raise missing("needs root where systemd does not run")
        program = self.service["ExecStart"].split()[0]
        with tempfile.TemporaryDirectory(prefix="core0-unit-") as folder:
            copy = Path(folder) / UNIT.name
            # core0 need not be installed there
            copy.write_text(UNIT.read_text(encoding="utf-8").replace(program, "/bin/true"), encoding="utf-8")
            done = subprocess.run([tool, "verify", str(copy)], capture_output=True, text=True, check=False)
        self.assertEqual((0, ""), (done.returncode, done.stdout + done.stderr))
