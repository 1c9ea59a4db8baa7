"""
The server that core0 starts: who gets in, what they may do, and what becomes of it when it dies.
"""

import fcntl
import json
import os
import re
import signal
import stat
from pathlib import Path
from typing import Any, ClassVar

import redis
from twisted.trial.unittest import SynchronousTestCase

from tests.daemon import ONCE, Daemon, eventually
from tests.functional.shared import DaemonTestCase, lines, lives, sh
from tests.valkey import free_port

ALLOWED = """
    PING | ECHO x | SELECT 0 | COMMAND COUNT | HELLO 2 | CLIENT SETNAME x | CLIENT GETNAME | CLIENT ID | CLIENT INFO
    TIME | CLIENT SETINFO LIB-NAME x | ACL WHOAMI | RESET | LLEN core:default | LRANGE core:default 0 -1
    LINDEX core:default:1:1 0 | TYPE core:default | LLEN core:default:7:12 | RPUSH core:default:7:12 x
    LPUSH core:default:7:12 x | LPOS core:default:7:12 x | LREM core:default:7:12 1 x | RPUSH result:x y
    BRPOPLPUSH result:x result:x 1 | LMOVE result:x result:x LEFT RIGHT | TTL result:x | EXPIRE result:x 9
    PTTL result:x | BLPOP result:x 1 | DEL result:x | UNLINK result:x | EXISTS result:x
    BLMOVE result:y result:y LEFT LEFT 0.01 | LRANGE core:rejected 0 -1 | LLEN core:rejected | LINDEX core:rejected 0
    LRANGE core.logs 0 -1 | BLPOP core.logs 0.01 | LTRIM core.logs 0 0 | RPOP stream:x | BRPOP stream:x 0.01
    DEL stream:x | XRANGE stats:x - + | XREVRANGE stats:x + - | XLEN stats:x | XREAD STREAMS stats:x 0 | TTL stats:x
    MULTI | DISCARD
    """
REFUSED = """
    CONFIG GET * | CONFIG SET dir / | CONFIG REWRITE | EVAL 1 0 | EVAL_RO 1 0 | EVALSHA 0 0 | SCRIPT LOAD 1
    SCRIPT FLUSH | FUNCTION LIST | FUNCTION FLUSH | FCALL x 0 | KEYS * | SCAN 0 | RANDOMKEY | DBSIZE | FLUSHALL
    FLUSHDB | SWAPDB 0 1 | DEBUG SLEEP 0 | SHUTDOWN NOSAVE | SAVE | BGSAVE | BGREWRITEAOF | LASTSAVE | INFO | ROLE
    SYNC | PSYNC ? -1 | REPLICAOF 127.0.0.1 1 | SLAVEOF 127.0.0.1 1 | FAILOVER | CLUSTER INFO | MODULE LIST
    MODULE LOAD /tmp/x.so | LATENCY DOCTOR | ACL SETUSER default allcommands | ACL LIST | ACL GETUSER core0
    ACL DELUSER core0 | ACL LOAD | ACL SAVE | ACL CAT | MONITOR | SUBSCRIBE x | PSUBSCRIBE * | SSUBSCRIBE x
    PUBLISH x y | PUBSUB CHANNELS | SLOWLOG GET | MEMORY DOCTOR | CLIENT LIST | CLIENT KILL TYPE normal
    CLIENT PAUSE 1 | CLIENT TRACKING ON | CLIENT UNBLOCK 1 | WAIT 0 0 | SET core:default x | SET result:x y
    GET result:x | SETEX result:x 9 y | APPEND result:x y | HSET result:x a b | SADD result:x a | XADD stream:x * a b
    RENAME result:x result:y | COPY result:x result:y | DUMP result:x | RESTORE result:x 0 y | SORT result:x
    OBJECT FREQ result:x | MIGRATE 127.0.0.1 1 result:x 0 1 | LSET result:x 0 y | LINSERT result:x BEFORE a b
    RPUSH core:rejected x | LPOP core:rejected | DEL core:rejected | LTRIM core:rejected 0 0 | EXPIRE core:rejected 1
    RPOPLPUSH core:rejected result:x | XADD stats:x * a b | DEL stats:x | EXPIRE stats:x 1 | XTRIM stats:x MAXLEN 0
    LLEN core0:unfinished:1:1 | HGETALL core0:unfinished:1:1 | DEL core0:unfinished:1:1 | HGETALL core0:job:1:1
    DEL core0:id:x | GET core0:id:x | TYPE core0:clock:1:1 | TTL core0:clock:1:1 | EXISTS core0:clock:1:1
    RPUSH core0:x y | BLPOP core0:x 0.01 | RPUSH core:default:core-1 x | LRANGE core:default:core-1 0 -1
    BLPOP core:default:core-1 0.01 | DEL core:default:core-1 | RPUSH corex:results:1 x | LRANGE corex:results:1 0 -1
    RPUSH core0:corex:1:records x | LMOVE core:default core0:x LEFT LEFT | RPOPLPUSH core:default:core-1 result:x
    RPOPLPUSH core:default core:default:core-1 | RPUSH other x | LLEN core | DEL x | RPUSH core:default: x
    RPUSH core:default:x:y z | RPUSH core:defaults x | CLIENT NO-EVICT ON
    """


