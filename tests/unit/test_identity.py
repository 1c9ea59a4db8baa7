"""
What tells one core0 from all others.
"""

import json
import os
import shutil
import tempfile
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from core0.identity import FILE, identify


class IdentityTests(SynchronousTestCase):
    """
    The id of a folder.
    """

    def setUp(self) -> None:
        """
        A folder that is new.
        """
        self.top = Path(tempfile.mkdtemp(prefix="core0-identity-"))
        self.addCleanup(shutil.rmtree, self.top)
        self.folder = self.top / "state"
        self.folder.mkdir()

    def test_kept(self) -> None:
        """
        It is made once, for its owner only, and is the same at every start, by whatever path.
        """
        first = identify(str(self.folder))
        self.assertEqual(0o600, (self.folder / FILE).stat().st_mode & 0o777)
        (self.top / "link").symlink_to(self.folder)
        again = identify(str(self.top / "link"))
        self.assertEqual((first.id, first.containers, True), (again.id, again.containers, again.known))

    def test_names(self) -> None:
        """
        Names have 64 bits of it, and tags others.
        """
        found = identify(str(self.folder))
        self.assertEqual(
            (f"core0-{found.id[:16]}", f"core0-containers-{found.id[:16]}"), (found.cgroup, found.containers)
        )
        self.assertEqual(int(found.id[16:], 16), found.number)

    def test_others(self) -> None:
        """
        No two are the same: not that of a copy, not that of another folder at the same path.
        """
        first = identify(str(self.folder))
        shutil.copytree(self.folder, self.top / "copy")
        copy = identify(str(self.top / "copy"))
        self.assertNotEqual(first.id, copy.id)
        self.assertEqual((False, 0), (copy.known, copy.past))
        self.assertEqual(copy.id, identify(str(self.top / "copy")).id)
        os.rename(self.folder, self.top / "former")
        self.folder.mkdir()
        self.assertNotIn(identify(str(self.folder)).id, (first.id, copy.id))
        self.assertEqual(first.id, identify(str(self.top / "former")).id)

    def test_unreadable(self) -> None:
        """
        Where there is nothing that can be read a new one is made.
        """
        first = identify(str(self.folder))
        good = json.loads((self.folder / FILE).read_text())
        for text in ("", "{", json.dumps(good | {"id": "../.."}), json.dumps({"id": first.id})):
            (self.folder / FILE).write_text(text)
            self.assertNotEqual(first.id, identify(str(self.folder)).id)

    def test_not_kept(self) -> None:
        """
        Where it cannot be kept core0 has one all the same, for that run.
        """
        (self.folder / f"{FILE}.new").mkdir()
        first, second = identify(str(self.folder)), identify(str(self.folder))
        self.assertNotEqual(first.id, second.id)

    def test_containers_of_before(self) -> None:
        """
        Containers of a core0 before there were ids keep their names for as long as there are any.
        """
        place = self.folder / "containers" / "7"
        place.mkdir(parents=True)
        first = identify(str(self.folder))
        self.assertRegex(first.containers, "^core0-containers-[0-9a-f]{8}$")
        self.assertEqual(first.containers, identify(str(self.folder)).containers)
        place.rmdir()
        later = identify(str(self.folder))
        self.assertEqual((first.id, f"core0-containers-{first.id[:16]}"), (later.id, later.containers))
        self.assertEqual(later, identify(str(self.folder)))
