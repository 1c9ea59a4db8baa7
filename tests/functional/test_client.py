"""
The client library, against a real core0.
"""

import math
import os
import subprocess
import sys
import textwrap
import uuid
from collections.abc import Coroutine
from itertools import takewhile
from typing import Any, ClassVar

from twisted.internet import reactor
from twisted.internet.defer import CancelledError, Deferred, gatherResults
from twisted.trial.unittest import TestCase

from core0.client.client import Client, NoAnswer, Rejected, ServerError, is_last, output_bytes
from core0.client.errors import TakenBack
from core0.errors import ConfigError, Refusal
from core0.messages import Record, State, encode
from core0.redis.url import RedisURL
from tests.daemon import ROOT, Daemon, eventually
from tests.functional.shared import GENEROUS, DaemonTestCase, sh

LARGEST = 65536  # bytes of a command that this core0 takes
SHORT = 0.3  # seconds to wait for what does not come


def begun(coroutine: Coroutine[Any, Any, Any]) -> Deferred[Any]:
    """
    Have it go on meanwhile.
    """
    return Deferred.fromCoroutine(coroutine)


class ClientTestCase(TestCase):
    """
    Tests that share a core0, each with a client of its own. The connections are real, and so is the reactor.
    """

    timeout = 60
    daemon: ClassVar[Daemon]

    @classmethod
    def setUpClass(cls) -> None:
        """
        Start core0.
        """
        cls.daemon = Daemon(f"[jobs]\nkill_grace = 0.5\n[redis]\nmax_command = {LARGEST}")
        try:
            cls.daemon.start()
        except BaseException:
            cls.daemon.close()
            raise

    @classmethod
    def tearDownClass(cls) -> None:
        """
        End it.
        """
        cls.daemon.close()

    async def connect(self, **options: Any) -> Client:
        """
        A client that is closed after the test.
        """
        client = await Client.connect(reactor, RedisURL(path=self.daemon.socket), **options)
        self.addCleanup(lambda: begun(client.close()))
        return client

    async def records(self, client: Client, id: str) -> list[Record]:
        """
        All live output of a job.
        """
        return [record async for record in client.stream(id, GENEROUS)]


