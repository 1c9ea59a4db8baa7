"""
What programs in a container can do to what is around it: nothing.
"""

import base64
import json
import os
import re
import struct
import subprocess
from errno import EAFNOSUPPORT, EBUSY, ENOENT, ENOSYS, EROFS
from pathlib import Path

from core0.containers.bundle import MASKED
from core0.containers.runtime import find
from tests.functional.containers import OWNED
from tests.functional.shared import OWN_OF_LIBC, answer_of, parse_status, sh
from tests.functional.test_confinement_shared import ConfinementCase, probe

# prints what a process can know of itself, a paragraph each
ITSELF = """
    cat /proc/self/status; echo --
    cat /proc/self/limits; echo --
    cat /proc/self/uid_map /proc/self/gid_map /proc/self/setgroups /proc/self/oom_score_adj /proc/self/timens_offsets
    umask; pwd; readlink /proc/self/root; echo --
    cat /proc/self/cgroup /proc/self/mountinfo; echo --
    for name in cgroup ipc mnt net pid time user uts; do readlink /proc/self/ns/$name; done; echo --
    ls /proc/self/fd | tr '\\n' ' '; echo --
    env | sort; echo --
    """
SAME = (
    *("Umask", "Uid", "Gid", "Groups", "SigBlk", "SigIgn", "SigCgt", "CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"),
    *("NoNewPrivs", "Seccomp", "Seccomp_filters", "Cpus_allowed", "Mems_allowed", "Speculation_Store_Bypass"),
)
# what of the attempts fails in another way than by a lack of rights
OTHERWISE = {
    **dict.fromkeys(("packet", "vsock", "alg"), EAFNOSUPPORT),
    **dict.fromkeys(("kcore", "sysrq", "modprobe"), ENOENT),
    **dict.fromkeys(("mkdir in cgroup", "core_pattern", "write init", "pids.max", "cgroup.procs"), EROFS),
    "clone3": ENOSYS,
    "remove init": EBUSY,
}
# a hundred times the family of a socket, and its type
SOCKETS = {101, 102, 105, 201, 202, 203, 205, 1001, 1002, 1005, 1602, 1603}
# the same again, where cgroups have other names, or the kernel is built without something
NOT_THERE = dict.fromkeys(("mkdir in cgroup", "release_agent", "pids.max", "cgroup.procs", "core_pattern"), ENOENT)
HARMLESS = {f"/dev/{name}" for name in ("null", "zero", "full", "random", "urandom", "tty", "pts/ptmx")}
CAP_SETUID = 1 << 7


def capability(mask: int) -> bytes:
    """
    ``security.capability`` of a file, version 2: permitted and effective.
    """
    return struct.pack("<IIIII", 0x02000001, mask, 0, 0, 0)


class ExecTests(ConfinementCase):
    """
    Jobs compared with what the runtime itself starts in the same container.
    """

    runtime = "runc"

    def by_runtime(self, number: int, script: str) -> str:
        """
        What a script prints that the runtime has started.
        """
        config = json.loads((self.daemon.state / "containers" / str(number) / "bundle" / "config.json").read_text())
        root = config["root"]["path"]
        family = json.loads((self.daemon.state / "id").read_text())["containers"]
        name = f"{family}-{number}"
        records = str(self.daemon.run / "containers" / "runc")
        # it starts where the root was mounted when the container was made
        place = 'mount -t tmpfs tmpfs "${0%/*}" && mkdir "$0" && exec "$@"'
        command = ["unshare", "--mount", "--propagation", "private", "sh", "-c", place, root]
        command += [find("runc") or "", "--root", records, "exec", name, "sh", "-c", script]
        done = subprocess.run(command, check=False, capture_output=True, stdin=subprocess.DEVNULL)
        self.assertEqual((0, b""), (done.returncode, done.stderr))
        return done.stdout.decode()

    def test_like_exec(self) -> None:
        """
        A job in a container has the ids, rights, limits, namespaces, cgroups, mounts, descriptors and signals that the
        runtime's own exec gives, and nothing of the host's environment.
        """
        number = self.confined(env={"GIVEN": "to all"}, limits={"pids": 50})
        ours, theirs = self.inside_sh(number, ITSELF).split("--\n"), self.by_runtime(number, ITSELF).split("--\n")
        status, expected = parse_status(ours[0]), parse_status(theirs[0])
        ignored = int(status["SigIgn"], 16)
        self.assertEqual(0, ignored & ~OWN_OF_LIBC)
        expected["SigIgn"] = status["SigIgn"]
        self.assertEqual({name: expected.get(name) for name in SAME}, {name: status.get(name) for name in SAME})
        self.assertEqual(("1", "2"), (status["NoNewPrivs"], status["Seccomp"]))
        # the tag by which the processes of a job are known
        limits = [re.sub(r"(Max file locks +)\S+ +", r"\1? ", text) for text in (ours[1], theirs[1])]
        # runc is written in Go, which raises the soft limit of what it starts, sometimes before runc sets it
        self.assertRegex(ours[1], r"(?m)^Max open files +1024 ")
        limits = [re.sub(r"(Max open files +)\S+ +", r"\1? ", text) for text in limits]
        self.assertEqual(limits[1].splitlines(), limits[0].splitlines())
        for paragraph in (2, 3, 4):
            self.assertEqual(theirs[paragraph], ours[paragraph])
        for found in (ours, theirs):
            self.assertRegex(found[5], r"^0 1 2 \d+ $")
        given = {"GIVEN=to all", "HOME=/root", "LANG=C.UTF-8", "container=core0"}
        names = {line for line in ours[6].splitlines() if not re.match(r"(PATH|SHLVL|PWD|_|OLDPWD)=", line)}
        self.assertEqual(given, names)
        self.assertEqual({"GIVEN=to all", "HOME=/root", "container=core0"}, given & set(theirs[6].splitlines()))


