"""
Whoever starts core0, and however: what it runs and what it makes is the same.
"""

import os
import resource
import signal
import stat
import subprocess
from pathlib import Path
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from tests.daemon import ROOT, STARTED, Daemon, eventually
from tests.functional.containers import ContainerTestCase
from tests.functional.shared import DaemonTestCase, lives, need_root, sh

# what a program sees of all that it could have got from whoever has started core0
LOOK = """
umask; ulimit -f; ulimit -v; ulimit -t; ulimit -d; ulimit -s; ulimit -c; ulimit -n
cut -d' ' -f19 /proc/self/stat; cat /proc/self/oom_score_adj; grep SigBlk /proc/self/status
"""
UNLIMITED = "unlimited"
SEEN = ["0022", UNLIMITED, UNLIMITED, UNLIMITED, UNLIMITED, "8192", "0", "1024", "0", "0", "SigBlk:", "0" * 16]
# soft ones: not every root may raise a hard one
LIMITS = {
    resource.RLIMIT_FSIZE: (1 << 30, resource.RLIM_INFINITY),
    resource.RLIMIT_AS: (1 << 36, resource.RLIM_INFINITY),
    resource.RLIMIT_CPU: (5000, resource.RLIM_INFINITY),
    resource.RLIMIT_DATA: (1 << 35, resource.RLIM_INFINITY),
    resource.RLIMIT_STACK: (4 << 20, resource.RLIM_INFINITY),
    resource.RLIMIT_CORE: (1 << 20, resource.RLIM_INFINITY),
    resource.RLIMIT_NOFILE: (300, 20_000),
}


class Odd(Daemon):
    """
    Started by a shell that ignores signals, has another umask, is nice, and is to be ended first.
    """

    odd = "trap '' HUP INT QUIT USR1 PIPE; umask 077; echo 500 > /proc/self/oom_score_adj; exec nice -n 9 \"$@\""

    def __init__(self, *arguments: Any, **keywords: Any) -> None:
        need_root()
        super().__init__(*arguments, **{"limits": LIMITS, **keywords})
        self.environment = {
            **dict.fromkeys(("LC_ALL", "LANG", "LANGUAGE"), "C"),
            "PYTHONUTF8": "0",
            "PYTHONIOENCODING": "ascii",
            "PYTHONCOERCECLOCALE": "0",
        }

    def command(self) -> list[str]:
        """
        Through that shell.
        """
        return ["sh", "-c", self.odd, "sh", *super().command()]


class JobTests(DaemonTestCase):
    """
    Jobs of the host.
    """

    @classmethod
    def make_daemon(cls) -> Daemon:
        """
        An odd one.
        """
        return Odd()

    def test_seen(self) -> None:
        """
        A program sees nothing of the umask, the limits, the nice value, the score and the signals of the starter.
        """
        self.assertEqual(SEEN, self.daemon.run_command("bash", {"script": LOOK})["streams"][0].split())
        hard = self.daemon.run_command("core.system", sh("ulimit -Hn; ulimit -Hf"))["streams"][0].split()
        self.assertEqual(["20000", UNLIMITED], hard)

    def test_names(self) -> None:
        """
        Names that are no ASCII are what they are, whatever the locale was.
        """
        folder = self.daemon.folder / "größe 漢字"
        folder.mkdir()
        result = self.daemon.run_command("core.system", {"name": "pwd", "dir": str(folder)})
        self.assertEqual(f"{folder}\n", result["streams"][0], result)
        self.assertEqual("größe", self.daemon.run_command("core.system", sh("printf größe"))["streams"][0])

    def test_server(self) -> None:
        """
        Its server has no limit of the starter's either.
        """
        pid = int(self.daemon.run_command("core.system", sh("cat /proc/$PPID/stat"))["streams"][0].split()[0])
        self.assertEqual(self.daemon.pid, pid)
        for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split():
            limits = Path(f"/proc/{child}/limits").read_text().splitlines()
            sizes = next(line.split()[3:5] for line in limits if line.startswith("Max file size"))
            self.assertEqual([UNLIMITED, UNLIMITED], sizes, Path(f"/proc/{child}/cmdline").read_bytes())

    def test_private(self) -> None:
        """
        What it keeps is for its user alone.
        """
        for folder in (self.daemon.state, self.daemon.run):
            self.assertEqual(0o700, stat.S_IMODE(folder.stat().st_mode), folder)


