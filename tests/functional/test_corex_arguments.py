"""
What corex.create can be asked for, and what it refuses.
"""

import os
import re
import time
from pathlib import Path
from typing import Any

from core0.containers.machine import look
from tests.daemon import eventually
from tests.functional.containers import OWNED, ContainerTestCase
from tests.functional.shared import answer_of, sh

SHARE, PIECE = 0.1, 0.3  # of a core; seconds that the kernel may give beforehand, and at the end
BAD: list[tuple[str, dict[str, Any]]] = [
    ("plist", {"plist": None}),
    ("plist", {"plist": ""}),
    ("plist", {"plist": 5}),
    ("plist", {"plist": "relative.plist"}),
    ("plist", {"plist": "ftp://127.0.0.1/x.plist"}),
    ("plist", {"plist": "/with\0nul"}),
    ("root", {"root": "/another.plist"}),
    ("storage", {"storage": "relative"}),
    ("mount", {"mount": []}),
    ("mount", {"mount": {"/no/such/folder": "/data"}}),
    ("mount", {"mount": {"relative": "/data"}}),
    ("mount", {"mount": {"/tmp": "relative"}}),
    ("mount", {"mount": {"/tmp": "/"}}),
    ("mount", {"mount": {"/tmp": "//"}}),
    ("mount", {"mount": {"/tmp": "/proc"}}),
    ("mount", {"mount": {"/tmp": "/proc/self"}}),
    ("mount", {"mount": {"/tmp": "/./proc"}}),
    ("mount", {"mount": {"/tmp": "/sys"}}),
    ("mount", {"mount": {"/tmp": "/dev/shm"}}),
    ("mount", {"mount": {"/tmp": "/data/../etc"}}),
    ("mount", {"mount": {"/tmp": "/data", "/var": "/data/"}}),
    ("mount", {"mount": {"/tmp": "/nul\0"}}),
    ("mount", {"mount": {"/tmp": "/data:ro,z"}}),
    ("mount", {"mount": {"/tmp": "/data:z"}}),
    ("mount", {"mount": {f"/tmp/{place}": f"/mnt/{place}" for place in range(101)}}),
    ("limits", {"limits": 5}),
    ("limits.memory", {"limits": {"memory": 1000}}),
    ("limits.memory", {"limits": {"memory": "1X"}}),
    ("limits.cpu", {"limits": {"cpu": 0}}),
    ("limits.cpu", {"limits": {"cpu": -1.0}}),
    ("limits.pids", {"limits": {"pids": 1}}),
    ("limits.pids", {"limits": {"pids": 1.5}}),
    ("hostname", {"hostname": "-box"}),
    ("hostname", {"hostname": "box/../x"}),
    ("hostname", {"hostname": "x" * 65}),
    ("hostname", {"hostname": 5}),
    ("env", {"env": {"A=B": "c"}}),
    ("env", {"env": {"": "c"}}),
    ("env", {"env": {"A": "\0"}}),
    ("env", {"env": {"A": 5}}),
    ("env", {"env": {"A": "x" * 200_000}}),
    ("privileged", {"privileged": "yes"}),
    ("host_network", {"host_network": 1}),
    ("network", {"network": ["br0"]}),
    ("port", {"port": {"80": 0}}),
]


