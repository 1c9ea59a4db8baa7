"""
One body through several tries: what is asked for, and what is made of the answers.
"""

import os
import tempfile

import pycurl
from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from core0.images.download import HEADER, IDLE_TALK, Download, Known
from core0.images.source import Source

SOURCE = Source("/x", "http", "h")
LOST = (pycurl.E_RECV_ERROR, "Recv failure")
ETAG = '"1"'


def answer(download: Download, status: str, *lines: str, body: bytes = b"") -> None:
    """
    Have a server answer.
    """
    for line in (f"HTTP/1.1 {status}", *lines, ""):
        download.heard(f"{line}\r\n".encode())
    if body:
        download.take(body)


class DownloadTests(SynchronousTestCase):
    """
    Into memory, unless a test says otherwise.
    """

    def text(self, download: Download) -> bytes:
        """
        What has come.
        """
        return b"".join(download.pieces)

    def test_at_once(self) -> None:
        """
        A body that comes as a whole is complete.
        """
        download = Download(SOURCE, 10)
        self.assertIn("Accept-Encoding: gzip, zstd, br", download.headers())
        answer(download, "200 OK", "Content-Encoding: GZIP", body=b"abc")
        self.assertIsNone(download.ended(None))
        self.assertEqual((b"abc", "gzip", 3), (self.text(download), download.encoding, download.received))

    def test_goes_on(self) -> None:
        """
        After a lost connection only the rest is asked for, if it is of the same body.
        """
        download = Download(SOURCE, 10)
        download.headers()
        answer(download, "200 OK", f"ETag: {ETAG}", body=b"abc")
        failure = download.ended(LOST)
        assert failure is not None
        self.assertEqual((503, "the connection was lost after 3 bytes"), failure)
        self.assertIsNone(download.failure)
        self.assertLessEqual({"Range: bytes=3-", f"If-Range: {ETAG}"}, set(download.headers()))
        answer(download, "206 Partial Content", "Content-Range: bytes 3-5/6", body=b"def")
        self.assertIsNone(download.ended(None))
        self.assertEqual(b"abcdef", self.text(download))

    def test_whole_again(self) -> None:
        """
        A server that sends all of it again instead of the rest is right, too.
        """
        download = Download(SOURCE, 10)
        download.headers()
        answer(download, "200 OK", f"ETag: {ETAG}", body=b"abc")
        download.ended(LOST)
        download.headers()
        answer(download, "200 OK", 'ETag: "2"', body=b"xyz")
        self.assertIsNone(download.ended(None))
        self.assertEqual(b"xyz", self.text(download))

    def test_begins_again(self) -> None:
        """
        What cannot be told from another body is not gone on with: no ETag, a weak one, or an encoding without one.
        """
        for lines in ((), ('ETag: W/"1"',), ("Last-Modified: yesterday", "Content-Encoding: gzip")):
            download = Download(SOURCE, 10)
            download.headers()
            answer(download, "200 OK", *lines, body=b"abc")
            download.ended(LOST)
            self.assertEqual([], [line for line in download.headers() if line.startswith("Range")], lines)
            self.assertEqual(0, download.received)

    def test_lasting(self) -> None:
        """
        In a store, where a name stands for one content for ever, the rest is asked for without an ETag.
        """
        download = Download(SOURCE, 10, lasting=True)
        download.headers()
        answer(download, "200 OK", body=b"abc")
        download.ended(LOST)
        self.assertIn("Range: bytes=3-", download.headers())

    def test_wrong_parts(self) -> None:
        """
        Another part than the one that was asked for is not taken, nor one that nobody asked for.
        """
        for wanted, range in ((True, "bytes 2-5/6"), (True, "bytes */6"), (True, ""), (False, "bytes 0-5/6")):
            download = Download(SOURCE, 10, lasting=True)
            if wanted:
                download.headers()
                answer(download, "200 OK", body=b"abc")
                download.ended(LOST)
            download.headers()
            answer(download, "206 Partial Content", f"Content-Range: {range}", body=b"def")
            failure = download.ended(None)
            assert failure is not None
            self.assertIn("another part", failure.text)
            self.assertEqual(0, download.received)

    def test_gone_short(self) -> None:
        """
        A server that has no such part any more is asked for the whole.
        """
        download = Download(SOURCE, 10, lasting=True)
        download.headers()
        answer(download, "200 OK", body=b"abc")
        download.ended(LOST)
        download.headers()
        answer(download, "416 Range Not Satisfiable")
        self.assertIsNotNone(download.ended(None))
        self.assertEqual((None, 0), (download.failure, download.received))

    def test_unchanged(self) -> None:
        """
        What is known is not wanted again; a server that says so without having been asked is wrong.
        """
        download = Download(SOURCE, 10, known=Known(ETAG, "yesterday"))
        self.assertLessEqual({f"If-None-Match: {ETAG}", "If-Modified-Since: yesterday"}, set(download.headers()))
        answer(download, "304 Not Modified")
        self.assertIsNone(download.ended(None))
        self.assertTrue(download.unchanged)
        download = Download(SOURCE, 10)
        download.headers()
        answer(download, "304 Not Modified")
        self.assertIsNotNone(download.ended(None))
        self.assertEqual(503, download.failure and download.failure.code)

    def test_statuses(self) -> None:
        """
        A mistake of the server may pass; what it refuses, and what is not there, stays so.
        """
        for status, code, lasting in (
            ("404 Not Found", 404, True),
            ("410 Gone", 404, True),
            ("403 Forbidden", 503, True),
            ("429 Too Many Requests", 503, False),
            ("500 Internal Server Error", 503, False),
            ("204 No Content", 503, True),
        ):
            download = Download(SOURCE, 10)
            download.headers()
            answer(download, status, body=b"sorry")
            failure = download.ended(None)
            assert failure is not None
            self.assertEqual((code, f"the server answers {status}"), failure)
            self.assertEqual(lasting, download.failure is not None, status)
            self.assertEqual([], download.pieces)

    def test_too_large(self) -> None:
        """
        A body beyond its limit is stopped, and not tried again.
        """
        download = Download(SOURCE, 10)
        download.headers()
        answer(download, "200 OK", body=b"a" * 10)
        self.assertEqual(0, download.take(b"a"))
        download.ended((pycurl.E_WRITE_ERROR, "Failure writing output to destination"))
        self.assertEqual((400, "expected at most 10 bytes, it has more"), download.failure)

    def test_talk(self) -> None:
        """
        A server that refuses at length is not listened to for long; nor are its headers kept.
        """
        download = Download(SOURCE, 10)
        download.headers()
        answer(download, "500 Oh", *(f"X-{number}: x" for number in range(200)), f"ETag: {'x' * 9999}")
        self.assertIsNone(download.take(bytes(IDLE_TALK)))
        self.assertEqual(0, download.take(b"x"))
        self.assertLessEqual(sum(map(len, download._headers.values())), HEADER)

    def test_redirects(self) -> None:
        """
        Only the last answer counts.
        """
        download = Download(SOURCE, 10)
        download.headers()
        answer(download, "302 Found", "Content-Encoding: br", "Location: /y", body=b"moved")
        answer(download, "200 OK", body=b"abc")
        self.assertIsNone(download.ended(None))
        self.assertEqual((b"abc", ""), (self.text(download), download.encoding))

    def test_secrets(self) -> None:
        """
        What libcurl says is not passed on where it may quote the URL.
        """
        download = Download(Source("/x", "http", "me:tops3cret@h"), 10)
        download.headers()
        failure = download.ended((pycurl.E_FTP_WEIRD_SERVER_REPLY, "odd answer from http://me:tops3cret@h/x"))
        assert failure is not None
        self.assertEqual("odd answer from http", failure.text)

    @given(st.lists(st.binary(max_size=5), max_size=6), st.lists(st.integers(0, 30), max_size=4))
    def test_files(self, pieces: list[bytes], cuts: list[int]) -> None:
        """
        However often a transfer is cut, the file is the body at the end.
        """
        body = b"".join(pieces)
        with tempfile.TemporaryFile() as file:
            download = Download(SOURCE, 100, file.fileno(), lasting=True)
            for cut in [*cuts, len(body)]:
                download.headers()
                start = download.received
                if start:
                    answer(download, "206 Partial Content", f"Content-Range: bytes {start}-")
                else:
                    answer(download, "200 OK")
                if body[start:cut]:
                    download.take(body[start:cut])
                download.ended(LOST if cut < len(body) else None)
            self.assertEqual(body, os.pread(file.fileno(), 200, 0))
