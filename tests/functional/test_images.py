"""
Root file systems are laid out from plists and archives, on servers and in files.
"""

import gzip
import io
import os
import stat
import tarfile
from pathlib import Path

import brotli  # type: ignore[import-untyped]
import zstandard

from tests.functional.images_shared import MTIME, ImagesTestCase, digest_of, line, plist, sha256
from tests.functional.shared import need_root
from tests.web import Page, Web, redirect, zipped

FILES = {"bin/true": b"#!/bin/true", "etc/motd": b"welcome\n", "etc/empty": b"", "usr/big": os.urandom(700_000)}


def archive(mode: str) -> bytes:
    """
    The files in a tar.
    """
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode=mode) as tar:  # type: ignore[call-overload]
        for path, content in FILES.items():
            member = tarfile.TarInfo(path)
            member.size, member.mode, member.mtime = len(content), 0o4755, MTIME
            member.uid, member.gid = os.geteuid(), os.getegid()
            tar.addfile(member, io.BytesIO(content))
    return file.getvalue()


class WhereFromTests(ImagesTestCase):
    """
    Addresses of all kinds.
    """

    async def test_http(self) -> None:
        """
        A plist on a web server is laid out from the store beside it, and something holds it.
        """
        url = self.publish(FILES)
        root = await self.root(url)
        self.assert_files(FILES, root)
        self.assertEqual((sha256(plist(FILES)), url), (digest_of(root), root.plist))
        self.assertEqual(os.path.dirname(root.path), os.readlink(self.hold()))
        self.assertEqual(0o700, stat.S_IMODE(os.stat(self.folder / "images").st_mode))

    async def test_many(self) -> None:
        """
        Of hundreds of contents each is fetched once, and a missing one is named.
        """
        files = {f"d{number % 7}/{number}": b"%d" % number for number in range(600)}
        url = self.publish(files)
        del self.web.pages[f"/store/{sha256(b'500')}"]
        self.assertIn(sha256(b"500"), str(await self.refused(url)))
        # another server: this one may only now come to what was on its way when the first content was missed
        self.web = Web()
        self.addCleanup(self.web.close)
        self.assert_files(files, await self.root(self.publish(files)))
        self.assertEqual({1}, set(self.web.asked.values()))

    async def test_files(self) -> None:
        """
        A plist in a file is laid out by its path and by its URL, into the same root.
        """
        path = self.write(FILES)
        for url in (str(path), f"file://{path}"):
            self.assert_files(FILES, await self.root(url))
        self.assertEqual(1, len(os.listdir(self.folder / "images" / "roots")))

    async def test_storage(self) -> None:
        """
        Contents come from the storage that is named, a server or a folder, wherever the plist is.
        """
        self.web.pages |= {f"/elsewhere/{sha256(content)}": content for content in FILES.values()}
        made = self.folder / "x.plist"
        made.write_bytes(plist(FILES))
        self.assert_files(FILES, await self.root(str(made), self.web.url("/elsewhere")))
        more = {**FILES, "more": b"one more"}
        self.web.pages["/y.plist"] = plist(more)
        storage = self.write(more).parent / "store"
        self.assert_files(more, await self.root(self.web.url("/y.plist"), str(storage)))

    async def test_redirects(self) -> None:
        """
        Redirects are followed, for plists as for contents.
        """
        url = self.publish(FILES)
        hash = sha256(FILES["etc/motd"])
        self.web.pages["/latest"] = redirect(url)
        self.web.pages["/store/moved"] = FILES["etc/motd"]
        self.web.pages[f"/store/{hash}"] = redirect("/store/moved")
        self.assert_files(FILES, await self.root(self.web.url("/latest")))

    async def test_compressed_plists(self) -> None:
        """
        A compressed plist is the same root as the plist, also where the server says that it is encoded.
        """
        self.publish(FILES)
        text = plist(FILES)
        self.web.pages |= {
            "/a.plist.gz": gzip.compress(text),
            "/b.plist.zst": zstandard.compress(text),
            "/c.plist.gz": Page(gzip.compress(text), headers={"Content-Encoding": "gzip"}),
            "/d.plist": zipped(text),
        }
        for path in ("/a.plist.gz", "/b.plist.zst", "/c.plist.gz", "/d.plist"):
            root = await self.root(self.web.url(path))
            self.assertEqual(sha256(text), digest_of(root), path)

    async def test_encoded_contents(self) -> None:
        """
        Contents may be sent encoded, small ones and large ones.
        """
        files = {f"{name}-{kind}": kind.encode() * size for name, size in (("s", 9), ("l", 1 << 19)) for kind in "gzb"}
        url = self.publish(files)
        how = {"g": ("gzip", gzip.compress), "z": ("zstd", zstandard.compress), "b": ("br", brotli.compress)}
        for path, content in files.items():
            encoding, compress = how[path[-1]]
            page = Page(compress(content), headers={"Content-Encoding": encoding})
            self.web.pages[f"/store/{sha256(content)}"] = page
        self.assert_files(files, await self.root(url))

    async def test_archives(self) -> None:
        """
        An archive is laid out in the same way, whether it is compressed or not, fetched or read.
        """
        pages = {
            "/a.tar": archive("w"),
            "/b.tar.gz": archive("w:gz"),
            "/c.tgz": archive("w:gz"),
            "/d.tar.xz": archive("w:xz"),
            "/e.tar.zst": zstandard.compress(archive("w")),
        }
        self.web.pages |= pages
        for path, body in pages.items():
            root = await self.root(self.web.url(path))
            self.assert_files(FILES, root)
            self.assertEqual(sha256(body), digest_of(root))
            self.assertEqual(0o4755, stat.S_IMODE(os.stat(f"{root.path}/bin/true").st_mode))
        file = self.folder / "f.tar"
        file.write_bytes(archive("w"))
        self.assert_files(FILES, await self.root(str(file)))

    async def test_old_hashes(self) -> None:
        """
        A content may be named by its MD5.
        """
        hash = "49f68a5c8493ec2c0bf489821c21fc3b"
        self.web.pages |= {"/o.plist": f"{line('hi', b'hi', hash=hash)}\n".encode(), f"/store/{hash}": b"hi"}
        self.assert_files({"hi": b"hi"}, await self.root(self.web.url("/o.plist")))

    async def test_secrets(self) -> None:
        """
        A user and a password in a URL are used, and shown to nobody.
        """
        url = self.publish(FILES).replace("http://", "http://me:pass%2Fword@")
        root = await self.root(url)
        self.assertEqual(self.web.url("/image.plist"), root.plist)
        self.assertEqual("Basic bWU6cGFzcy93b3Jk", self.web.headers["/image.plist"][0]["authorization"])
        refusal = await self.refused(url.replace("image", "none"))
        self.assertNotIn("pass", str(refusal))


