"""
The password of the server that core0 starts, and its configuration.
"""

import os
import shutil
import stat
import tempfile
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from core0.errors import Core0Error
from core0.redis.outbox import RESULT_BYTES
from core0.redis.server_settings import MOST_UNREAD, ServerSettings, client_password, configuration


class PasswordTests(SynchronousTestCase):
    """
    The file of the password.
    """

    def test_made_at_once(self) -> None:
        """
        It is made whole, for its owner only, and nothing else is left in its folder; the next start reads the same.
        """
        folder = tempfile.mkdtemp()
        self.addCleanup(shutil.rmtree, folder)
        path = Path(folder) / "password"
        password = client_password(str(path))
        self.assertEqual(password + "\n", path.read_text())
        self.assertEqual(0o600, stat.S_IMODE(path.stat().st_mode))
        self.assertEqual(["password"], os.listdir(path.parent))
        self.assertEqual(password, client_password(str(path)))

    def test_written_by_people(self) -> None:
        """
        One that people have written is read whatever their editor adds; what is not one line of text is refused.
        """
        folder = tempfile.mkdtemp()
        self.addCleanup(shutil.rmtree, folder)
        path = Path(folder) / "password"
        path.touch(0o600)
        for content in ("se cré#t", "\ufeffse cré#t\r\n", "se cré#t\n\n"):
            path.write_bytes(content.encode())
            self.assertEqual("se cré#t", client_password(str(path)))
        for data, words in (
            ("secrét".encode("latin-1"), "not UTF-8 (at line 1"),
            ("secret".encode("utf-16"), "UTF-16"),
            (b"sec\0ret", "NUL byte"),
            (b"one\ntwo\n", "expected one line, got more"),
            (b"x" * 5000, "expected at most 4096 bytes"),
            (b"\xef\xbb\xbf\r\n", "is empty"),
        ):
            path.write_bytes(data)
            error = str(self.assertRaises(Core0Error, client_password, str(path)))
            self.assertIn(words, error)
            self.assertTrue(error.startswith(str(path)))


class ConfigurationTests(SynchronousTestCase):
    """
    The configuration file.
    """

    def test_unread(self) -> None:
        """
        What a connection leaves unread is bounded, and the largest result can be read.
        """
        text = configuration(ServerSettings("", "/s", "/f", "/r", 1 << 30), "password")
        self.assertIn(f"client-output-buffer-limit normal {MOST_UNREAD} ", text)
        self.assertGreater(MOST_UNREAD, RESULT_BYTES)

    def test_users(self) -> None:
        """
        Others that may use the server stand in it, each with its rules.
        """
        settings = ServerSettings("", "/s", "/f", "/r", 1 << 30)
        text = configuration(settings, "password", {"corex-1": ("on", "-@all"), "corex-2": ("off",)})
        self.assertTrue(text.endswith("user corex-1 on -@all\nuser corex-2 off\n"))
