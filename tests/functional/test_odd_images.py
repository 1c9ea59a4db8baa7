"""
Images with odd places where something is mounted: they work with each runtime, or are refused in core0's own words.
"""

import tarfile

from tests.functional.test_images_of_strangers import StrangersCase, entry

# who looks into a container finds these
LOOK = (
    "cat /etc/hosts /etc/hostname /etc/resolv.conf >/dev/null && echo x >> /etc/hosts && : > /tmp/x && stat -Lc %a /tmp"
)


def link(name: str, target: str) -> tarfile.TarInfo:
    """
    A symlink of an image.
    """
    return entry(name, tarfile.SYMTYPE, linkname=target)


class OddContract(StrangersCase):
    """
    What holds with any runtime.
    """

    __test__ = False

    def test_works(self) -> None:
        """
        Symlinks to nothing, absolute ones, and those to where something else is mounted, are no obstacle; nothing that
        is made for them lets others write.
        """
        for entries in (
            (link("etc", "/private/etc"),),
            (link("etc", "private/etc"), entry("private/etc", tarfile.DIRTYPE)),
            (link("tmp", "var/nope"),),
            (link("tmp", "/dev/shm"),),
            (link("etc/hosts", "/nowhere/at/all"), link("etc/resolv.conf", "../run/systemd/resolve/stub-resolv.conf")),
            (link("etc/hosts", "/tmp/hosts"), link("etc/resolv.conf", "/proc/self/x"), link("etc/hostname", "/dev/x")),
            (link("etc/resolv.conf", "../../../../../../../etc/other"), entry("etc/hostname", tarfile.FIFOTYPE)),
        ):
            number = self.create(plist=self.with_shell(*entries))
            self.assertEqual("1777\n", self.inside_sh(number, LOOK), entries)
            found = self.inside_sh(number, "find / -xdev -type d -perm -2").split()
            self.assertLessEqual(set(found), {"/tmp", "/var/nope"}, entries)
            self.terminate(number)

    def test_mounts(self) -> None:
        """
        What is asked for is mounted below symlinks to nothing, too.
        """
        shown = self.folder()
        (shown / "file").write_text("text\n")
        url = self.with_shell(link("data", "/srv/../srv/data"), link("one", "two"))
        mounts = {str(shown): "/data/more", str(shown / "file"): "/one"}
        number = self.create(plist=url, mount=mounts)
        self.assertEqual("text\ntext\n", self.inside_sh(number, "cat /srv/data/more/file /two"))
        self.terminate(number)

    def test_refused(self) -> None:
        """
        What cannot be is refused with 400, and the path, what is there, and what is expected; nothing is left of it.
        """
        for entries, words in (
            ((entry("etc"),), "'/etc' of the image is a file; expected a folder"),
            (
                (entry("etc/resolv.conf", tarfile.DIRTYPE),),
                "'/etc/resolv.conf' of the image is a folder; expected a file",
            ),
            ((entry("tmp"),), "'/tmp' of the image is a file; expected a folder"),
            (
                (link("etc/resolv.conf", "resolv.conf"),),
                "'/etc/resolv.conf' of the image is a symlink that leads to itself",
            ),
            ((link("tmp", "/proc/self"),), "'/tmp' of the image leads to '/proc/self'"),
            ((link("dev", "/srv"),), "/dev of the image is no folder but a symlink"),
            ((entry("proc"),), "/proc of the image is no folder but a file"),
        ):
            result = self.daemon.run_command("corex.create", {"plist": self.with_shell(*entries)})
            self.assert_refused(400, "arguments.plist", result)
            self.assert_refused(400, words, result)
            self.assert_nothing_left()
        result = self.daemon.run_command(
            "corex.create", {"plist": self.with_shell(), "mount": {str(self.folder()): "/bin/busybox"}}
        )
        self.assert_refused(400, "arguments.mount: '/bin/busybox' of the image is a file; expected a folder", result)


class OddCrunTests(OddContract):
    """
    With crun.
    """

    __test__ = True
    runtime = "crun"


class OddRuncTests(OddContract):
    """
    With runc.
    """

    __test__ = True
    runtime = "runc"