def ask(client: redis.Redis, *words: str) -> Any:
    """
    The server's reply, as it comes.
    """
    connection = client.connection_pool.get_connection()
    try:
        connection.send_command(*words)
        return connection.read_response()
    finally:
        client.connection_pool.release(connection)


def commands(text: str) -> list[list[str]]:
    """
    The words of each.
    """
    return [command.split() for line in text.strip().splitlines() for command in line.split("|")]


class EntranceTests(DaemonTestCase):
    """
    Clients of the unix socket.
    """

    def test_folders(self) -> None:
        """
        Only its owner gets to the socket, or to what is stored.
        """
        sock = Path(self.daemon.socket)
        for folder in (
            sock.parent,
            self.daemon.run / "redis",
            self.daemon.run,
            self.daemon.state,
            self.daemon.state / "redis",
        ):
            self.assertEqual((0o700, os.geteuid()), (stat.S_IMODE(folder.stat().st_mode), folder.stat().st_uid), folder)
        self.assertEqual(0o700, stat.S_IMODE(sock.stat().st_mode))
        for file in (self.daemon.run / "redis").glob("*.*"):
            self.assertEqual(0o600, stat.S_IMODE(file.stat().st_mode), file)

    def test_allowed(self) -> None:
        """
        A client may do to the protocol's keys what a client does.
        """
        with self.daemon.redis() as client:
            for words in commands(ALLOWED):
                ask(client, *words)

    def test_transaction(self) -> None:
        """
        A client may do several things in one step.
        """
        id = "in-one-step"
        with self.daemon.redis() as client:
            push = client.pipeline(transaction=True).delete(f"result:{id}")
            push.rpush("core:default", json.dumps({"id": id, "command": "core.ping"})).execute()
        self.assertEqual('"pong"', self.daemon.result(id)["data"])

    def test_refused(self) -> None:
        """
        A client may do nothing else, neither to the server nor to other keys.
        """
        with self.daemon.redis() as client:
            for words in commands(REFUSED):
                try:
                    reply = ask(client, *words)
                except redis.exceptions.ResponseError as error:
                    self.assertRegex(str(error), "[Nn]o permissions|not allowed", words)
                else:
                    raise AssertionError(f"{words} is allowed: {reply!r}")
        self.assertEqual('"pong"', self.daemon.run_command("core.ping")["data"])

    def test_no_other_user(self) -> None:
        """
        A client does not get in as core0, whatever it reads of the server and its files.
        """
        # 64 hexadecimal digits is what its password looks like
        told = Path(f"/proc/{server_pid(self.daemon)}/cmdline").read_text() + self.daemon.output()
        folder = self.daemon.run / "redis"
        told += "".join(path.read_text(errors="replace") for path in folder.iterdir() if path.is_file())
        readable = re.findall("[0-9a-f]{64}", told)
        self.assertTrue(readable)  # digests, at least
        for password in ("", "core0", "x" * 64, *readable):
            with self.assertRaises(redis.AuthenticationError), self.daemon.redis() as client:
                ask(client, "AUTH", "core0", password)


def server_pid(daemon: Daemon) -> int:
    """
    The process of its server.
    """
    pid: int = json.loads((daemon.run / "redis" / "server.json").read_text())["pid"]
    return pid


