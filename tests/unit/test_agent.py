"""
Every entry that an agent takes gets its answer.
"""

import errno
import json
from typing import Any, ClassVar

from msgspec import Struct
from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer
from zope.interface.verify import verifyObject

from core0.agent import CROWDED, Agent, in_pool
from core0.commands.core import Ping
from core0.commands.registry import Registry
from core0.errors import Refusal
from core0.host import Host
from core0.interfaces import BaseCommand, IAgent, ICommand, IHost, IJob
from core0.jobs.manager import Jobs
from core0.messages import Mark, Outcome, Rejection, Result, State
from core0.values import Entry, NoArguments
from tests.fakes import FAILED, MemoryLedger, MemoryRecords, MemoryTree, Offer, Stamp, ThreadlessReactor, Work, payload
from tests.unit.jobs import NOW


@implementer(ICommand)
class Picky(BaseCommand):
    """
    Takes arguments.
    """

    name = "test.picky"
    agent = IAgent
    arguments: ClassVar[type[Struct]] = Stamp

    def __init__(self, agent: IAgent) -> None:
        self._agent = agent

    async def run(self, job: IJob) -> Outcome:
        """
        Nothing.
        """
        return Outcome()


class Liar(Picky):
    """
    Says that it is instant, and waits.
    """

    name = "test.liar"
    arguments = NoArguments
    instant = True

    async def run(self, job: IJob) -> Outcome:
        """
        Wait for nothing that comes.
        """
        await Deferred()
        return Outcome()


class Broken(Picky):
    """
    Cannot even be made.
    """

    name = "test.broken"

    def __init__(self, agent: IAgent) -> None:
        raise RuntimeError("broken")


