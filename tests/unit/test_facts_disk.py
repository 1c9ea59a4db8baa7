"""
What core0 tells of file systems and disks.
"""

import json
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from core0.facts import block, disk
from core0.facts.space import Gauge, Space
from core0.messages import encode
from tests.unit.machine import machine
from tests.unit.test_facts_mounts import MOUNTINFO


def devices() -> dict[str, str]:
    """
    A disk of two partitions, a whole one, a logical volume, and some that are not to be listed.
    """
    pci = "sys/devices/pci0/block"
    virtual = "sys/devices/virtual/block"
    return {
        f"{pci}/sda/dev": "8:0\n",
        f"{pci}/sda/size": "4096\n",
        f"{pci}/sda/queue/rotational": "1\n",
        f"{pci}/sda/device/model": "ST4000NM0033    \n",
        f"{pci}/sda/device/type": "0\n",
        f"{pci}/sda/sda1/dev": "8:1\n",
        f"{pci}/sda/sda1/size": "1024\n",
        f"{pci}/sda/sda1/partition": "1\n",
        f"{pci}/sda/sda2/dev": "8:2\n",
        f"{pci}/sda/sda2/size": "2048\n",
        f"{pci}/sda/sda2/partition": "2\n",
        f"{pci}/sda/sda3/dev": "8:3\n",
        f"{pci}/sda/sda3/size": "8\n",
        f"{pci}/sda/sda3/partition": "3\n",
        f"{pci}/sdb/dev": "8:16\n",
        f"{pci}/sdb/size": "7814037168\n",
        f"{pci}/cciss!c0d0/dev": "104:0\n",
        f"{pci}/cciss!c0d0/size": "16\n",
        f"{pci}/sr0/dev": "11:0\n",
        f"{pci}/sr0/size": "2097151\n",
        f"{pci}/sr0/device/type": "5\n",
        f"{virtual}/dm-0/dev": "253:0\n",
        f"{virtual}/dm-0/size": "100\n",
        f"{virtual}/dm-0/dm/name": "vg-data\n",
        f"{virtual}/dm-0/dm/uuid": "LVM-abcdef\n",
        f"{virtual}/dm-0/slaves/sdc/x": "",
        f"{virtual}/md0/dev": "9:0\n",
        f"{virtual}/md0/size": "64\n",
        f"{virtual}/md0/md/level": "raid1\n",
        f"{virtual}/loop0/dev": "7:0\n",
        f"{virtual}/loop0/size": "0\n",
        f"{virtual}/loop1/dev": "7:1\n",
        f"{virtual}/loop1/size": "4\n",
        f"{virtual}/ram0/dev": "1:0\n",
        f"{virtual}/ram0/size": "8192\n",
        f"{virtual}/nvme0c0n1/size": "8192\n",
    }


def root(case: SynchronousTestCase, mountinfo: bytes = MOUNTINFO, *folders: str) -> Path:
    found = {path.split("/block/", 1)[1] for path in devices()}
    names = {path.split("/")[1 if path.startswith("sda/sda") else 0] for path in found}
    where = {
        name: next(path for path in devices() if f"/{name}/dev" in path or f"/{name}/size" in path) for name in names
    }
    return machine(
        case,
        {
            "proc/self/mountinfo": mountinfo,
            "proc/swaps": "Filename Type Size Used Priority\n/dev/sda3 partition 4 0 -2\n/swap\\040file file 8 0 -3\n",
            **devices(),
            **{f"{folder}/x": "" for folder in folders},
        },
        {f"sys/class/block/{name}": path.rpartition("/")[0] for name, path in where.items()},
    )


def answering(base: Path, answers: dict[str, Space | None]) -> Gauge:
    """
    A gauge whose file systems answer as given, by mount point.
    """
    return Gauge(lambda path: answers.get(path.decode().removeprefix(str(base)), Space()))


class BlockTests(SynchronousTestCase):
    """
    Reading /sys for block devices.
    """

    def setUp(self) -> None:
        self.found = {device.name: device for device in block.collect(root(self))}

    def test_listed(self) -> None:
        """
        Those without a medium, without a device file and RAM disks are left out.
        """
        self.assertEqual(
            {"sda", "sda1", "sda2", "sda3", "sdb", "cciss/c0d0", "sr0", "dm-0", "md0", "loop1"}, set(self.found)
        )

    def test_types(self) -> None:
        """
        Types are those of lsblk.
        """
        for name, type in [("sda", "disk"), ("sda1", "part"), ("sr0", "rom"), ("dm-0", "lvm"), ("loop1", "loop")]:
            self.assertEqual(type, self.found[name].type)
        self.assertEqual("raid1", self.found["md0"].type)

    def test_partition(self) -> None:
        """
        A partition has its own size, and model and kind of its disk, which is its parent.
        """
        found = self.found["sda1"]
        self.assertEqual((1024 * 512, "ST4000NM0033", True, "sda"), _drive(found))
        self.assertEqual((7814037168 * 512, "", False, ""), _drive(self.found["sdb"]))

    def test_paths(self) -> None:
        """
        Devices are called by the names of their device files.
        """
        self.assertEqual("/dev/cciss/c0d0", self.found["cciss/c0d0"].path)
        self.assertEqual("/dev/mapper/vg-data", self.found["dm-0"].path)

    def test_stacked(self) -> None:
        """
        The parent of a device that is made of others is the first of them.
        """
        self.assertEqual("sdc", self.found["dm-0"].parent)