class DeathTests(DaemonTestCase):
    """
    The server dies, and is started again: later each time that it happens within a minute, so each test has its own.
    """

    @classmethod
    def setUpClass(cls) -> None:
        """
        Nothing is shared.
        """

    @classmethod
    def tearDownClass(cls) -> None:
        """
        Nothing is shared.
        """

    def setUp(self) -> None:
        """
        Start a daemon.
        """
        self.daemon = Daemon()  # type: ignore[misc] # of the class elsewhere
        self.addCleanup(self.daemon.close)
        self.daemon.start()

    def end_server(self, number: int) -> None:
        """
        End it, and wait until there is another.
        """
        before = server_pid(self.daemon)
        os.kill(before, number)
        eventually(lambda: server_pid(self.daemon) != before, "there is another server")
        eventually(self.answers, "it answers")
        self.assertFalse(lives(before))

    def answers(self) -> bool:
        """
        Whether the server is there.
        """
        try:
            with self.daemon.redis() as client:
                return bool(client.ping())
        except redis.RedisError:
            return False

    def test_jobs_go_on(self) -> None:
        """
        Jobs that run do not notice, and their results arrive; what was stored is still there, and what is pushed runs.
        """
        for number in (signal.SIGKILL, signal.SIGTERM):
            before = self.run_sh("echo before")
            gate, file = self.gate(), self.folder() / "file"
            ids = [self.push_sh(f"echo ran >> {file}; {gate.wait}; echo {n}") for n in range(5)]
            queued = self.push_sh(f"echo ran >> {file}", queue="q", max_restart=1)
            self.assert_success(self.daemon.result(queued))
            eventually(lambda file=file: len(lines(file)) == 6, "all run")
            self.end_server(number)
            self.assertEqual(before, self.daemon.result(before["id"]))
            gate.open(5)
            for place, id in enumerate(ids):
                self.assertEqual(
                    ["SUCCESS", [f"{place}\n", ""]], [self.daemon.result(id)[key] for key in ("state", "streams")]
                )
            self.assert_success(self.daemon.run_command("core.ping"), '"pong"')
            self.assertEqual(6, len(lines(file)))

    def test_ended_meanwhile(self) -> None:
        """
        A job that ends while there is no server is answered when there is one.
        """
        gate, file = self.gate(), self.folder() / "file"
        id = self.push_sh(f"echo begun > {file}; {gate.wait}; echo end; echo end > {file}")
        waiting = [self.push_sh(f"echo {number} >> {file}.more", queue=str(file)) for number in range(3)]
        self.daemon.run_command("core.ping")
        eventually(lambda: "begun" in lines(file), "it has begun")
        before = server_pid(self.daemon)
        os.kill(before, signal.SIGSTOP)
        gate.open()
        eventually(lambda: "end" in lines(file), "it has ended")
        os.kill(before, signal.SIGKILL)
        self.assertEqual(
            "end\n", self.daemon.result(id)["streams"][0] if eventually(self.answers, "it is back") else ""
        )
        for each in waiting:
            self.assert_success(self.daemon.result(each))

    def test_again_and_again(self) -> None:
        """
        It is started again each time, and each command is answered once.
        """
        file = self.folder() / "file"
        ids = []
        for number in range(3):
            ids += [self.push_sh(f"echo {number}-{place} >> {file}") for place in range(20)]
            self.daemon.wait_until_written()
            self.end_server(signal.SIGKILL)
        for id in ids:
            self.assert_success(self.daemon.result(id))
        self.assertEqual(sorted(set(lines(file))), sorted(lines(file)))
        self.assertEqual(60, len(lines(file)))


