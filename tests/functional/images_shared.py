"""
What tests of root file systems have in common: an image on a server, and what core0 lays out of it.
"""

import hashlib
import os
import signal
import tempfile
from collections.abc import Mapping
from pathlib import Path

from twisted.internet import reactor
from twisted.trial.unittest import TestCase

from core0.errors import Refusal
from core0.images.images import Images, Root
from core0.images.patience import Patience
from core0.images.removal import remove
from core0.reaper import Reaper
from core0.spawn import Surroundings
from core0.waiting import pause, within
from tests.functional.shared import GENEROUS
from tests.web import Web

QUICK = Patience(connect=2.0, slow=1, tries=3, wait=0.01)
MTIME = 1_479_000_000
MUCH = 1 << 40  # bytes; more than any test keeps


def sha256(content: bytes) -> str:
    """
    The name of a content.
    """
    return hashlib.sha256(content).hexdigest()


def digest_of(root: Root) -> str:
    """
    The name of the folder that a root is in.
    """
    return Path(root.path).parent.name


def line(path: str, content: bytes, *, hash: str = "", size: int | None = None, mode: str = "0644") -> str:
    """
    Of a plist: a regular file.
    """
    length = len(content) if size is None else size
    return f"/{path}|{hash or sha256(content)}|{length}|{os.geteuid()}|{os.getegid()}|{mode}|2|{MTIME}|{MTIME}|"


def plist(files: Mapping[str, bytes]) -> bytes:
    """
    A plist of regular files.
    """
    return "".join(f"{line(path, content)}\n" for path, content in files.items()).encode()


class ImagesTestCase(TestCase):
    """
    Real images, from a real server.
    """

    patience = QUICK
    max_bytes = MUCH

    def setUp(self) -> None:
        """
        A server, and a folder.
        """
        self.folder = Path(tempfile.mkdtemp(prefix="core0-images-"))
        self.addCleanup(remove, str(self.folder))
        self.web = Web()
        self.addCleanup(self.web.close)
        self.images: Images | None = None

    async def begin(self) -> Images:
        """
        Images; only once the reactor runs, because it takes SIGCHLD itself then.
        """
        if self.images is None:
            await pause(reactor, 0)
            self.addCleanup(signal.signal, signal.SIGCHLD, signal.getsignal(signal.SIGCHLD))
            self.reaper = Reaper(reactor)  # type: ignore[arg-type] # it is more than mypy knows
            self.reaper.install()
            self.images = self.more_images()
        return self.images

    def more_images(self) -> Images:
        """
        As a core0 that has been started again has them.
        """
        import resource

        images = Images(
            reactor,
            self.reaper,
            Surroundings(files=resource.getrlimit(resource.RLIMIT_NOFILE)),
            str(self.folder / "images"),
            max_bytes=self.max_bytes,
            patience=self.patience,
        )
        self.addCleanup(images.stop)
        return images

    def hold(self, number: int = 1) -> str:
        """
        Where the symlink of a container is.
        """
        folder = self.folder / "containers" / str(number)
        folder.mkdir(parents=True, exist_ok=True)
        return str(folder / "root")

    async def root(self, url: str, storage: str = "", number: int = 1) -> Root:
        """
        Have one laid out.
        """
        images = await self.begin()
        return await within(reactor, GENEROUS, images.root(url, storage, self.hold(number), lambda text: None))

    async def refused(self, url: str, storage: str = "") -> Refusal:
        """
        Have one refused.
        """
        try:
            root = await self.root(url, storage)
        except Refusal as refusal:
            self.assertRegex(str(refusal), r"^arguments\.(plist|storage): ")
            return refusal
        raise AssertionError(f"expected a refusal, got {root}")

    def assert_refused(self, refusal: Refusal, code: int, *words: str) -> None:
        """
        It is such a refusal, and says so.
        """
        self.assertEqual(code, refusal.code, str(refusal))
        for word in words:
            self.assertIn(word, str(refusal))

    def publish(self, files: Mapping[str, bytes], name: str = "/image.plist") -> str:
        """
        Put an image on the server.

        :returns: its URL.
        """
        self.web.pages[name] = plist(files)
        self.web.pages.update({f"/store/{sha256(content)}": content for content in files.values() if content})
        return self.web.url(name)

    def write(self, files: Mapping[str, bytes], name: str = "image.plist") -> Path:
        """
        Put an image into files.

        :returns: the path of its plist.
        """
        folder = self.folder / "made"
        (folder / "store").mkdir(parents=True, exist_ok=True)
        for content in files.values():
            (folder / "store" / sha256(content)).write_bytes(content)
        (folder / name).write_bytes(plist(files))
        return folder / name

    def assert_files(self, files: Mapping[str, bytes], root: Root) -> None:
        """
        These, and no others, are there.
        """
        found = {
            str(path.relative_to(root.path)): path.read_bytes() for path in Path(root.path).rglob("*") if path.is_file()
        }
        self.assertEqual(dict(files), found)

    def contents(self) -> set[str]:
        """
        The hashes of what the store holds.
        """
        return {path.name for path in (self.folder / "images" / "store").glob("??/*")}
