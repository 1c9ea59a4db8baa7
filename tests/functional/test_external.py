"""
Clients use a server that is not core0's own.
"""

import json
import signal
from typing import ClassVar

from twisted.trial.unittest import SynchronousTestCase

from tests.daemon import Daemon, eventually
from tests.functional.served import ServedTestCase, state_of
from tests.functional.shared import lines, sh
from tests.valkey import ServedDaemon, Valkey, exactly_one

OWN = "core:default:3:4"


class OwnQueueTests(SynchronousTestCase):
    """
    A node of a fleet: a server on TCP, with a password; only the node's own list is served.
    """

    valkey: ClassVar[Valkey]
    daemon: ClassVar[Daemon]

    @classmethod
    def setUpClass(cls) -> None:
        """
        Start both.
        """
        cls.valkey = Valkey("--requirepass", "secret word").start(password="secret word")
        url = cls.valkey.tcp.replace("://", "://:secret%20word@")
        cls.daemon = Daemon(f'gid = 3\nnid = 4\n[redis]\nurl = "{url}"')
        cls.daemon.start()

    @classmethod
    def tearDownClass(cls) -> None:
        """
        End both.
        """
        cls.daemon.close()
        cls.valkey.close()

    def test_served(self) -> None:
        """
        The list that is addressed to this node is served, the shared one is left to others.
        """
        with self.valkey.client() as client:
            client.rpush("core:default", json.dumps({"id": "shared", "command": "core.ping"}))
            client.rpush(OWN, json.dumps({"id": "own", "command": "core.system", "arguments": sh("echo hi")}))
            answer = client.brpoplpush("result:own", "result:own", 30)
            self.assertEqual(["hi\n", ""], json.loads(answer)["streams"])
            self.assertEqual([1, 0], [client.llen("core:default"), client.exists("result:shared")])

    def test_rejected(self) -> None:
        """
        What is rejected says by which node.
        """
        with self.valkey.client() as client:
            client.rpush(OWN, "nonsense")
            entry = json.loads(eventually(lambda: client.lindex("core:rejected", 0), "an entry"))
            self.assertEqual("3:4", entry["node"])

    def test_no_password_in_the_log(self) -> None:
        """
        The log says where commands are taken, and not the password.
        """
        self.assertIn(f"core0 3:4 takes commands at {self.valkey.tcp}", self.daemon.output())
        self.assertNotIn("secret", self.daemon.output())

    def test_local_server_is_apart(self) -> None:
        """
        Nothing is served on core0's own server.
        """
        with self.daemon.redis() as client:
            client.rpush("core:default", json.dumps({"id": "local", "command": "core.ping"}))
            client.rpush("core:default:3:4", json.dumps({"id": "local", "command": "core.ping"}))
        with self.valkey.client() as client:
            client.rpush(OWN, json.dumps({"id": "after", "command": "core.ping"}))
            client.brpoplpush("result:after", "result:after", 30)
        with self.daemon.redis() as client:
            self.assertEqual([1, 1, 0], [client.llen("core:default"), client.llen(OWN), client.exists("result:local")])


