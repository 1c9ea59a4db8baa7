"""
What cannot be laid out is refused with what is wrong, and leaves nothing half done.
"""

import gzip
import os
import shutil
import socket

from core0.images.patience import Patience
from tests.functional.images_shared import QUICK, ImagesTestCase, digest_of, line, plist, sha256
from tests.web import Page, redirect, zipped

SMALL, LARGE = b"welcome\n", os.urandom(700_000)
FILES = {"etc/motd": SMALL, "usr/big": LARGE}
ZEROS = 64 << 20  # bytes that a small body stands for


class PlistTests(ImagesTestCase):
    """
    The plist cannot be had, or is none.
    """

    async def test_addresses(self) -> None:
        """
        An address that is none of those that core0 knows is refused with what is expected.
        """
        for url in (
            "",
            "image.plist",
            "ftp://host/x",
            "http://",
            "http:///x",
            "file://other/x",
            "http://h:99999/",
            "a\n",
        ):
            self.assert_refused(await self.refused(url), 400, "arguments.plist: expected an http, https or file URL")
        self.assert_refused(await self.refused("/x", "ipfs://x"), 400, "arguments.storage: expected", "'ipfs://x'")

    async def test_missing(self) -> None:
        """
        A plist that is not there is not found, on a server or in a file.
        """
        self.assert_refused(await self.refused(self.web.url("/none")), 404, "/none", "404 Not Found")
        self.assert_refused(await self.refused("/nonexistent/x"), 404, "'/nonexistent/x': no such file")
        self.assertEqual(1, self.web.asked["/none"])

    async def test_no_files(self) -> None:
        """
        What is no regular file is no plist, and nobody waits for a FIFO.
        """
        fifo = self.folder / "fifo"
        os.mkfifo(fifo)
        for path in (fifo, self.folder):
            self.assert_refused(await self.refused(str(path)), 400, "expected a regular file")

    async def test_wrong_lines(self) -> None:
        """
        A plist with a mistake is refused with the number of the line, and what is wrong in it.
        """
        self.web.pages["/x.plist"] = f"{line('a', b'a')}\n/b|1|2\n".encode()
        self.assert_refused(await self.refused(self.web.url("/x.plist")), 400, "line 2: expected 10 fields")
        self.web.pages["/y.plist"] = f"{line('a', b'a')}\n{line('a/b', b'a')}\n".encode()
        self.assert_refused(await self.refused(self.web.url("/y.plist")), 400, "'/a'", "expected a directory")
        self.web.pages["/z.plist"] = b"/x||0|nobody-here|root|0755|4|0|0|\n"
        self.assert_refused(await self.refused(self.web.url("/z.plist")), 400, "'nobody-here'", "/etc/passwd")

    async def test_wrong_archives(self) -> None:
        """
        An archive that is none is refused.
        """
        self.web.pages["/x.tar.gz"] = b"no archive"
        self.assert_refused(await self.refused(self.web.url("/x.tar.gz")), 400, "/x.tar.gz")

    async def test_damaged(self) -> None:
        """
        A compressed plist that is cut off, or in an unknown encoding, is refused.
        """
        self.web.pages["/x.gz"] = gzip.compress(plist(FILES))[:-9]
        self.assert_refused(await self.refused(self.web.url("/x.gz")), 400, "cut off")
        self.web.pages["/y"] = Page(b"?", headers={"Content-Encoding": "odd"})
        self.assert_refused(await self.refused(self.web.url("/y")), 400, "encoding 'odd' is unknown")

    async def test_bombs(self) -> None:
        """
        A plist that unpacks to more than core0 takes is refused, and the disk is not filled.
        """
        self.web.pages["/x.gz"] = gzip.compress(bytes(600 << 20), 1)
        self.assert_refused(await self.refused(self.web.url("/x.gz")), 400, "/x.gz")

    async def test_loops(self) -> None:
        """
        Redirects that lead round and round come to an end, and one to a file is not followed.
        """
        self.web.pages |= {"/a": redirect("/b"), "/b": redirect("/a"), "/c": redirect("file:///etc/passwd")}
        self.assert_refused(await self.refused(self.web.url("/a")), 503, "too many redirects")
        self.assert_refused(await self.refused(self.web.url("/c")), 503, "neither http nor https")

    async def test_busy_servers(self) -> None:
        """
        A server that has a mistake for a while is asked again; one that refuses is not; one that is down is given up.
        """
        url = self.publish(FILES)
        self.web.pages["/image.plist"] = Page(plist(FILES), statuses=[500, 503])
        self.assert_files(FILES, await self.root(url))
        self.web.pages |= {"/down": Page(statuses=[500] * 9), "/private": Page(statuses=[403] * 9)}
        self.assert_refused(await self.refused(self.web.url("/down")), 503, "500", "tried 3 times")
        self.assert_refused(await self.refused(self.web.url("/private")), 503, "403")
        self.assertEqual((3, 1), (self.web.asked["/down"], self.web.asked["/private"]))

    async def test_no_server(self) -> None:
        """
        Where nobody listens, and where there is no such host, the plist cannot be had now.
        """
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            url = f"http://127.0.0.1:{free.getsockname()[1]}/x"
            self.assert_refused(await self.refused(url), 503, "cannot be reached", "tried 3 times")

    async def test_resumed(self) -> None:
        """
        A plist whose transfer is cut goes on where it stopped; at a server that sends no parts it begins again.
        """
        text = plist({f"f{number}": b"" for number in range(1000)})
        for ranges in (True, False):
            path = f"/{ranges}.plist"
            self.web.pages[path] = Page(text, cuts=[10_000, 9_000], ranges=ranges)
            root = await self.root(self.web.url(path))
            self.assertEqual(sha256(text), digest_of(root))
            self.assertEqual("bytes=10000-", self.web.headers[path][1]["range"])
            self.assertIn("if-range", self.web.headers[path][1])
        self.assertEqual("bytes=19000-", self.web.headers["/True.plist"][2]["range"])


