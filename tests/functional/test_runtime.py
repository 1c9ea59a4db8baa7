"""
Containers made by real runtimes from core0's bundles: what they can see and do, and that nothing is left of them.
"""

import json
import os
import tempfile
from dataclasses import replace
from pathlib import Path

from twisted.internet import reactor
from twisted.internet.defer import CancelledError, ensureDeferred

from core0.containers import capabilities
from core0.containers.bundle import MASKED, Mount, bundle
from core0.containers.machine import look
from core0.containers.runtime import Runtime, RuntimeFailed, find
from core0.containers.seccomp import profile, program
from core0.corex_settings import Limits
from core0.waiting import pause
from tests.functional.containers_shared import (
    BOTH,
    CALLS,
    IDS,
    NUMBERS,
    SIZE,
    Box,
    ContainersCase,
    cgroups_of,
    command_line,
    mounts,
    need_programs,
)
from tests.functional.shared import lives, status


class RuntimeContract(ContainersCase):
    """
    What holds with any runtime.

    :cvar runtime: its name.
    :cvar hide: whether it is kept from seeing both versions of cgroups.
    """

    __test__ = False
    runtime: str
    hide = False

    async def made(self, fill: str = "") -> Box:
        """
        A place for a container.
        """
        need_programs(self.runtime)
        return await self.box(Runtime(find(self.runtime) or "", self.runtime, self.hide), fill)

    async def test_confined(self) -> None:
        """
        A container's first process has no rights over the host: other users, few capabilities, a filter, no more
        descriptors than it opened, the root directory as its place.
        """
        box = await self.made()
        pid = await box.run()
        self.assertEqual(["0", str(IDS), str(SIZE)], Path(f"/proc/{pid}/uid_map").read_text().split())
        self.assertEqual(["0", str(IDS), str(SIZE)], Path(f"/proc/{pid}/gid_map").read_text().split())
        found = status(pid)
        self.assertEqual(("1", "2"), (found["NoNewPrivs"], found["Seccomp"]))
        expected = capabilities.mask(capabilities.CONFINED)
        for field, mask in (("CapBnd", expected), ("CapPrm", expected), ("CapEff", expected), ("CapInh", 0)):
            self.assertEqual(mask, int(found[field], 16), field)
        self.assertEqual(0, int(found["CapAmb"], 16))
        self.assertEqual("/", os.readlink(f"/proc/{pid}/cwd"))
        while "3" not in os.listdir(f"/proc/{pid}/fd"):
            await pause(reactor, 0.01)
        own = [os.readlink(f"/proc/{pid}/fd/{fd}") for fd in os.listdir(f"/proc/{pid}/fd") if int(fd) > 2]
        self.assertEqual(["anon_inode:[signalfd]"], own)
        for kind in ("user", "pid", "mnt", "net", "uts", "ipc", "cgroup"):
            there, here = (os.readlink(f"/proc/{which}/ns/{kind}") for which in (pid, "self"))
            self.assertNotEqual(here, there, kind)

    async def test_surroundings(self) -> None:
        """
        Programs in a container find what they expect: devices, terminals, shared memory, a temporary folder, names.
        """
        box = await self.made()
        await box.run()
        said = await box.sh(
            "hostname; head -c 3 /dev/zero | wc -c; echo x > /dev/null; stat -c %a /tmp /dev/shm /dev/ptmx; pwd;"
            "cat /etc/hosts /etc/hostname /etc/resolv.conf; echo '#' >> /etc/hosts; cat /proc/sys/kernel/hostname;"
            "ls /sys/class/net; cat /proc/1/comm; cat /proc/sys/net/ipv4/ping_group_range; echo $PATH"
        )
        names = [f"# {name} of {box.id}" for name in ("hosts", "hostname", "resolv")]
        path = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
        expected = ["box", "3", "1777", "1777", "777", "/", *names, "box", "lo", "core0-init", "0\t65535", path]
        self.assertEqual(expected, said.splitlines())

    async def test_places_of_the_kernel(self) -> None:
        """
        What tells of the host is empty, what rules it cannot be written, and a container sees its own cgroup as the
        topmost.
        """
        box = await self.made()
        await box.run()
        there = [path for path in MASKED if os.path.exists(path)]
        self.assertTrue(there)
        script = "; ".join(f"(ls -A {path}; cat {path}) 2>/dev/null | grep -vx {path}" for path in there)
        self.assertEqual("", await box.sh(f"{script}; true"))
        for path in (
            "/proc/sys/kernel/hostname",
            "/sys/x",
            "/sys/fs/cgroup/pids/pids.max" if BOTH else "/sys/fs/cgroup/pids.max",
            "/proc/sysrq-trigger",
            "/dev/core0-init",
        ):
            said = await box.sh(f"(echo b > {path}) 2>&1 || true")
            self.assertRegex(said, "Read-only|denied|nonexistent|No such|Permission", path)
        groups = {line.split(":", 2)[2] for line in (await box.sh("cat /proc/1/cgroup")).splitlines()}
        self.assertEqual({"/"}, groups)
        said = await box.sh("mknod /tmp/null c 1 3 2>&1 || true; mount -t tmpfs x /tmp 2>&1 || true")
        self.assertEqual(2, said.count("not permitted") + said.count("denied"), said)

    async def test_devices(self) -> None:
        """
        The devices that a container shares with the host do not become its own.
        """
        box = await self.made()
        await box.run()
        said = await box.sh("for name in null zero full random urandom tty; do chmod 0 /dev/$name 2>&1 || true; done")
        self.assertEqual(6, said.count("not permitted"), said)
        self.assertEqual((0, 0o666), (os.stat("/dev/null").st_uid, os.stat("/dev/null").st_mode & 0o777))

    async def test_cgroups(self) -> None:
        """
        A container is where its bundle says, in every hierarchy, and limited to what was asked for.
        """
        box = await self.made()
        box.spec = replace(box.spec, limits=Limits(memory=64 << 20, cpu=0.5, pids=50))
        pid = await box.run()
        paths = {line.split(":", 2)[2] for line in Path(f"/proc/{pid}/cgroup").read_text().splitlines()}
        self.assertEqual({box.cgroups}, paths)
        folders = [Path(folder) for folder in cgroups_of(box.cgroups)]
        limits = {name: self.value(folders, *names) for name, names in LIMITS.items()}
        self.assertEqual(str(64 << 20), limits["memory"])
        self.assertEqual("50", limits["pids"])
        self.assertIn(limits["cpu"], ("50000", "50000 100000"))

    def value(self, folders: list[Path], *names: str) -> str:
        """
        What a file of a cgroup says that has one of these names.
        """
        return next(
            text.read_text().strip() for folder in folders for name in names if (text := folder / name).exists()
        )

    async def test_nothing_left(self) -> None:
        """
        Of a container that is ended, whatever runs in it, nothing is left; ending it again is fine.
        """
        before = mounts()
        box = await self.made()
        pid = await box.run()
        await box.sh("(trap '' TERM; sleep 1000) >/dev/null 2>&1 </dev/null &")
        self.assertTrue(lives(pid))
        await box.delete()
        self.assertFalse(lives(pid))
        self.assertEqual([], cgroups_of(box.cgroups))
        self.assertEqual([], os.listdir(box.folder / "runtime"))
        await box.delete()
        self.assertEqual(before, mounts())

    async def test_failure(self) -> None:
        """
        A container that cannot be started says why, and nothing is left of it.
        """
        box = await self.made()
        config = bundle(box.spec, look())
        config["process"]["args"] = ["/no-such-program"]
        error = await self.failing(box.run(config), RuntimeFailed)
        self.assertIn("no-such-program", str(error))
        self.assertNotIn("\n", str(error))
        await box.delete()
        self.assertEqual([], cgroups_of(box.cgroups))
        self.assertNotIn(box.id, os.listdir(box.folder / "runtime"))

    async def test_short_lived(self) -> None:
        """
        A container whose first process ends at once is not started, and nothing is left of it.
        """
        box = await self.made()
        config = bundle(box.spec, look())
        config["process"]["args"] = ["/bin/true"]
        await self.failing(box.run(config), RuntimeFailed)
        await box.delete()
        self.assertEqual([], cgroups_of(box.cgroups))

    async def test_no_namespace(self) -> None:
        """
        A container whose mount namespace is gone is not started anywhere else.
        """
        box = await self.made()
        (box.folder / "config.json").write_text(json.dumps(bundle(box.spec, look())))
        work = box.runner.run(
            box.id, str(box.folder), str(box.folder / "pid"), cgroups=box.cgroups, mount_namespace="/proc/0/ns/mnt"
        )
        self.assertIn("/proc/0/ns/mnt", str(await self.failing(work, RuntimeFailed)))
        await box.delete()
        self.assertEqual([], cgroups_of(box.cgroups))

    async def test_cancelled(self) -> None:
        """
        A start that is cancelled, at whatever moment, leaves nothing once it is undone.
        """
        for moment in (0.0, 0.005, 0.01, 0.02, 0.04):
            box = await self.made()
            starting = ensureDeferred(box.run())
            await pause(reactor, moment)
            starting.addErrback(lambda failure: failure.trap(CancelledError))
            starting.cancel()
            await starting
            await box.delete()
            self.assertEqual([], cgroups_of(box.cgroups), moment)
            holders = [name for name in os.listdir("/proc") if name.isdigit() and box.id in command_line(name)]
            self.assertEqual([], holders, moment)

    async def test_odd_image(self) -> None:
        """
        An image whose /proc, /sys or /dev is a symlink is refused, and nothing outside of it changes.
        """
        with tempfile.TemporaryDirectory(prefix="core0-outside-") as outside:
            os.chmod(outside, 0o777)
            for name in ("proc", "dev", "sys"):
                for privileged in (False, True):
                    box = await self.made(f"ln -s ../../../../../..{outside} {name}")
                    box.spec = replace(box.spec, privileged=privileged)
                    error = await self.failing(box.run(), RuntimeFailed)
                    self.assertIn(f"/{name} of the image is no folder", str(error))
                    self.assertEqual([], os.listdir(outside), name)

    async def test_escaping_target(self) -> None:
        """
        A mount whose target leads out of the image by a symlink appears inside of it, or not at all.
        """
        with tempfile.TemporaryDirectory(prefix="core0-outside-") as outside:
            os.chmod(outside, 0o777)
            box = await self.made(f"ln -s ../../../../../../../..{outside} way; ln -s {outside} absolute")
            source = box.folder / "shared"
            source.mkdir()
            (source / "file").touch()
            targets = ("/way/data", "/absolute/more", "/../../../../../../up")
            box.spec = replace(box.spec, mounts=tuple(Mount(str(source), target) for target in targets))
            try:
                await box.run()
            except RuntimeFailed:
                pass
            else:
                self.assertEqual("file\n", await box.sh(f"ls {outside}/data"))
                self.assertEqual("file\n", await box.sh("ls /up"))
            self.assertEqual([], os.listdir(outside))

    async def test_mounts(self) -> None:
        """
        Mounted directories are there without set-uid programs and devices; a read-only one cannot be written.
        """
        box = await self.made()
        for name in ("one", "two"):
            (box.folder / name).mkdir()
            os.chown(box.folder / name, IDS, IDS)
        given = (Mount(str(box.folder / "one"), "/srv/one"), Mount(str(box.folder / "two"), "/srv/two", read_only=True))
        box.spec = replace(box.spec, mounts=given)
        await box.run()
        said = await box.sh("touch /srv/one/x; touch /srv/two/x 2>&1 || true; grep /srv /proc/mounts")
        self.assertIn("Read-only", said)
        self.assertEqual(["x"], os.listdir(box.folder / "one"))
        lines = [line.split() for line in said.splitlines() if line.endswith(" 0 0")]
        options = {words[1]: set(words[3].split(",")) for words in lines}
        self.assertLessEqual({"rw", "nosuid", "nodev"}, options["/srv/one"])
        self.assertLessEqual({"ro", "nosuid", "nodev"}, options["/srv/two"])

    async def test_host_network(self) -> None:
        """
        A container with the host's network sees it, and is confined all the same.
        """
        box = await self.made()
        box.spec = replace(box.spec, host_network=True)
        pid = await box.run()
        self.assertEqual(os.readlink("/proc/self/ns/net"), os.readlink(f"/proc/{pid}/ns/net"))
        self.assertNotEqual(os.readlink("/proc/self/ns/user"), os.readlink(f"/proc/{pid}/ns/user"))
        self.assertEqual(sorted(os.listdir("/sys/class/net")), (await box.sh("ls /sys/class/net")).split())
        self.assertIn("Read-only", await box.sh("mkdir /sys/kernel/x 2>&1 || true"))

    async def test_privileged(self) -> None:
        """
        A privileged container has the host's users, all rights and all devices, and its own processes and network.
        """
        box = await self.made()
        box.spec = replace(box.spec, privileged=True)
        pid = await box.run()
        found = status(pid)
        self.assertEqual(("0", "0"), (found["NoNewPrivs"], found["Seccomp"]))
        self.assertEqual(int(status("self")["CapBnd"], 16), int(found["CapEff"], 16))
        self.assertEqual(os.readlink("/proc/self/ns/user"), os.readlink(f"/proc/{pid}/ns/user"))
        self.assertNotEqual(os.readlink("/proc/self/ns/pid"), os.readlink(f"/proc/{pid}/ns/pid"))
        devices = {device.path.split("/")[2] for device in look().devices}
        self.assertLessEqual(devices, set((await box.sh("ls /dev")).split()))
        self.assertIn("rw", await box.sh("mount -t tmpfs x /tmp && grep ' /sys ' /proc/mounts"))

    async def test_calls(self) -> None:
        """
        The runtime lets programs call what the compiled profile lets them call, and nothing else.
        """
        box = await self.made("mkdir usr; ln -s usr/lib lib; ln -s usr/lib64 lib64")
        box.spec = replace(box.spec, mounts=(Mount("/usr", "/usr", read_only=True),))
        await box.run()
        python = os.path.realpath("/usr/bin/python3")
        calls = json.dumps(NUMBERS)
        inside = await box.exec(python, "-ISc", CALLS, calls)
        file = box.folder / "program"
        file.write_bytes(program(profile(look().name)))
        outside = await self.programs.run([python, "-ISc", CALLS, calls, str(file)])
        self.assertEqual((0, b""), (inside.code, inside.err))
        self.assertEqual((0, b""), (outside.code, outside.err))
        self.assertEqual(json.loads(outside.out), json.loads(inside.out))
        self.assertGreater(len(NUMBERS), 40)


LIMITS = {
    "memory": ("memory.max", "memory.limit_in_bytes"),
    "pids": ("pids.max",),
    "cpu": ("cpu.max", "cpu.cfs_quota_us"),
}


class RuncTests(RuntimeContract):
    """
    With runc.
    """

    __test__ = True
    runtime = "runc"


class CrunTests(RuntimeContract):
    """
    With crun, which does not work on hosts with both versions of cgroups while it sees them.
    """

    __test__ = True
    runtime = "crun"
    hide = BOTH