class TroubleTests(ServedTestCase):
    """
    The server is away, or somebody makes a mess of it.
    """

    def tearDown(self) -> None:
        """
        Leave nothing for the next test.
        """
        self.daemon.settle()
        self.daemon.forget()

    def test_restarted(self) -> None:
        """
        When the server is started again core0 connects again; jobs go on, and each result arrives.
        """
        for number in (signal.SIGTERM, signal.SIGKILL):
            gate, file = self.gate(), self.folder() / "file"
            id = self.push_sh(f"echo ran >> {file}; {gate.wait}; echo end")
            recurring = self.push_sh(f"echo recurs >> {file}", recurring_period=0.02)
            self.daemon.result(recurring)
            eventually(lambda file=file: "ran" in lines(file), "it runs")
            self.valkey.stop(number)
            count = lines(file).count("recurs")
            self.valkey.start()
            gate.open()
            self.assertEqual("end\n", self.daemon.result(id)["streams"][0])
            eventually(lambda file=file, count=count: lines(file).count("recurs") > count + 1, "the other goes on")
            self.assert_success(self.run_sh("true"))
            self.kill(recurring)
            eventually(lambda id=recurring: self.daemon.result(id)["state"] == "KILLED", "its last result")
            self.assertEqual(1, lines(file).count("ran"))

    def test_came_back_empty(self) -> None:
        """
        When the server has lost everything, results of jobs that were running arrive nevertheless, once.
        """
        gate, file = self.gate(), self.folder() / "file"
        ids = [self.push_sh(f"echo ran >> {file}; {gate.wait}") for _ in range(3)]
        eventually(lambda: len(lines(file)) == 3, "they run")
        with self.valkey.client() as client:
            client.flushall()
            client.script_flush()
        gate.open(3)
        results = {id: self.daemon.result(id) for id in ids}
        for id in ids:
            self.assert_success(results[id])
        self.daemon.settle()
        exactly_one(self.daemon.results(), ids)

    def test_scripts_are_gone(self) -> None:
        """
        When somebody makes the server forget core0's scripts, core0 goes on.
        """
        with self.valkey.client() as client:
            client.script_flush()
        self.assert_success(self.run_sh("echo hi"))

    def test_no_list(self) -> None:
        """
        When somebody makes something else of a list, core0 serves the others, says so, and serves it again afterwards.
        """
        with self.valkey.client() as client:
            self.daemon.settle()
            client.set("core:default", "text")
            self.daemon.push_raw(json.dumps({"id": "own", "command": "core.ping"}), queue="core:default:1:1")
            self.assert_success(self.daemon.result("own"), '"pong"')
            eventually(lambda: "cannot be served" in self.daemon.output(), "it says so")
            client.delete("core:default")
        self.assert_success(self.daemon.run_command("core.ping"), '"pong"')
        self.assertEqual(1, self.daemon.output().count("cannot be served"))

    def test_rejected_is_no_list(self) -> None:
        """
        When somebody makes something else of ``core:rejected``, that is replaced, and nobody's result is held up.
        """
        with self.valkey.client() as client:
            client.set("core:rejected", "text")
        self.daemon.push_raw("nonsense", json.dumps({"id": "other", "command": "core.ping"}))
        self.assert_success(self.daemon.result("other"), '"pong"')
        self.daemon.settle()
        self.assertEqual(["nonsense"], [entry["payload"] for entry in self.daemon.rejected()])

    def test_result_is_no_list(self) -> None:
        """
        Whatever somebody has put where a result goes is replaced.
        """
        with self.valkey.client() as client:
            client.set("result:mine", "text")
            client.rpush("result:other", "a", "b")
            for id in ("mine", "other"):
                self.daemon.push("core.ping", id=id)
            self.daemon.settle()
        exactly_one(self.daemon.results(), ["mine", "other"])

    def test_clients_are_disconnected(self) -> None:
        """
        When somebody disconnects everybody, core0 comes back.
        """
        for kind in ("normal", "pubsub"):
            with self.valkey.client() as client:
                client.execute_command("CLIENT", "KILL", "TYPE", kind, "SKIPME", "yes")
            self.assert_success(self.run_sh("true"))


class LateTests(SynchronousTestCase):
    """
    The server is not there yet.
    """

    def test_waits(self) -> None:
        """
        core0 waits for it, can be stopped meanwhile, and takes commands as soon as it is there.
        """
        valkey = Valkey()
        self.addCleanup(valkey.close)
        daemon = ServedDaemon(valkey)
        self.addCleanup(daemon.close)
        daemon.start(wait=False)
        eventually(lambda: "cannot reach" in daemon.output(), "it says what it waits for")
        daemon.signal(signal.SIGTERM)
        self.assertEqual(-signal.SIGTERM, daemon.wait())
        daemon.start(wait=False)
        valkey.start()
        self.assertEqual("SUCCESS", daemon.run_command("core.ping")["state"])
        self.assertIsNone(state_of(daemon, "nobody"))
