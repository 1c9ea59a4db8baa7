"""
Tests of what may be mounted into a container.
"""

import os
import tempfile
from pathlib import Path
from shutil import rmtree

from twisted.trial.unittest import SynchronousTestCase

from core0.containers.sources import resolved
from core0.errors import Refusal


class SourcesTests(SynchronousTestCase):
    """
    One path of the host after another.
    """

    def setUp(self) -> None:
        """
        A folder that no container may see, and others beside it.
        """
        self.folder = Path(tempfile.mkdtemp()).resolve()
        self.addCleanup(rmtree, self.folder)
        (self.folder / "run" / "core0" / "redis").mkdir(parents=True)
        (self.folder / "srv" / "data").mkdir(parents=True)
        self.private = (str(self.folder / "run" / "core0"), str(self.folder / "not" / "yet"))

    def refused(self, path: str | Path, *about: str) -> None:
        """
        The path is refused, for reasons that name these.
        """
        error = self.assertRaises(Refusal, resolved, str(path), self.private)
        self.assertEqual(400, error.code)
        for word in ("arguments.mount: ", *about):
            self.assertIn(word, str(error))

    def test_others(self) -> None:
        """
        Whatever lies beside what no container may see can be mounted, a file too, and also if its name begins alike.
        """
        (self.folder / "run" / "core0-more").mkdir()
        (self.folder / "srv" / "file").touch()
        for path in ("run/core0-more", "srv", "srv/data", "srv/file"):
            self.assertEqual(str(self.folder / path), resolved(str(self.folder / path), self.private))

    def test_private(self) -> None:
        """
        What no container may see, whatever lies in it and whatever it lies in is refused, and the text says why.
        """
        for path in ("run/core0", "run/core0/redis", "run", "run/../run/core0/.", ""):
            self.refused(self.folder / path, "no container may see", str(self.folder / "run" / "core0"))
        self.refused("/", "no container may see")
        self.refused("/proc/self/root")

    def test_symlinks(self) -> None:
        """
        A symlink is what it leads to: refused where that is private, from either side; else resolved.
        """
        for name, target in (("run/out", "../srv/data"), ("srv/in", "../run/core0"), ("srv/up", "..")):
            (self.folder / name).symlink_to(target)
        self.assertEqual(str(self.folder / "srv" / "data"), resolved(str(self.folder / "run" / "out"), self.private))
        for path in ("srv/in", "srv/in/redis", "srv/up", "srv/up/run"):
            self.refused(self.folder / path, "no container may see")
        (self.folder / "named").symlink_to("run/core0")
        self.private = (str(self.folder / "named"),)
        self.refused(self.folder / "run" / "core0" / "redis", "no container may see")

    def test_not_yet(self) -> None:
        """
        What is private and not there yet keeps what it would lie in from being mounted, and nothing else.
        """
        (self.folder / "not").mkdir()
        self.refused(self.folder / "not", str(self.folder / "not" / "yet"))
        self.assertEqual(str(self.folder / "srv"), resolved(str(self.folder / "srv"), self.private))

    def test_missing(self) -> None:
        """
        A path at which there is nothing, or one that leads round in circles, is refused, and the text names it.
        """
        (self.folder / "round").symlink_to("round")
        (self.folder / "dangling").symlink_to("nowhere")
        for name in ("nowhere", "round", "dangling", "dangling/x"):
            self.refused(self.folder / name, f"there is no '{self.folder / name}'")

    def test_odd_names(self) -> None:
        """
        A symlink to a name that is not UTF-8 is refused: nothing could be told of it.
        """
        os.mkdir(os.fsencode(self.folder / "srv") + b"/\xff")
        os.symlink(b"\xff", os.fsencode(self.folder / "srv" / "odd"))
        self.refused(self.folder / "srv" / "odd", "UTF-8")
