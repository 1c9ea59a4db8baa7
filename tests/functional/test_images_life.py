"""
Many at once, cancelled, killed and started again; and what is removed when it becomes too much.
"""

import json
import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

from twisted.internet import reactor
from twisted.internet.defer import CancelledError, Deferred

from core0.errors import Refusal
from core0.images.images import Root
from core0.waiting import pause
from tests.daemon import ROOT
from tests.functional.images_shared import QUICK, ImagesTestCase, plist, sha256
from tests.functional.shared import GENEROUS, lives
from tests.web import Page

FILES = {"etc/motd": b"welcome\n", "usr/big": os.urandom(700_000)}
SLOW = 0.4  # seconds


def children(pid: int) -> list[int]:
    """
    The processes that a process has started.
    """
    return [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


class LifeTestCase(ImagesTestCase):
    """
    Tests that do several things at once.
    """

    async def start(self, url: str, number: int = 1) -> "Deferred[Root]":
        """
        Have a root laid out meanwhile.
        """
        images = await self.begin()
        coroutine = images.root(url, "", self.hold(number), self.progress.append)
        return Deferred.fromCoroutine(coroutine)

    def setUp(self) -> None:
        """
        See :class:`ImagesTestCase`.
        """
        super().setUp()
        self.progress: list[str] = []

    def slow(self, files: dict[str, bytes], name: str = "/image.plist") -> str:
        """
        An image whose contents take their time.
        """
        url = self.publish(files, name)
        for content in files.values():
            self.web.pages[f"/store/{sha256(content)}"] = Page(content, wait=SLOW)
        return url

    async def until_asked(self, path: str) -> None:
        """
        Until somebody asks the server for it.
        """
        deadline = reactor.seconds() + GENEROUS
        while not self.web.asked[path]:
            self.assertLess(reactor.seconds(), deadline, f"nobody asks for {path}")
            await pause(reactor, 0.01)

    async def refusal_of(self, waiting: "Deferred[Root]") -> Refusal:
        """
        What somebody is told who waits.
        """
        try:
            root = await waiting
        except Refusal as refusal:
            return refusal
        raise AssertionError(f"expected a refusal, got {root}")

    def worker(self) -> int:
        """
        The process that does the work.
        """
        assert self.images is not None
        pid = self.images.pid
        assert pid is not None
        return pid

    async def until_gone(self, pids: list[int]) -> None:
        """
        Until these processes have ended.
        """
        deadline = reactor.seconds() + GENEROUS
        while any(map(lives, pids)):
            self.assertLess(reactor.seconds(), deadline, f"{pids} live")
            await pause(reactor, 0.01)


class AtOnceTests(LifeTestCase):
    """
    Several that want the same.
    """

    async def test_shared_work(self) -> None:
        """
        Many calls for one image share the work; each gets a symlink of its own; all are told how far it is.
        """
        url = self.slow(FILES)
        await (await self.start(url))
        self.web.asked.clear()
        more = {**FILES, "new": b"new"}
        url = self.slow(more, "/more.plist")
        waiting = [await self.start(url, number) for number in range(2, 12)]
        roots = [await deferred for deferred in waiting]
        self.assertEqual(1, len(set(roots)))
        self.assertEqual({"/more.plist": 1, f"/store/{sha256(b'new')}": 1}, dict(self.web.asked))
        for number in range(2, 12):
            self.assertEqual(os.path.dirname(roots[0].path), os.readlink(self.hold(number)))
        self.assertTrue(any(text.startswith("plist: ") for text in self.progress), self.progress)

    async def test_no_content_twice(self) -> None:
        """
        Two images at once that have contents in common fetch each of them once.
        """
        one = self.slow(FILES, "/one.plist")
        two = self.slow({**FILES, "more": b"more"}, "/two.plist")
        waiting = [await self.start(one, 1), await self.start(two, 2)]
        roots = [await deferred for deferred in waiting]
        self.assert_files(FILES, roots[0])
        self.assert_files({**FILES, "more": b"more"}, roots[1])
        self.assertEqual({1}, set(self.web.asked.values()), self.web.asked)

    async def test_one_digest(self) -> None:
        """
        The same plist at two addresses is laid out once, also when both are asked for at once.
        """
        one, two = self.slow(FILES, "/one.plist"), self.slow(FILES, "/two.plist")
        waiting = [await self.start(one, 1), await self.start(two, 2)]
        roots = [await deferred for deferred in waiting]
        self.assertEqual(roots[0].path, roots[1].path)
        self.assert_files(FILES, roots[0])
        self.assertEqual({1}, set(self.web.asked.values()), self.web.asked)


class CancelTests(LifeTestCase):
    """
    Calls that are given up.
    """

    async def test_one_of_two(self) -> None:
        """
        When one of two who share the work gives up, even the first, the other gets its root.
        """
        url = self.slow(FILES)
        first, second = await self.start(url, 1), await self.start(url, 2)
        await self.until_asked(f"/store/{sha256(FILES['etc/motd'])}")
        first.cancel()
        await self.assertFailure(first, CancelledError)
        self.assert_files(FILES, await second)
        self.assertTrue(os.path.islink(self.hold(2)))

    async def test_all(self) -> None:
        """
        When all give up, the work ends, what it has left is removed, and it can be begun again.
        """
        url = self.slow(FILES)
        waiting = [await self.start(url, 1), await self.start(url, 2)]
        await self.until_asked(f"/store/{sha256(FILES['etc/motd'])}")
        working = children(self.worker())
        self.assertEqual(1, len(working))
        for deferred in waiting:
            deferred.cancel()
            await self.assertFailure(deferred, CancelledError)
        await self.until_gone(working)
        deadline = reactor.seconds() + GENEROUS
        while left := os.listdir(self.folder / "images" / "tmp"):
            self.assertLess(reactor.seconds(), deadline, f"{left} is not removed")
            await pause(reactor, 0.01)
        self.assert_files(FILES, await self.root(url))

    async def test_stop(self) -> None:
        """
        When core0 stops, whoever waits is told, and no process is left.
        """
        url = self.slow(FILES)
        waiting = await self.start(url)
        await self.until_asked(f"/store/{sha256(FILES['etc/motd'])}")
        worker = self.worker()
        processes = [worker, *children(worker)]
        assert self.images is not None
        await self.images.stop()
        refusal = await self.refusal_of(waiting)
        self.assert_refused(refusal, 503, "core0 is stopping")
        await self.until_gone(processes)
        self.assert_refused(await self.refused(url), 503, "core0 is stopping")


class KilledTests(LifeTestCase):
    """
    Processes that end when nobody expects it.
    """

    async def test_worker(self) -> None:
        """
        When the worker is killed, whoever waits is told so, nothing that it started is left, and the next call works.
        """
        url = self.slow(FILES)
        waiting = await self.start(url)
        await self.until_asked(f"/store/{sha256(FILES['etc/motd'])}")
        worker = self.worker()
        working = children(worker)
        os.kill(worker, signal.SIGKILL)
        refusal = await self.refusal_of(waiting)
        self.assert_refused(refusal, 503, "has ended", "signal 9", "try again")
        await self.until_gone(working)
        self.assert_files(FILES, await self.root(url))
        left = [name for name in os.listdir(self.folder / "images" / "tmp") if not name.endswith(".lock")]
        self.assertEqual([], left)

    async def test_one_job(self) -> None:
        """
        When the process of one image is killed, only those who wait for that one are told.
        """
        url, other = self.slow(FILES), self.slow({"more": b"more"}, "/more.plist")
        waiting = await self.start(url)
        await self.until_asked(f"/store/{sha256(FILES['etc/motd'])}")
        working = children(self.worker())
        second = await self.start(other, 2)
        os.kill(working[0], signal.SIGKILL)
        refusal = await self.refusal_of(waiting)
        self.assert_refused(refusal, 503, "ended by signal 9", "try again")
        self.assert_files({"more": b"more"}, await second)

    async def test_power_cut(self) -> None:
        """
        What was not on the disk when the machine went down is not believed when it is up again.
        """
        url = self.publish(FILES)
        await self.root(url)
        assert self.images is not None
        await self.images.stop()
        (self.folder / "images" / "pending" / "another-boot.1").write_text(
            f"c {sha256(FILES['etc/motd'])}\nr {sha256(plist(FILES))}\nc ../../etc\n"
        )
        (self.folder / "images" / "tmp" / "left").mkdir()
        self.web.asked.clear()
        self.images = self.more_images()
        self.assert_files(FILES, await self.root(url))
        self.assertEqual({"/image.plist": 1, f"/store/{sha256(FILES['etc/motd'])}": 1}, dict(self.web.asked))
        self.assertFalse((self.folder / "images" / "tmp" / "left").exists())

    async def test_durable(self) -> None:
        """
        Once the disk has everything, nothing is doubtful any more.
        """
        await self.root(self.publish(FILES))
        deadline = reactor.seconds() + GENEROUS
        while os.listdir(self.folder / "images" / "pending"):
            self.assertLess(reactor.seconds(), deadline)
            await pause(reactor, 0.01)


class IdleTests(LifeTestCase):
    """
    A worker that ends very soon.
    """

    patience = replace(QUICK, idle=0.05)

    async def test_idle_end(self) -> None:
        """
        A worker that has nothing to do ends, and is started again when there is something, even if both are at once.
        """
        url = self.publish(FILES)
        workers = set()
        for wait in (0.0, 0.045, 0.05, 0.055):
            self.assert_files(FILES, await self.root(url))
            workers.add(self.worker())
            await pause(reactor, wait)
        assert self.images is not None
        deadline = reactor.seconds() + GENEROUS
        while self.images.pid is not None:
            self.assertLess(reactor.seconds(), deadline)
            await pause(reactor, 0.01)
        self.assert_files(FILES, await self.root(url))
        workers.add(self.worker())
        self.assertGreater(len(workers), 1)


class CollectTests(LifeTestCase):
    """
    What no container uses goes when there is too much of it.
    """

    max_bytes = 1_500_000

    async def image(self, number: int) -> str:
        """
        Lay out an image of 700 kB.
        """
        await self.root(self.publish({"big": bytes([number]) * 700_000}, f"/{number}.plist"), number=number)
        return sha256(plist({"big": bytes([number]) * 700_000}))

    def roots(self) -> set[str]:
        """
        The digests of those that are there.
        """
        return set(os.listdir(self.folder / "images" / "roots"))

    async def until_roots(self, expected: set[str]) -> None:
        """
        Until these are left.
        """
        deadline = reactor.seconds() + GENEROUS
        while self.roots() != expected:
            self.assertLess(reactor.seconds(), deadline, self.roots())
            await pause(reactor, 0.01)

    async def test_oldest_first(self) -> None:
        """
        Beyond the cap the roots that were used last stay, and those that a container holds.
        """
        first = await self.image(1)
        second = await self.image(2)
        os.unlink(self.hold(2))
        third = await self.image(3)
        await self.until_roots({first, third})
        self.assertNotIn(second, self.roots())
        self.assertEqual({sha256(bytes([number]) * 700_000) for number in (1, 3)}, self.contents())

    def gc(self, *words: str) -> str:
        """
        Have corectl collect.
        """
        config = self.folder / "core0.toml"
        config.write_text(f"[core]\nstate_dir = {json.dumps(str(self.folder))}\n[containers]\nmax_store = {1 << 20}\n")
        command = [sys.executable, "-m", "core0.client", "store", "gc", "--config", str(config), *words]
        env = {**os.environ, "PYTHONPATH": str(ROOT)}
        return subprocess.run(command, env=env, check=True, capture_output=True, text=True).stdout

    async def test_corectl(self) -> None:
        """
        corectl store gc removes down to the cap, with --all everything that no container holds, and says how much.
        """
        self.assertIn("nothing is kept in", self.gc())
        one = await self.image(1)
        two = await self.image(2)
        os.unlink(self.hold(2))
        self.assertIn("removed 1 root file systems and 1 contents: 0.7 MB; 0.7 MB are left", self.gc())
        self.assertEqual({one}, self.roots())
        self.assertIn("removed 0 root file systems", self.gc("--all"))
        os.unlink(self.hold(1))
        self.assertIn("removed 1 root file systems", self.gc("--all"))
        self.assertEqual((set(), set()), (self.roots(), self.contents()))
        self.assertEqual(two, await self.image(2))
