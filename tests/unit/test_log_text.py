"""
Text of others in core0's own log.
"""

import io
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from twisted.logger import Logger, LogPublisher, textFileLogObserver
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from core0.log_text import escape_all, escaped


class EscapedTests(SynchronousTestCase):
    """
    A log that is written to a file.
    """

    def setUp(self) -> None:
        """
        A publisher of its own, with whoever escapes before whoever writes.
        """
        self.file = io.StringIO()
        publisher = LogPublisher()
        escape_all(publisher)
        escape_all(publisher)
        publisher.addObserver(textFileLogObserver(self.file))
        self.log = Logger("tests", observer=publisher)

    def written(self, format: str, **fields: Any) -> str:
        """
        What is in the file after something was logged, without its time.
        """
        self.log.info(format, **fields)
        return self.file.getvalue().partition(" ")[2]

    def test_sequences(self) -> None:
        """
        What would clear a screen, colour it, ring, set a title or overwrite a line is shown as what it is.
        """
        text = "\x1b[2J\x1b]0;title\x07 \x9b31m \r over \x7f \u202e turned \x00 \u2028"
        said = self.written("container {number}: {text}", number=3, text=text)
        self.assertIn(r"container 3: \x1b[2J\x1b]0;title\x07 \x9b31m \r over \x7f \u202e turned \x00 \u2028", said)

    def test_plain(self) -> None:
        """
        All other text is as it was, whatever its language; braces in it mean nothing.
        """
        said = self.written("{text}", text="häß {x} 漢字 ✓\tend")
        self.assertIn("häß {x} 漢字 ✓\tend", said)
        said = self.written("{text}", text="{x}\x1b{0.__class__}")
        self.assertIn(r"{x}\x1b{0.__class__}", said)

    def test_lines(self) -> None:
        """
        No text looks like an entry of its own: each further line of it is indented.
        """
        said = self.written("{text}", text="a\n2026-01-01 forged\x1b")
        self.assertIn("a\n\t2026-01-01 forged\\x1b", said)

    def test_errors(self) -> None:
        """
        The text of an error, and its traceback, are escaped, too.
        """
        error = ValueError("got \x1b[31m")
        self.assertIn(r"got \x1b[31m", self.written("cannot: {error}", error=error))
        self.log.failure("failed", Failure(error))
        self.assertNotIn("\x1b", self.file.getvalue())
        self.assertEqual(2, self.file.getvalue().count(r"got \x1b[31m"))

    @given(st.text())
    def test_any(self, text: str) -> None:
        """
        Whatever it is, it can be written, and nothing but line feeds and tabs is left of what controls a terminal.
        """
        found = escaped(text).encode("utf-8").decode()
        self.assertFalse([each for each in found if each not in "\n\t" and (ord(each) < 32 or 127 <= ord(each) < 160)])