class ArgumentsTests(ContainerTestCase):
    """
    One argument after another.
    """

    def test_refused(self) -> None:
        """
        Arguments that cannot be met are refused before anything is done, and the field is named.
        """
        for field, arguments in BAD:
            self.refused_create(400, f"arguments.{field}", **arguments)
            self.assert_nothing_left()
        self.assertEqual({}, self.listed())

    def test_mounted(self) -> None:
        """
        Folders and files of the host are mounted to be written to or only to be read, with the same owners inside.
        """
        folder = self.folder()
        folder.chmod(0o755)
        (folder / "below").mkdir()
        file = self.folder() / "file"
        file.write_text("single\n")
        for path, owner in ((folder / "roots", 0), (folder / "somebodys", OWNED)):
            path.write_text(f"{owner}\n")
            os.chown(path, owner, owner)
        mount = {str(folder): "/writable/deep", str(folder / "below"): "/readable:ro", str(file): "/etc/file:ro"}
        number = self.create(mount=mount)
        self.assertEqual(mount, self.listed()[str(number)]["mount"])
        said = self.inside_sh(
            number,
            """
            stat -c '%n %u %g' /writable/deep/roots /writable/deep/somebodys
            cat /etc/file
            echo new > /writable/deep/new; chown 1234:1234 /writable/deep/new
            touch /readable/x 2>/dev/null || echo no
            echo x 2>/dev/null > /etc/file || echo no
            """,
        )
        expected = f"/writable/deep/roots 0 0\n/writable/deep/somebodys {OWNED} {OWNED}\nsingle\nno\nno\n"
        self.assertEqual(expected, said)
        made = (folder / "new").stat()
        self.assertEqual((OWNED, OWNED), (made.st_uid, made.st_gid))
        self.terminate(number)
        self.assertEqual("new\n", (folder / "new").read_text())

    def test_environment(self) -> None:
        """
        The hostname and the variables that were asked for are those of the first process and of all jobs.
        """
        number = self.create(hostname="box.example", env={"COLOUR": "blue and green", "PATH": "/bin"})
        init = Path(f"/proc/{self.listed()[str(number)]['pid']}/environ").read_bytes().split(b"\0")
        self.assertIn(b"COLOUR=blue and green", init)
        self.assertIn(b"container=core0", init)
        said = self.inside_sh(
            number, "hostname; cat /etc/hostname; echo $COLOUR; echo $PATH; env | grep -ci redis || :"
        )
        self.assertEqual("box.example\nbox.example\nblue and green\n/bin\n0\n", said)
        own = sh("echo $COLOUR")
        own["env"] = {"COLOUR": "red"}
        self.assertEqual("red\n", self.inside(number, "core.system", own)["streams"][0])

    def test_files(self) -> None:
        """
        A program finds what it expects in /etc, /dev, /proc, /sys and /tmp.
        """
        number = self.create()
        script = """
            grep -c localhost /etc/hosts
            grep -o "corex-[0-9]*" /etc/hosts
            test -f /etc/resolv.conf && echo resolv
            for name in null zero full random urandom tty; do test -c /dev/$name && printf "$name "; done; echo
            for name in fd stdin stdout stderr ptmx; do test -e /dev/$name && printf "$name "; done; echo
            echo gone > /dev/null; head -c 4 /dev/zero | wc -c
            stat -c '%a %u' /tmp /dev/shm
            test -d /proc/self && test -d /sys/class && echo kernel
            touch /sys/x 2>/dev/null || echo read-only
            stat -c '%u' /data/owned /data/ours
            """
        said = self.inside_sh(number, script).splitlines()
        names = f"corex-{number}"
        devices, links = "null zero full random urandom tty ", "fd stdin stdout stderr ptmx "
        self.assertEqual(["2", names, "resolv", devices, links, "4"], said[:6])
        self.assertEqual(["1777 0", "1777 0", "kernel", "read-only", str(OWNED), "0"], said[6:])

    def test_apart(self) -> None:
        """
        What one container writes no other sees, nor does the next one of the same image.
        """
        first, second = self.create(), self.create()
        self.inside_sh(first, "echo mine > /data/ours; echo x > /new; rm /data/owned")
        self.assertEqual(
            "of root\n1\n", self.inside_sh(second, "cat /data/ours; ls -d /data/owned /new 2>/dev/null | wc -l")
        )
        self.assertEqual("mine\n", self.inside_sh(first, "cat /data/ours"))

    def test_unprivileged(self) -> None:
        """
        Root in a container is another user for the host, sees only its own processes and may mount nothing.
        """
        number = self.create()
        init = self.listed()[str(number)]["pid"]
        self.assertGreater(os.stat(f"/proc/{init}").st_uid, 1 << 16)
        self.assertEqual("1\n", self.inside_sh(number, "ls -d /proc/[0-9]* | head -1 | cut -d/ -f3"))
        self.assertNotEqual(0, self.inside(number, "core.system", sh("mount -t tmpfs x /mnt"))["code"])

    def test_privileged(self) -> None:
        """
        A privileged container with the host's network has the host's root, devices and links.
        """
        number = self.create(privileged=True, host_network=True)
        init = self.listed()[str(number)]["pid"]
        self.assertEqual(0, os.stat(f"/proc/{init}").st_uid)
        self.assertEqual("0\n", self.inside_sh(number, "cut -c1-40 /proc/self/uid_map | { read a b c; echo $b; }"))
        links = [link["name"] for link in answer_of(self.inside(number, "info.nic"))]
        self.assertEqual(set(os.listdir("/sys/class/net")), set(links))
        devices = {device.path.split("/")[2] for device in look().devices}
        self.assertLessEqual(devices, set(self.inside_sh(number, "ls /dev").split()))
        self.assertEqual(os.readlink("/proc/self/ns/net"), os.readlink(f"/proc/{init}/ns/net"))
        self.assertNotEqual(os.readlink("/proc/self/ns/pid"), os.readlink(f"/proc/{init}/ns/pid"))


class LimitsTests(ContainerTestCase):
    """
    What a container may use.
    """

    def forks_refused(self) -> int:
        """
        How often the kernel has refused a process because of a limit.
        """
        events = [Path(group) / "pids.events" for group in self.traces.cgroups()]
        return sum(int(path.read_text().split()[1]) for path in events if path.exists())

    def test_processes(self) -> None:
        """
        A fork bomb gets no further than the container's limit, and the container can still be ended.
        """
        number = self.create(limits={"pids": 40})
        id = self.dispatch(number, "core.system", sh("bomb() { bomb & bomb & exec sleep 60; }; bomb 2>/dev/null"))

        def stopped() -> bool:
            self.assertLessEqual(len(self.traces.processes()), 40)
            return self.forks_refused() > 0

        eventually(stopped, "the bomb has reached the limit")
        self.terminate(number)
        self.daemon.result(id)
        self.assert_nothing_left()

    def test_processor(self) -> None:
        """
        A container that may use a tenth of a core gets no more, and is told so.
        """
        before = time.monotonic()
        number = self.create(limits={"cpu": SHARE})
        self.assertEqual(1, len(answer_of(self.inside(number, "info.cpu"))))
        folder = self.inside_sh(number, "test -d /sys/fs/cgroup/cpu && echo /sys/fs/cgroup/cpu || echo /sys/fs/cgroup")
        # as long as it takes on a machine that has better to do
        throttled = f"$(sed -n 's/nr_throttled //p' {folder.strip()}/cpu.stat)"
        self.inside_sh(number, f"until [ {throttled} -ge 10 ]; do :; done")
        self.assertLessEqual(self.used(), SHARE * (time.monotonic() - before) + PIECE)

    def used(self) -> float:
        """
        How many seconds of a core the container has had.
        """
        groups = [Path(group) for group in self.traces.cgroups()]
        found = [int(path.read_text()) / 1e9 for group in groups if (path := group / "cpuacct.usage").exists()]
        for path in (group / "cpu.stat" for group in groups if not found):
            found += [int(word) / 1e6 for word in re.findall(r"usage_usec (\d+)", path.read_text())]
        return max(found)
