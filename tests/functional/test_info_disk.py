"""
File systems and disks of the machine that the tests run on, compared with what others say of them.
"""

import json
import os
import shutil
import tempfile
from pathlib import Path

import psutil

from core0.commands.info import InfoDisk
from tests.functional.info import InfoTestCase, apart, need, output
from tests.functional.shared import missing


class DiskTests(InfoTestCase):
    """
    File systems and disks.
    """

    def test_root(self) -> None:
        """
        The root file system is as large as the kernel says, with the options of the kernel's own list.
        """
        (answer,) = [entry for entry in self.ask(InfoDisk) if entry["mountpoint"] == "/"]
        usage = shutil.disk_usage("/")
        self.assertEqual(usage.total, answer["total"])
        self.assert_near(usage.used, answer["used"], usage.total / 10)
        self.assert_near(usage.free, answer["free"], usage.total / 10)
        lines = [line.split() for line in Path("/proc/self/mounts").read_text().splitlines()]
        line = [line for line in lines if line[1] == "/"][-1]  # what it lies over is listed before it
        self.assertEqual((line[2], set(line[3].split(","))), (answer["fstype"], set(answer["opts"].split(","))))

    def test_block_devices(self) -> None:
        """
        The block devices are those of lsblk, mounted or not.
        """
        need("lsblk")
        listed = json.loads(output("lsblk", "-J", "-b", "-l", "-o", "PATH,SIZE,ROTA,TYPE"))["blockdevices"]
        expected = {(each["path"], each["size"], each["rota"], each["type"]) for each in listed if each["size"]}
        answer = {
            (each["device"], each["size"], each["rotational"], each["type"])
            for each in self.ask(InfoDisk)
            if each["type"]
        }
        self.assertEqual(expected, answer)

    def test_all_that_is_mounted(self) -> None:
        """
        Every file system that df would show is listed.
        """
        expected = {each.mountpoint for each in psutil.disk_partitions() if self.blocks(each.mountpoint)}
        self.assertLessEqual(expected, {each["mountpoint"] for each in self.ask(InfoDisk)})

    def blocks(self, path: str) -> int:
        """
        Of a file system; none if it may not be looked at.
        """
        try:
            return os.statvfs(path).f_blocks
        except PermissionError:
            return 0

    def test_odd_mount_point(self) -> None:
        """
        A file system is listed under its real name, whatever is in it, and in the stead of one that it lies over.
        """
        name = "a b\\c\td\ne#f"
        answer = apart(
            "--mount",
            """
            import json, os, subprocess, sys, tempfile
            from core0.facts import disk
            from core0.messages import encode
            with tempfile.TemporaryDirectory() as folder:
                place = os.path.join(os.path.realpath(folder), sys.argv[1])
                os.mkdir(place)
                for options in ("size=64k", "ro,nosuid,size=128k"):
                    subprocess.run(["mount", "-t", "tmpfs", "-o", options, "my source", place], check=True)
                found = [each for each in json.loads(encode(disk.collect())) if each["mountpoint"] == place]
                subprocess.run(["umount", place, place], check=True)
            print(json.dumps(found))
            """,
            name,
        )
        (found,) = answer
        self.assertEqual(
            ("my source", "tmpfs", 131072, 0), tuple(found[k] for k in ("device", "fstype", "total", "used"))
        )
        self.assertLessEqual({"ro", "nosuid", "size=128k"}, set(found["opts"].split(",")))

    def test_hanging_file_system(self) -> None:
        """
        A file system whose server never answers is listed without figures, and holds up nobody.
        """
        if not os.path.exists("/dev/fuse"):
            raise missing("needs /dev/fuse to make a file system that hangs")
        answer = apart(
            "--mount",
            """
            import ctypes, json, os, tempfile
            from core0.facts import disk
            from core0.messages import encode
            libc = ctypes.CDLL(None, use_errno=True)
            place = tempfile.mkdtemp()
            server = os.open("/dev/fuse", os.O_RDWR)  # which never reads what it is asked
            options = f"fd={server},rootmode=40000,user_id=0,group_id=0".encode()
            if libc.mount(b"hanging", os.fsencode(place), b"fuse", 0, options):
                raise OSError(ctypes.get_errno(), "cannot mount")
            found = [json.loads(encode(disk.collect())) for _ in range(2)]
            libc.umount2(os.fsencode(place), 2)
            os.rmdir(place)
            print(json.dumps([place, found]))
            """,
        )
        place, found = answer
        for entries in found:
            by_mountpoint = {each["mountpoint"]: each for each in entries}
            self.assertEqual(
                ("hanging", "fuse", 0), tuple(by_mountpoint[place][k] for k in ("device", "fstype", "total"))
            )
            self.assertGreater(by_mountpoint["/"]["total"], 0)

    def test_loop_device(self) -> None:
        """
        A device is listed from when it is attached until it is detached.
        """
        need("losetup")
        if os.geteuid() != 0 or not os.path.exists("/dev/loop-control"):
            raise missing("needs root and loop devices")
        image = Path(self.enterContext(tempfile.TemporaryDirectory())) / "image"
        image.write_bytes(bytes(1 << 20))
        device = output("losetup", "--find", "--show", str(image)).strip()
        try:
            (found,) = [each for each in self.ask(InfoDisk) if each["device"] == device]
        finally:
            output("losetup", "--detach", device)
        self.assertEqual(("", "loop", 1 << 20, ""), tuple(found[k] for k in ("mountpoint", "type", "size", "parent")))
        self.assertNotIn(device, [each["device"] for each in self.ask(InfoDisk)])