class CommandTests(ClientTestCase):
    """
    Commands and their results.
    """

    async def test_run(self) -> None:
        """
        A command is pushed and its result comes back, typed.
        """
        client = await self.connect()
        result = await client.run("core.system", sh("echo hi; exit 3"), timeout=GENEROUS, tags=["a", "b"])
        self.assertEqual((State.ERROR, 3, ("hi\n", "")), (result.state, result.code, result.streams))
        self.assertEqual(["a", "b"], result.tags)

    async def test_url(self) -> None:
        """
        The server may be given as the text of a URL.
        """
        client = await Client.connect(reactor, f"redis+unix://{self.daemon.socket}")
        async with client:
            self.assertEqual('"pong"', (await client.run("core.ping", timeout=GENEROUS)).data)

    async def test_cancelled_when_pushed(self) -> None:
        """
        A command is taken back if sending it is cancelled before the server's reply is read.
        """
        client = await self.connect(node="7:7")
        sending = begun(client.send("core.ping"))
        with self.daemon.redis() as redis:
            # the reactor does not run meanwhile
            eventually(lambda: redis.llen("core:default:7:7"), "it is pushed")
            sending.cancel()
            with self.assertRaises(TakenBack):
                await sending
            self.assertEqual(0, redis.llen("core:default:7:7"))

    async def test_node(self) -> None:
        """
        A client may address one node.
        """
        client = await self.connect(node="1:1")
        self.assertEqual('"pong"', (await client.run("core.ping", timeout=GENEROUS)).data)

    async def test_no_such_node(self) -> None:
        """
        What is addressed to another node is not answered by this one, and does not stay there for a later one.
        """
        client = await self.connect(node="1:2")
        with self.assertRaises(NoAnswer) as caught:
            await client.run("core.ping", timeout=SHORT)
        self.assertTrue(caught.exception.taken_back)
        self.assertIn("taken back", str(caught.exception))
        with self.daemon.redis() as server:
            self.assertEqual(0, server.exists("core:default:1:2"))

    async def test_goes_on(self) -> None:
        """
        What core0 has taken is not taken back when the time is up, and goes on.
        """
        client = await self.connect()
        sent = await client.send("core.system", {"name": "sleep", "args": ["1000"]})
        with self.assertRaises(NoAnswer) as caught:
            await client.answer(sent, SHORT)
        self.assertFalse(caught.exception.taken_back)
        self.assertIn("goes on", str(caught.exception))
        await client.run("core.kill", {"id": sent.id}, timeout=GENEROUS)
        self.assertEqual(State.KILLED, (await client.wait(sent.id, GENEROUS)).state)

    async def test_ids(self) -> None:
        """
        A command without an id gets a new one, which is a UUID; one with an id keeps it.
        """
        client = await self.connect()
        first, second = await client.submit("core.ping"), await client.submit("core.ping")
        self.assertNotEqual(uuid.UUID(first), uuid.UUID(second))
        own = f"own-{uuid.uuid4()}"
        self.assertEqual(own, await client.submit("core.ping", id=own))
        self.assertEqual(own, (await client.wait(own, GENEROUS)).id)

    async def test_result_stays(self) -> None:
        """
        A result can be read by as many as want it.
        """
        client = await self.connect()
        id = await client.submit("core.ping")
        first = await client.wait(id, GENEROUS)
        self.assertEqual(first, await client.wait(id, GENEROUS))
        self.assertEqual(first, await client.result(id))

    async def test_no_result_yet(self) -> None:
        """
        Whether there is a result can be asked without waiting.
        """
        client = await self.connect()
        self.assertIsNone(await client.result("never sent"))

    async def test_no_answer(self) -> None:
        """
        Waiting ends when its time is up, with an error that names the command.
        """
        client = await self.connect()
        for timeout in (SHORT, 0):
            with self.assertRaises(NoAnswer) as caught:
                await client.wait("never sent", timeout)
            self.assertIn(f"no result of never sent within {timeout:g} s", str(caught.exception))

    async def test_many_at_once(self) -> None:
        """
        Many commands can be waited for at the same time; none holds up another.
        """
        client = await self.connect()
        gate = await client.submit("core.system", {"name": "sleep", "args": ["1000"]})
        waiting = begun(client.wait(gate, math.inf))
        results = await gatherResults([begun(client.run("core.ping", timeout=GENEROUS)) for _ in range(50)])
        self.assertEqual(["SUCCESS"] * 50, [result.state for result in results])
        self.assertFalse(waiting.called)
        await client.run("core.kill", {"id": gate}, timeout=GENEROUS)
        self.assertEqual(State.KILLED, (await waiting).state)

    async def test_cancelled(self) -> None:
        """
        Whoever waits may be cancelled, and the client is as good as before.
        """
        client = await self.connect()
        waiting = begun(client.wait("never sent", math.inf))
        await client.run("core.ping", timeout=GENEROUS)
        waiting.cancel()
        await self.assertFailure(waiting, CancelledError)
        self.assertEqual(State.SUCCESS, (await client.run("core.ping", timeout=GENEROUS)).state)

    async def test_same_content_twice(self) -> None:
        """
        A command that is sent twice under one id runs once.
        """
        client = await self.connect()
        id = str(uuid.uuid4())
        first = await client.run("core.system", sh("date +%N"), id=id, timeout=GENEROUS)
        self.assertEqual(first, await client.run("core.system", sh("date +%N"), id=id, timeout=GENEROUS))

    async def test_refused(self) -> None:
        """
        What core0 refuses comes back as a result with the reason.
        """
        client = await self.connect()
        result = await client.run("core.system", {"name": ""}, timeout=GENEROUS)
        self.assertEqual((State.ERROR, 400, 0), (result.state, result.code, result.runs))
        self.assertIn("arguments.name", result.data)

    async def test_too_large(self) -> None:
        """
        What is too large is refused under its id, live output or not.
        """
        client = await self.connect()
        arguments = {"name": "cat", "stdin": "x" * LARGEST}
        result = await client.run("core.system", arguments, timeout=GENEROUS)
        self.assertEqual((State.ERROR, 413), (result.state, result.code))
        self.assertIn("max_command", result.data)
        id = await client.submit("core.system", arguments, stream=True)
        self.assertEqual([], await self.records(client, id))

    async def test_too_large_without_id(self) -> None:
        """
        If core0 cannot answer at all, waiting and following end with its reason.
        """
        client = await self.connect()
        for payload in ({"command": "core.ping", "tags": "x" * LARGEST, "id": "behind"}, {"id": "x" * 1025}):
            text = encode({**payload, "nonce": str(uuid.uuid4())})
            sent = await client.send_as_is(text, "behind", chosen=False)
            with self.assertRaises(Rejected):
                await client.answer(sent, GENEROUS)
            with self.assertRaises(Rejected):
                async for _ in client.follow(sent.id, GENEROUS, sent):
                    pass

    async def test_other_content(self) -> None:
        """
        A command whose id stands for another one is told so, be that one finished or not, whatever was rejected before.
        """
        client = await self.connect()
        for first in ("true", "sleep 1000"):
            for attempt in range(2):
                id = f"{first} {attempt} {uuid.uuid4()}"
                await client.submit("core.system", sh(first), id=id)
                if first == "true":
                    await client.wait(id, GENEROUS)
                for _ in range(2):
                    with self.assertRaises(Rejected) as caught:
                        await client.run("core.system", sh("echo another"), id=id, timeout=GENEROUS)
                    self.assertIn("other content", str(caught.exception))
                if first != "true":
                    await client.run("core.kill", {"id": id}, timeout=GENEROUS)
                self.assertEqual("", (await client.wait(id, GENEROUS)).streams[0])

    async def test_other_content_expired(self) -> None:
        """
        What was rejected before does not matter once the id is free again.
        """
        client = await self.connect()
        id = str(uuid.uuid4())
        await client.run("core.system", sh("true"), id=id, timeout=GENEROUS)
        with self.assertRaises(Rejected):
            await client.run("core.system", sh("echo another"), id=id, timeout=GENEROUS)
        with self.daemon.redis() as server:
            server.delete(f"result:{id}")
        result = await client.run("core.system", sh("echo another"), id=id, timeout=GENEROUS)
        self.assertEqual("another\n", result.streams[0])

    async def test_cannot_be_sent(self) -> None:
        """
        What cannot be a command is refused before it is sent, with a reason.
        """
        client = await self.connect()
        for id, arguments in (("", {}), ("x" * 1025, {}), (None, {"name": "\udcff"}), (None, {"name": object()})):
            with self.assertRaises(Refusal) as caught:
                await client.submit("core.system", arguments, id=id)
            self.assertEqual(400, caught.exception.code)


