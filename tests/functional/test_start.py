"""
core0 does not start, and says why.
"""

import os
import socket

from twisted.trial.unittest import SynchronousTestCase

from tests.daemon import Daemon
from tests.functional.shared import need_root
from tests.valkey import free_port


class FullDaemon(Daemon):
    """
    One that sees another file system at one of its folders.

    :param place: the folder.
    :param options: of that file system.
    :param fill: whether there is no room in it.
    """

    def __init__(self, place: str, options: str, *, fill: bool) -> None:
        super().__init__()
        self.place = getattr(self, place)
        self.place.mkdir(mode=0o700)
        self.options = options
        self.fill = fill

    def command(self) -> list[str]:
        """
        In a mount namespace of its own.
        """
        fill = '{ cat /dev/zero > "$0/full" 2>/dev/null; true; } &&' if self.fill else ""
        script = f'mount -t tmpfs -o {self.options} tmpfs "$0" && {fill} exec "$@"'
        return ["unshare", "-m", "sh", "-c", script, str(self.place), *super().command()]


class RefusedTests(SynchronousTestCase):
    """
    Mistakes of whoever starts it.
    """

    def daemon(self, config: str = "") -> Daemon:
        """
        One that is not started.
        """
        daemon = Daemon(config)
        self.addCleanup(daemon.close)
        return daemon

    def said(self, daemon: Daemon) -> str:
        """
        What it says when it refuses to start.
        """
        size = len(daemon.output())
        daemon.start(wait=False)
        self.assertEqual(1, daemon.wait(), daemon.output())
        text = daemon.output()[size:]
        self.assertNotIn("Traceback", text)
        return text

    def test_second(self) -> None:
        """
        A second core0 on the same folder is told who is there and where, and does the first one no harm.
        """
        first, second = self.daemon(), self.daemon()
        first.start()
        second.write_config("")
        second.config.write_text(f'[core]\nstate_dir = "{first.state}"\nrun_dir = "{second.run}"')
        text = self.said(second)
        for word in ("core0 runs already", first.socket, str(first.pid)):
            self.assertIn(word, text)
        self.assertEqual('"pong"', first.run_command("core.ping")["data"])
        first.stop()
        second.start()

    def test_configuration(self) -> None:
        """
        A mistake in the configuration is shown with file, key, what is there and what is expected.
        """
        for config, words in {
            "nid = 0": ("[core] nid", "0"),
            '[jobs]\nmax = "many"': ("[jobs] max", "many"),
            '[redis]\nurl = "http://x"': ("[redis] url", "http://x"),
            "x =": ("not TOML",),
        }.items():
            daemon = self.daemon(config)
            text = self.said(daemon)
            for word in (str(daemon.config), *words):
                self.assertIn(word, text)

    def test_places(self) -> None:
        """
        A folder that cannot be made or written to is named, with the key that leads there.
        """
        for place in ("state", "run"):
            daemon = self.daemon()
            path = getattr(daemon, place)
            path.write_text("a file")
            self.assertIn(f"File exists: '{path}'; [core] {place}_dir ({path}) leads there", self.said(daemon))
            daemon = self.daemon()
            daemon.config.write_text(daemon.config.read_text().replace(f'/{place}"', f'/core0.toml/{place}"'))
            self.assertIn(f"[core] {place}_dir ({daemon.config}/{place}) leads there", self.said(daemon))

    def test_no_room(self) -> None:
        """
        So is one that has no room, or is read-only.
        """
        need_root()
        for place, options, fill, words in (
            ("state", "size=64k", True, "No space left on device"),
            ("state", "size=64k,nr_inodes=1", False, "No space left on device"),
            ("run", "size=64k,nr_inodes=1", False, "No space left on device"),
            ("state", "ro", False, "Read-only file system"),
            ("run", "ro", False, "Read-only file system"),
        ):
            daemon = FullDaemon(place, options, fill=fill)
            self.addCleanup(daemon.close)
            text = self.said(daemon)
            self.assertIn(words, text)
            self.assertIn(f"[core] {place}_dir ({daemon.place})", text)

    def test_no_file(self) -> None:
        """
        A configuration file that was named and is not there is named.
        """
        daemon = self.daemon()
        daemon.config.unlink()
        self.assertIn(str(daemon.config), self.said(daemon))

    def test_password_file(self) -> None:
        """
        A password file that is empty, or that others can read, is refused by name.
        """
        for content, mode, word in (("", 0o600, "empty"), (" \n", 0o600, "empty"), ("secret", 0o644, "chmod 600")):
            daemon = self.daemon(f'[redis]\nlisten = "127.0.0.1:{free_port()}"\npassword_file = "PLACE"')
            file = daemon.folder / "password"
            daemon.config.write_text(daemon.config.read_text().replace("PLACE", str(file)))
            file.write_text(content)
            file.chmod(mode)
            text = self.said(daemon)
            self.assertIn(str(file), text)
            self.assertIn(word, text)
            self.assertNotIn("secret", text)

    def test_port_in_use(self) -> None:
        """
        When its server cannot listen, core0 shows what the server says.
        """
        with socket.socket() as other:
            other.bind(("127.0.0.1", 0))
            other.listen()
            port = other.getsockname()[1]
            self.assertIn("in use", self.said(self.daemon(f'[redis]\nlisten = "127.0.0.1:{port}"')))

    def test_no_server(self) -> None:
        """
        A server that is not there, or is none, is named.
        """
        self.assertIn("/no/such/server", self.said(self.daemon('[redis]\nserver = "/no/such/server"')))
        self.assertIn("ended at once", self.said(self.daemon('[redis]\nserver = "true"')))

    def test_broken_data(self) -> None:
        """
        When its server cannot read what it stored, core0 shows what the server says, and leaves it as it is.
        """
        daemon = self.daemon()
        daemon.start()
        daemon.run_command("core.ping")
        daemon.stop()
        (file,) = (daemon.state / "redis" / "appendonlydir").glob("*.incr.aof")
        broken = b"nonsense" + file.read_bytes()
        file.write_bytes(broken)
        self.assertIn("ended at once", self.said(daemon))
        self.assertEqual(broken, file.read_bytes())

    def test_folder_of_another_user(self) -> None:
        """
        A folder that belongs to somebody else is not used.
        """
        need_root()
        for name in ("state", "run"):
            daemon = self.daemon()
            folder = daemon.folder / name
            folder.mkdir()
            os.chown(folder, 65534, 65534)
            text = self.said(daemon)
            self.assertIn(str(folder), text)
            self.assertIn("another user", text)
