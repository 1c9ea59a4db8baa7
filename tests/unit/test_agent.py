"""
Every entry that an agent takes gets its answer.
"""

import json

from twisted.internet.defer import Deferred
from zope.interface.verify import verifyObject

from core0 import agent
from core0.interfaces import IAgent
from core0.messages import State
from core0.values import Entry
from tests.unit.agents import AgentCase
from tests.unit.jobs import NOW
from tests.work import Stamp, payload


class AdmitTests(AgentCase):
    """
    What is taken from the queues.
    """

    def test_interface(self) -> None:
        """
        The agent is what commands are promised.
        """
        verifyObject(IAgent, self.agent)

    def test_no_command(self) -> None:
        """
        What is no command and has no id is rejected, with the reason and the payload.
        """
        self.admit(b"no JSON")
        rejected = self.rejected()
        self.assertEqual(
            (State.ERROR, None, "1:1", int(NOW * 1000)), (rejected.state, rejected.id, rejected.node, rejected.time)
        )
        self.assertIn("JSON", rejected.reason)
        self.assertEqual("no JSON", rejected.payload)
        self.assert_answered()

    def test_no_command_with_an_id(self) -> None:
        """
        Whoever sent something wrong under an id is answered there.
        """
        self.admit(b'{"id": "a", "command": 5}')
        result = self.result("a")
        self.assertEqual((State.ERROR, 400, 20, 0), (result.state, result.code, result.level, result.runs))
        self.assertEqual("command: expected `str`, got `int`: 5", json.loads(result.data))
        self.assert_answered()

    def test_unknown_command(self) -> None:
        """
        A command that there is not is UNKNOWN_CMD, and the answer names it.
        """
        self.admit(payload("core.pong", id="a", tags=["x"]))
        result = self.result("a")
        self.assertEqual((State.UNKNOWN_CMD, 404, 0, ["x"]), (result.state, result.code, result.runs, result.tags))
        self.assertIn("'core.pong'", result.data)
        self.assertEqual("core.pong", result.command)
        self.assert_answered()

    def test_wrong_arguments(self) -> None:
        """
        Wrong arguments are 400, and the answer names the field, what is expected and what was there.
        """
        self.admit(payload("test.picky", {"name": "x", "count": "many"}, id="a"))
        result = self.result("a")
        self.assertEqual((State.ERROR, 400, 0), (result.state, result.code, result.runs))
        self.assertEqual('arguments.count: expected `int`, got `str`: "many"', json.loads(result.data))
        self.assert_answered()

    def test_instant(self) -> None:
        """
        A command that answers from memory is answered at once, the server being there or not, and is no job.
        """
        self.ledger.leave()
        self.admit(payload("core.ping", id="a"))
        self.assertEqual(([], {1}), (self.jobs.listed(), self.agent.known()))
        self.ledger.come_back()
        result = self.result("a")
        self.assertEqual((State.SUCCESS, '"pong"', 20, 1), (result.state, result.data, result.level, result.runs))
        self.assert_answered()

    def test_instant_in_a_queue(self) -> None:
        """
        Such a command waits in its queue like any other, and may recur.
        """
        self.admit(payload("test.work", id="a", queue="q"), payload("core.ping", id="b", queue="q"))
        self.assertEqual(["running", "waiting"], [job.state for job in self.jobs.listed()])
        self.work.end("a")
        self.assertEqual('"pong"', self.result("b").data)
        self.assert_answered()
        self.admit(payload("core.ping", id="c", recurring_period=10))
        self.assertEqual(["sleeping"], [job.state for job in self.jobs.listed()])

    def test_instant_that_waits(self) -> None:
        """
        A command that is not as instant as it says is answered as a bug, and nobody waits for it.
        """
        self.admit(payload("test.liar", id="a"))
        self.assertEqual((State.ERROR, 500, 0), self.refused("a", "a bug"))
        self.assertEqual(1, len(self.flushLoggedErrors(RuntimeError)))
        self.assert_answered()

    def test_broken(self) -> None:
        """
        A command that breaks core0 is answered with 500, and the ones beside it are answered.
        """
        self.admit(
            payload("core.ping", id="a"), payload("test.broken", {"name": "x"}, id="b"), payload("core.ping", id="c")
        )
        self.assertEqual(('"pong"', '"pong"'), (self.result("a").data, self.result("c").data))
        self.assertEqual((State.ERROR, 500, 0), self.refused("b", "a bug"))
        self.assertEqual(1, len(self.flushLoggedErrors(RuntimeError)))
        self.assert_answered()

    def test_broken_without_id(self) -> None:
        """
        A command without an id that breaks core0 is rejected.
        """
        self.admit(payload("test.broken", {"name": "x"}))
        self.assertIn("a bug", self.rejected().reason)
        self.assertEqual(1, len(self.flushLoggedErrors(RuntimeError)))
        self.assert_answered()

    def test_broken_twice(self) -> None:
        """
        If core0 fails at refusing it, too, it is rejected, and those beside it are answered.
        """

        def broken(payload: bytes) -> str | None:
            raise RecursionError("too deep")

        self.patch(agent, "find_id", broken)
        self.admit(payload("test.broken", {"name": "x"}, id="b"), payload("core.ping", id="c"))
        self.assertEqual('"pong"', self.result("c").data)
        self.assertIn("a bug", self.rejected().reason)
        self.assertEqual(2, len(self.flushLoggedErrors(RuntimeError, RecursionError)))
        self.assert_answered()

    def refused(self, id: str, reason: str) -> tuple[State, int, int]:
        """
        State, code and runs of a refusal for this reason.
        """
        result = self.result(id)
        self.assertIn(reason, json.loads(result.data))
        return result.state, result.code, result.runs

    def admit_large(self, head: bytes) -> None:
        """
        Have the beginning of something admitted that is too large.
        """
        entry = self.entry(head)
        self.successResultOf(self.agent.admit([Entry(entry.seq, head, "payload of 9 bytes")]))

    def test_too_large(self) -> None:
        """
        What is too large is refused with 413 under the id with which it begins, whatever else it begins with.
        """
        self.admit_large(b'{"command": "core.ping", "id": "a", "tags": "xxx')
        self.assertEqual((State.ERROR, 413, 0), self.refused("a", "payload of 9 bytes"))
        self.assert_answered()

    def test_too_large_without_id(self) -> None:
        """
        What is too large and does not begin with an id is rejected.
        """
        self.admit_large(b'{"command": "core.ping", "arguments": {"id": "b", "x": "xxx')
        self.assertEqual((None, "payload of 9 bytes"), (self.rejected().id, self.rejected().reason))
        self.assertIn('"id": "b"', self.rejected().payload)
        self.assert_answered()

    def test_too_large_with_deep_id(self) -> None:
        """
        What is too large, or broken, and has an id that is nested deeply is rejected, and what follows it is taken.
        """
        deep = b'{"id": ' + b"[" * 1500 + b"]" * 1500 + b', "x": "'
        for put_in in (self.admit_large, self.admit):
            put_in(deep)
        self.assertEqual([None, None], [rejection.id for rejection in self.ledger.rejected])
        self.admit_large(b'{"id": "a", "x": "')
        self.refused("a", "payload of 9 bytes")
        self.assert_answered()

    def test_too_large_repeated(self) -> None:
        """
        The same beginning again shares the one refusal; another one under that id is rejected as a duplicate.
        """
        for head in (b'{"id": "a", "x": "xxx', b'{"id": "a", "x": "xxx', b'{"id": "a", "x": "yyy'):
            self.admit_large(head)
        self.refused("a", "payload of 9 bytes")
        self.assertEqual((State.DUPLICATE_ID, "a"), (self.rejected().state, self.rejected().id))
        self.assert_answered()

    def test_job(self) -> None:
        """
        A command that takes its time becomes a job, and its result removes the entry.
        """
        self.admit(payload("test.work", id="a"))
        self.assertEqual((["a"], {1}), (self.work.begun, self.agent.known()))
        self.work.end("a")
        self.assertEqual(State.SUCCESS, self.result("a").state)
        self.assert_answered()
        self.assert_answered()

    def test_typed_arguments(self) -> None:
        """
        A job has its arguments as its command declares them.
        """
        self.ledger.leave()
        content = payload("test.picky", {"name": "x", "count": 3}, id="a")
        admitted = Deferred.fromCoroutine(self.agent.admit([self.entry(content)]))
        self.assertNoResult(admitted)
        self.assertEqual([], self.jobs.listed())
        self.ledger.come_back()
        self.successResultOf(admitted)
        self.assertEqual(Stamp("x", 3), self.jobs.find("a").arguments)
        self.assertEqual(len(content), self.jobs.find("a").size)

    def test_without_id(self) -> None:
        """
        Commands without an id run under ids of their own, always the same for the same entry.
        """
        self.admit(payload("test.work"), payload("test.work", id=None), payload("test.work", id=""))
        ids = [job.id for job in self.jobs.listed()]
        self.assertEqual((3, ids), (len(set(ids)), self.work.begun))
        self.assertEqual({}, self.ledger.claims)
        self.begin()
        self.successResultOf(self.agent.admit([Entry(seq, content) for seq, content in self.ledger.unfinished.items()]))
        self.assertEqual(ids, [job.id for job in self.jobs.listed()])

    def test_repeat(self) -> None:
        """
        The same command again, while it runs or while its result stands, does not run again and leaves no entry.
        """
        content = payload("test.work", id="a", max_time=None)
        self.admit(content, payload("test.work", {}, id="a", queue=""))
        self.admit(content)
        self.assertEqual(["a"], self.work.begun)
        self.assertEqual({1}, set(self.ledger.unfinished))
        self.work.end("a")
        self.admit(content)
        self.result("a")
        self.assertEqual(["a"], self.work.begun)
        self.assert_answered()

    def test_conflict(self) -> None:
        """
        Another command under an id that is taken does not run and is rejected as DUPLICATE_ID.
        """
        self.admit(payload("test.work", id="a"))
        content = payload("test.work", id="a", queue="other")
        self.admit(content)
        rejected = self.rejected()
        self.assertEqual((State.DUPLICATE_ID, "a", content.decode()), (rejected.state, rejected.id, rejected.payload))
        self.assertEqual(["a"], self.work.begun)

    def test_instant_conflict(self) -> None:
        """
        That holds for commands that answer at once, too, in both directions.
        """
        self.admit(payload("test.work", id="a"), payload("core.ping", id="b"))
        self.admit(payload("core.ping", id="a"), payload("test.work", id="b"))
        self.assertEqual([State.DUPLICATE_ID] * 2, [rejected.state for rejected in self.ledger.rejected])
        self.assertEqual(["a"], self.work.begun)
        self.assertEqual('"pong"', self.result("b").data)

    def serve(self, id: str) -> None:
        """
        Run a startup service of that name.
        """
        self.admit(payload("test.work", id=id))
        job = self.jobs.find(id)
        self.ledger.unfinished.clear()
        self.ledger.claims.clear()
        job.seq = 0

    def test_id_of_a_service(self) -> None:
        """
        The id of a startup service is taken, even for the very same command.
        """
        self.serve("web")
        self.admit(payload("test.work", id="web"), payload("core.ping", id="web"))
        self.assertEqual([State.DUPLICATE_ID] * 2, [rejected.state for rejected in self.ledger.rejected])
        self.assertIn("startup service", self.ledger.rejected[0].reason)
        self.assertEqual(["web"], self.work.begun)

    def test_no_command_with_the_id_of_a_service(self) -> None:
        """
        What is no command, or too large, is not answered under the id of a startup service.
        """
        self.serve("web")
        self.admit(b'{"id": "web", "command": 5}')
        self.admit_large(b'{"id": "web", "x": "xxx')
        self.assertEqual([State.DUPLICATE_ID] * 2, [rejected.state for rejected in self.ledger.rejected])
        self.assertEqual([], self.ledger.finals)

    def test_order(self) -> None:
        """
        Jobs begin in the order in which their commands were taken, with and without ids.
        """
        self.admit(*(payload("test.work", id=id, queue="q") for id in ("a", None, "b")))
        for place in range(3):
            self.assertEqual(place + 1, len(self.work.begun))
            self.work.end(self.work.begun[-1])
            self.reactor.advance(0)
        self.assertEqual("a", self.work.begun[0])
        self.assertEqual("b", self.work.begun[2])

    def test_room(self) -> None:
        """
        There is room for as many as the jobs have.
        """
        self.assertEqual(20, self.agent.room())
        self.admit(payload("test.work", id="a"))
        self.assertEqual(19, self.agent.room())

    def test_urgent(self) -> None:
        """
        The agent says which commands may not wait.
        """
        self.assertEqual(["core.ping"], list(self.agent.urgent))
