"""
core0's end of the channels to containers, against a CoreX that means ill, and who may use the server that core0 starts.
"""

import os
import shutil
import signal
import tempfile
from collections.abc import Sequence
from pathlib import Path

import redis
from twisted.internet import reactor
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.threads import deferToThread
from twisted.trial.unittest import TestCase

from core0.corex_messages import result_line
from core0.errors import ServerFailed
from core0.messages import Command, Outcome, encode, result_of
from core0.reaper import Reaper
from core0.redis import acl
from core0.redis.channel import MOST_ORDERS
from core0.redis.channels import LARGEST, MOST_RESULTS
from core0.redis.server import EmbeddedServer
from core0.redis.server_settings import ServerSettings
from core0.spawn import Surroundings
from core0.waiting import pause
from tests.functional.far import NUMBER, PASSWORD, FarCase, Host, corex_client, names

ORDERS, RESULTS, RECORDS = names(NUMBER)
OTHER = 2
ALLOWED = f"""
    PING | BLMOVE {ORDERS} {ORDERS} LEFT LEFT 0.01 | LRANGE {ORDERS} 0 -1 | LTRIM {ORDERS} 1 -1 | RPUSH {RESULTS} x
    LLEN {RESULTS} | RPUSH {RECORDS} x | LTRIM {RECORDS} -5 -1 | LLEN {RECORDS}
    """
REFUSED = f"""
    RPUSH {ORDERS} x | LPUSH {ORDERS} x | LPOP {ORDERS} | RPOP {ORDERS} | DEL {ORDERS} | LSET {ORDERS} 0 x
    LRANGE {RESULTS} 0 -1 | LINDEX {RESULTS} 0 | LPOP {RESULTS} | LTRIM {RESULTS} 0 0 | DEL {RESULTS}
    LPUSH {RESULTS} x | LPUSHX {RECORDS} x | RPUSHX {RESULTS} x
    LRANGE {RECORDS} 0 -1 | LINDEX {RECORDS} 0 | LPOP {RECORDS} | DEL {RECORDS} | TYPE {RESULTS} | TTL {RESULTS}
    BLMOVE {RESULTS} {ORDERS} LEFT LEFT 0.01 | BLMOVE {RECORDS} {RECORDS} LEFT LEFT 0.01
    BLMOVE {ORDERS} {RESULTS} LEFT LEFT 0.01 | BLMOVE {ORDERS} x LEFT LEFT 0.01 | LMOVE {ORDERS} {ORDERS} LEFT LEFT
    COPY {RESULTS} x | RENAME {RESULTS} x | DUMP {RESULTS} | SORT {RESULTS} | OBJECT FREQ {RESULTS} | EXPIRE {RESULTS} 1
    LRANGE core:default:core-2 0 -1 | RPUSH core:default:core-2 x | LTRIM core:default:core-2 1 -1
    BLMOVE core:default:core-2 core:default:core-2 LEFT LEFT 0.01 | RPUSH corex:results:2 x | LLEN corex:results:2
    RPUSH core0:corex:2:records x | LTRIM core0:corex:2:records 0 0 | LRANGE core:default:core-11 0 -1
    RPUSH core:default x | LRANGE core:default 0 -1 | RPUSH core:default:1:1 x | RPUSH result:a x | LRANGE result:a 0 -1
    RPUSH core:rejected x | LRANGE core.logs 0 -1 | RPUSH core.logs x | RPUSH stream:a x | XADD stats:a * a b
    GET core0:id:a | HGETALL core0:unfinished:1:1 | HGETALL core0:dispatched:1:1 | HSET core0:dispatched:1:1 1 x
    CONFIG GET * | CONFIG SET dir / | EVAL 1 0 | EVAL_RO 1 0 | EVALSHA 0 0 | SCRIPT LOAD 1 | SCRIPT FLUSH | FCALL x 0
    FUNCTION LIST | KEYS * | SCAN 0 | RANDOMKEY | DBSIZE | FLUSHALL | FLUSHDB | ACL WHOAMI | ACL LIST
    ACL SETUSER corex-1 allcommands allkeys | ACL GETUSER core0 | ACL DELUSER corex-2 | ACL GENPASS | ACL CAT | ACL LOG
    SUBSCRIBE __redis__:invalidate | SUBSCRIBE x | PSUBSCRIBE * | SSUBSCRIBE x | PUBLISH x y | MONITOR | PUBSUB CHANNELS
    SHUTDOWN NOSAVE | DEBUG SLEEP 0 | SAVE | BGREWRITEAOF | INFO | CLIENT LIST | CLIENT ID | CLIENT KILL TYPE normal
    CLIENT PAUSE 1 | CLIENT TRACKING ON | CLIENT SETNAME core0 | CLIENT UNBLOCK 1 | MULTI | EXEC | WATCH {RESULTS}
    REPLICAOF 127.0.0.1 1 | SYNC | MIGRATE 127.0.0.1 1 x 0 1 | MODULE LIST | SLOWLOG GET | MEMORY USAGE {RESULTS}
    SELECT 0 | SWAPDB 0 1 | LATENCY DOCTOR | COMMAND COUNT | TIME | ECHO x | WAIT 0 0 | ROLE | LASTSAVE
    """


