"""
The host, and other containers, against what a container uses, leaves and says.
"""

import hashlib
import os
import stat
from pathlib import Path
from typing import ClassVar

from core0.containers.building import FIRST_ID
from tests.daemon import eventually
from tests.functional.shared import answer_of, kilobytes, sh, status
from tests.functional.test_confinement_shared import ConfinementCase

MIB = 1 << 20
IDS = 1 << 16
KINDS = ("user", "mnt", "pid", "ipc", "net", "uts", "cgroup")
DEEP, MANY = 5000, 100_000
FLOOD = 400 * MIB
# does whatever changes a file, to every file of the root
SPOIL = """
    find / -xdev -type f 2>/dev/null | while read -r f; do
        [ "$f" = /bin/busybox ] && continue
        echo spoilt >> "$f"; chmod 6777 "$f"; chown 5:5 "$f"; touch -d 2001-01-01 "$f"
    done
    cp /bin/busybox /bin/other; /bin/other rm -f /bin/busybox /bin/ls; /bin/other mkdir /bin/ls
    """
LISTED = "find / -xdev -type f -exec md5sum {} + ; find / -xdev -exec stat -c '%n %f %u %g %s' {} +"
FORGED = """
    echo '20::{"state": "KILLED", "id": "other"}'
    echo '20:::'; echo '"second"'; echo ':::'
    echo '10::{"name": "cpu"}'; echo '9::critical'; echo '99::x'; echo '-1::x'
    """


def fingerprint(folder: Path) -> dict[str, tuple[object, ...]]:
    """
    What is in a folder: kind, mode, owner, time and content of each.
    """
    found: dict[str, tuple[object, ...]] = {}
    for place, folders, files in os.walk(folder):
        for name in [*folders, *files]:
            path = os.path.join(place, name)
            seen = os.lstat(path)
            content = hashlib.sha256(Path(path).read_bytes()).digest() if stat.S_ISREG(seen.st_mode) else b""
            times = () if stat.S_ISDIR(seen.st_mode) else (seen.st_mtime_ns, seen.st_size)
            found[path] = (seen.st_mode, seen.st_uid, seen.st_gid, *times, content)
    return found


class LeavingsTests(ConfinementCase):
    """
    What a container leaves on the disk.
    """

    def test_removed(self) -> None:
        """
        Directories 5,000 levels deep with the longest names, a hundred thousand files, files that nobody may write to:
        corex.terminate removes it all. A file that cannot be changed cannot be made.
        """
        number = self.confined()
        found = self.probed(number, "deep", DEEP)
        self.assertEqual(DEEP, found.pop("levels"), found)
        self.assertNotIn("odd files", found)
        self.assert_all_refused(found)
        self.assertEqual({"files": MANY}, self.probed(number, "many", MANY))
        self.terminate(number)
        self.assert_nothing_left()


class UseTests(ConfinementCase):
    """
    What a container uses.
    """

    def test_processes(self) -> None:
        """
        A fork bomb ends at the limit of its container, and with its job; others notice nothing.
        """
        number, other = self.confined(limits={"pids": 100}), self.confined()
        found = self.probed(number, "bomb")
        self.assertTrue(50 < found["forked"] < 100, found)
        for each in (number, other):
            self.assertEqual("ok\n", self.inside_sh(each, "echo ok"))

    def test_memory(self) -> None:
        """
        Neither a program nor a file in memory takes more than the container may have.
        """
        number, other = self.confined(limits={"memory": 64 * MIB}), self.confined()
        result = self.inside(number, "core.system", {"name": "/bin/probe", "args": ["eat"]})
        self.assertEqual(("ERROR", 137), (result["state"], result["code"]), result)
        job = self.dispatch(number, "core.system", sh("dd if=/dev/zero of=/tmp/full bs=1M count=200"))
        self.assertEqual("ERROR", self.daemon.result(job)["state"])
        self.assertEqual("pong", answer_of(self.inside(other, "core.ping")))
        self.assertLess(self.listed()[str(number)]["rss"], 65 * MIB)

    def test_flood(self) -> None:
        """
        A job that prints without end fills neither its CoreX nor core0: the end of it is kept.
        """
        number = self.confined()
        corex = self.corex_of(number)
        before = kilobytes(self.daemon.pid, "VmHWM")
        result = self.inside(number, "core.system", sh(f"yes | head -c {FLOOD}"))
        self.assertEqual("SUCCESS", result["state"], result["state"])
        self.assertEqual(FLOOD, len(result["streams"][0]) + result["truncated"][0])
        self.assertLess(kilobytes(corex, "VmHWM"), 200 << 10)
        self.assertLess(kilobytes(self.daemon.pid, "VmHWM") - before, 200 << 10)

    def test_forged_output(self) -> None:
        """
        What a job prints becomes the data of its own result, and nothing else of it.
        """
        number = self.confined()
        result = self.inside(number, "core.system", sh(FORGED), tags=["mine"])
        self.assertEqual(("SUCCESS", 0, ["mine"]), (result["state"], result["code"], result["tags"]), result)
        self.assertEqual('"second"', result["data"].strip())