class SlowTests(ImagesTestCase):
    """
    A server that does not get on.
    """

    patience = Patience(connect=1.0, slow=1, tries=1, wait=0.01)

    async def test_silent(self) -> None:
        """
        A server that takes a request and says nothing is given up.
        """
        with socket.create_server(("127.0.0.1", 0)) as server:
            url = f"http://127.0.0.1:{server.getsockname()[1]}/x"
            self.assert_refused(await self.refused(url), 503, "does not answer, or too slowly")


class TotalTests(ImagesTestCase):
    """
    A server that gets on, but not within the time that all of it has.
    """

    patience = Patience(slow=30, plist=0.6, contents=1.0)

    async def test_plist(self) -> None:
        """
        A plist that has not come in time is given up, and an archive has the time of contents.
        """
        self.web.pages["/x.plist"] = Page(plist(FILES), wait=2.0)
        self.assert_refused(await self.refused(self.web.url("/x.plist")), 503, "not come within 1 s", "too slow")
        self.web.pages["/x.tar"] = Page(b"", wait=2.0)
        self.assert_refused(await self.refused(self.web.url("/x.tar")), 503, "not come within 1 s", "too slow")

    async def test_contents(self) -> None:
        """
        Contents that have not come in time are given up.
        """
        url = self.publish(FILES)
        self.web.pages[f"/store/{sha256(SMALL)}"] = Page(SMALL, wait=3.0)
        self.assert_refused(await self.refused(url), 503, sha256(SMALL), "not come within 1 s")


class ContentTests(ImagesTestCase):
    """
    A content cannot be had, or is not what it has to be.
    """

    patience = QUICK

    async def wrong(self, page: Page | bytes | None, content: bytes, *words: str) -> None:
        """
        An image with such a content is refused, names it, and is laid out once that is right.
        """
        url = self.publish(FILES)
        path = f"/store/{sha256(content)}"
        right = self.web.pages.pop(path)
        if page is not None:
            self.web.pages[path] = page
        self.assert_refused(await self.refused(url), 503, sha256(content), *words)
        self.assertNotIn(sha256(content), self.contents())
        self.assertEqual([], os.listdir(self.folder / "images" / "roots"))
        self.web.pages[path] = right
        self.assert_files(FILES, await self.root(url))

    async def test_missing(self) -> None:
        """
        A content that the store does not have is named, with the file that it is of.
        """
        await self.wrong(None, SMALL, "'/etc/motd'", "404 Not Found", "arguments.plist: ")

    async def test_other(self) -> None:
        """
        A content that is not what its hash says is not believed, whether it is small or large.
        """
        await self.wrong(b"Welcome\n", SMALL, "not what its hash says")

    async def test_other_large(self) -> None:
        """
        So it is with a large one.
        """
        await self.wrong(LARGE[::-1], LARGE, "not what its hash says")

    async def test_sizes(self) -> None:
        """
        A content that is shorter or longer than the plist says is not taken.
        """
        await self.wrong(b"welcome", SMALL, "expected 8 bytes, there are 7")

    async def test_more(self) -> None:
        """
        A content that does not end is not read to its end.
        """
        await self.wrong(LARGE * 4, LARGE, "expected at most")

    async def test_bomb(self) -> None:
        """
        A content that unpacks to more than the plist says is stopped at that.
        """
        await self.wrong(zipped(bytes(ZEROS)), SMALL, "expected 8 bytes, there are more")

    async def test_large_bomb(self) -> None:
        """
        So it is with one that goes through a file.
        """
        await self.wrong(zipped(bytes(ZEROS)), LARGE, "there are more")

    async def test_storage_is_named(self) -> None:
        """
        A storage that was asked for is what is wrong then; a folder of this host is refused in the same way.
        """
        path = self.write(FILES)
        url = self.web.url("/nowhere/")
        self.assert_refused(await self.refused(str(path), url), 503, "arguments.storage: ", "/nowhere/'")
        (path.parent / "store" / sha256(SMALL)).unlink()
        self.assert_refused(await self.refused(str(path)), 503, sha256(SMALL), "No such file")
        (path.parent / "store" / sha256(SMALL)).write_bytes(b"Welcome\n")
        self.assert_refused(await self.refused(str(path)), 503, sha256(SMALL), "not what its hash says")

    async def test_resumed(self) -> None:
        """
        A large content whose transfer is cut goes on where it stopped.
        """
        url = self.publish(FILES)
        path = f"/store/{sha256(LARGE)}"
        self.web.pages[path] = Page(LARGE, cuts=[300_000])
        self.assert_files(FILES, await self.root(url))
        self.assertEqual("bytes=300000-", self.web.headers[path][1]["range"])

    async def test_impossible_sizes(self) -> None:
        """
        What would not fit on the disk is refused before anything is fetched, with both figures.
        """
        size = 1 << 40
        self.web.pages["/x.plist"] = f"{line('huge', b'', hash='1' * 64, size=size)}\n".encode()
        refusal = await self.refused(self.web.url("/x.plist"))
        self.assert_refused(refusal, 503, "bytes below", "are free")
        self.assertEqual({"/x.plist": 1}, dict(self.web.asked))
        self.assertGreater(size, shutil.disk_usage(self.folder).free)

    async def test_empty_files(self) -> None:
        """
        An empty file with the hash of something else is refused.
        """
        self.web.pages["/x.plist"] = f"{line('x', b'', hash='1' * 64)}\n".encode()
        self.assert_refused(await self.refused(self.web.url("/x.plist")), 503, "not the hash of nothing")