def commands(text: str) -> list[list[str]]:
    """
    The commands of a table.
    """
    return [command.split() for line in text.strip().splitlines() for command in line.split(" | ")]


def not_refused(client: redis.Redis, attempts: list[list[str]]) -> list[str]:
    """
    Those of some commands that the server does not refuse for want of rights.
    """
    found = []
    for words in attempts:
        try:
            client.execute_command(*words)
        except redis.exceptions.NoPermissionError:
            continue
        except redis.exceptions.ResponseError as error:
            if "NOPERM" in str(error) or "not allowed" in str(error):  # in a transaction; to anybody
                continue
            found.append(f"{words}: {error}")
        else:
            found.append(" ".join(words))
    return found


class RightsTests(FarCase):
    """
    A CoreX with its own credentials that tries whatever there is.
    """

    def test_allowed(self) -> None:
        """
        It may do what it needs with its three lists.
        """
        self.channels.stop()
        client = self.corex()
        for words in commands(ALLOWED):
            client.execute_command(*words)

    def test_refused(self) -> None:
        """
        Everything else is refused, on its own lists, on those of other containers and on all others.
        """
        self.channels.stop()
        client = self.corex()
        client.rpush(RESULTS, "x")
        client.rpush(RECORDS, "x")
        self.client.rpush(ORDERS, "x")
        self.assertEqual([], not_refused(client, commands(REFUSED)))

    def test_other_users(self) -> None:
        """
        It becomes nobody else, and nobody becomes it with another password.
        """
        client = self.corex()
        for words in (("AUTH", "corex-2", "guess"), ("HELLO", "2", "AUTH", "core0", ""), ("AUTH", "corex-1", "")):
            self.assertRaises(redis.AuthenticationError, client.execute_command, *words)


class HostileTests(FarCase):
    """
    What a CoreX puts on its lists.
    """

    def result(self, seq: int, id: str, **fields: bool) -> bytes:
        """
        A message with a result.
        """
        result = result_of(Command(command="x"), id, Outcome(), container=5, starttime=1, time=1, runs=1)
        return result_line(seq, encode(result), **fields)

    async def gone(self, number: int = NUMBER) -> None:
        """
        Wait until nothing is left of what it has put there.
        """
        await self.until(lambda: not any(self.lengths(number)[1:]), "all is taken")

    async def test_forged(self) -> None:
        """
        Results that it was not asked for, or that it has given before, are not taken for any; what is asked for is.
        """
        other = Host(OTHER)
        self.channels.open(OTHER, other)
        first, second = self.errand("a"), self.errand("b")
        client = self.corex(OTHER)
        client.rpush(names(OTHER)[1], self.result(first.seq, "a"), self.result(second.seq, "b"))
        await self.gone(OTHER)
        self.assertEqual(([], 2), (other.finals, other.errands.ignored))
        lines = [self.result(first.seq, "b"), self.result(7, "a"), b"", b"\xff", self.result(first.seq, "a", keep=True)]
        self.corex().rpush(RESULTS, *lines, self.result(first.seq, "a"), self.result(first.seq, "a"))
        await self.gone()
        self.assertEqual((["a"], 6), (self.host.ids(), self.host.errands.ignored))
        self.assertEqual(
            (NUMBER, "core.ping"), (self.host.finals[0].result.container, self.host.finals[0].result.command)
        )

    async def test_huge(self) -> None:
        """
        Messages that are larger than any result are dropped unread; those around them are taken.
        """
        lines = [self.result(self.errand(id).seq, id) for id in "abc"]
        client = self.corex()
        huge = b"x" * (LARGEST + 1)
        client.rpush(RESULTS, lines[0])
        client.rpush(RESULTS, huge)
        client.rpush(RESULTS, lines[1])
        client.rpush(RECORDS, huge)
        client.rpush(RECORDS, b"record")
        client.rpush(RESULTS, huge)
        client.rpush(RESULTS, lines[2])
        await self.gone()
        self.assertEqual((["a", "b", "c"], [b"record"]), (self.host.ids(), self.host.lines))

    async def test_large(self) -> None:
        """
        Results as large as they may be all arrive.
        """
        ids = ["a", "b", "c"]
        for id in ids:
            result = result_of(
                Command(command="x"), id, Outcome(data="x" * (60 << 20)), container=1, starttime=1, time=1, runs=1
            )
            self.corex().rpush(RESULTS, result_line(self.errand(id).seq, encode(result)))
        await self.gone()
        self.assertEqual(ids, self.host.ids())

    async def test_floods(self) -> None:
        """
        Whatever one container says, another one is heard; and lists have a bound although nobody else keeps it.
        """
        other = Host(OTHER)
        self.channels.stop()
        for _ in range(11):
            self.corex().rpush(RESULTS, *[b"x" * 20] * 10_000)
        self.corex().rpush(RECORDS, *(b"%d" % number for number in range(25_000)))
        self.corex(OTHER).rpush(names(OTHER)[1], b"mine")
        self.channels = self.begin()
        self.channels.open(NUMBER, self.host)
        self.channels.open(OTHER, other)
        await self.until(lambda: other.errands.ignored == 1, "the other one is heard")
        self.assertLess(self.host.errands.ignored, 50_000)
        await self.gone()
        self.assertEqual(MOST_RESULTS, self.host.errands.ignored)
        self.assertEqual([b"%d" % number for number in range(15_000, 25_000)], self.host.lines)

    async def test_failing_receiver(self) -> None:
        """
        If core0 cannot take what comes that is logged, and it goes on with what comes next.
        """

        class Broken(Host):
            async def results(self, lines: Sequence[bytes]) -> None:
                if b"broken" in lines:
                    raise ValueError("results")
                await super().results(lines)

            def clogged(self) -> bool:
                """
                Never.
                """
                return False

            def records(self, lines: Sequence[bytes]) -> None:
                if b"broken" in lines:
                    raise ValueError("records")
                super().records(lines)

        broken = Broken(OTHER)
        self.channels.open(OTHER, broken)
        client, (_, results, records) = self.corex(OTHER), names(OTHER)
        client.rpush(results, b"broken")
        client.rpush(records, b"broken")
        await self.gone(OTHER)
        self.assertEqual(2, len(self.flushLoggedErrors(ValueError)))
        client.rpush(results, b"next")
        client.rpush(records, b"next")
        await self.gone(OTHER)
        self.assertEqual(([b"next"], 1), (broken.lines, broken.errands.ignored))


