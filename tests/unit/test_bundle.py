"""
Bundles: what is asked for, in; the runtime's configuration, out.
"""

import json
from dataclasses import replace
from itertools import permutations
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from core0.containers import capabilities, groups
from core0.containers.bundle import DEFAULT_PIDS, INIT, Etc, Mount, Spec, bundle
from core0.containers.machine import Device, Machine, look
from core0.containers.runtime import MOST_SHOWN, last_words
from core0.corex_settings import Limits

EVERYTHING = capabilities.mask(capabilities.ALL)
DISK = Device("/dev/vda", "b", 254, 0, 0o660, 0, 6)
MACHINE = Machine("x86_64", True, True, 20000, EVERYTHING, ("/sys/devices/system/cpu/cpu0/thermal_throttle",), (DISK,))
SPEC = Spec(7, "box", "/run/root", 200000, "/core0-containers/7", "/usr/bin/catatonit")

specs = st.builds(
    Spec,
    number=st.integers(1, 65535),
    hostname=st.text(),
    rootfs=st.just("/run/root"),
    ids=st.integers(65536, 1 << 31),
    cgroups=st.just("/core0-containers/7"),
    init=st.just("/usr/bin/catatonit"),
    etc=st.builds(Etc, hosts=st.sampled_from(("", "/run/hosts"))),
    env=st.dictionaries(st.text(), st.text(), max_size=3),
    mounts=st.lists(st.builds(Mount, st.text(), st.text(), st.booleans(), st.booleans()), max_size=3).map(tuple),
    limits=st.builds(
        Limits,
        memory=st.none() | st.integers(1, 1 << 40),
        cpu=st.none() | st.floats(0.001, 1024),
        pids=st.none() | st.integers(1, 1 << 20),
    ),
    privileged=st.booleans(),
    host_network=st.booleans(),
)


def kinds(config: dict[str, Any]) -> set[str]:
    """
    The namespaces of a container.
    """
    return {namespace["type"] for namespace in config["linux"]["namespaces"]}


def mount(config: dict[str, Any], target: str) -> dict[str, Any]:
    """
    What is mounted at a place.
    """
    (found,) = (mount for mount in config["mounts"] if mount["destination"] == target)
    return dict(found)


