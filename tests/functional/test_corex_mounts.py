"""
What of the host can be mounted into a container, and where.
"""


from tests.functional.containers import ContainerTestCase


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
