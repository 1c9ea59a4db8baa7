"""
What the kernel's list of mounts says.
"""

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from core0.facts import mounts

MOUNTINFO = rb"""22 27 0:21 / /proc rw,relatime - proc proc rw
27 1 8:2 / / rw,relatime shared:1 - ext4 /dev/root rw,discard
30 27 8:1 / /boot\040and\011more\134x ro,nosuid shared:2 master:1 - vfat /dev/sda1 rw,utf8
31 27 0:40 / /run rw - tmpfs  rw,size=24k
32 27 0:41 /sub /data rw,noatime - btrfs /dev/mapper/vg-data rw,space_cache
33 27 0:42 / /net rw - nfs4 server:/export ro,vers=4.2
34 27 0:43 / /auto rw - autofs systemd-1 rw
35 27 8:16 / /hidden/b rw - xfs /dev/sdb rw
36 27 0:44 / /hidden rw - tmpfs tmpfs rw
37 27 0:45 / /hidden/c rw - tmpfs unseen rw
38 36 0:46 / /hidden/c rw - tmpfs seen rw
39 27 0:47 / /none rw - ramfs ramfs rw
"""


class MountTests(SynchronousTestCase):
    """
    Reading ``mountinfo``.
    """

    def test_fields(self) -> None:
        """
        Escapes are undone, optional fields skipped; options are those of both mount and file system, and one ro counts.
        """
        found = {mount.id: mount for mount in mounts.parse(MOUNTINFO)}
        self.assertEqual(b"/boot and\tmore\\x", found[30].point)
        self.assertEqual(("8:1", "vfat", b"/dev/sda1"), (found[30].device, found[30].fstype, found[30].source))
        self.assertEqual("ro,nosuid,utf8", found[30].options)
        self.assertEqual("ro,vers=4.2", found[33].options)
        self.assertEqual("rw,relatime,discard", found[27].options)

    def test_empty_source(self) -> None:
        """
        A mount may have no source at all.
        """
        found = {mount.id: mount for mount in mounts.parse(MOUNTINFO)}
        self.assertEqual((b"", "tmpfs", "rw,size=24k"), (found[31].source, found[31].fstype, found[31].options))

    def test_visible(self) -> None:
        """
        What another mount lies over is not visible, at the same place or above, and what is mounted on that is.
        """
        self.assertEqual({22, 27, 30, 31, 32, 33, 34, 36, 38, 39}, mounts.visible(mounts.parse(MOUNTINFO)))

    def test_mounted_over_root(self) -> None:
        """
        The root file system over the one that the kernel started with hides that, whose parent is itself.
        """
        found = mounts.parse(b"1 1 0:2 / / rw - rootfs rootfs rw\n20 1 8:1 / / rw - ext4 /dev/sda1 rw\n")
        self.assertEqual({20}, mounts.visible(found))

    @given(st.binary().filter(lambda name: b"\0" not in name))
    def test_unescaping(self, name: bytes) -> None:
        """
        Whatever a mount point is called, undoing the kernel's escapes gives its name.
        """
        escaped = b"".join(b"\\%03o" % letter if letter in b" \t\n\\#" else bytes([letter]) for letter in name)
        self.assertEqual(name, mounts.unescape(escaped))

    @given(st.binary() | st.lists(st.sampled_from([*MOUNTINFO.split(), b"\n", b"-", b""])).map(b" ".join))
    def test_any_bytes(self, mountinfo: bytes) -> None:
        """
        No text is too odd to be read.
        """
        found = mounts.parse(mountinfo)
        self.assertLessEqual(mounts.visible(found), {mount.id for mount in found})

    @given(st.lists(st.tuples(st.integers(1, 5), st.integers(0, 5), st.sampled_from(["/", "/a", "/a/b"]))))
    def test_any_tree(self, tree: list[tuple[int, int, str]]) -> None:
        """
        Mounts that claim to be each other's parents are read all the same.
        """
        lines = "\n".join(f"{id} {parent} 0:1 / {point} rw - tmpfs x rw" for id, parent, point in tree)
        mounts.visible(mounts.parse(lines.encode()))
