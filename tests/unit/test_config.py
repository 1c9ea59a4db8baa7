"""
Tests of the configuration: what files say, what holds without them, and what is wrong with them.
"""

import os
import pwd
import tempfile
from pathlib import Path
from shutil import rmtree

from twisted.trial.unittest import SynchronousTestCase

from core0 import config_reader
from core0.config import Config, Core, Jobs, Redis, Service, load
from core0.config_reader import split_host
from core0.errors import ConfigError
from core0.messages import Level

URLS = "redis://, rediss:// or redis+sentinel:// and hosts, redis+unix:// and a path, or an empty string"
MEMORY = 'a whole number from 8388608 to 1125899906842624, or from "1%" to "100%"'
PROGRAM = "the name of a program, its absolute path, or an empty string"
STORAGE = "the URL of a folder (http, https, file), an absolute path, or an empty string"
SUBNET = "an IPv4 network such as 172.18.0.0/16"
JSON = "a table that JSON can express: no dates, no nan"
COUNT = "a whole number from 1 to 1000000"
LEVELS = "a list of levels (1 to 11, 20 to 23, 30)"
MISFITS = [
    ("core", "gid = 0", "a whole number from 1 to 2147483647, got 0"),
    ("core", 'state_dir = "var"', 'an absolute path, got "var"'),
    ("core", 'run_dir = ""', 'an absolute path, got ""'),
    ("core", 'run_dir = "/a\\u0000"', 'an absolute path, got "/a\\u0000"'),
    ("jobs", 'max = "many"', f'{COUNT}, got "many"'),
    ("jobs", "max = true", f"{COUNT}, got true"),
    ("jobs", "max = 1.0", f"{COUNT}, got 1.0"),
    ("jobs", "max = 2024-01-02", f"{COUNT}, got 2024-01-02"),
    ("jobs", "kill_grace = -0.5", "a number from 0 to 3600, got -0.5"),
    ("jobs", "kill_grace = nan", "a number from 0 to 3600, got NaN"),
    ("jobs", "kill_grace = false", "a number from 0 to 3600, got false"),
    ("jobs", "stream_buffer = 4095", "a whole number from 4096 to 1073741824, got 4095"),
    ("logging", "levels = [1, 12]", f"{LEVELS}, got [1, 12]"),
    ("logging", "levels = [true]", f"{LEVELS}, got [true]"),
    ("logging", "levels = 2", f"{LEVELS}, got 2"),
    ("redis", 'url = "http://h"', f'{URLS}, got "http://h": no such scheme'),
    ("redis", 'url = "redis:///s"', f'{URLS}, got "redis:///s": after redis:// comes host:port'),
    ("redis", 'url = "redis://h/1"', f'{URLS}, got "redis://h/1": after redis:// comes host:port'),
    ("redis", 'url = "redis://h:0"', f'{URLS}, got "redis://h:0": a port is a number from 1 to 65535'),
    ("redis", 'url = "redis+sentinel://a,/m"', f'{URLS}, got "redis+sentinel://a,/m": there is no host and port'),
    ("redis", 'url = "redis://a b"', f'{URLS}, got "redis://a b"'),
    ("redis", "shared_queue = 1", "true or false, got 1"),
    ("redis", 'server = "bin/x"', f'{PROGRAM}, got "bin/x"'),
    ("redis", 'listen = "h"', 'host:port, or an empty string, got "h": there is no port'),
    ("redis", 'listen = ":1"', 'host:port, or an empty string, got ":1": there is no host and port'),
    ("redis", 'listen = "::1:6379"', 'host:port, or an empty string, got "::1:6379": there is no host and port'),
    ("redis", 'listen = "h:65536"', 'host:port, or an empty string, got "h:65536": a port is a number from 1 to 65535'),
    ("redis", 'password_file = "p"', 'an absolute path, or an empty string, got "p"'),
    ("redis", "result_ttl = 0", "a whole number from 1 to 31536000, got 0"),
    ("redis", "max_memory = true", f"{MEMORY}, got true"),
    ("redis", 'max_memory = "0%"', f'{MEMORY}, got "0%"'),
    ("redis", "max_memory = 5", f"{MEMORY}, got 5"),
    ("containers", 'runtime = "a/b"', f'{PROGRAM}, got "a/b"'),
    ("containers", 'storage = "ftp://h"', f'{STORAGE}, got "ftp://h"'),
    ("containers", 'subnet = ""', f'{SUBNET}, got ""'),
    ("containers", 'subnet = "10.0.0.1/8"', f'{SUBNET}, got "10.0.0.1/8": 10.0.0.1/8 has host bits set'),
    ("containers", 'subnet = "0.0.0.0/0"', f'{SUBNET}, got "0.0.0.0/0": its prefix has to be from 8 to 30 bits long'),
    ("network", "wait = inf", "a number from 0 to 3600, got Infinity"),
    ("reboot", 'command = "reboot"', 'a list of strings without NUL, got "reboot"'),
    ("startup.a", 'command = ""', 'the name of a command, got ""'),
    (
        "startup.a",
        "arguments = {a = 2024-01-02}",
        f'{JSON}, got {{"a": "2024-01-02"}}: Object of type date is not JSON serializable',
    ),
    ("startup.a", "running_delay = -inf", "a number of at most 315360000, got -Infinity"),
    (
        "startup.a",
        'running_match = "("',
        'a regular expression, got "(": missing ), unterminated subpattern at position 0',
    ),
    ("startup.a", "tags = [1]", "a string, or a list of strings, got [1]"),
]


