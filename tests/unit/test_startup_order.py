"""
Startup services begin in the order of what they wait for.
"""

import gc
from types import CoroutineType
from typing import Any

from twisted.logger import LogEvent, formatEvent, globalLogPublisher

from core0.config import Service
from core0.errors import Refusal
from core0.interfaces import IAgent, ICommand
from core0.jobs.job import Job
from core0.messages import Level, Outcome, State
from core0.startup import Startup
from tests.unit.jobs import JobsCase
from tests.work import CUT, FAILED, Stamp, Work


class StartupOrderTests(JobsCase):
    """
    ``[startup.*]``.
    """

    def setUp(self) -> None:
        """
        Services whose command ends when the test says so.
        """
        super().setUp()
        self.startup = Startup(self.clock, self, self.jobs, self.find)  # type: ignore[arg-type] # nobody asks the agent
        self.events: list[LogEvent] = []
        observe: Any = self.events.append
        globalLogPublisher.addObserver(observe)
        self.addCleanup(globalLogPublisher.removeObserver, observe)

    def find(self, agent: IAgent, name: str) -> ICommand | None:
        """
        The command of that name, as a registry finds it.
        """
        return self.work if name == Work.name else None

    def service(self, name: str, *after: str, command: str = Work.name, **fields: Any) -> Service:
        """
        A service that waits for others.
        """
        return Service(name=name, command=command, after=after, **fields)

    def start(self, *services: Service) -> None:
        """
        Start them.
        """
        self.startup.start(services)
        self.settle()

    def prints(self, id: str, line: str) -> None:
        """
        A service prints a line.
        """
        watch = self.jobs.find(id).watch
        assert watch is not None
        watch(line)
        self.settle()

    def test_thrown_away(self) -> None:
        """
        What is thrown away while a service does not count as running yet leaves no error.
        """
        gc.collect()  # of other tests
        self.flushLoggedErrors()
        self.start(self.service("a"))
        # in the order in which the collector of garbage may take them
        found = {each.__name__: each for each in gc.get_objects() if isinstance(each, CoroutineType)}
        for name in ("_remind", "_start"):
            found[name].close()
        self.assertEqual([], self.flushLoggedErrors())

    def test_no_dependencies(self) -> None:
        """
        Services that wait for nobody begin at once.
        """
        self.start(self.service("a"), self.service("b"))
        self.assertEqual(["a", "b"], self.work.begun)

    def test_running_after_two_seconds(self) -> None:
        """
        A service counts as running after two seconds, if nothing else is said.
        """
        self.start(self.service("a"), self.service("b", "a"))
        self.clock.advance(1.9)
        self.assertEqual(["a"], self.work.begun)
        self.clock.advance(0.2)
        self.assertEqual(["a", "b"], self.work.begun)

    def test_running_delay(self) -> None:
        """
        It counts as running after the time that it says.
        """
        self.start(self.service("a", running_delay=10.0), self.service("b", "a"))
        self.clock.advance(9.9)
        self.assertEqual(["a"], self.work.begun)
        self.clock.advance(0.2)
        self.assertEqual(["a", "b"], self.work.begun)

    def test_ended_well_before(self) -> None:
        """
        One that ends well before that has done its work.
        """
        self.start(self.service("a", running_delay=10.0), self.service("b", "a"))
        self.end("a")
        self.assertEqual(["a", "b"], self.work.begun)

    def test_failed_before(self) -> None:
        """
        One that fails before that is not running, and what waits for it does not begin, nor what waits for that.
        """
        self.start(self.service("a"), self.service("b", "a"), self.service("c", "b"), self.service("d"))
        self.end("a", FAILED)
        self.clock.advance(100)
        self.assertEqual(["a", "d"], self.work.begun)
        self.assertNotIn("b", self.states())

    def test_fails_afterwards(self) -> None:
        """
        One that fails later had been running.
        """
        self.start(self.service("a", running_delay=1.0), self.service("b", "a"))
        self.clock.advance(1.1)
        self.end("a", FAILED)
        self.assertEqual(["a", "b"], self.work.begun)

    def test_retried(self) -> None:
        """
        One that fails and is tried again runs once a run has lasted long enough, however long ago the first one began.
        """
        self.start(self.service("a", running_delay=5.0, max_restart=3), self.service("b", "a"))
        self.clock.advance(4)
        self.end("a", FAILED)
        self.clock.advance(1.2)  # until it runs again, and what the first run alone would have to last
        self.assertEqual(["a", "a"], self.work.begun)
        self.clock.advance(4.5)
        self.assertEqual(["a", "a"], self.work.begun)
        self.clock.advance(0.6)
        self.assertEqual(["a", "a", "b"], self.work.begun)

    def test_crash_loop(self) -> None:
        """
        One that fails again and again never runs, and what waits for it never begins.
        """
        self.start(self.service("a", running_delay=2.0, max_restart=5), self.service("b", "a"))
        for count in range(1, 7):
            self.assertEqual(["a"] * count, self.work.begun)
            self.clock.advance(1.5)
            self.end("a", FAILED)
            for _ in range(200):
                self.clock.advance(0.5)
                if "a" in self.work.running:
                    break
        self.assertEqual(["a"] * 6, self.work.begun)
        self.assertEqual({}, self.states())

    def test_in_a_queue(self) -> None:
        """
        The time that one waits for its queue does not count.
        """
        self.submit("first", queue="q")
        self.start(self.service("a", queue="q"), self.service("b", "a"))
        self.clock.advance(100)
        self.assertEqual(["first"], self.work.begun)
        self.end("first")
        self.clock.advance(1.9)
        self.assertEqual(["first", "a"], self.work.begun)
        self.clock.advance(0.2)
        self.assertEqual(["first", "a", "b"], self.work.begun)

    def test_ended_successfully(self) -> None:
        """
        Below zero means: once it has ended well, however long that takes.
        """
        self.start(self.service("a", running_delay=-1.0), self.service("b", "a"))
        self.clock.advance(1000)
        self.assertEqual(["a"], self.work.begun)
        self.end("a")
        self.assertEqual(["a", "b"], self.work.begun)

    def test_ended_badly(self) -> None:
        """
        If it does not end well, what waits for it does not begin.
        """
        self.start(self.service("a", running_delay=-1.0), self.service("b", "a"))
        self.end("a", FAILED)
        self.assertEqual(["a"], self.work.begun)

    def test_match(self) -> None:
        """
        A service with a pattern counts as running once a line matches, whatever else is said.
        """
        self.start(self.service("a", running_match="listening on [0-9]+", running_delay=1.0), self.service("b", "a"))
        self.clock.advance(100)
        self.prints("a", "starting; will be listening on a port")
        self.assertEqual(["a"], self.work.begun)
        self.prints("a", "now listening on 80")
        self.assertEqual(["a", "b"], self.work.begun)
        self.prints("a", "now listening on 81")
        self.assertEqual(["a", "b"], self.work.begun)

    def test_match_never(self) -> None:
        """
        One that ends without such a line does not run, even if it ended well.
        """
        self.start(self.service("a", running_match="ready"), self.service("b", "a"))
        self.end("a")
        self.clock.advance(100)
        self.assertEqual(["a"], self.work.begun)

    def test_several(self) -> None:
        """
        A service waits for all that it names.
        """
        self.start(self.service("a"), self.service("b", running_delay=10.0), self.service("c", "a", "b"))
        self.clock.advance(9)
        self.assertEqual(["a", "b"], self.work.begun)
        self.clock.advance(2)
        self.assertEqual(["a", "b", "c"], self.work.begun)

    def test_phases(self) -> None:
        """
        Names that are no services, such as the phases of old files, are not waited for.
        """
        self.start(self.service("a", "init", "boot"))
        self.assertEqual(["a"], self.work.begun)

    def test_unknown_command(self) -> None:
        """
        A service whose command there is not fails by itself; the others begin.
        """
        self.start(self.service("a", command="test.none"), self.service("b", "a"), self.service("c"))
        self.assertEqual(["c"], self.work.begun)

    def test_wrong_arguments(self) -> None:
        """
        A service with wrong arguments fails by itself.
        """
        self.work.arguments = Stamp  # type: ignore[misc] # of this one
        self.start(self.service("a", arguments={"name": 5}), self.service("b", arguments={"name": "x"}))
        self.assertEqual(["b"], self.work.begun)
        self.assertEqual(Stamp("x"), self.jobs.find("b").arguments)

    def test_id_of_a_client(self) -> None:
        """
        A service whose name is the id of a client's job does not begin: that job is left alone.
        """
        job = self.submit("a")
        self.start(self.service("a"), self.service("b", "a"))
        self.assertIs(job, self.jobs.find("a"))
        self.assertEqual(["a"], self.work.begun)

    def test_reload(self) -> None:
        """
        When services are started again those that run and those that ended well are left alone, and new ones begin.
        """
        self.start(self.service("a"), self.service("b"))
        self.end("b")
        self.start(self.service("a"), self.service("b"), self.service("c", "b"))
        self.assertEqual(["a", "b", "c"], self.work.begun)

    def test_reload_after_death(self) -> None:
        """
        Those that died or were killed are started again, whatever they had been, and once for many reloads.
        """
        services = [
            self.service("died"),
            self.service("killed"),
            self.service("recurs", recurring_period=5.0),
            self.service("early", running_delay=100.0),
            self.service("other"),
        ]
        self.start(*services)
        self.clock.advance(10)
        self.end("recurs")
        for name in ("died", "early"):
            self.end(name, FAILED)
        for name in ("killed", "recurs"):
            self.kill(name)
        self.work.begun.clear()
        for _ in range(3):
            self.start(*services)
        self.assertEqual(["died", "killed", "recurs", "early"], self.work.begun)

    def test_reload_while_retrying(self) -> None:
        """
        One that waits to be tried again is left to that.
        """
        service = self.service("a", max_restart=1)
        self.start(service)
        self.end("a", FAILED)
        for _ in range(3):
            self.start(service)
        self.assertEqual({"a": "retrying"}, self.states())
        self.clock.advance(2)
        self.assertEqual(["a", "a"], self.work.begun)

    def test_reload_while_ending(self) -> None:
        """
        One that has been killed and is not over yet is started again once it is.
        """
        self.work.ends_late = True
        service = self.service("a")
        self.start(service)
        self.kill("a")
        for _ in range(3):
            self.start(service)
            self.clock.advance(1)
        self.assertEqual(["a"], self.work.begun)
        self.end("a", CUT)
        self.clock.advance(1)
        self.assertEqual(["a", "a"], self.work.begun)

    def test_reload_of_what_waits(self) -> None:
        """
        One that did not start since another one failed starts once that one is started again and runs.
        """
        services = self.service("a"), self.service("b", "a")
        self.start(*services)
        self.end("a", FAILED)
        self.start(*services)
        self.assertEqual(["a", "a"], self.work.begun)
        self.clock.advance(2.1)
        self.assertEqual(["a", "a", "b"], self.work.begun)

    def test_reload_of_dependants(self) -> None:
        """
        When one is started again those that run already because of it are left alone.
        """
        services = self.service("a"), self.service("b", "a")
        self.start(*services)
        self.clock.advance(2.1)
        self.end("a", FAILED)
        self.start(*services)
        self.clock.advance(2.1)
        self.assertEqual(["a", "b", "a"], self.work.begun)

    def test_reload_changed(self) -> None:
        """
        What is configured anew under the same name is left alone while the old one runs, and started once it does not.
        """
        self.start(self.service("a"))
        for _ in range(2):
            self.start(self.service("a", tags="new"))
        self.assertEqual(["a"], self.work.begun)
        self.end("a")
        for _ in range(2):
            self.start(self.service("a", tags="new"))
        self.assertEqual(["a", "a"], self.work.begun)
        self.assertEqual("new", self.jobs.find("a").command.tags)

    def test_reload_removed(self) -> None:
        """
        One that is not configured any more goes on, is not started again once it has died, and begins anew when it is
        configured again.
        """
        self.start(self.service("a"))
        self.start()
        self.start(self.service("a"))
        self.assertEqual(["a"], self.work.begun)
        self.start()
        self.end("a")
        self.start()
        self.assertEqual(["a"], self.work.begun)
        self.start(self.service("a"))
        self.assertEqual(["a", "a"], self.work.begun)

    def reminders(self) -> list[str]:
        """
        What was logged of services that do not run yet.
        """
        events = [formatEvent(event) for event in self.events]
        return [text for text in events if "does not count as running yet" in text]

    def test_reminder(self) -> None:
        """
        A service that does not print what it is to print is told of, with those that wait for it, once and then rarely.
        """
        self.start(self.service("a", running_match="ready [0-9]+"), self.service("b", "a"), self.service("c"))
        self.clock.advance(9)
        self.assertEqual([], self.reminders())
        self.clock.pump([1] * 100)
        [text] = self.reminders()
        for part in ("service a ", "'ready [0-9]+'", "running", "waiting for it: b"):
            self.assertIn(part, text)
        self.clock.pump([60] * 120)
        self.assertEqual(3, len(self.reminders()))
        self.prints("a", "ready 1")
        self.clock.pump([60] * 120)
        self.assertEqual(3, len(self.reminders()))

    def test_reminder_of_a_crash_loop(self) -> None:
        """
        So is one that others wait for and that never runs long enough.
        """
        self.start(self.service("a", max_restart=100), self.service("b", "a"))
        for _ in range(4):
            self.end("a", FAILED)
            for _ in range(300):
                if "a" in self.work.running:
                    break
                self.clock.advance(0.1)
        self.clock.advance(0)
        self.end("a", FAILED)
        self.clock.advance(10)
        self.assertEqual(1, len(self.reminders()))

    def test_fields(self) -> None:
        """
        A service is a job like any other: its name is the id, and it has all that was configured.
        """
        service = self.service(
            "a",
            protected=True,
            queue="q",
            stats_interval=3.0,
            max_time=9.0,
            max_restart=2,
            recurring_period=7.0,
            log_levels=(Level.STDERR,),
            stream=True,
            tags=("x", "y"),
        )
        self.start(service)
        job: Job = self.jobs.find("a")
        command = job.command
        self.assertEqual((0, "a", "a", True), (job.seq, job.id, command.id, job.protected))
        self.assertEqual((3.0, 9.0, 2, 7.0), (command.stats_interval, command.max_time, command.max_restart, 7.0))
        self.assertEqual(
            ("q", [2], True, ["x", "y"]), (command.queue, command.log_levels, command.stream, command.tags)
        )
        self.end("a")
        self.assertEqual(["x", "y"], self.result("a").tags)

    def test_killed(self) -> None:
        """
        A service that was killed before it counted as running does not run.
        """
        self.start(self.service("a"), self.service("b", "a"))
        self.kill("a")
        self.clock.advance(100)
        self.assertEqual(["a"], self.work.begun)

    def test_stop(self) -> None:
        """
        When core0 stops nothing begins any more.
        """
        self.start(self.service("a"), self.service("b", "a"))
        self.successResultOf(self.stop())
        self.clock.advance(100)
        self.assertEqual(["a"], self.work.begun)
        self.assertEqual(State.INTERRUPTED, self.result("a").state)

    def test_broken(self) -> None:
        """
        A command that breaks core0 while it is looked up is that service's misfortune alone.
        """

        def find(agent: IAgent, name: str) -> ICommand | None:
            if name == "test.broken":
                raise RuntimeError("broken")
            return self.find(agent, name)

        self.startup = Startup(self.clock, self, self.jobs, find)  # type: ignore[arg-type] # nobody asks the agent
        self.start(self.service("a", command="test.broken"), self.service("b", "a"), self.service("c"))
        self.assertEqual(["c"], self.work.begun)
        self.assertEqual(1, len(self.flushLoggedErrors(RuntimeError)))

    def test_cannot_start(self) -> None:
        """
        A service whose program does not exist is not running.
        """
        self.start(self.service("a"), self.service("b", "a"))
        self.end("a", Refusal(127, "no such program"))
        self.clock.advance(100)
        self.assertEqual(["a"], self.work.begun)

    def test_results(self) -> None:
        """
        Its result is published under its name, as a client's would be.
        """
        self.start(self.service("a"))
        self.end("a", Outcome(code=3, state=State.ERROR))
        self.assertEqual(("a", Work.name, 3), (self.result("a").id, self.result("a").command, self.result("a").code))