class DiskTests(SynchronousTestCase):
    """
    Putting mounts and devices together.
    """

    def setUp(self) -> None:
        base = root(self)
        answers = {
            "/": Space(100, 60, 30),
            "/boot and\tmore\\x": Space(10, 4, 6),
            "/run": Space(24576, 0, 24576),
            "/data": Space(5, 3, 2),
            "/net": None,
            "/hidden": Space(7, 0, 7),
            "/hidden/c": Space(8, 0, 8),
        }
        self.found = disk.collect(base, answering(base, answers))
        self.by_mountpoint = {each.mountpoint: each for each in self.found if each.mountpoint}
        self.unmounted = {each.device: each for each in self.found if not each.mountpoint}

    def test_listed(self) -> None:
        """
        Mounts come in their order, less those that hold nothing, then the devices which are not mounted.
        """
        self.assertEqual(
            ["/", "/boot and\tmore\\x", "/run", "/data", "/net", "/hidden/b", "/hidden", "/hidden/c"],
            [each.mountpoint for each in self.found if each.mountpoint],
        )
        self.assertEqual(
            ["/dev/cciss/c0d0", "/dev/loop1", "/dev/md0", "/dev/sda", "/dev/sda3", "/dev/sr0"], list(self.unmounted)
        )

    def test_file_system_on_a_disk(self) -> None:
        """
        The entry of a mounted device has the facts of both, and the device's own name.
        """
        self.assertEqual(
            {
                "device": "/dev/sda2",
                "mountpoint": "/",
                "fstype": "ext4",
                "opts": "rw,relatime,discard",
                "total": 100,
                "used": 60,
                "free": 30,
                "size": 1048576,
                "model": "ST4000NM0033",
                "rotational": True,
                "type": "part",
                "parent": "sda",
            },
            json.loads(encode(self.by_mountpoint["/"])),
        )

    def test_device_of_another_number(self) -> None:
        """
        File systems that go by numbers of their own are found by their device's path.
        """
        found = self.by_mountpoint["/data"]
        self.assertEqual(("/dev/mapper/vg-data", "lvm", 51200), (found.device, found.type, found.size))

    def test_no_answer(self) -> None:
        """
        A file system that does not answer is listed without figures.
        """
        found = self.by_mountpoint["/net"]
        self.assertEqual(("server:/export", 0, 0, 0, 0, ""), (found.device, *_figures(found), found.size, found.type))

    def test_hidden(self) -> None:
        """
        A device that is mounted where it cannot be seen is in use, so it is listed there; other file systems are not.
        """
        self.assertEqual((0, 0, 0), _figures(self.by_mountpoint["/hidden/b"]))
        self.assertEqual("seen", self.by_mountpoint["/hidden/c"].device)

    def test_swap(self) -> None:
        """
        A partition that is swapped to says so.
        """
        self.assertEqual("swap", self.unmounted["/dev/sda3"].fstype)
        self.assertEqual("", self.unmounted["/dev/sda"].fstype)

    def test_nothing_known(self) -> None:
        """
        Without /proc and /sys there is nothing to list.
        """
        self.assertEqual([], disk.collect(Path("/nonexistent")))

    def test_real_folders(self) -> None:
        """
        The figures are those of the place where the file system is mounted, below the root in question.
        """
        base = root(self, b"27 1 8:2 / / rw - ext4 /dev/root rw\n28 27 0:9 / /a\\040b rw - tmpfs t rw\n", "a b")
        found = [each for each in disk.collect(base) if each.mountpoint]
        self.assertEqual(["/", "/a b"], [each.mountpoint for each in found])
        for each in found:
            self.assertGreater(each.total, 0)

    def test_not_utf8(self) -> None:
        """
        A mount point whose name is no UTF-8 can be asked, and told in JSON.
        """
        line = b"27 1 8:2 / / rw - ext4 /dev/root rw\n28 27 0:9 / /\xff rw - tmpfs \xfe rw\n"
        base = root(self, line)
        (base / "\udcff").mkdir()
        found = json.loads(encode(disk.collect(base)))[1]
        self.assertEqual(("/\ufffd", "\ufffd"), (found["mountpoint"], found["device"]))
        self.assertGreater(found["total"], 0)


def _figures(found: disk.Disk) -> tuple[int, int, int]:
    return found.total, found.used, found.free


def _drive(found: block.Block) -> tuple[int, str, bool, str]:
    return found.size, found.model, found.rotational, found.parent