class OnceTests(ImagesTestCase):
    """
    What is there is not fetched again.
    """

    async def test_warm_http(self) -> None:
        """
        A plist that has not changed costs one question to its server, and no content.
        """
        url = self.publish(FILES)
        first = await self.root(url)
        asked = self.web.asked.copy()
        second = await self.root(url, number=2)
        self.assertEqual(first, second)
        self.assertEqual({"/image.plist": 1}, dict(self.web.asked - asked))
        self.assertIn("if-none-match", self.web.headers["/image.plist"][1])
        self.assertEqual(os.readlink(self.hold(1)), os.readlink(self.hold(2)))

    async def test_changed(self) -> None:
        """
        A plist that has changed is another root; of its contents only new ones are fetched.
        """
        first = await self.root(self.publish(FILES))
        more = {**FILES, "etc/motd": b"hello\n"}
        asked = self.web.asked.copy()
        second = await self.root(self.publish(more))
        self.assert_files(more, second)
        self.assert_files(FILES, first)
        new = f"/store/{sha256(more['etc/motd'])}"
        self.assertEqual({"/image.plist": 1, new: 1}, dict(self.web.asked - asked))

    async def test_changed_file(self) -> None:
        """
        A plist in a file that has changed is read again.
        """
        path = self.write(FILES)
        await self.root(str(path))
        more = {**FILES, "etc/motd": b"hello\n"}
        self.assert_files(more, await self.root(str(self.write(more))))

    async def test_shared_files(self) -> None:
        """
        Files that are alike are one file on the disk, of all roots; one that differs in its mode is not.
        """
        text = plist({"a": b"x" * 99, "b": b"x" * 99}) + f"{line('c', b'x' * 99, mode='0755')}\n".encode()
        self.publish({"a": b"x" * 99})
        self.web.pages |= {"/one.plist": text, "/two.plist": text + f"{line('d', b'x' * 99)}\n".encode()}
        one, two = [await self.root(self.web.url(path)) for path in ("/one.plist", "/two.plist")]
        found = {path: os.stat(path) for root in (one, two) for path in map(str, Path(root.path).iterdir())}
        inodes = {path.rpartition("/")[2]: info.st_ino for path, info in found.items()}
        self.assertEqual(inodes["a"], inodes["b"])
        self.assertEqual(inodes["a"], inodes["d"])
        self.assertNotEqual(inodes["a"], inodes["c"])
        self.assertEqual(0o755, stat.S_IMODE(found[f"{one.path}/c"].st_mode))
        self.assertEqual({MTIME}, {int(info.st_mtime) for info in found.values()})


class OwnersTests(ImagesTestCase):
    """
    Owners by their names.
    """

    async def test_names(self) -> None:
        """
        The names of owners are looked up in the tables of the image itself, on this host nobody need know them.
        """
        need_root()
        tables = {"etc/passwd": b"root:x:0:0\nclerk:x:1234:1\n", "etc/group": b"root:x:0:\nstaff:x:4321:\n"}
        url = self.publish({**tables, "x": b"x"})
        name = f"/x|{sha256(b'x')}|1|clerk|staff|6755|2|{MTIME}|{MTIME}|\n/d|||clerk|root|700|4|0|0|\n"
        self.web.pages["/image.plist"] = plist(tables) + name.encode()
        root = await self.root(url)
        file, folder = os.stat(f"{root.path}/x"), os.stat(f"{root.path}/d")
        self.assertEqual((1234, 4321, 0o6755), (file.st_uid, file.st_gid, stat.S_IMODE(file.st_mode)))
        self.assertEqual((1234, 0, 0o700), (folder.st_uid, folder.st_gid, stat.S_IMODE(folder.st_mode)))