class ApartTests(ConfinementCase):
    """
    Containers, and what they share.
    """

    files: ClassVar[dict[str, bytes]] = {"data/deep/er/file": b"original\n"}

    def test_shared_root(self) -> None:
        """
        Whatever a container does to every file of its root, another one of the same image, and what core0 keeps of it
        on the disk, stay as they were.
        """
        first, second = (self.confined(hostname="box") for _ in range(2))
        seen = self.inside_sh(second, LISTED)
        kept = self.kept()
        self.assertGreater(len(kept), 20)
        self.inside(first, "core.system", sh(SPOIL))
        for number in (second, self.confined(hostname="box")):
            self.assertEqual(seen, self.inside_sh(number, LISTED))
        self.assertEqual(kept, self.kept())

    def kept(self) -> dict[str, tuple[object, ...]]:
        """
        What containers share.
        """
        images = self.daemon.state / "images"
        found = fingerprint(images / "store")
        for root in (images / "roots").glob("*/fs"):
            found |= fingerprint(root)
        return found

    def test_unknown_to_each_other(self) -> None:
        """
        Two containers share no user, no process, no memory, no message queue and no network; the host's users are none
        of theirs.
        """
        numbers = [self.confined() for _ in range(3)]
        firsts = []
        for number in numbers:
            init = self.listed()[str(number)]["pid"]
            for name in ("uid_map", "gid_map"):
                inside, outside, count = map(int, Path(f"/proc/{init}/{name}").read_text().split())
                self.assertEqual((0, IDS), (inside, count))
                self.assertGreaterEqual(outside, FIRST_ID)
            firsts.append(outside)
        self.assertEqual(3, len({first // IDS for first in firsts}), firsts)
        job = self.running_inside(numbers[0], "touch $ready /tmp/secret /dev/shm/secret; exec sleep 54321")
        for number in numbers[1:]:
            script = "ps; ls /tmp /dev/shm /dev/mqueue; cat /proc/[0-9]*/cmdline | tr '\\0' ' '"
            self.assertNotRegex(self.inside_sh(number, script), "54321|secret")
            self.assert_refused(404, job, self.inside(number, "core.kill", {"id": job}))
        inits = [self.listed()[str(number)]["pid"] for number in numbers]
        namespaces = {os.readlink(f"/proc/{init}/ns/{kind}") for init in inits for kind in KINDS}
        self.assertEqual(len(KINDS) * len(numbers), len(namespaces))

    def test_nothing_on_the_host(self) -> None:
        """
        A container is not seen among the host's mounts, and its processes are those of nobody there.
        """
        number = self.confined()
        self.assertEqual([], self.traces.mounts())
        pids = eventually(self.traces.processes, "its processes")
        self.assertIn(self.corex_of(number), pids)
        for pid in pids:
            users = status(pid)["Uid"].split()
            self.assertGreaterEqual(min(map(int, users)), FIRST_ID)
