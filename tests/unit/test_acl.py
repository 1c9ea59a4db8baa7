"""
What clients may do on the server that core0 starts.
"""

from fnmatch import fnmatchcase
from hashlib import sha256

from twisted.trial.unittest import SynchronousTestCase

from core0.redis import keys
from core0.redis.acl import admin_rules, client_rules, corex_rules, corex_user, hashed


class ClientTests(SynchronousTestCase):
    """
    A client.
    """

    def setUp(self) -> None:
        """
        The rules of a client without a password.
        """
        self.rules = list(client_rules(None))

    def may_write(self, key: str) -> bool:
        """
        Whether a client may do anything to a key.
        """
        return any(fnmatchcase(key, rule[1:]) for rule in self.rules if rule.startswith("~"))

    def may_read(self, key: str) -> bool:
        """
        Whether a client may look at a key.
        """
        return self.may_write(key) or any(fnmatchcase(key, rule[3:]) for rule in self.rules if rule.startswith("%R~"))

    def test_keys(self) -> None:
        """
        A client may use the keys of the protocol, and what only core0 writes it may read.
        """
        for key in ("core:default", "core:default:1:1", "core:default:12:345", "result:a", "core.logs", "stream:a"):
            self.assertTrue(self.may_write(key), key)
        for key in ("core:rejected", "stats:a"):
            self.assertTrue(self.may_read(key) and not self.may_write(key), key)

    def test_other_keys(self) -> None:
        """
        What core0 keeps for itself and for containers no client sees.
        """
        node = "1:1"
        for key in (
            keys.unfinished(node),
            keys.marks(node),
            keys.clock(node),
            keys.claim("a"),
            "core0:corex:1:records",
            "corex:results:1",
            "core:default:core-1",
            "core:default:core-12",
            "anything",
        ):
            self.assertFalse(self.may_read(key), key)

    def test_commands(self) -> None:
        """
        A client may push, wait, look and use transactions; nothing of what runs, watches or changes the server.
        """
        allowed = {rule[1:] for rule in self.rules if rule.startswith("+")}
        self.assertLess({"rpush", "brpoplpush", "blpop", "lrange", "xread", "multi", "exec", "ttl", "ping"}, allowed)
        forbidden = """
            config eval evalsha fcall script keys scan flushall flushdb shutdown debug save bgsave replicaof slaveof acl
            monitor client module migrate restore dump swapdb sort function latency memory slowlog psync sync failover
            rename copy move publish subscribe client|kill client|list client|pause client|tracking acl|setuser
            """.split()
        self.assertEqual(set(), allowed & set(forbidden))
        self.assertFalse([rule for rule in allowed if rule.startswith("@") or rule == "all"])

    def test_order(self) -> None:
        """
        Everything is taken away before anything is given, whatever the server gives by itself.
        """
        first = self.rules.index("+auth")
        for rule in ("resetpass", "resetkeys", "resetchannels", "-@all"):
            self.assertLess(self.rules.index(rule), first)
        self.assertNotIn("&*", self.rules)

    def test_password(self) -> None:
        """
        A password is in the rules only as its hash; without one there is none.
        """
        rules = list(client_rules("secret"))
        self.assertIn("#" + sha256(b"secret").hexdigest(), rules)
        self.assertNotIn("nopass", rules)
        self.assertNotIn("secret", " ".join(rules))
        self.assertIn("nopass", self.rules)


class CoreXTests(SynchronousTestCase):
    """
    The CoreX of a container.
    """

    def test_rules(self) -> None:
        """
        It has nothing but its three lists, of which it reads one, and a password of which only the hash is written.
        """
        rules = list(corex_rules(7, hashed("secret")))
        selectors = [rule for rule in rules if rule.startswith("(")]
        self.assertEqual(
            ["(~core:default:core-7 ", "(%W~corex:results:7 ", "(%W~core0:corex:7:records "],
            [selector.partition("+")[0] for selector in selectors],
        )
        self.assertEqual([], [rule for rule in rules if rule.startswith(("~", "%", "&", "allkeys"))])
        self.assertEqual(["+ping"], [rule for rule in rules if rule.startswith("+")])
        self.assertLess(rules.index("-@all"), rules.index("+ping"))
        self.assertIn(hashed("secret"), rules)
        self.assertNotIn("nopass", rules)
        self.assertEqual("corex-7", corex_user(7))


class AdminTests(SynchronousTestCase):
    """
    core0 itself.
    """

    def test_rules(self) -> None:
        """
        core0 may do everything, with a password of which only the hash is written.
        """
        rules = list(admin_rules("secret"))
        self.assertLess({"~*", "&*", "+@all", "#" + sha256(b"secret").hexdigest()}, set(rules))
        self.assertNotIn("nopass", rules)
        self.assertNotIn("secret", " ".join(rules))