class ConfigCase(SynchronousTestCase):
    """
    A folder with a configuration in it.
    """

    def setUp(self) -> None:
        self.folder = Path(tempfile.mkdtemp())
        self.addCleanup(rmtree, self.folder)
        self.path = self.folder / "core0.toml"

    def write(self, text: str, drop_in: str = "") -> Path:
        path = self.folder / "core0.d" / drop_in if drop_in else self.path
        path.parent.mkdir(exist_ok=True)
        path.write_text(text, encoding="utf-8")
        return path

    def load(self, text: str | None = None) -> Config:
        if text is not None:
            self.write(text)
        return load(str(self.path), root=True, environ={})

    def assert_refused(self, text: str, message: str) -> None:
        """
        The error is one line: the file, and then ``message``.
        """
        error = self.assertRaises(ConfigError, self.load, text)
        self.assertEqual(str(error), f"{self.path}: {message}")


class DefaultsTests(ConfigCase):
    """
    What holds where no file says anything.
    """

    def places(self, environ: dict[str, str]) -> tuple[str, str, str]:
        config = load(None, root=False, environ=environ, default=str(self.path))
        return config.core.state_dir, config.core.run_dir, config.redis.socket

    def test_no_file(self) -> None:
        """
        Without any file root gets the documented defaults.
        """
        config = load(None, root=True, environ={"HOME": "/root", "XDG_STATE_HOME": "/x"}, default=str(self.path))
        self.assertEqual(config, Config())
        self.assertEqual((config.core.state_dir, config.core.run_dir), ("/var/lib/core0", "/run/core0"))
        self.assertEqual((config.jobs.max, config.jobs.stream_buffer, config.redis.max_memory), (5000, 1 << 20, "25%"))
        self.assertEqual(config.logging.levels, tuple(range(2, 10)))
        self.assertEqual(config.redis.password_file, "")

    def test_empty_file(self) -> None:
        """
        An empty file is the same as none.
        """
        self.assertEqual(self.load(""), Config())

    def test_xdg_folders(self) -> None:
        """
        Without root, state and sockets are in the folders that the session names.
        """
        places = self.places({"HOME": "/home/u", "XDG_STATE_HOME": "/s/", "XDG_RUNTIME_DIR": "/run/user/7"})
        expected = ("/s/core0", "/run/user/7/core0", "/run/user/7/core0/redis/sock/redis.sock")
        self.assertEqual(places, expected)

    def test_home(self) -> None:
        """
        Without root and those variables, state is below the home folder and sockets below /tmp; a relative one is none.
        """
        run_dir = f"/tmp/core0-{os.getuid()}"
        for environ in ({}, {"XDG_STATE_HOME": "", "XDG_RUNTIME_DIR": "run"}):
            state_dir, *rest = self.places({"HOME": "/home/u", **environ})
            self.assertEqual(state_dir, "/home/u/.local/state/core0")
            self.assertEqual(rest, [run_dir, f"{run_dir}/redis/sock/redis.sock"])
        home = pwd.getpwuid(os.getuid()).pw_dir.rstrip("/")
        self.assertEqual(self.places({})[0], f"{home}/.local/state/core0")

    def test_file_wins_over_environment(self) -> None:
        """
        Without root a folder that the file names is used, and the socket moves with it.
        """
        self.write('[core]\nrun_dir = "/srv/run"')
        self.assertEqual(self.places({"XDG_RUNTIME_DIR": "/x"})[1:], ("/srv/run", "/srv/run/redis/sock/redis.sock"))

    def test_password_file(self) -> None:
        """
        A server that listens on TCP has a password file, by default in the state folder.
        """
        listening = self.load('[core]\nstate_dir = "/s"\n[redis]\nlisten = "[::1]:6379"').redis
        self.assertEqual(listening.password_file, "/s/redis/password")
        self.assertEqual(split_host(listening.listen), ("::1", 6379))
        self.assertEqual(self.load('[redis]\nlisten = "h:1"\npassword_file = "/p"').redis.password_file, "/p")

    def test_frozen(self) -> None:
        """
        Nobody can change what was read.
        """
        self.assertRaises(AttributeError, setattr, Config(), "jobs", Jobs())
        self.assertRaises(AttributeError, setattr, Config().core, "gid", 2)