class PasswordTests(DaemonTestCase):
    """
    A server that listens on TCP.
    """

    port: ClassVar[int]

    @classmethod
    def make_daemon(cls) -> Daemon:
        """
        One that listens at some free port.
        """
        cls.port = free_port()
        return Daemon(f'[redis]\nlisten = "127.0.0.1:{cls.port}"')

    def test_password(self) -> None:
        """
        A password is made, in a file that only its owner reads; without it, or with another one, nobody gets in: over
        TCP, and at the socket of the server itself.
        """
        file = self.daemon.state / "redis" / "password"
        self.assertEqual((0o600, os.geteuid()), (stat.S_IMODE(file.stat().st_mode), file.stat().st_uid))
        password = file.read_text().strip()
        self.assertGreaterEqual(len(password), 32)
        own_socket = self.daemon.socket.replace("redis.sock", "auth.sock")
        for places in ({"port": self.port}, {"unix_socket_path": own_socket}):
            with redis.Redis(retry=ONCE, **places) as client:
                for words in (
                    ("PING",),
                    ("RPUSH", "core:default", "x"),
                    ("LLEN", "core:default"),
                    ("AUTH", "core0", ""),
                ):
                    self.assertRaises(redis.AuthenticationError, ask, client, *words)
                for wrong in ("", "wrong", password[:-1], password + "x"):
                    self.assertRaises(redis.AuthenticationError, ask, client, "AUTH", wrong)
            with redis.Redis(password=password, **places) as client:
                client.rpush(
                    "core:default", json.dumps({"id": "tcp", "command": "core.system", "arguments": sh("echo hi")})
                )
                answer = client.brpoplpush("result:tcp", "result:tcp", 30)
                self.assertEqual(["hi\n", ""], json.loads(answer)["streams"])
                with self.assertRaises(redis.exceptions.NoPermissionError):
                    client.config_get("*")

    def test_local(self) -> None:
        """
        At the socket of the clients root needs no password and has the rights of a client, no more; a password that is
        given nevertheless has to be the right one. The socket is for its owner only.
        """
        self.assertEqual(0o600, stat.S_IMODE(os.stat(self.daemon.socket).st_mode))
        password = (self.daemon.state / "redis" / "password").read_text().strip()
        for given in (None, password):
            with redis.Redis(unix_socket_path=self.daemon.socket, password=given, retry=ONCE) as client:
                self.assertEqual(b"default", ask(client, "ACL", "WHOAMI"))
                self.assertRaises(redis.exceptions.NoPermissionError, ask, client, "CONFIG", "GET", "*")
                self.assertRaises(redis.AuthenticationError, ask, client, "AUTH", "core0", "x")
        with redis.Redis(unix_socket_path=self.daemon.socket, password="wrong", retry=ONCE) as client:
            self.assertRaises(redis.AuthenticationError, ask, client, "PING")
        self.assertEqual('"pong"', self.daemon.run_command("core.ping")["data"])

    def test_local_large(self) -> None:
        """
        What goes through the socket of the clients comes out as it is, whatever its size, many connections at a time.
        """
        data = os.urandom(6 << 20)
        clients = [redis.Redis(unix_socket_path=self.daemon.socket, retry=ONCE) for _ in range(5)]
        for place, client in enumerate(clients):
            client.rpush(f"result:large-{place}", data)
        for place, client in enumerate(clients):
            self.assertEqual([data], client.lrange(f"result:large-{place}", 0, -1))
            client.close()

    def test_local_restart(self) -> None:
        """
        The socket of the clients works again after the server was killed, and after core0 was.
        """
        os.kill(server_pid(self.daemon), signal.SIGKILL)
        eventually(lambda: self._pings(), "the server is back")
        self.daemon.crash()
        self.daemon.start()
        self.assertTrue(self._pings())

    def _pings(self) -> bool:
        with redis.Redis(unix_socket_path=self.daemon.socket, retry=ONCE) as client:
            try:
                return bool(client.ping())
            except redis.ConnectionError:
                return False

    def test_kept(self) -> None:
        """
        The password stays the same, and is in no list of processes and in no log.
        """
        file = self.daemon.state / "redis" / "password"
        password = file.read_text()
        self.daemon.stop()
        self.daemon.start()
        self.assertEqual(password, file.read_text())
        self.assertNotIn(password.strip(), self.daemon.output())
        for pid in (self.daemon.pid, server_pid(self.daemon)):
            self.assertNotIn(password.strip().encode(), Path(f"/proc/{pid}/cmdline").read_bytes())
            self.assertNotIn(password.strip().encode(), Path(f"/proc/{pid}/environ").read_bytes())
        with redis.Redis(port=self.port, password=password.strip()) as client:
            self.assertTrue(client.ping())


class FilesTests(SynchronousTestCase):
    """
    The files of the server: only one server has them.
    """

    def test_left_without_a_record(self) -> None:
        """
        A server that was left is found and ended even if nothing says which process it is.
        """
        with Daemon() as daemon:
            before = daemon.run_command("core.ping")
            left = server_pid(daemon)
            held = Path(f"/proc/{left}/fd/3").resolve()
            self.assertEqual((daemon.state / "redis" / "server.lock").resolve(), held)
            daemon.crash()
            for folder in (daemon.run, daemon.state):
                (folder / "redis" / "server.json").unlink()
            daemon.start()
            self.assertFalse(lives(left))
            self.assertEqual(before, daemon.result(before["id"]))

    def test_held(self) -> None:
        """
        While somebody else holds the files no server is started on them; core0 says how to find out who it is.
        """
        with Daemon() as daemon:
            daemon.stop()
            with (daemon.state / "redis" / "server.lock").open("w") as file:
                fcntl.flock(file, fcntl.LOCK_EX)
                daemon.start(wait=False)
                self.assertEqual(1, daemon.wait())
            self.assertIn("fuser", daemon.output())
            daemon.start()
            self.assertEqual('"pong"', daemon.run_command("core.ping")["data"])
