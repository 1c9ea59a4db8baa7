"""
Addresses of plists, archives and stores.
"""

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from core0.errors import Refusal
from core0.images.source import LONGEST, Packing, Source, parse

HASH = "0123456789abcdef" * 4
FIELD = "arguments.plist"
ODD = st.text(st.sampled_from("htps:/file@?#[]%.0a \\\0é")) | st.text()


def refused(text: str) -> str:
    """
    What is said about an address; empty if it can be used.
    """
    try:
        parse(text, FIELD)
    except Refusal as refusal:
        assert refusal.code == 400
        return str(refusal)
    return ""


class ParseTests(SynchronousTestCase):
    """
    Text to sources.
    """

    def test_local(self) -> None:
        """
        An absolute path and a file URL name a file of this host.
        """
        for text, path in (
            ("/a/b.plist", "/a/b.plist"),
            ("/a%20b", "/a%20b"),
            ("file:///a/b", "/a/b"),
            ("file://localhost/a%20b", "/a b"),
        ):
            self.assertEqual(Source(path), parse(text, FIELD))

    def test_remote(self) -> None:
        """
        An http or https URL is fetched as it is; what may not stand in one is encoded, a fragment is left away.
        """
        for text, url in (
            ("http://h/a?b=c#d", "http://h/a?b=c"),
            ("https://h:8443", "https://h:8443/"),
            ("HTTP://h/a", "http://h/a"),
            ("http://[::1]:80/a%2Fb", "http://[::1]:80/a%2Fb"),
            ("http://h/é|", "http://h/%C3%A9%7C"),
            ("http://é.example/", "http://xn--9ca.example/"),
        ):
            self.assertEqual(url, parse(text, FIELD).url)

    def test_wrong(self) -> None:
        """
        Anything else is refused with what was expected, and what there is.
        """
        for text in (
            "",
            "x",
            "ftp://h/x",
            "http://",
            "http://h:x/",
            "http://h:0/",
            "http://[::1/",
            "file://h/x",
            "/a\0",
        ):
            self.assertIn("arguments.plist: expected an http, https or file URL, or an absolute path", refused(text))
        self.assertIn("got '/aaa", refused("/" + "a" * LONGEST))

    @given(ODD)
    def test_anything(self, text: str) -> None:
        """
        Whatever comes is a source or is refused.
        """
        refused(text)

    @given(st.text(st.characters(exclude_characters="\0/?#"), max_size=5), ODD)
    def test_secrets(self, user: str, rest: str) -> None:
        """
        A password is in no text that is shown, also if the URL is wrong.
        """
        text = f"http://{user}:tops3cret@{rest}"
        try:
            source = parse(text, FIELD)
        except Refusal as refusal:
            self.assertNotIn("tops3cret", str(refusal))
        else:
            self.assertNotIn("tops3cret", source.text + source.public + source.beside.text)

    def test_queries(self) -> None:
        """
        A query, which may be a key, is not shown.
        """
        self.assertEqual("'http://h/a?…'", parse("http://h/a?key=1", FIELD).text)


class PartsTests(SynchronousTestCase):
    """
    What follows from an address.
    """

    def test_packing(self) -> None:
        """
        The ending of the path says what it is, whatever the query is.
        """
        for name, packing in (
            ("x.plist", Packing.PLAIN),
            ("x", Packing.PLAIN),
            ("x.plist.gz", Packing.GZIP),
            ("x.plist.zst", Packing.ZSTD),
            ("x.tar", Packing.TAR),
            ("x.TAR.GZ", Packing.TAR_GZIP),
            ("x.tgz", Packing.TGZ),
            ("x.tar.zst", Packing.TAR_ZSTD),
            ("x.tar.xz", Packing.TAR_XZ),
        ):
            self.assertEqual(packing, parse(f"/a.tar/{name}", FIELD).packing)
            self.assertEqual(packing, parse(f"http://h/{name}?as=a.tar", FIELD).packing)
            self.assertEqual("tar" in packing or packing == ".tgz", packing.archive)

    def test_stores(self) -> None:
        """
        A store is beside its plist unless it is named; a content is in it by its hash.
        """
        for text, content in (
            ("http://me:x@h/a/b.plist?c", f"http://me:x@h/a/store/{HASH}"),
            ("https://h", f"https://h/store/{HASH}"),
        ):
            self.assertEqual(content, parse(text, FIELD).beside.content(HASH).url)
        self.assertEqual(f"/a/store/{HASH}", parse("/a/b.plist", FIELD).beside.content(HASH).path)
        self.assertEqual(f"http://h/s/{HASH}?key=1", parse("http://h/s/?key=1", FIELD).content(HASH).url)