class ContainerTests(ContainerTestCase):
    """
    Containers, and what is in them.
    """

    kind = Odd

    def test_seen(self) -> None:
        """
        A container sees nothing of the starter either, and users of it other than root read its own files and go into
        the folders that were made for its mounts.
        """
        mounted = self.folder()
        mounted.chmod(0o755)
        number = self.create(mount={str(mounted): "/some/where/deep", "/etc/passwd": "/some/file"})
        self.assertEqual(SEEN, self.inside_sh(number, LOOK).split())
        pid = self.listed()[str(number)]["pid"]
        self.assertRegex(Path(f"/proc/{pid}/limits").read_text(), r"Max file size +unlimited +unlimited")
        self.assertEqual(0, os.getpriority(os.PRIO_PROCESS, pid))
        self.assertEqual(["644"] * 3, self.inside_sh(number, "cd /etc; stat -c %a hosts hostname resolv.conf").split())
        found = self.inside_sh(number, "stat -c '%a %u %g' /some /some/where /tmp").splitlines()
        self.assertEqual(["755 0 0", "755 0 0", "1777 0 0"], found)


class StartTests(SynchronousTestCase):
    """
    Started in other ways than in a terminal.
    """

    def daemon(self, before: str, *options: str) -> Daemon:
        """
        One that is started by a script, with these options of ``twistd``.
        """
        daemon = Daemon()
        self.addCleanup(daemon.close)
        *words, config = daemon.command()
        words = [word for word in words if word not in ("-n", "--pidfile=")]
        words[3:3] = [*options, "--logfile", str(daemon.log)]
        script = f'{before}; exec "$@"'
        env = {**os.environ, "PYTHONPATH": str(ROOT), "LC_ALL": "C", "PYTHONUTF8": "0"}
        self.starter = subprocess.Popen(["sh", "-c", script, "sh", *words, config], cwd=daemon.folder, env=env)
        eventually(lambda: STARTED in daemon.output(), "it has started")
        return daemon

    def test_closed(self) -> None:
        """
        One that is started with its descriptors 0 to 2 closed runs programs, and writes its log into no other file.
        """
        daemon = self.daemon("exec <&- >&- 2>&-", "-n", "--pidfile=")
        self.addCleanup(self.starter.wait)
        self.addCleanup(self.starter.terminate)
        for fd in range(3):
            self.assertFalse(Path(f"/proc/{self.starter.pid}/fd/{fd}").is_file(), fd)
        self.assertEqual("x\n", daemon.run_command("core.system", sh("echo x"))["streams"][0])

    def test_background(self) -> None:
        """
        One that goes into the background by itself, where ``twistd`` sets a umask of its own, makes the same files.
        """
        daemon = self.daemon("umask 0", "--pidfile=pid")
        self.assertEqual(0, self.starter.wait())
        pid = int((daemon.folder / "pid").read_text())
        self.addCleanup(eventually, lambda: not lives(pid), "it has ended")
        self.addCleanup(os.kill, pid, signal.SIGTERM)
        self.assertIn("Umask:\t0022\n", Path(f"/proc/{pid}/status").read_text())
        for place in (daemon.state, daemon.run):
            self.assertEqual(0o700, stat.S_IMODE(place.stat().st_mode))
        self.assertEqual("0022\n", daemon.run_command("core.system", sh("umask"))["streams"][0])
