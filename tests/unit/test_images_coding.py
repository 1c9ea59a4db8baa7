"""
Encodings of contents.
"""

import gzip
import io
from collections.abc import Callable

import brotli  # type: ignore[import-untyped]
import zstandard
from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from core0.images.coding import TooLarge, decoded
from core0.images.compression import Damaged

ENCODERS: dict[str, Callable[[bytes], bytes]] = {
    "": bytes,
    "gzip": gzip.compress,
    "x-gzip": gzip.compress,
    "zstd": zstandard.compress,
    "br": brotli.compress,
}
COMPRESSED = ("gzip", "zstd", "br")
CONTENTS = st.binary() | st.binary(min_size=1, max_size=9).map(lambda data: data * 50_000)
MUCH = 1 << 30


def read(body: bytes, encoding: str, limit: int = MUCH) -> bytes:
    """
    What a body stands for.
    """
    return b"".join(decoded(io.BytesIO(body), encoding, limit))


class DecodedTests(SynchronousTestCase):
    """
    Bodies to contents.
    """

    @given(CONTENTS, st.sampled_from(sorted(ENCODERS)))
    def test_round(self, content: bytes, encoding: str) -> None:
        """
        What was encoded comes out as it was, if it is not longer than it may be.
        """
        body = ENCODERS[encoding](content)
        self.assertEqual(content, read(body, encoding, len(content)))
        if content:
            self.assertRaises(TooLarge, read, body, encoding, len(content) - 1)

    @given(CONTENTS, st.sampled_from(COMPRESSED), st.data())
    def test_cut(self, content: bytes, encoding: str, data: st.DataObject) -> None:
        """
        What is cut off is found out.
        """
        body = ENCODERS[encoding](content)
        end = data.draw(st.integers(1, len(body) - 1)) if len(body) > 1 else 0
        if end:
            self.assertRaises(Damaged, read, body[:end], encoding)

    @given(st.binary(min_size=1), st.sampled_from(COMPRESSED))
    def test_garbage(self, body: bytes, encoding: str) -> None:
        """
        What is not in the encoding is damaged, or short; nothing else happens.
        """
        try:
            read(body, encoding, 1 << 20)
        except (Damaged, TooLarge):
            pass

    def test_pieces(self) -> None:
        """
        A small body that stands for a huge one comes in small pieces.
        """
        for encoding in COMPRESSED:
            body = ENCODERS[encoding](bytes(20 << 20))
            self.assertLess(len(body), 100_000)
            self.assertLess(max(map(len, decoded(io.BytesIO(body), encoding, MUCH))), 4 << 20)

    def test_unknown(self) -> None:
        """
        An encoding that core0 does not know is named.
        """
        error = self.assertRaises(Damaged, read, b"x", "compress")
        self.assertIn("'compress' is unknown; core0 reads gzip, zstd, br", str(error))