class FilesTests(ConfigCase):
    """
    The file and its drop-ins.
    """

    def test_values(self) -> None:
        """
        What the file says is what core0 gets; a whole number may stand for any number.
        """
        config = self.load(
            "[core]\ngid = 7\n[jobs]\nkill_grace = 3\n[logging]\nlevels = [1, 30]\n[redis]\nmax_memory = 100000000\n"
            'url = "redis+sentinel://a,b:7,[::1]:8/m"\nshared_queue = true\n[reboot]\ncommand = ["reboot", "-f"]'
        )
        self.assertEqual(config.core, Core(gid=7))
        self.assertEqual(config.jobs, Jobs(kill_grace=3.0))
        self.assertIsInstance(config.jobs.kill_grace, float)
        self.assertEqual(config.logging.levels, (Level.STDOUT, Level.RESULT_JOB))
        url = "redis+sentinel://a,b:7,[::1]:8/m"
        self.assertEqual(config.redis, Redis(max_memory=100_000_000, url=url, shared_queue=True))
        self.assertEqual(config.reboot.command, ("reboot", "-f"))

    def test_urls(self) -> None:
        """
        Every way to say where a server is, is understood.
        """
        hosts = ("h", "h:1", "10.0.0.1:6379/0", "user:p@ss@[::1]:6379/")
        urls = [f"{scheme}://{host}" for scheme in ("redis", "rediss") for host in hosts]
        for url in [*urls, "redis+unix:///a@b", "redis+unix://u:p@/s", "redis+sentinel://:p@a,b:2/m"]:
            self.assertEqual(self.load(f'[redis]\nurl = "{url}"').redis.url, url)

    def test_drop_ins(self) -> None:
        """
        Of a key that several files set the one in the last by name counts, and the other keys stay.
        """
        self.write("[jobs]\nmax = 2\nwaiting = 2\n[core]\ngid = 2", "10-a.toml")
        self.write("[jobs]\nmax = 3", "9-b.toml")
        self.write("[jobs]\nmax = 4", "99.toml.bak")
        self.write("[jobs]\nmax = 4", ".99.toml")
        self.write("[jobs]\nmax = 5", "05.toml")
        config = self.load("[jobs]\nmax = 1\nwaiting = 1\nstats_interval = 1\n[core]\nnid = 9")
        self.assertEqual(config.jobs, Jobs(max=3, waiting=2, stats_interval=1.0))
        self.assertEqual(config.core, Core(gid=2, nid=9))

    def test_drop_ins_alone(self) -> None:
        """
        Drop-ins beside a default file that is not there count.
        """
        self.write("[core]\nnid = 3", "a.toml")
        self.assertEqual(load(None, root=True, environ={}, default=str(self.path)).core.nid, 3)

    def test_drop_in_replaces_service(self) -> None:
        """
        A service of a drop-in replaces the one of that name as a whole.
        """
        self.write('[startup.a]\ncommand = "y"', "a.toml")
        config = self.load('[startup.a]\ncommand = "x"\nqueue = "q"\n[startup.b]\ncommand = "x"')
        self.assertEqual(config.startup, (Service(name="a", command="y"), Service(name="b", command="x")))

    def test_error_names_drop_in(self) -> None:
        """
        The error names the file that the value comes from.
        """
        self.write("[jobs]\nmax = 1")
        path = self.write("[jobs]\nmax = 0", "a.toml")
        error = self.assertRaises(ConfigError, self.load)
        self.assertEqual(str(error), f"{path}: [jobs] max: expected a whole number from 1 to 1000000, got 0")

    def test_unreadable(self) -> None:
        """
        A file that is named, and any drop-in, has to be there and readable.
        """
        self.assertEqual(
            str(self.assertRaises(ConfigError, self.load)), f"{self.path}: cannot be read: No such file or directory"
        )
        for path in ("", "/dev/null/core0.toml", "a\0b", str(self.folder)):
            self.assertRaises(ConfigError, load, path, root=True, environ={})
        self.write("")
        (self.folder / "core0.d" / "a.toml").mkdir(parents=True)
        self.assertIn("a.toml: cannot be read: Is a directory", str(self.assertRaises(ConfigError, self.load)))
        rmtree(self.folder / "core0.d")
        (self.folder / "core0.d").touch()
        self.assertIn("core0.d: cannot be read: Not a directory", str(self.assertRaises(ConfigError, self.load)))

    def test_syntax(self) -> None:
        """
        What is no TOML is refused with file and line.
        """
        self.assert_refused(
            "\n[jobs]\nmax 5", "not TOML: Expected '=' after a key in a key/value pair (at line 3, column 5)"
        )
        self.assert_refused("[jobs]\nmax =", "not TOML: Invalid value (at the end, line 2)")
        self.assert_refused(f"a = {'[' * 10_000}", "nested too deeply")
        self.assertIn("not TOML", str(self.assertRaises(ConfigError, self.load, f"a = {'9' * 5000}")))
        self.path.write_bytes(b"# " * config_reader.MAX_FILE)
        self.assertIn("expected at most", str(self.assertRaises(ConfigError, self.load)))

    def test_encodings(self) -> None:
        """
        A byte order mark, lines as on Windows, and a last line without an end are read, in drop-ins, too; what is in
        another encoding is refused with file and line.
        """
        drop_in = self.path.parent / "core0.d" / "a.toml"
        drop_in.parent.mkdir(exist_ok=True)
        drop_in.write_bytes(b"\xef\xbb\xbf[redis]\r\nmax_command = 123456")
        self.path.write_bytes("\ufeff[jobs]\r\nmax = 7\r\n# é".encode())
        found = self.load()
        self.assertEqual((7, 123456), (found.jobs.max, found.redis.max_command))
        drop_in.unlink()
        for content, words in (
            (
                "# \n[jobs]\n# é".encode("latin-1"),
                "not UTF-8 (at line 3: byte 0xe9, which is é in Latin-1); save it as UTF-8",
            ),
            (b"# \n[jobs]\n# \x80", "not UTF-8 (at line 3: byte 0x80); save it as UTF-8"),
            ("[jobs]".encode("utf-16"), "not UTF-8 but UTF-16 (at line 1); save it as UTF-8"),
            ("[jobs]".encode("utf-32"), "not UTF-8 but UTF-32 (at line 1); save it as UTF-8"),
            (b"[jobs]\n\0", "expected text, got a NUL byte (at line 2); save it as UTF-8"),
        ):
            self.path.write_bytes(content)
            self.assertEqual(f"{self.path}: {words}", str(self.assertRaises(ConfigError, self.load)))


