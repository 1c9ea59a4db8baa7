"""
Where a client looks for core0.
"""

import shutil
import tempfile
from pathlib import Path
from socket import AF_UNIX
from socket import socket as Socket

from twisted.trial.unittest import SynchronousTestCase

from core0.client.errors import ServerError
from core0.client.find import Place, find
from core0.errors import ConfigError
from core0.redis.url import RedisURL

NOWHERE = "/nonexistent/core0.toml"


class FindTests(SynchronousTestCase):
    """
    Finding core0.
    """

    def setUp(self) -> None:
        """
        Make an empty folder, with a short name: the paths of sockets are short.
        """
        self.folder = Path(tempfile.mkdtemp(prefix="core0-"))
        self.addCleanup(shutil.rmtree, self.folder)

    def listen(self, name: str = "redis.sock") -> str:
        """
        Something that listens, like core0.
        """
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        server = Socket(AF_UNIX)
        self.addCleanup(server.close)
        server.bind(str(path))
        server.listen()
        return str(path)

    def write(self, text: str, name: str = "core0.toml") -> str:
        """
        A configuration file.
        """
        path = self.folder / name
        path.write_text(text)
        return str(path)

    def at(self, path: str) -> Place:
        """
        What is found at a socket.
        """
        return Place(RedisURL(path=path))

    def test_socket(self) -> None:
        """
        A socket that is named is taken if something listens there.
        """
        path = self.listen()
        self.assertEqual(self.at(path), find(socket=path, environ={}, root=True))

    def test_no_socket(self) -> None:
        """
        Where there is no socket, the error says where and what may be wrong.
        """
        path = str(self.folder / "none")
        error = self.assertRaises(ServerError, find, socket=path, environ={}, root=True)
        self.assertEqual(
            f"cannot reach core0 at {path}: no such file or directory; is core0 running there?", str(error)
        )

    def test_left_socket(self) -> None:
        """
        A socket that nothing listens on any more is not taken for core0.
        """
        path = str(self.folder / "left")
        with Socket(AF_UNIX) as server:
            server.bind(path)
        error = self.assertRaises(ServerError, find, socket=path, environ={}, root=True)
        self.assertIn("connection refused", str(error))

    def test_path_too_long(self) -> None:
        """
        A path that no socket can have is refused with a reason.
        """
        error = self.assertRaises(ServerError, find, socket="/" + "x" * 200, environ={}, root=True)
        self.assertIn("too long", str(error))

    def test_url(self) -> None:
        """
        A URL says where to go by itself.
        """
        place = find(url="redis://example.org:7000", environ={}, root=True)
        self.assertEqual(Place(RedisURL(hosts=(("example.org", 7000),))), place)

    def test_bad_url(self) -> None:
        """
        What is no URL of a server is refused.
        """
        self.assertRaises(ConfigError, find, url="http://example.org", environ={}, root=True)

    def test_path_for_url(self) -> None:
        """
        The path of a socket does where a URL is expected.
        """
        path = self.listen()
        self.assertEqual(self.at(path), find(url=path, environ={}, root=True))
        self.assertEqual(self.at(path), find(environ={"CORE0_URL": path}, root=True))

    def test_variable(self) -> None:
        """
        CORE0_URL says where core0 is if no option does.
        """
        environ = {"CORE0_URL": "redis://variable"}
        self.assertEqual((("variable", 6379),), find(environ=environ, root=True).url.hosts)
        self.assertEqual((("option", 6379),), find(url="redis://option", environ=environ, root=True).url.hosts)

    def test_config_before_variable(self) -> None:
        """
        A configuration file that is named counts for more than CORE0_URL.
        """
        path = self.listen()
        config = self.write(f'[redis]\nsocket = "{path}"\n')
        self.assertEqual(self.at(path), find(config=config, environ={"CORE0_URL": "redis://variable"}, root=True))

    def test_config_run_dir(self) -> None:
        """
        The socket is below the run_dir of the configuration file.
        """
        path = self.listen("run/redis/sock/redis.sock")
        config = self.write(f'[core]\nrun_dir = "{self.folder}/run"\n')
        self.assertEqual(self.at(path), find(config=config, environ={}, root=True))

    def test_config_url(self) -> None:
        """
        Where clients use a server that several nodes may share, commands are addressed to the node that is configured.
        """
        config = self.write('[core]\ngid = 7\nnid = 3\n[redis]\nurl = "redis://example.org"\n')
        place = find(config=config, environ={}, root=True)
        self.assertEqual(Place(RedisURL(hosts=(("example.org", 6379),)), "7:3"), place)

    def test_config_password(self) -> None:
        """
        Also where clients on TCP need a password the socket of the configuration needs none.
        """
        path = self.listen("run/redis/sock/redis.sock")
        config = self.write(
            f'[core]\nrun_dir = "{self.folder}/run"\nstate_dir = "{self.folder}"\n[redis]\nlisten = "[::1]:1"\n'
        )
        self.assertEqual(self.at(path), find(config=config, environ={}, root=True))

    def test_missing_config(self) -> None:
        """
        A configuration file that is named has to be there.
        """
        self.assertRaises(ConfigError, find, config=NOWHERE, environ={}, root=True)

    def test_own(self) -> None:
        """
        Somebody who is not root finds a core0 of their own without saying anything.
        """
        path = self.listen("core0/redis/sock/redis.sock")
        environ = {"XDG_RUNTIME_DIR": str(self.folder)}
        self.assertEqual(self.at(path), find(environ=environ, root=False, default=NOWHERE))

    def test_default_config(self) -> None:
        """
        The configuration file of the host is looked into, whoever asks.
        """
        path = self.listen("run/redis/sock/redis.sock")
        config = self.write(f'[core]\nrun_dir = "{self.folder}/run"\n')
        for root in (True, False):
            self.assertEqual(self.at(path), find(environ={}, root=root, default=config))

    def test_default_config_url(self) -> None:
        """
        The configuration file of the host may name a server elsewhere.
        """
        config = self.write('[redis]\nurl = "redis://example.org"\n')
        self.assertEqual("1:1", find(environ={}, root=True, default=config).node)

    def test_broken_default_config(self) -> None:
        """
        A configuration file of the host that cannot be used does not keep somebody from finding a core0 of their own.
        """
        path = self.listen("core0/redis/sock/redis.sock")
        environ = {"XDG_RUNTIME_DIR": str(self.folder)}
        config = self.write("nonsense")
        self.assertEqual(self.at(path), find(environ=environ, root=False, default=config))

    def test_nowhere(self) -> None:
        """
        If core0 is nowhere, the error says what was tried and what to do.
        """
        config = self.write(f'[core]\nrun_dir = "{self.folder}/run"\n')
        error = self.assertRaises(ServerError, find, environ={}, root=False, default=config)
        self.assertEqual(
            "cannot find core0; tried:\n"
            f"  {self.folder}/run/redis/sock/redis.sock: no such file or directory\n"
            "start it with: twistd -n core0;\n"
            "if it is elsewhere, say where with --socket, --url, --config or CORE0_URL",
            str(error),
        )
