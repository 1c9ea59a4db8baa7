"""
Tests of where the cgroups of a process are, in whatever hierarchies a host has.
"""

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from core0.containers.cgroups import Hierarchy, folders, hierarchies

HYBRID = """\
24 1 254:0 / / rw,relatime - ext4 /dev/vda rw
30 24 0:26 / /sys/fs/cgroup rw - tmpfs tmpfs rw,mode=755
31 30 0:27 / /sys/fs/cgroup/cpu rw,relatime - cgroup cgroup rw,cpu,cpuacct
32 30 0:28 / /sys/fs/cgroup/systemd rw,relatime - cgroup cgroup rw,name=systemd
33 30 0:29 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw
"""
UNIFIED = "30 24 0:26 / /sys/fs/cgroup rw,nosuid shared:9 - cgroup2 cgroup2 rw,nsdelegate\n"


class PlacesTests(SynchronousTestCase):
    """
    What the kernel's texts say.
    """

    def test_hybrid(self) -> None:
        """
        On a host with both versions a process has a place in each hierarchy.
        """
        cgroup = "3:cpu,cpuacct:/a/1\n2:name=systemd:/a/1\n0::/b\n1:net_cls:/nowhere\n"
        expected = ["/sys/fs/cgroup/cpu/a/1", "/sys/fs/cgroup/systemd/a/1", "/sys/fs/cgroup/unified/b"]
        self.assertEqual(expected, folders(cgroup, hierarchies(HYBRID)))

    def test_unified(self) -> None:
        """
        On a host with version 2 alone there is one.
        """
        self.assertEqual(["/sys/fs/cgroup/a/1"], folders("0::/a/1\n", hierarchies(UNIFIED)))

    def test_part(self) -> None:
        """
        Of a hierarchy that is mounted in part only what is in that part has a folder.
        """
        found = Hierarchy(frozenset(), "/docker/x", "/sys/fs/cgroup")
        self.assertEqual("/sys/fs/cgroup/a", found.folder("/docker/x/a"))
        self.assertEqual("/sys/fs/cgroup", found.folder("/docker/x"))
        self.assertIsNone(found.folder("/docker/xy"))
        self.assertIsNone(found.folder("/"))

    def test_odd_names(self) -> None:
        """
        A mount point with blanks is one name.
        """
        text = "31 30 0:27 / /a\\040b\\134c rw - cgroup2 cgroup2 rw\n"
        self.assertEqual(["/a b\\c/x"], folders("0::/x\n", hierarchies(text)))

    @given(st.text())
    def test_anything(self, text: str) -> None:
        """
        No text of mounts is too odd.
        """
        hierarchies(text)