class ValuesTests(ConfigCase):
    """
    What is refused, and in which words.
    """

    def test_unknown(self) -> None:
        """
        An unknown key or section is refused, with the nearest one, or else with all there are.
        """
        self.assert_refused("[jobs]\nmaximum = 5", '[jobs] maximum: no such key; did you mean "max"?')
        self.assert_refused("[core]\nx = 5", '[core] x: no such key; there are "gid", "nid", "state_dir", "run_dir"')
        self.assert_refused("[Job]", "[Job]: no such section; did you mean [jobs]?")
        sections = ", ".join(f"[{name}]" for name in Config.__struct_fields__)
        self.assert_refused('["a b"]', f'["a b"]: no such section; there are {sections}')
        self.assert_refused("redi = 5", "redi: no such section; did you mean [redis]?")

    def test_misfits(self) -> None:
        """
        What does not fit is refused; the error says what was expected, and what was there.
        """
        for section, line, message in MISFITS:
            self.assert_refused(f"[{section}]\n{line}", f"[{section}] {line.partition(' = ')[0]}: expected {message}")
        self.assert_refused("jobs = 5", "[jobs]: expected a table, got 5")
        self.assert_refused("[[jobs]]", "[jobs]: expected a table, got [{}]")
        self.assert_refused("[startup]\na = 5", "[startup.a]: expected a table, got 5")

    def test_too_large(self) -> None:
        """
        Values that are too large for anything are refused like others.
        """
        for value in (f"0x{'f' * 10_000}", f"{{{'a.' * 5000}a = 1}}", f'"{"x" * 500}"'):
            error = str(self.assertRaises(ConfigError, self.load, f"[jobs]\nmax = {value}"))
            self.assertIn("[jobs] max: expected a whole number from 1 to 1000000, got ", error)
            self.assertLess(len(error), 300)
            self.assertRaises(
                ConfigError, self.load, f'[startup.a]\ncommand = "x"\narguments = {{b = [{value}], c = nan}}'
            )

    def test_long_socket(self) -> None:
        """
        A socket with a path that the kernel does not take is refused, whether it was set or is derived from run_dir.
        """
        path = "/" + "é" * 53
        self.assertEqual(self.load(f'[redis]\nsocket = "{path}"').redis.socket, path)
        for text in (f'[redis]\nsocket = "{path}x"', f'[core]\nrun_dir = "{path}"'):
            error = str(self.assertRaises(ConfigError, self.load, text))
            self.assertRegex(error, r"core0\.toml: \[redis\] socket: expected at most 107 bytes, got 1[0-9]{2}: ")
        self.path.unlink()
        environ = {"XDG_RUNTIME_DIR": "/" + "x" * 107}
        error = str(self.assertRaises(ConfigError, load, None, root=False, environ=environ, default=str(self.path)))
        self.assertIn("environment: [redis] socket: expected at most 107 bytes", error)

    def test_password_is_not_shown(self) -> None:
        """
        An error does not give away the password in a URL.
        """
        for url in (
            "http://u:s3cret@h",
            "redis://u:s3cret@h:99999",
            "redis+sentinel://:s3@cret@a,/m",
            "u:s3cret//x@h",
            "x://h?password=s3cret",
        ):
            error = str(self.assertRaises(ConfigError, self.load, f'[redis]\nurl = "{url}"'))
            self.assertNotIn("cret", error)
