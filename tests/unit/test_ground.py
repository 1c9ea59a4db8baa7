"""
What has to be made in an image for what is mounted in it, and which images have no room for that.
"""

import os
import tempfile
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from core0.containers.ground import OddImage, Places, Target, places

HOSTS = Target("/etc/hosts", file=True)
TMP = Target("/tmp", mode=0o1777)


MODES = {"/tmp": 0o1777}


class PlacesTests(SynchronousTestCase):
    """
    Images with odd places.
    """

    def setUp(self) -> None:
        """
        An empty image.
        """
        self.root = Path(self.enterContext(tempfile.TemporaryDirectory(prefix="core0-ground-")))

    def link(self, path: str, target: str) -> None:
        """
        Have a symlink in it.
        """
        (self.root / path).parent.mkdir(parents=True, exist_ok=True)
        (self.root / path).symlink_to(target)

    def places(self, *targets: Target) -> Places:
        """
        What has to be made.
        """
        return places(str(self.root), targets)

    def assert_odd(self, words: str, *targets: Target, own: bool = True) -> None:
        """
        It cannot be mounted, because of this.
        """
        error = self.assertRaises(OddImage, self.places, *targets)
        self.assertIn(words, str(error))
        self.assertEqual(own, error.own)

    def test_empty(self) -> None:
        """
        In an image without anything all is made, files as files; but what is below other mounts is not.
        """
        given = (TMP, HOSTS, Target("/srv/a", own=False), Target("/srv/a/b", own=False), Target("/dev/x", own=False))
        self.assertEqual(Places(["/tmp", "/srv/a"], ["/etc/hosts"], modes=MODES), self.places(*given))
        self.assertEqual(Places(["/etc"]), self.places(HOSTS, Target("/etc", own=False)))

    def test_usual(self) -> None:
        """
        In a usual image nothing has to be made.
        """
        for name in ("dev", "proc", "sys", "tmp", "etc"):
            (self.root / name).mkdir()
        (self.root / "etc/hosts").touch()
        self.assertEqual(Places(modes=MODES), self.places(TMP, HOSTS))
        (self.root / "tmp").chmod(0o1777)
        self.assertEqual(Places(), self.places(TMP, HOSTS))

    def test_symlinks(self) -> None:
        """
        Where symlinks lead to, inside of the image, folders and files are made.
        """
        self.link("etc", "/private/../private/etc")
        self.link("private/etc/hosts", "../../../../run/hosts")
        self.link("tmp", "var/nope")
        self.assertEqual(Places(["/var/nope"], ["/run/hosts"], modes={"/var/nope": 0o1777}), self.places(TMP, HOSTS))
        os.mkdir(self.root / "run")
        (self.root / "run/hosts").touch()
        self.assertEqual(Places(["/var/nope"], modes={"/var/nope": 0o1777}), self.places(TMP, HOSTS))

    def test_replaced(self) -> None:
        """
        A symlink to where nothing of the image is to be seen is replaced by a file.
        """
        for target in ("/tmp/hosts", "../proc/self/hosts", "/dev/null", "/sys"):
            self.link("etc/hosts", target)
            self.assertEqual(Places(replaced=["/etc/hosts"]), self.places(HOSTS))
            (self.root / "etc/hosts").unlink()
        self.link("tmp", "/dev/shm")
        self.assertEqual(Places(), self.places(TMP))

    def test_kernels(self) -> None:
        """
        The folders of the kernel are folders, or are not there.
        """
        for name in ("dev", "proc", "sys"):
            (self.root / name).touch()
            self.assert_odd(f"/{name} of the image is no folder but a file", TMP)
            (self.root / name).unlink()
            self.link(name, "/")
            self.assert_odd(f"/{name} of the image is no folder but a symlink", TMP)
            (self.root / name).unlink()

    def test_odd(self) -> None:
        """
        What cannot be is told: with the path, what is there, and what is expected.
        """
        (self.root / "etc").touch()
        self.assert_odd("'/etc' of the image is a file; expected a folder, since '/etc/hosts' is to be in it", HOSTS)
        (self.root / "etc").unlink()
        (self.root / "etc/hosts").mkdir(parents=True)
        self.assert_odd("'/etc/hosts' of the image is a folder; expected a file, since one is mounted there", HOSTS)
        os.mkfifo(self.root / "tmp")
        self.assert_odd("'/tmp' of the image is a FIFO; expected a folder", TMP)
        os.mkfifo(self.root / "pipe")
        self.link("data", "etc/../pipe")
        self.assert_odd(
            "'/pipe' of the image (where '/data' leads to) is a FIFO", Target("/data", own=False), own=False
        )

    def test_nowhere(self) -> None:
        """
        Symlinks that lead in a circle, or to where nothing of the image is, are refused.
        """
        self.link("etc", "etc")
        self.assert_odd("'/etc' of the image is a symlink that leads to itself", HOSTS)
        (self.root / "etc").unlink()
        self.link("etc", "/tmp/etc")
        self.assert_odd("'/etc/hosts' of the image leads to '/tmp/etc/hosts', which is not of the image", HOSTS)
        self.link("tmp", "/proc")
        self.assert_odd("'/tmp' of the image leads to '/proc', which is not of the image", TMP)
