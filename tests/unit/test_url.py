"""
Where a Redis server is said to be.
"""

from urllib.parse import quote

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from core0.errors import ConfigError
from core0.redis.url import RedisURL, parse

SCHEMES = ("redis", "rediss", "redis+unix", "redis+sentinel", "http", "")
PIECES = st.sampled_from([*"@:/?#[],%= ", "::1", "host", "26379", "pass", "%40", "password=", "é", "\0", "\u2100"])


class URLTests(SynchronousTestCase):
    """
    Redis URLs.
    """

    def test_hosts(self) -> None:
        """
        A host, with or without a port, is where the server is; a name, an IPv4 or an IPv6 address.
        """
        for text, host, port in (
            ("redis://localhost", "localhost", 6379),
            ("redis://localhost:", "localhost", 6379),
            ("redis://localhost/", "localhost", 6379),
            ("redis://localhost:7000/0", "localhost", 7000),
            ("redis://10.0.0.2:7000", "10.0.0.2", 7000),
            ("redis://[::1]", "::1", 6379),
            ("redis://[fe80::1%25eth0]:7000", "fe80::1%25eth0", 7000),
        ):
            self.assertEqual(RedisURL(hosts=((host, port),)), parse(text), text)

    def test_tls(self) -> None:
        """
        ``rediss`` means an encrypted connection.
        """
        self.assertEqual(RedisURL(hosts=(("a", 1),), tls=True), parse("rediss://a:1"))

    def test_credentials(self) -> None:
        """
        User and password come percent-encoded, and each may be missing; only @ and : have to be encoded.
        """
        for userinfo, user, password in (
            ("me:secret@", "me", "secret"),
            (":secret@", None, "secret"),
            ("me@", "me", None),
            ("me:@", "me", None),
            ("m%40e:s%3Ae%2Fc%23r%3Fe%25t@", "m@e", "s:e/c#r?e%t"),
            (":a:b/c#d?e[@", None, "a:b/c#d?e["),
            (":%C3%A9+x@", None, "é+x"),
            ("@", None, None),
        ):
            for place in ("[::1]:7", "h:7"):
                found = parse(f"redis://{userinfo}{place}")
                self.assertEqual((user, password), (found.username, found.password), userinfo)
                self.assertEqual(7, found.hosts[0][1])

    def test_socket(self) -> None:
        """
        A unix socket is a path, with the password behind it or in front.
        """
        for text, url in (
            ("redis+unix:///run/redis.sock", RedisURL(path="/run/redis.sock")),
            ("redis+unix:///run/a@b%20c.sock", RedisURL(path="/run/a@b c.sock")),
            ("redis+unix:///r.sock?password=a%26b", RedisURL(path="/r.sock", password="a&b")),
            ("redis+unix://me:secret@/r.sock", RedisURL(path="/r.sock", username="me", password="secret")),
        ):
            self.assertEqual(url, parse(text), text)

    def test_sentinel(self) -> None:
        """
        Sentinels are several hosts, IPv6 addresses among them, and the name of what they watch.
        """
        self.assertEqual(
            RedisURL(hosts=(("h1", 26379), ("::1", 7), ("10.0.0.1", 26379)), master="main", password="secret"),
            parse("redis+sentinel://:secret@h1,[::1]:7,10.0.0.1/main"),
        )

    def test_refused(self) -> None:
        """
        What is no such URL is refused, with what was expected.
        """
        for text, expected in (
            ("", "expected redis://"),
            ("localhost:6379", "expected redis://"),
            ("http://localhost", "expected redis://"),
            ("redis://", "expected host or host:port, got ''"),
            ("redis://:6379", "expected host or host:port, got ':6379'"),
            ("redis://h:0", "expected host or host:port, got 'h:0'"),
            ("redis://h:65536", "expected host or host:port"),
            ("redis://h:x", "expected host or host:port"),
            ("redis://h:١", "expected host or host:port"),  # a digit, not an ASCII one
            ("redis://::1", "expected host or host:port"),
            ("redis://[::1", "expected host or host:port"),
            ("redis://[::1]x", "expected host or host:port"),
            ("redis://a,b", "expected host or host:port"),
            ("redis://a b", "expected host or host:port"),
            ("redis://h/1", "only database 0"),
            ("redis+unix://run/redis.sock", "expected redis+unix:///path"),
            ("redis+unix://", "expected redis+unix:///path"),
            ("redis+sentinel://h1,h2", "master-name"),
            ("redis+sentinel:///main", "master-name"),
            ("redis+sentinel://h1/a/b", "master-name"),
            ("redis+sentinel://h1,,h2/main", "expected host or host:port, got ''"),
        ):
            error = self.assertRaises(ConfigError, parse, text)
            self.assertIn(expected, str(error), text)

    def test_shown(self) -> None:
        """
        A URL in words shows where the server is, and reads as the same place again.
        """
        for text in (
            "redis://h:6379",
            "rediss://[::1]:7",
            "redis+unix:///run/r.sock",
            "redis+sentinel://h1:26379,[::2]:7/main",
        ):
            self.assertEqual(text, str(parse(text)))
        self.assertEqual("redis://h:6379", str(parse("redis://me:secret@h")))

    def test_no_password_shown(self) -> None:
        """
        Neither a URL nor an error shows a password, encoded properly or not.
        """
        for secret in ("hunter2", "hunt/er2", "hunt#er2", "hunt?er2", "[hunter2", "hunter2%", "hunt@er2"):
            for form in (
                "redis://me:{}@host:7",
                "redis://:{}@host",
                "redis://:{}@host/1",
                "redis://:{}@host:x",
                "redis://:{}@[::1",
                "http://me:{}@host",
                "me:{}@host",
                "redis+unix://me:{}@/run/r.sock",
                "redis+unix://me:{}@run/r.sock",
                "redis+unix:///r.sock?password={}",
                "redis+unix://r.sock?password={}",
                "redis://host?password={}",
                "redis+sentinel://:{}@h1,h2/a/b",
                "redis+sentinel://:{}@h1,h2:x/a",
            ):
                text = form.format(secret)
                try:
                    url = parse(text)
                    shown = f"{url} {url!r}"
                except ConfigError as error:
                    shown = str(error)
                for piece in ("hunt/", "hunt#", "hunt?", "hunter2"):
                    self.assertNotIn(piece, shown, text)

    @given(st.sampled_from(SCHEMES), st.lists(PIECES, max_size=12).map("".join) | st.text())
    def test_any_text(self, scheme: str, rest: str) -> None:
        """
        Any text is a URL or is refused, and a URL has exactly one way to a server.
        """
        try:
            url = parse(f"{scheme}://{rest}")
        except ConfigError:
            return
        self.assertNotEqual(bool(url.path), bool(url.hosts))
        self.assertTrue(url.master or len(url.hosts) < 2)
        for host, port in url.hosts:
            self.assertTrue(host and 0 < port < 65536)

    @given(st.text(min_size=1), st.text(min_size=1))
    def test_any_credentials(self, user: str, password: str) -> None:
        """
        Whatever is percent-encoded is understood.
        """
        try:
            text = f"redis://{quote(user, safe='')}:{quote(password, safe='')}@[::1]:7"
        except UnicodeEncodeError:
            return
        self.assertEqual(RedisURL(hosts=(("::1", 7),), username=user, password=password), parse(text))