class RoomTests(FarCase):
    """
    How many orders may wait.
    """

    async def test_number(self) -> None:
        """
        There is room for so many orders, whether they wait in core0 or in the list; the CoreX makes some by taking.
        """
        for number in range(MOST_ORDERS):
            self.assertTrue(self.channels.room(NUMBER))
            self.channels.send(NUMBER, b"%d" % number)
        self.assertFalse(self.channels.room(NUMBER))
        await self.until(lambda: self.lengths()[0] == MOST_ORDERS, "all are sent")
        self.assertFalse(self.channels.room(NUMBER))
        self.assertEqual([b"0", b"1"], self.corex().lrange(ORDERS, 0, 1))
        self.corex().ltrim(ORDERS, 5, -1)
        await self.until(lambda: self.channels.room(NUMBER), "there is room")

    async def test_bytes(self) -> None:
        """
        The same holds for their size.
        """
        for _ in range(4):
            self.assertTrue(self.channels.room(NUMBER))
            self.channels.send(NUMBER, b"x" * (16 << 20))
        self.assertFalse(self.channels.room(NUMBER))
        await self.until(lambda: self.lengths()[0] == 4, "all are sent")
        self.assertFalse(self.channels.room(NUMBER))
        self.corex().ltrim(ORDERS, 1, -1)
        await self.until(lambda: self.channels.room(NUMBER), "there is room")

    async def test_close(self) -> None:
        """
        Of a container that is closed nothing is left, and nothing is heard.
        """
        self.channels.send(NUMBER, b"order")
        self.corex().rpush(RESULTS, b"result")
        await self.until(lambda: self.lengths()[0], "it is sent")
        self.channels.send(NUMBER, b"another")
        await self.channels.close(NUMBER)
        self.assertEqual(([0, 0, 0], False), (self.lengths(), self.channels.room(NUMBER)))
        self.corex().rpush(RESULTS, b"result")
        before = self.host.errands.ignored
        await pause(reactor, 0.05)
        self.assertEqual(([0, 1, 0], before), (self.lengths(), self.host.errands.ignored))
        await self.channels.close(NUMBER)

    async def test_drained(self) -> None:
        """
        Whoever waits for the last results of a container waits until they are safe.
        """
        await self.channels.drained(NUMBER)
        self.host.hold = Deferred()
        self.corex().rpush(RESULTS, b"result")
        drained = Deferred.fromCoroutine(self.channels.drained(NUMBER))
        await pause(reactor, 0.2)
        self.assertNoResult(drained)
        self.host.hold.callback(None)
        await drained
        self.assertEqual([0, 0, 0], self.lengths())

    async def test_stopped_while_draining(self) -> None:
        """
        Whoever waits for them is told when core0 ends before; they stay, for the next one, as they are.
        """
        self.host.hold = Deferred()
        self.corex().rpush(RESULTS, b"result")
        drained = Deferred.fromCoroutine(self.channels.drained(NUMBER))
        await self.until(lambda: self.host.held, "it is read")
        await self.end(self.channels.stop)
        await self.until(lambda: drained.called, "it is told")
        self.failureResultOf(drained, CancelledError)
        with self.assertRaises(CancelledError):
            await self.channels.close(NUMBER)
        self.assertEqual([0, 1, 0], self.lengths())