class StreamTests(ClientTestCase):
    """
    Live output.
    """

    async def test_stream(self) -> None:
        """
        The lines of a job come in their order, each with its level, and then the end.
        """
        client = await self.connect()
        id = await client.submit("core.system", sh("echo a; echo 3::b; printf c"), stream=True)
        found = [(record.message.level, record.message.message) for record in await self.records(client, id)]
        self.assertEqual([(1, "a"), (3, "b"), (1, "c"), (1, "")], found)

    async def test_last(self) -> None:
        """
        Only the last record says that it is, and it comes after all output.
        """
        client = await self.connect()
        id = await client.submit("core.system", sh("seq 100; exit 1"), stream=True)
        self.assertEqual([False] * 100 + [True], [is_last(record) for record in await self.records(client, id)])

    async def test_live(self) -> None:
        """
        Output comes while the job runs.
        """
        client = await self.connect()
        id = await client.submit("core.system", sh("echo ready; sleep 1000"), stream=True)
        async for record in client.stream(id, GENEROUS):
            if record.message.message == "ready":
                self.assertIsNone(await client.result(id))
                await client.run("core.kill", {"id": id}, timeout=GENEROUS)
        self.assertEqual(State.KILLED, (await client.wait(id, GENEROUS)).state)

    async def test_never_started(self) -> None:
        """
        The live output of a command that is refused is empty, and ends.
        """
        client = await self.connect()
        id = await client.submit("core.system", {"name": ""}, stream=True)
        self.assertEqual([], await self.records(client, id))

    async def test_not_streamed(self) -> None:
        """
        The live output of a command that was sent without "stream" is empty, and ends some time after the job.
        """
        client = await self.connect()
        id = await client.submit("core.system", sh("echo a"))
        self.assertEqual([], await self.records(client, id))

    async def test_timeout(self) -> None:
        """
        Following a job ends when its time is up.
        """
        client = await self.connect()
        id = await client.submit("core.system", {"name": "sleep", "args": ["1000"]}, stream=True)
        with self.assertRaises(NoAnswer):
            async for _ in client.stream(id, SHORT):
                pass
        await client.run("core.kill", {"id": id}, timeout=GENEROUS)

    async def test_flood(self) -> None:
        """
        The end of live output comes however much was dropped before it, and its places tell how much was.
        """
        client = await self.connect()
        id = await client.submit("core.system", sh("seq 4000000"), stream=True)
        await client.wait(id, GENEROUS)  # nobody reads meanwhile
        batches = [batch async for batch in client.follow(id, GENEROUS)]
        records = [record for batch in batches for record in batch.records]
        self.assertTrue(is_last(records[-1]))
        pieces = [(record.message.offset, output_bytes(record)) for record in records[:-1]]
        (first, _), total = pieces[0], sum(len(f"{number}\n") for number in range(1, 4_000_001))
        assert isinstance(first, int)
        self.assertGreater(first, 0)
        self.assertEqual((total, 0), records[-1].message.ends)
        self.assertEqual(total, first + sum(len(data) for _, data in pieces))
        # the last piece may be a single byte
        self.assertTrue(b"".join(data for _, data in pieces[-20:]).endswith(b"\n4000000\n"))


