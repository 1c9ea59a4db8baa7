"""
What of the host can be mounted into a container, and where.
"""

import os
import subprocess
import sys
import tempfile
from pathlib import Path
from shutil import rmtree

from twisted.trial.unittest import SynchronousTestCase

from core0.containers.building import FIRST_ID
from tests.functional.containers import ContainerTestCase, need_containers

# a folder with a file system below it that cannot map ids, as a container would get it
STAGED = f"""
import os, sys
from core0.containers import kernel, rootfs
folder, source = sys.argv[1:]
kernel.mount("none", f"{{folder}}/data/below", "ramfs")
open(f"{{folder}}/data/below/file", "w").close()
stage = rootfs.staging_place([folder])
bind = rootfs.Bind(f"{{folder}}/{{source}}", "mount")
own, lower = f"{{folder}}/own", f"{{folder}}/lower"
rootfs.prepare(rootfs.Setup(stage=stage, lower=lower, own=own, first_id={FIRST_ID}, binds=[bind]))
print(*(os.stat(f"{{stage}}/mount/{{name}}").st_uid for name in ("file", "below/file")))
"""


class PrivateTests(ContainerTestCase):
    """
    What is core0's own.
    """

    def test_refused(self) -> None:
        """
        Nobody mounts core0's folders into a container, nor what they lie in, be it read-only or by way of a symlink.
        """
        daemon, folder = self.daemon, self.folder()
        link, outer = folder / "link", folder / "outer"
        link.symlink_to(daemon.run)
        outer.symlink_to("/")
        places = (daemon.run, daemon.run / "redis", daemon.state, daemon.state / "containers", daemon.run.parent)
        for place in ("/", *map(str, places), str(link), str(link / "redis"), str(outer), f"{outer}{daemon.run}"):
            for target in ("/x", "/x:ro"):
                self.refused_create(400, "arguments.mount: ", mount={place: target})
        self.assertEqual({}, self.listed())
        self.assert_nothing_left()

    def test_privileged(self) -> None:
        """
        A privileged container, which is root of the host anyway, may see them.
        """
        number = self.create(mount={str(self.daemon.run): "/x:ro"}, privileged=True)
        self.assertIn("redis", self.inside_sh(number, "ls /x").split())

    def test_symlink(self) -> None:
        """
        A symlink to what may be mounted is followed on the host, and is told as it was asked for.
        """
        folder = self.folder()
        folder.chmod(0o755)
        (folder / "data").mkdir()
        (folder / "data" / "file").write_text("found\n")
        (folder / "link").symlink_to("data")
        mount = {str(folder / "link"): "/data"}
        number = self.create(mount=mount)
        self.assertEqual("found\n", self.inside_sh(number, "cat /data/file"))
        self.assertEqual(mount, self.listed()[str(number)]["mount"])


class NestedTests(ContainerTestCase):
    """
    Mounts below mounts.
    """

    def test_nested(self) -> None:
        """
        A mount below another one is seen in whatever order they are asked for.
        """
        outer, inner = self.folder(), self.folder()
        (outer / "b").mkdir()
        for folder in (outer, inner):
            folder.chmod(0o755)
            (folder / "file").write_text(f"{folder}\n")
        for mount in ({str(inner): "/a/b", str(outer): "/a"}, {str(outer): "/a", str(inner): "/a/b"}):
            number = self.create(mount=mount)
            self.assertEqual(f"{outer}\n{inner}\n", self.inside_sh(number, "cat /a/file /a/b/file"))
            self.terminate(number)

    def test_etc(self) -> None:
        """
        A folder that is mounted as /etc shows the container's own hostname where it has such a file, and nothing is
        made in it for that.
        """
        etc = self.folder()
        etc.chmod(0o755)
        (etc / "hostname").write_text("host\n")
        for ending in ("", ":ro"):
            number = self.create(mount={str(etc): f"/etc{ending}"}, hostname="box")
            self.assertEqual("box\nhostname\n", self.inside_sh(number, "cat /etc/hostname; ls /etc"))
            self.terminate(number)
        self.assertEqual((["hostname"], "host\n"), (os.listdir(etc), (etc / "hostname").read_text()))


class StagedTests(SynchronousTestCase):
    """
    What becomes of a folder of the host, in a mount namespace of the tests' own.
    """

    def staged(self, source: str) -> subprocess.CompletedProcess[str]:
        """
        Have a folder staged: the owners of a file in it and of one below, as the host sees them.
        """
        need_containers()
        folder = Path(tempfile.mkdtemp(prefix="core0-")).resolve()
        self.addCleanup(rmtree, folder)
        for name in ("data/below", "lower", "own/upper", "own/work"):
            (folder / name).mkdir(parents=True)
        (folder / "data" / "file").touch()
        (folder / "link").symlink_to("data")
        argv = ["unshare", "--mount", "--propagation", "private", sys.executable, "-c", STAGED, str(folder), source]
        return subprocess.run(argv, check=False, capture_output=True, text=True, timeout=60)

    def test_below(self) -> None:
        """
        What cannot map ids below a mount belongs to nobody in the container, and what is beside it to root all the
        same.
        """
        done = self.staged("data")
        self.assertEqual(f"{FIRST_ID} 0\n", done.stdout, done.stderr)

    def test_swapped(self) -> None:
        """
        A symlink that was not there when the mounts were looked at is not followed.
        """
        done = self.staged("link")
        self.assertIn("Too many levels of symbolic links", done.stderr)
        self.assertEqual("", done.stdout)
