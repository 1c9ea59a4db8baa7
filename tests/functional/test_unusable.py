"""
A server that cannot be used: core0's log and corectl say why, in a sentence.
"""

import os
import subprocess
import sys
import tempfile
from pathlib import Path
from shutil import rmtree
from typing import ClassVar

from twisted.trial.unittest import SynchronousTestCase

from core0.redis.server_settings import find_program
from tests.daemon import ROOT, Daemon, eventually
from tests.tls import Authority, TLSFront
from tests.valkey import Valkey, free_port

CORECTL = "import sys; sys.argv[0] = 'corectl'; from core0.client.cli import main; main()"
UGLY = ("Traceback", "Lost connection", "Unhandled")


class UnusableTests(SynchronousTestCase):
    """
    They share a server, with a password and a user that may do little, and authorities.
    """

    valkey: ClassVar[Valkey]
    folder: ClassVar[Path]
    authority: ClassVar[Authority]
    stranger: ClassVar[Authority]

    @classmethod
    def setUpClass(cls) -> None:
        """
        Start the server.
        """
        cls.valkey = Valkey("--requirepass", "secret").start(password="secret")
        cls.folder = Path(tempfile.mkdtemp(prefix="tls-"))
        cls.authority, cls.stranger = Authority(cls.folder), Authority(cls.folder, "stranger")

    @classmethod
    def tearDownClass(cls) -> None:
        """
        End it.
        """
        cls.valkey.close()
        rmtree(cls.folder)

    def front(self, host: str, *, clients: Path | None = None) -> int:
        """
        The port of a server with TLS and a certificate for a host.
        """
        front = TLSFront(self.authority.certificate(host), self.valkey.socket, clients=clients)
        self.addCleanup(front.close)
        return front.port

    def environment(self, authority: Authority | None) -> dict[str, str]:
        """
        What says whom to trust.
        """
        return {"SSL_CERT_FILE": str((authority or self.authority).path)}

    def assert_told(self, url: str, *sentences: str, authority: Authority | None = None, corectl: bool = True) -> None:
        """
        Both say why, and nothing odd.
        """
        daemon = Daemon(f'[redis]\nurl = "{url}"')
        self.addCleanup(daemon.close)
        daemon.environment = self.environment(authority)
        daemon.start(wait=False)
        for sentence in sentences:
            eventually(lambda sentence=sentence: sentence in daemon.output(), f"core0 says: {sentence}")
        self.assert_not_ugly(daemon.output())
        self.assertNotIn("secret@", daemon.output())
        daemon.close()
        if corectl:
            self.assert_corectl(url, sentences[0], authority)

    def assert_corectl(self, url: str, sentence: str, authority: Authority | None = None) -> None:
        """
        corectl says why.
        """
        command = [sys.executable, "-c", CORECTL, "--url", url, "ping"]
        environment = {**os.environ, "PYTHONPATH": str(ROOT), **self.environment(authority)}
        done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=60, env=environment)
        self.assertEqual((1, ""), (done.returncode, done.stdout))
        self.assertIn(sentence, done.stderr)
        self.assertEqual(1, len(done.stderr.splitlines()), done.stderr)
        self.assert_not_ugly(done.stderr)

    def assert_not_ugly(self, text: str) -> None:
        """
        It is meant for people.
        """
        for word in UGLY:
            self.assertNotIn(word, text)

    def test_tls(self) -> None:
        """
        With a certificate for the name, or the address, of an authority that is trusted, it is used.
        """
        for host in ("localhost", "127.0.0.1"):
            daemon = Daemon(f'[redis]\nurl = "rediss://:secret@{host}:{self.front(host)}"')
            self.addCleanup(daemon.close)
            daemon.environment = self.environment(None)
            daemon.start()
            daemon.close()

    def test_untrusted(self) -> None:
        """
        A certificate of an authority that is not known.
        """
        url = f"rediss://:secret@127.0.0.1:{self.front('127.0.0.1')}"
        self.assert_told(url, "its certificate is not trusted", authority=self.stranger)

    def test_other_name(self) -> None:
        """
        A certificate for another name.
        """
        for host, other in (("127.0.0.1", "redis.example.net"), ("localhost", "127.0.0.1")):
            url = f"rediss://:secret@{host}:{self.front(other)}"
            self.assert_told(url, f"its certificate is for another name than '{host}'")

    def test_certificate_of_its_own(self) -> None:
        """
        A server that wants to see a certificate of core0.
        """
        port = self.front("127.0.0.1", clients=self.authority.path)
        self.assert_told(f"rediss://:secret@127.0.0.1:{port}", "a certificate of its own, which core0 cannot present")

    def test_plain_to_tls(self) -> None:
        """
        Without TLS to a port with it.
        """
        url = f"redis://:secret@127.0.0.1:{self.front('127.0.0.1')}"
        self.assert_told(url, "say rediss:// instead of redis://")

    def test_tls_to_plain(self) -> None:
        """
        With TLS to a port without it.
        """
        url = f"rediss://:secret@127.0.0.1:{self.valkey.port}"
        self.assert_told(url, "say redis:// instead of rediss://")

    def test_password(self) -> None:
        """
        A password that is wrong, or missing, or that nobody has asked for.
        """
        place = f"127.0.0.1:{self.valkey.port}"
        self.assert_told(f"redis://:wrong@{place}", "does not accept the password of the default user: WRONGPASS")
        self.assert_told(f"redis://me:wrong@{place}", "does not accept the password of user 'me': WRONGPASS")
        self.assert_told(f"redis://{place}", "asks for a password: put it into the URL")

    def test_rights(self) -> None:
        """
        Rights that are missing: for a command, and for a key.
        """
        with self.valkey.client() as client:
            client.execute_command("ACL", "SETUSER", "little", "on", ">secret", "~*", "&*", "+@all", "-evalsha")
            client.execute_command("ACL", "SETUSER", "less", "on", ">secret", "~core0:node:*", "&*", "+@all")
        place = f"127.0.0.1:{self.valkey.port}"
        self.assert_told(f"redis://little:secret@{place}", "'evalsha' command", "user 'little'", corectl=False)
        text = "it may not use: core0:job:1:1"
        self.assert_told(f"redis://less:secret@{place}", text, "user 'less'", corectl=False)

    def spare(self, *options: str) -> int:
        """
        The port of another server.
        """
        port, folder = free_port(), tempfile.mkdtemp(dir=self.folder)
        command = [find_program(""), *options, "--port", str(port), "--bind", "127.0.0.1", "--dir", folder]
        with open(os.path.join(folder, "log"), "ab") as log:
            process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        self.addCleanup(process.wait)
        self.addCleanup(process.kill)
        return port

    def test_cluster(self) -> None:
        """
        A node of a cluster.
        """
        # of itself it would take a port for other nodes that is higher by 10,000, and may not be one
        port = self.spare("--cluster-enabled", "yes", "--cluster-port", str(free_port()))
        self.assert_told(f"redis://127.0.0.1:{port}", "is a node of a cluster; core0 needs a single server")

    def test_replica(self) -> None:
        """
        A replica.
        """
        port = self.spare("--replicaof", "127.0.0.1", str(self.valkey.port), "--masterauth", "secret")
        self.assert_told(f"redis://127.0.0.1:{port}", f"is a replica, of 127.0.0.1:{self.valkey.port}")

    def test_sentinel(self) -> None:
        """
        A Sentinel that is none, that does not know the master, that is not there; and one that is taken for the server.
        """
        config = self.folder / "sentinel.conf"
        config.write_text(f"sentinel monitor mymaster 127.0.0.1 {self.valkey.port} 1\n")
        port = self.spare(str(config), "--sentinel")
        self.assert_told(f"redis://127.0.0.1:{port}", "is a Sentinel; say redis+sentinel://")
        self.assert_told(f"redis+sentinel://127.0.0.1:{port}/other", "knows no master named 'other'")
        server = self.spare()
        self.assert_told(f"redis+sentinel://127.0.0.1:{server}/mymaster", "is not a Sentinel")
        url = f"redis+sentinel://127.0.0.1:{self.valkey.port}/mymaster"
        self.assert_told(url, "asks for a password, which core0 cannot give")
        self.assert_told(
            f"redis+sentinel://127.0.0.1:{free_port()}/mymaster", "cannot reach the Sentinel at", corectl=False
        )