class ServerTests(TestCase):
    """
    A server that comes and goes.
    """

    timeout = 100

    def setUp(self) -> None:
        """
        Prepare a core0 that may be stopped.
        """
        self.daemon = Daemon()
        self.addCleanup(self.daemon.close)
        self.url = RedisURL(path=self.daemon.socket)

    async def test_nobody_there(self) -> None:
        """
        Connecting fails at once where nothing listens, and says where that is.
        """
        with self.assertRaises(ServerError) as caught:
            await Client.connect(reactor, self.url)
        self.assertIn(f"cannot reach redis+unix://{self.daemon.socket}", str(caught.exception))

    async def test_not_a_url(self) -> None:
        """
        A text that is no URL is refused.
        """
        with self.assertRaises(ConfigError):
            await Client.connect(reactor, "nonsense")

    async def test_restarted(self) -> None:
        """
        A client that waits goes on waiting when core0 is restarted, and gets its result.
        """
        self.daemon.start()
        async with await Client.connect(reactor, self.url, patience=GENEROUS) as client:
            await client.run("core.ping", timeout=GENEROUS)
            waiting = begun(client.wait("later", math.inf))
            await client.run("core.ping", timeout=GENEROUS)  # so that both connections are up
            self.daemon.stop()
            self.daemon.start()
            self.assertEqual(State.SUCCESS, (await client.run("core.ping", timeout=GENEROUS)).state)
            await client.submit("core.ping", id="later")
            self.assertEqual("later", (await waiting).id)

    async def test_gone(self) -> None:
        """
        If the server does not come back, whoever waits is told after the client's patience.
        """
        self.daemon.start()
        async with await Client.connect(reactor, self.url, patience=SHORT) as client:
            waiting = begun(client.wait("never", math.inf))
            await client.run("core.ping", timeout=GENEROUS)
            self.daemon.stop()
            await self.assertFailure(waiting, ServerError)
            with self.assertRaises(ServerError):
                await client.submit("core.ping")

    async def test_closed(self) -> None:
        """
        When a client is closed, whoever waits is told.
        """
        self.daemon.start()
        client = await Client.connect(reactor, self.url)
        waiting = begun(client.wait("never", math.inf))
        await client.run("core.ping", timeout=GENEROUS)
        await client.close()
        await self.assertFailure(waiting, ServerError)
        with self.assertRaises(ServerError) as caught:
            await client.result("any")
        self.assertEqual("this client is closed", str(caught.exception))


class ExampleTests(DaemonTestCase):
    """
    What the documentation shows.
    """

    def test_example(self) -> None:
        """
        The example of the page about this library runs as it stands there.
        """
        page = (ROOT / "docs" / "how-to" / "python-client.rst").read_text()
        block = page.partition(".. code-block:: python\n\n")[2]
        lines = takewhile(lambda line: not line.strip() or line.startswith("   "), block.splitlines())
        done = subprocess.run(
            [sys.executable, "-c", textwrap.dedent("\n".join(lines))],
            env={**os.environ, "PYTHONPATH": str(ROOT), "CORE0_URL": self.daemon.socket},
            capture_output=True,
            text=True,
            timeout=GENEROUS,
        )
        self.assertEqual((0, ""), (done.returncode, done.stderr))
        self.assertEqual("SUCCESS 0 Linux\nSUCCESS\n1 1\n1 2\n1 3\n1 \n", done.stdout)