class KernelTests(ConfinementCase):
    """
    What a hostile root tries.
    """

    number: int

    def setUp(self) -> None:
        """
        A container.
        """
        super().setUp()
        self.number = self.confined()

    def test_first_processes(self) -> None:
        """
        The container's first process has no descriptor but its own, and nothing of the host's environment; its CoreX
        has the same namespaces, root directory, cgroups, ids and rights.
        """
        number = self.number
        init, corex = (Path(f"/proc/{pid}") for pid in (self.listed()[str(number)]["pid"], self.corex_of(number)))
        for fd in (init / "fd").iterdir():
            self.assertRegex(os.readlink(fd), r"^(/dev/null|pipe:\[\d+\]|anon_inode:\[?\w+\]?)$")
        environment = {line.partition(b"=")[0] for line in (init / "environ").read_bytes().split(b"\0")[:-1]}
        self.assertEqual({b"PATH", b"HOME", b"container"}, environment)
        for name in ("uid_map", "gid_map", "cgroup", "oom_score_adj", "mountinfo"):
            self.assertEqual((init / name).read_text(), (corex / name).read_text(), name)
        for name in ("cgroup", "ipc", "mnt", "net", "pid", "user", "uts"):
            self.assertEqual(os.readlink(init / "ns" / name), os.readlink(corex / "ns" / name))
        self.assertEqual(("/", "/"), (os.readlink(corex / "cwd"), os.readlink(corex / "root")))
        one, other = (parse_status((path / "status").read_text()) for path in (init, corex))
        for field in ("Uid", "Gid", "CapPrm", "CapEff", "CapBnd", "CapInh", "CapAmb", "NoNewPrivs", "Seccomp"):
            self.assertEqual(one[field], other[field], field)

    def test_calls(self) -> None:
        """
        Mounts, namespaces, modules, keys, bpf, io_uring, devices, forged packets, the machine's settings: all are
        refused to root in a container, and it is where it was.
        """
        found = self.probed(self.number, "kernel")
        found = {name: error for name, error in found.items() if error == 0 or error != NOT_THERE.get(name)}
        self.assert_all_refused(found, also=OTHERWISE)
        self.assertGreater(len(found), 40)
        found = self.probed(self.number, "leave")
        self.assertEqual((0, ENOENT), (found["container"], found["host"]), found)

    def test_other_doors(self) -> None:
        """
        What is refused to a program is refused to it as a 32-bit one, too.
        """
        found = self.probed(self.number, "doors")
        self.assert_all_refused(found, also={**dict.fromkeys(found, ENOSYS), "32-bit vsock": EAFNOSUPPORT})
        self.assertEqual(os.uname().machine == "x86_64", bool(found))

    def test_sockets(self) -> None:
        """
        Of all families, types and protocols, by each way into the kernel, only streams, datagrams and what is for ping
        can be had: no packet socket under another name, no raw one of IPv6.
        """
        found = self.probed(self.number, "sockets")
        self.assertEqual(set(), set(found.values()) - SOCKETS, found)
        self.assertLessEqual({"native:1:1:0", "native:2:1:0", "native:2:3:1", "native:10:2:17"}, found.keys())
        if os.uname().machine == "x86_64":
            self.assertIn("32-bit:2:1:6", found)

    def test_files_of_the_kernel(self) -> None:
        """
        No file of the kernel can be opened for writing that is not the container's own, and what tells of the host is
        masked.
        """
        places = ("/sys", "/proc/sys", "/proc/bus", "/proc/fs", "/proc/irq", "/proc/sysrq-trigger", "/dev")
        self.assertEqual(set(), set(self.probed(self.number, "writable", *places)) - HARMLESS)
        masked = [path for path in MASKED if os.path.exists(path)]
        script = "\n".join(f"cat {path} 2>/dev/null; ls -A {path}/ 2>/dev/null" for path in masked) + "\ntrue"
        self.assertEqual("", self.inside_sh(self.number, script))
        for script in ("cat /dev/core", "cat /proc/kmsg", "ls /sys/kernel/debug/*", "ls /sys/kernel/security/*"):
            self.assertNotEqual(0, self.inside(self.number, "core.system", sh(script))["code"], script)
        self.assertEqual({"0" * 16}, set(self.inside_sh(self.number, "cut -d' ' -f1 /proc/kallsyms | sort -u").split()))

    def test_directory(self) -> None:
        """
        A job starts in a directory of its container whatever leads there: what its CoreX has open of the host is none,
        nor are programs run from there.
        """
        # a symlink by the name that the folder has on the host
        corex = f"{self.daemon.run}/corex"
        self.inside_sh(self.number, f"mkdir -p {corex} && ln -s /proc/self/fd/3 {corex}/sock")
        self.assertEqual(f"{corex}/sock", os.readlink(f"/proc/{self.corex_of(self.number)}/fd/3"))
        paths = [f"{corex}/sock", *(f"/proc/self/fd/{fd}" for fd in range(16))]
        self.inside_sh(self.number, "for fd in $(seq 0 15); do ln -s /proc/self/fd/$fd /data/to-$fd; done")
        paths += [f"/data/to-{fd}" for fd in range(16)]
        paths += ["proc/self/fd/3", "/proc/thread-self/fd/3", "/proc/self/task/../fd/3/.", "/proc/self/fd/3/.."]
        for path in paths:
            arguments = {"name": "/bin/probe", "args": ["path", "redis.sock"], "dir": path}
            self.assert_refused(400, "arguments.dir", self.inside(self.number, "core.system", arguments))
            result = self.inside(self.number, "core.system", {"name": "redis.sock", "env": {"PATH": path}})
            self.assertIn(result["code"], (126, 127), result)
        for path in ("/proc/self/cwd", "/proc/1/root/data", "/data"):
            self.assertEqual({"path": ENOENT}, self.at(path, "path", "redis.sock"))

    def at(self, folder: str, *words: str) -> dict[str, int]:
        """
        What the probe says that starts in a folder.
        """
        arguments = {"name": "/bin/probe", "args": list(words), "dir": folder}
        result = self.inside(self.number, "core.system", arguments)
        lines = [line.rpartition(" ") for line in result["streams"][0].splitlines()]
        return {name: int(error) for name, _, error in lines}

    def test_facts(self) -> None:
        """
        Files that facts are read from may be anything in a container, and do not hold up its CoreX or fill its memory.
        """
        corex = self.corex_of(self.number)
        links = (f"ln -s {path} $f" for path in ("/dev/zero", "/proc/self/fd/9", "/proc/self/mem", "/dev/tty"))
        for script in ("mkfifo $f", "mkdir $f", *links):
            names = "/etc/os-release /etc/machine-id /usr/lib/os-release /run/systemd/container"
            made = f"mkdir -p /usr/lib /run/systemd; for f in {names}; do rm -rf $f; {script}; done"
            self.inside_sh(self.number, made)
            result = self.daemon.result(self.dispatch(self.number, "info.os"), 10)
            self.assertEqual("SUCCESS", result["state"], script)
        peak = parse_status(Path(f"/proc/{corex}/status").read_text())["VmHWM"]
        self.assertLess(int(peak.split()[0]), 300 << 10)
        self.assertEqual("pong", answer_of(self.inside(self.number, "core.ping")))


class KernelOnRuncTests(KernelTests):
    """
    The same in a container that the other runtime has made.
    """

    runtime = "runc"


class RightsTests(ConfinementCase):
    """
    Programs that would have more rights than whoever starts them.
    """

    def test_set_user_id(self) -> None:
        """
        A set-uid program of the image gives no rights to another user in the container, nor do capabilities of a file.
        """
        number = self.confined()
        text = base64.b64encode(probe()).decode()
        self.inside(number, "core.system", {"name": "sh", "args": ["-c", "base64 -d > /bin/copy"], "stdin": text})
        self.inside_sh(number, "chmod 4755 /bin/copy; chown 0:0 /bin/probe; chmod 6755 /bin/probe")
        upper = self.daemon.state / "containers" / str(number) / "upper" / "bin" / "copy"
        os.setxattr(upper, "security.capability", capability(CAP_SETUID))
        for name in ("copy", "probe"):
            said = self.inside_sh(number, f"su somebody -c '/bin/{name} ids'")
            self.assertEqual(f"uid {OWNED}\neuid {OWNED}\n", said)