class AgentCase(SynchronousTestCase):
    """
    An agent on a ledger in memory.
    """

    def setUp(self) -> None:
        """
        A new one.
        """
        self.reactor = ThreadlessReactor()
        self.reactor.advance(NOW)
        self.ledger = MemoryLedger()
        self.records = MemoryRecords()
        self.work = Work()
        self.again = Work(repeatable=True)
        self.seq = 0
        self.begin()

    def begin(self) -> None:
        """
        Start the agent, as after a crash if there was one before.
        """
        self.jobs = Jobs(self.reactor, self.ledger, limit=10, waiting=10)
        registry = Registry([Ping, Picky, Liar, Broken, Offer(self.work), Offer(self.again, "test.again")])  # type: ignore[list-item] # what it needs
        self.agent = Agent(
            self.reactor,  # type: ignore[arg-type] # all that it needs of one
            registry,
            self.ledger,
            self.jobs,
            None,  # type: ignore[arg-type] # nobody runs a program
            self.records,
            node="1:1",
        )

    def entry(self, content: bytes) -> Entry:
        """
        Something that was taken.
        """
        self.seq += 1
        self.ledger.unfinished[self.seq] = content
        return Entry(self.seq, content)

    def admit(self, *contents: bytes) -> None:
        """
        Have it admitted.
        """
        self.successResultOf(self.agent.admit([self.entry(content) for content in contents]))
        self.reactor.advance(0)

    def result(self, id: str) -> Result:
        """
        The only result of that id.
        """
        found = [final.result for final in self.ledger.finals if final.id == id]
        self.assertEqual(1, len(found), found)
        return found[0]

    def rejected(self) -> Rejection:
        """
        The only thing that was rejected.
        """
        self.assertEqual(1, len(self.ledger.rejected), self.ledger.rejected)
        return self.ledger.rejected[0]

    def assert_answered(self) -> None:
        """
        Nothing is left, and nothing waits.
        """
        self.assertEqual({}, self.ledger.unfinished)
        self.assertEqual([], self.jobs.listed())


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
        A command that is not as instant as it says is rejected as a bug, and nobody waits for it.
        """
        self.admit(payload("test.liar", id="a"))
        self.assertIn("a bug", self.rejected().reason)
        self.assertEqual(1, len(self.flushLoggedErrors(RuntimeError)))
        self.assert_answered()

    def test_broken(self) -> None:
        """
        A command that breaks core0 is rejected, and the ones beside it are answered.
        """
        self.admit(
            payload("core.ping", id="a"), payload("test.broken", {"name": "x"}, id="b"), payload("core.ping", id="c")
        )
        self.assertEqual(('"pong"', '"pong"'), (self.result("a").data, self.result("c").data))
        self.assertIn("a bug", self.rejected().reason)
        self.assertEqual(1, len(self.flushLoggedErrors(RuntimeError)))
        self.assert_answered()

    def test_job(self) -> None:
        """
        A command that takes its time becomes a job, and its result removes the entry.
        """
        self.admit(payload("test.work", id="a"))
        self.assertEqual((["a"], {1}), (self.work.begun, self.agent.known()))
        self.work.end("a")
        self.assertEqual(State.SUCCESS, self.result("a").state)
        self.assertEqual(set(), self.agent.known())
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


class RecoverTests(AgentCase):
    """
    What a core0 that died has left.
    """

    def recover(self, mark: Mark | None, command: str = "test.work", **fields: Any) -> None:
        """
        Start with an entry, and perhaps a note on it.
        """
        self.agent.recover({} if mark is None else {self.seq + 1: mark})
        self.admit(payload(command, id="a", **fields))

    def test_not_started(self) -> None:
        """
        What had not been started runs.
        """
        self.recover(None)
        self.assertEqual(["a"], self.work.begun)

    def test_interrupted(self) -> None:
        """
        What had been started and may not run again is INTERRUPTED, with when it started and how often it had run.
        """
        self.recover(Mark(runs=1, started=123_000, pid=7))
        result = self.result("a")
        self.assertEqual(
            (State.INTERRUPTED, 137, 1, 123_000), (result.state, result.code, result.runs, result.starttime)
        )
        self.assertEqual([], self.work.begun)
        self.assert_answered()

    def test_interrupted_live_output(self) -> None:
        """
        Whoever follows its output learns that there will be no more.
        """
        self.recover(Mark(runs=1), stream=True)
        (job, message, last), *rest = self.records.streams
        self.assertEqual(("a", 1 << 16 | 4, True, []), (job, message.meta, last, rest))

    def test_restarts_left(self) -> None:
        """
        What may be tried again is, and the interrupted run counts.
        """
        self.recover(Mark(runs=1), max_restart=1)
        self.assertEqual(["a"], self.work.begun)
        self.work.end("a", FAILED)
        self.assertEqual(2, self.result("a").runs)

    def test_restarts_used_up(self) -> None:
        """
        What was in its last run is INTERRUPTED.
        """
        self.recover(Mark(runs=2), max_restart=1)
        self.assertEqual((State.INTERRUPTED, 2), (self.result("a").state, self.result("a").runs))

    def test_repeatable(self) -> None:
        """
        What changes nothing simply runs again.
        """
        self.recover(Mark(runs=1), "test.again")
        self.assertEqual(["a"], self.again.begun)

    def test_due(self) -> None:
        """
        What was between two runs goes on when it is due, a command that may be repeated, too.
        """
        for command, work in (("test.work", self.work), ("test.again", self.again)):
            self.recover(Mark(due=int((self.reactor.seconds() + 5) * 1000)), command, recurring_period=10)
            self.assertEqual("sleeping", self.jobs.find("a").state)
            self.reactor.advance(5)
            self.assertEqual(["a"], work.begun)
            self.successResultOf(self.jobs.killall(""))
            self.ledger.claims.clear()

    def test_retry_due(self) -> None:
        """
        What waited to be tried again waits on, and keeps those behind it in its queue waiting.
        """
        self.recover(Mark(runs=1, due=int((NOW + 5) * 1000)), max_restart=1, queue="q")
        self.admit(payload("test.work", id="b", queue="q"))
        self.assertEqual(["retrying", "waiting"], [job.state for job in self.jobs.listed()])
        self.reactor.advance(5)
        self.assertEqual(["a"], self.work.begun)

    def test_overdue(self) -> None:
        """
        What should have run in between runs at once.
        """
        self.recover(Mark(runs=1, due=int((NOW - 500) * 1000)), max_restart=1)
        self.assertEqual(["a"], self.work.begun)
        self.work.end("a", FAILED)
        self.assertEqual(2, self.result("a").runs)

    def test_recurring(self) -> None:
        """
        A recurring job that was interrupted goes on, as often as that happens.
        """
        self.recover(Mark(runs=1), recurring_period=10)
        self.assertEqual(["a"], self.work.begun)
        self.work.end("a")
        self.assertEqual((State.SUCCESS, 1), (self.result("a").state, self.result("a").runs))

    def test_recurring_with_restarts(self) -> None:
        """
        The interrupted run of a period counts as one of its tries.
        """
        self.recover(Mark(runs=1), recurring_period=10, max_restart=1)
        self.work.end("a", FAILED)
        self.assertEqual((State.ERROR, 2), (self.result("a").state, self.result("a").runs))

    def test_noted_only_once(self) -> None:
        """
        A note from before is of one entry, once: after it was read again from the server it has been dealt with.
        """
        self.recover(Mark(runs=1), max_restart=5)
        self.successResultOf(self.jobs.killall(""))
        self.ledger.claims.clear()
        self.ledger.unfinished[self.seq] = content = payload("test.work", id="b")
        self.successResultOf(self.agent.admit([Entry(self.seq, content)]))
        self.reactor.advance(0)
        self.assertEqual(["a", "b"], self.work.begun)

    def test_in_its_queue(self) -> None:
        """
        An interrupted job that may run again is the first of its queue, as before.
        """
        self.recover(Mark(runs=1), max_restart=1, queue="q")
        self.admit(payload("test.work", id="b", queue="q"))
        self.assertEqual(["a"], self.work.begun)


class ServiceTests(AgentCase):
    """
    What the agent does for commands and jobs.
    """

    def test_live_output_ends(self) -> None:
        """
        The last record of live output says whether the job succeeded; a job that is not followed has none.
        """
        for id, stream, outcome in (("a", True, None), ("b", True, FAILED), ("c", False, None)):
            self.admit(payload("test.work", id=id, stream=stream))
            self.work.end(id, outcome)
        self.assertEqual(
            [("a", "", 1 << 16 | 2, True), ("b", "", 1 << 16 | 4, True)],
            [(job, message.message, message.meta, last) for job, message, last in self.records.streams],
        )

    def test_signals_in_a_thread(self) -> None:
        """
        Signals are sent by a thread.
        """
        self.admit(payload("test.work", id="a"))
        tree = MemoryTree(7)
        self.jobs.find("a").attached(tree, 7)
        self.successResultOf(self.jobs.kill("a", 1))
        self.assertEqual([1], tree.signals)

    def test_uptime(self) -> None:
        """
        The time since its start is known.
        """
        self.reactor.advance(12.5)
        self.assertEqual(12.5, self.agent.uptime())

    def test_in_thread(self) -> None:
        """
        What blocks is called in a thread; its result and its errors come back.
        """
        self.assertEqual(6, self.successResultOf(self.agent.in_thread(lambda a, b: a * b, 2, 3)))
        self.failureResultOf(self.agent.in_thread(int, "x"), ValueError)

    def test_crowded(self) -> None:
        """
        A thread that finds too many files open tries again, three times in all.
        """
        for failures, succeeds in ((2, True), (3, False)):
            tries = iter([OSError(errno.EMFILE, "too many")] * failures)

            def work(tries: Any = tries) -> str:
                for error in tries:
                    raise error
                return "done"

            waiting = Deferred.fromCoroutine(in_pool(self.reactor, self.reactor, work))  # type: ignore[arg-type] # all that it needs
            self.assertNoResult(waiting)
            self.reactor.pump([CROWDED] * 2)
            if succeeds:
                self.assertEqual("done", self.successResultOf(waiting))
            else:
                self.assertEqual(errno.EMFILE, self.failureResultOf(waiting, OSError).value.errno)

    def test_other_errors(self) -> None:
        """
        Other errors are not tried again.
        """

        def work() -> None:
            raise FileNotFoundError(errno.ENOENT, "none")

        self.failureResultOf(in_pool(self.reactor, self.reactor, work), FileNotFoundError)  # type: ignore[arg-type] # all that it needs


class HostTests(SynchronousTestCase):
    """
    The agent of a machine.
    """

    def host(self, can_go_down: bool) -> Host:
        """
        A host that can or cannot go down.
        """
        reactor, ledger = ThreadlessReactor(), MemoryLedger()
        jobs = Jobs(reactor, ledger, limit=1, waiting=1)
        self.went_down = 0
        parts = (reactor, Registry([]), ledger, jobs, None, MemoryRecords())
        return Host(*parts, node="1:1", down=self.go_down, can_go_down=can_go_down)

    def go_down(self) -> None:
        """
        Counted.
        """
        self.went_down += 1

    def test_interface(self) -> None:
        """
        The host is what commands of a whole machine are promised.
        """
        verifyObject(IHost, self.host(True))

    def test_reboot(self) -> None:
        """
        A host that can brings the machine down.
        """
        self.host(True).reboot()
        self.assertEqual(1, self.went_down)

    def test_cannot_reboot(self) -> None:
        """
        A host that cannot refuses with 503, and says what to do.
        """
        error = self.assertRaises(Refusal, self.host(False).reboot)
        self.assertEqual((503, 0), (error.code, self.went_down))
        self.assertIn("[reboot] command", str(error))
