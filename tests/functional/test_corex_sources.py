"""
Where containers are made from, and what corex.create refuses of it.
"""

import shutil
from pathlib import Path

from tests.daemon import eventually
from tests.functional.containers import ContainerTestCase, image
from tests.functional.shared import sh
from tests.web import Web


class SourcesTests(ContainerTestCase):
    """
    Addresses of plists.
    """

    def test_secret(self) -> None:
        """
        The password and the query of a plist's URL are used, and nobody sees them in corex.list.
        """
        web = Web()
        self.addCleanup(web.close)
        web.pages["/image.plist?token=hidden"] = Path(image().plist).read_bytes()
        url = f"http://me:secret@{web.host}/image.plist?token=hidden"
        number = self.create(plist=url, storage=str(image().store))
        found = self.listed()[str(number)]["plist"]
        self.assertEqual(f"http://{web.host}/image.plist?…", found)

    def test_blank(self) -> None:
        """
        A path with blanks in it is a path.
        """
        path = self.folder() / "an image.plist"
        shutil.copy(image().plist, path)
        number = self.create(plist=str(path), storage=str(image().store))
        self.assertEqual(str(path), self.listed()[str(number)]["plist"])

    def test_odd(self) -> None:
        """
        An address that nothing can be fetched from is refused, and nothing is left of the attempt.
        """
        for address in ("/a\nb", "http://", "file://elsewhere/x", "http://h:99999/x"):
            self.refused_create(400, "arguments.plist: expected", plist=address)
        # the process that was to be its CoreX may be on its way out
        eventually(lambda: not self.traces.left(), "nothing is left")


class NeverTests(ContainerTestCase):
    """
    What could never work, or would never end.
    """

    def test_recurring(self) -> None:
        """
        A corex.create that recurs is refused, and no container is made.
        """
        result = self.daemon.run_command("corex.create", {"plist": image().plist}, recurring_period=1)
        self.assert_refused(400, "recurring_period: expected none", result)
        self.assertEqual({}, self.listed())

    def test_largest_variable(self) -> None:
        """
        The largest variable that is taken reaches every program.
        """
        value = "x" * ((128 << 10) - 3)
        number = self.create(env={"V": value})
        self.assertEqual(f"{len(value)}\n", self.inside(number, "core.system", sh("echo ${#V}"))["streams"][0])
        self.refused_create(400, "arguments.env['V']: ", env={"V": f"{value}x"})