class UsersTests(TestCase):
    """
    The users of containers on the server that core0 starts.
    """

    async def begin(self) -> None:
        """
        Prepare a server in a folder of its own.
        """
        folder = Path(tempfile.mkdtemp(prefix="core0-users-"))
        self.addCleanup(shutil.rmtree, folder)
        await pause(reactor, 0)
        reaper = Reaper(reactor)  # type: ignore[arg-type] # it is more than mypy knows
        self.addCleanup(signal.signal, signal.SIGCHLD, signal.getsignal(signal.SIGCHLD))
        reaper.install()
        self.socket = str(folder / "sock" / "redis.sock")
        settings = ServerSettings("", self.socket, str(folder / "data"), str(folder / "run"), 100 << 20)
        self.server = EmbeddedServer(reactor, reaper, Surroundings.prepare(), settings)
        self.addCleanup(self.server.stop)

    async def admit(self, number: int) -> None:
        """
        Let a CoreX in.
        """
        await self.server.admit(acl.corex_user(number), acl.corex_rules(number, acl.hashed(PASSWORD)))

    def client(self, number: int) -> redis.Redis:
        """
        Of that CoreX.
        """
        client = corex_client(self.socket, number)
        self.addCleanup(client.close)
        return client

    async def may(self, number: int) -> bool:
        """
        Whether a CoreX gets in, and reaches its lists.
        """
        try:
            await deferToThread(self.client(number).rpush, names(number)[1], b"x")
        except redis.RedisError:
            return False
        return True

    async def test_before_the_start(self) -> None:
        """
        Whoever is admitted before the server starts may come in as soon as it is there; whoever is not may not.
        """
        await self.begin()
        await self.admit(1)
        await self.admit(2)
        await self.server.dismiss(acl.corex_user(2))
        await self.server.start()
        self.assertEqual((True, False), (await self.may(1), await self.may(2)))

    async def test_while_it_runs(self) -> None:
        """
        Whoever is admitted may come in at once; whoever is dismissed is thrown out at once.
        """
        await self.begin()
        await self.server.start()
        self.assertFalse(await self.may(1))
        await self.admit(1)
        client = self.client(1)
        await deferToThread(client.ping)
        self.assertTrue(await self.may(1))
        held = client.connection_pool.get_connection()
        await self.server.dismiss(acl.corex_user(1))
        with self.assertRaises(redis.ConnectionError):
            held.send_command("PING")
            held.read_response()
        self.assertFalse(await self.may(1))
        await self.server.dismiss(acl.corex_user(1))

    async def test_ended_server(self) -> None:
        """
        When the server ends and is started again everybody who was admitted, before or meanwhile, may come in.
        """
        await self.begin()
        await self.admit(1)
        await self.server.start()
        await self.admit(2)
        await self.admit(3)
        for number in (signal.SIGKILL, signal.SIGTERM):
            pid = self.server.pid
            assert pid is not None
            os.kill(pid, number)
            while self.server.pid == pid:
                await pause(reactor, 0.001)
            await self.admit(4)
            await self.server.dismiss(acl.corex_user(3))
            while self.server.pid is None:
                await pause(reactor, 0.01)
            self.assertEqual([True, True, False, True], [await self.may(each) for each in (1, 2, 3, 4)])

    async def test_nonsense(self) -> None:
        """
        Rules that are none are refused, and do not keep the server from starting again.
        """
        await self.begin()
        await self.server.start()
        with self.assertRaises(ServerFailed):
            await self.server.admit("corex-1", ["on", "+nonsense"])
        pid = self.server.pid
        assert pid is not None
        os.kill(pid, signal.SIGKILL)
        while self.server.pid in (pid, None):
            await pause(reactor, 0.01)
        await self.admit(1)
        self.assertTrue(await self.may(1))
