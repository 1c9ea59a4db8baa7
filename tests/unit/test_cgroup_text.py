"""
Where a process is in the cgroup v2 hierarchy, from what /proc says.
"""

import os

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from core0.jobs.cgroup_place import own_folder, own_path

PURE = b"""\
22 1 254:1 / / rw,relatime shared:1 - ext4 /dev/vda1 rw
31 24 0:27 / /sys/fs/cgroup rw,nosuid,nodev,noexec,relatime shared:9 - cgroup2 cgroup2 rw,nsdelegate
"""
HYBRID = b"""\
30 24 0:26 / /sys/fs/cgroup ro,nosuid,nodev,noexec shared:8 - tmpfs tmpfs ro,mode=755
31 30 0:27 / /sys/fs/cgroup/systemd rw,nosuid shared:9 - cgroup cgroup rw,xattr,name=systemd
32 30 0:28 / /sys/fs/cgroup/unified rw,nosuid shared:10 master:2 - cgroup2 cgroup2 rw
33 30 0:29 / /sys/fs/cgroup/memory rw,nosuid shared:11 - cgroup cgroup rw,memory
"""
PART = b"31 24 0:27 /docker/0123 /sys/fs/cgroup ro,nosuid - cgroup2 cgroup rw\n"
ODD = rb"31 24 0:27 / /mnt/a\040b\134\303\251/cg rw - cgroup2 none rw" + b"\n"


class OwnPathTests(SynchronousTestCase):
    """
    ``/proc/self/cgroup``.
    """

    def test_pure(self) -> None:
        """
        The line of the v2 hierarchy says where the process is.
        """
        self.assertEqual(b"/system.slice/core0.service", own_path(b"0::/system.slice/core0.service\n"))
        self.assertEqual(b"/", own_path(b"0::/\n"))

    def test_hybrid(self) -> None:
        """
        The lines of other hierarchies do not count.
        """
        text = b"9:name=systemd:/x\n10::/y\n8:pids:/z\n0::/the one\n"
        self.assertEqual(b"/the one", own_path(text))

    def test_none(self) -> None:
        """
        Without the hierarchy there is no place in it.
        """
        for text in (b"", b"9:name=systemd:/x\n", b"0::\n", b"00::/\n"):
            self.assertIsNone(own_path(text))

    def test_outside(self) -> None:
        """
        A place that the namespace does not show is none; names that only look like it are fine.
        """
        self.assertIsNone(own_path(b"0::/../other\n"))
        self.assertIsNone(own_path(b"0::/..\n"))
        self.assertEqual(b"/a..b/..c", own_path(b"0::/a..b/..c\n"))

    def test_any_name(self) -> None:
        """
        Names may hold anything but a newline: colons, spaces, bytes that are no UTF-8, what Python takes for line ends.
        """
        for name in (b"/a:b::c", b"/a b ", b"/\xff\xfe", b"/a\x0bb\x0c\x1c\r", "/é\u2028\x85".encode()):
            self.assertEqual(name, own_path(b"0::" + name + b"\n"))

    @given(st.binary())
    def test_any_bytes(self, text: bytes) -> None:
        """
        Anything else is no place.
        """
        found = own_path(text)
        self.assertTrue(found is None or (found.startswith(b"/") and b"\n" not in found))


class OwnFolderTests(SynchronousTestCase):
    """
    ``/proc/self/mountinfo``.
    """

    def test_pure(self) -> None:
        """
        On a host with v2 alone it is below its only mount.
        """
        self.assertEqual("/sys/fs/cgroup/a.slice/b", own_folder(PURE, b"/a.slice/b"))
        self.assertEqual("/sys/fs/cgroup", own_folder(PURE, b"/"))

    def test_hybrid(self) -> None:
        """
        On a host with both it is below the mount of v2.
        """
        self.assertEqual("/sys/fs/cgroup/unified/a", own_folder(HYBRID, b"/a"))
        self.assertEqual("/sys/fs/cgroup/unified", own_folder(HYBRID, b"/"))

    def test_part(self) -> None:
        """
        Where only a part is mounted, the place is relative to that; what is outside of it has no folder.
        """
        self.assertEqual("/sys/fs/cgroup", own_folder(PART, b"/docker/0123"))
        self.assertEqual("/sys/fs/cgroup/a", own_folder(PART, b"/docker/0123/a"))
        self.assertIsNone(own_folder(PART, b"/docker/01234"))
        self.assertIsNone(own_folder(PART, b"/"))
        self.assertEqual("/sys/fs/cgroup/unified/x", own_folder(PART + HYBRID, b"/x"))

    def test_escapes(self) -> None:
        """
        Spaces, backslashes and bytes of other alphabets in a path are what they stand for.
        """
        self.assertEqual("/mnt/a b\\é/cg/x", own_folder(ODD, b"/x"))
        self.assertEqual("/mnt/a b\\é/cg/é", own_folder(ODD, "/é".encode()))

    def test_no_utf8(self) -> None:
        """
        A path that is no UTF-8 still leads to its folder.
        """
        found = own_folder(PURE, b"/\xff")
        self.assertEqual(b"/sys/fs/cgroup/\xff", os.fsencode(found or ""))

    def test_none(self) -> None:
        """
        Without a mount there is no folder.
        """
        for text in (b"", PURE.splitlines()[0], b"1 2 - cgroup2 x\n", b"- cgroup2 "):
            self.assertIsNone(own_folder(text, b"/"))

    @given(st.binary() | st.lists(st.sampled_from([*HYBRID.split(), b"\n", b"-"])).map(b" ".join), st.binary())
    def test_any_bytes(self, text: bytes, own: bytes) -> None:
        """
        Whatever there is to read, it is read.
        """
        found = own_folder(text, own)
        self.assertTrue(found is None or isinstance(found, str))
