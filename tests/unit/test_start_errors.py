"""
Why core0 cannot start: which path, and which key of the configuration leads there.
"""

import errno
import os

from twisted.trial.unittest import SynchronousTestCase

from core0.config import Config, Core, Redis
from core0.start_errors import reason

CONFIG = Config(
    core=Core(state_dir="/.local/state/core0", run_dir="/run/core0"),
    redis=Redis(socket="/run/core0/redis/sock/redis.sock", password_file="/.local/state/core0/secret"),
)


def failed(number: int, path: str | bytes | None = None) -> str:
    """
    What is said of an error.
    """
    error = OSError(number, os.strerror(number), path) if path else OSError(number, os.strerror(number))
    return reason(error, CONFIG)


class ReasonTests(SynchronousTestCase):
    """
    The words.
    """

    def test_above(self) -> None:
        """
        Where a folder above cannot be made, the key is named whose value is below.
        """
        expected = (
            "Permission denied: '/.local'; [core] state_dir (/.local/state/core0) leads there; set it to a folder"
        )
        self.assertTrue(failed(errno.EACCES, "/.local").startswith(expected))

    def test_below(self) -> None:
        """
        Of a file, the key is named whose value is nearest above it.
        """
        for path, key in (
            ("/.local/state/core0/core0.lock", "[core] state_dir (/.local/state/core0) leads there"),
            (b"/run/core0/x/y", "[core] run_dir (/run/core0) leads there"),
            ("/.local/state/core0/secret", "[redis] password_file (/.local/state/core0/secret) leads there"),
            ("/run/core0/redis/sock/redis.sock", "[redis] socket (/run/core0/redis/sock/redis.sock) leads there"),
        ):
            for number in (errno.ENOSPC, errno.EROFS, errno.EIO, errno.ENOTDIR, errno.EMFILE):
                text = failed(number, path)
                self.assertIn(f"{os.strerror(number)}: {os.fsdecode(path)!r}; {key}", text)

    def test_elsewhere(self) -> None:
        """
        A path that no key leads to is named alone.
        """
        self.assertEqual("Permission denied: '/etc/x'", failed(errno.EACCES, "/etc/x"))

    def test_no_path(self) -> None:
        """
        Where the path is not known, the folders that core0 writes to are named.
        """
        text = failed(errno.ENOSPC)
        for word in (
            "No space left",
            "[core] state_dir (/.local/state/core0)",
            "[core] run_dir (/run/core0)",
            "make room",
        ):
            self.assertIn(word, text)
        self.assertIn("cannot say more", reason(OSError("cannot say more"), CONFIG))