class BundleTests(SynchronousTestCase):
    """
    What containers are.
    """

    @given(specs, st.booleans())
    def test_any(self, spec: Spec, cgroup2: bool) -> None:
        """
        Equal requests give equal bundles, which JSON can hold, whatever is asked for.
        """
        machine = replace(MACHINE, cgroup2=cgroup2)
        config = bundle(spec, machine)
        self.assertEqual(config, bundle(spec, machine))
        self.assertEqual(config, json.loads(json.dumps(config)))
        self.assertEqual(str(spec.number), config["annotations"]["core0.number"])

    @given(specs)
    def test_confined(self, spec: Spec) -> None:
        """
        Nothing but the word privileged gives a container more than a confined one has.
        """
        config = bundle(replace(spec, privileged=False), MACHINE)
        process, linux = config["process"], config["linux"]
        self.assertTrue(process["noNewPrivileges"])
        self.assertLessEqual(set(process["capabilities"]["bounding"]), set(capabilities.CONFINED))
        self.assertEqual([], process["capabilities"]["ambient"] + process["capabilities"]["inheritable"])
        self.assertLessEqual({"pid", "mount", "ipc", "uts", "cgroup", "user"}, kinds(config))
        self.assertEqual([{"containerID": 0, "hostID": spec.ids, "size": 65536}], linux["uidMappings"])
        self.assertEqual(linux["uidMappings"], linux["gidMappings"])
        self.assertEqual("SCMP_ACT_ERRNO", linux["seccomp"]["defaultAction"])
        self.assertNotIn("devices", linux)
        self.assertEqual({"allow": False, "access": "rwm"}, linux["resources"]["devices"][0])
        self.assertLessEqual(
            {"/proc/kcore", "/proc/keys", "/sys/firmware", *MACHINE.throttles}, set(linux["maskedPaths"])
        )
        self.assertIn("/proc/sys", linux["readonlyPaths"])

    def test_process(self) -> None:
        """
        The first process is the init program, mounted read-only, and waits; its limits are not beyond the machine's.
        """
        config = bundle(SPEC, replace(MACHINE, files=512))
        self.assertEqual([INIT, "-P"], config["process"]["args"])
        self.assertIn("ro", mount(config, INIT)["options"])
        self.assertEqual("/", config["process"]["cwd"])
        limits = {limit["type"]: (limit["soft"], limit["hard"]) for limit in config["process"]["rlimits"]}
        self.assertEqual({"RLIMIT_CORE": (0, 0), "RLIMIT_NOFILE": (512, 512)}, limits)

    def test_environment(self) -> None:
        """
        What is given in env wins over what there is without it.
        """
        env = bundle(replace(SPEC, env={"PATH": "/opt", "A": "b=c"}), MACHINE)["process"]["env"]
        self.assertEqual(["PATH=/opt", "HOME=/root", "A=b=c"], env)

    def test_network(self) -> None:
        """
        A container with the host's network has no network of its own, nor settings of it, and sees the host's /sys.
        """
        own, host = bundle(SPEC, MACHINE), bundle(replace(SPEC, host_network=True), MACHINE)
        self.assertEqual({"network"}, kinds(own) - kinds(host))
        self.assertEqual("0 65535", own["linux"]["sysctl"]["net.ipv4.ping_group_range"])
        self.assertEqual({}, host["linux"]["sysctl"])
        self.assertEqual(("sysfs", "bind"), (mount(own, "/sys")["type"], mount(host, "/sys")["type"]))
        self.assertIn("ro", mount(host, "/sys")["options"])

    def test_privileged(self) -> None:
        """
        A privileged container has the host's users, all capabilities and devices, and nothing hidden.
        """
        config = bundle(replace(SPEC, privileged=True), MACHINE)
        self.assertNotIn("user", kinds(config))
        self.assertIn("network", kinds(config))
        self.assertEqual(list(capabilities.ALL), config["process"]["capabilities"]["effective"])
        self.assertFalse(config["process"]["noNewPrivileges"])
        self.assertEqual(set(), {"seccomp", "maskedPaths", "readonlyPaths", "uidMappings"} & set(config["linux"]))
        self.assertEqual(["/dev/vda"], [device["path"] for device in config["linux"]["devices"]])
        self.assertEqual([{"allow": True, "access": "rwm"}], config["linux"]["resources"]["devices"])
        self.assertNotIn("ro", mount(config, "/sys")["options"] + mount(config, "/sys/fs/cgroup")["options"])

    def test_limits(self) -> None:
        """
        Limits are those of the cgroup: no swap beyond the memory, a part of each period, a number of processes.
        """
        limits = Limits(memory=1 << 20, cpu=1.5, pids=9)
        found = bundle(replace(SPEC, limits=limits), MACHINE)["linux"]["resources"]
        self.assertEqual({"limit": 1 << 20, "swap": 1 << 20}, found["memory"])
        self.assertEqual({"quota": 150_000, "period": 100_000}, found["cpu"])
        self.assertEqual({"limit": 9}, found["pids"])
        none = bundle(SPEC, MACHINE)["linux"]["resources"]
        self.assertEqual(({"limit": DEFAULT_PIDS}, False), (none["pids"], "memory" in none or "cpu" in none))

    @given(st.none() | st.integers(8 << 20, 1 << 50))
    def test_files_in_memory(self, memory: int | None) -> None:
        """
        Files in memory are limited in bytes and in number; all of them together leave half of a limited memory.
        """
        config = bundle(replace(SPEC, limits=Limits(memory=memory)), MACHINE)
        sizes = []
        for target in ("/tmp", "/dev/shm", "/dev"):
            options = dict(each.partition("=")[::2] for each in mount(config, target)["options"])
            sizes.append(int(options["size"]))
            self.assertGreater(int(options["nr_inodes"]), 0)
        usual = [1 << 30, 64 << 20, 64 << 20]
        if memory is None:
            self.assertEqual(usual, sizes)
        else:
            self.assertTrue(min(sizes) > 0 and sum(sizes) <= memory // 2)
            self.assertTrue(all(size <= most for size, most in zip(sizes, usual, strict=True)))

    def test_no_swap(self) -> None:
        """
        Where cgroups cannot limit swap, memory is limited all the same.
        """
        machine = replace(MACHINE, cgroup2=False, swap=False)
        found = bundle(replace(SPEC, limits=Limits(memory=1 << 20)), machine)["linux"]["resources"]
        self.assertEqual({"limit": 1 << 20}, found["memory"])

    def test_mounts(self) -> None:
        """
        What somebody wants to be mounted comes after what every container has, and has no set-uid programs or devices,
        nor has what is below it.
        """
        given = (Mount("/a", "/b", read_only=True), Mount("/c", "/d"), Mount("/e", "/f", file=True))
        config = bundle(replace(SPEC, mounts=given, etc=Etc("/h", "/n", "/r")), MACHINE)
        self.assertEqual(["/b", "/d", "/f"], [mount["destination"] for mount in config["mounts"][-6:-3]])
        self.assertLessEqual({"rbind", "ro", "rro", "nosuid", "rnosuid", "nodev"}, set(mount(config, "/b")["options"]))
        self.assertNotIn("ro", mount(config, "/d")["options"])
        self.assertNotIn("rbind", mount(config, "/f")["options"])
        sources = [mount(config, f"/etc/{name}")["source"] for name in ("hosts", "hostname", "resolv.conf")]
        self.assertEqual(["/h", "/n", "/r"], sources)

    def test_nested(self) -> None:
        """
        What is mounted below another mount comes after it, in whatever order they are asked for, and so do the files of
        /etc; where both are for the same place that of whoever asks is the last.
        """
        given = (Mount("/1", "/a/b/c"), Mount("/2", "/a/b"), Mount("/3", "/a"), Mount("/4", "/etc"))
        own = Mount("/5", "/etc/hosts", file=True)
        for mounts in permutations((*given, own)):
            config = bundle(replace(SPEC, mounts=mounts, etc=Etc("/h", "/n", "/r")), MACHINE)
            found = [mount["destination"] for mount in config["mounts"][-8:]]
            self.assertEqual(["/a/b", "/a/b/c"], [place for place in found if place.startswith("/a/")])
            self.assertLess(found.index("/a"), found.index("/a/b"))
            self.assertLess(found.index("/etc"), found.index("/etc/hostname"))
            hosts = [mount["source"] for mount in config["mounts"] if mount["destination"] == "/etc/hosts"]
            self.assertEqual(["/h", "/5"], hosts)

    def test_capabilities(self) -> None:
        """
        Nothing is given that the machine does not have.
        """
        machine = replace(MACHINE, capabilities=capabilities.mask(("CAP_KILL", "CAP_SYS_ADMIN")))
        self.assertEqual(["CAP_KILL"], bundle(SPEC, machine)["process"]["capabilities"]["effective"])
        self.assertEqual(("CAP_CHOWN", "CAP_CHECKPOINT_RESTORE"), capabilities.names(1 | 1 << 40 | 1 << 63))


class MachineTests(SynchronousTestCase):
    """
    What is read of a machine.
    """

    def test_this_one(self) -> None:
        """
        This machine has files, capabilities and the devices that every machine has.
        """
        machine = look()
        self.assertGreater(machine.files, 0)
        numbers = {device.path: (device.kind, device.major, device.minor) for device in machine.devices}
        self.assertEqual(("c", 1, 3), numbers["/dev/null"])
        self.assertEqual([], [device.path for device in machine.devices if device.path.startswith("/dev/pts")])

    def test_other(self) -> None:
        """
        A machine without swap in its cgroups, or with none of the first version, is known by its files.
        """
        with TemporaryDirectory() as folder:
            root = Path(folder)
            (root / "proc/self").mkdir(parents=True)
            (root / "proc/self/status").write_text("Name:\tx\nCapBnd:\t0000000000000021\n")
            (root / "sys/devices/system/cpu/cpu0/thermal_throttle").mkdir(parents=True)
            found = look(root)
            self.assertEqual((False, False, 0x21), (found.cgroup2, found.swap, found.capabilities))
            self.assertEqual(("/sys/devices/system/cpu/cpu0/thermal_throttle",), found.throttles)
            (root / "sys/fs/cgroup").mkdir(parents=True)
            (root / "sys/fs/cgroup/cgroup.controllers").touch()
            found = look(root)
            self.assertEqual((True, True), (found.cgroup2, found.swap))


class WordsTests(SynchronousTestCase):
    """
    What runtimes complain of.
    """

    def test_runc(self) -> None:
        """
        Of runc's log lines the last message is shown, without its quoting.
        """
        text = b'time="2026-01-01T00:00:00Z" level=error msg="runc run failed: exec: \\"/x\\": not found"\n'
        self.assertEqual('runc run failed: exec: "/x": not found', last_words(b'level=warning msg="other"\n' + text))

    def test_crun(self) -> None:
        """
        Of crun's lines the last is shown, without its time.
        """
        self.assertEqual("open `/x`: No such file", last_words(b"2026-01-01T00:00:00.5Z: open `/x`: No such file\n"))

    def test_nothing(self) -> None:
        """
        A runtime that says nothing is said to say nothing.
        """
        self.assertEqual("it says nothing", last_words(b" \n"))

    @given(st.binary(max_size=3000))
    def test_any(self, text: bytes) -> None:
        """
        Whatever it says becomes one short line.
        """
        said = last_words(text)
        said.encode()
        self.assertLessEqual(len(said.splitlines()), 1)
        self.assertLessEqual(len(said), MOST_SHOWN + 3)


class GroupsTests(SynchronousTestCase):
    """
    Cgroups of containers.
    """

    def test_others(self) -> None:
        """
        A path that is not a container's is refused: nothing else is ever killed or removed.
        """
        for path in ("", "/", "relative", "/a/../..", "/.."):
            for function in (groups.kill, groups.remove, groups.remove_empty):
                self.assertRaises(ValueError, function, path)

    def test_not_there(self) -> None:
        """
        Where there is no such cgroup nothing is left of it.
        """
        self.assertTrue(groups.kill("/core0-no-such-cgroup/1"))
        self.assertTrue(groups.remove("/core0-no-such-cgroup/1"))
