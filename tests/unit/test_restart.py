"""
What follows a run.
"""

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from core0.jobs.restart import JITTER, LONGEST_WAIT, Done, Recur, Retry, after_run, goes_on
from core0.messages import Command, Outcome, State, refusal

FAILURES = (State.ERROR, State.TIMEOUT)
ERROR = Outcome(state=State.ERROR, code=1)
OK = Outcome()

states = st.sampled_from([State.SUCCESS, State.ERROR, State.TIMEOUT, State.KILLED, State.INTERRUPTED])
outcomes = st.builds(Outcome, state=states, refused=st.booleans(), cut=st.booleans())
commands = st.builds(
    Command,
    command=st.just("x"),
    max_restart=st.none() | st.integers(0, 5),
    recurring_period=st.none() | st.floats(0, 100),
)


def command(max_restart: int | None = None, recurring_period: float | None = None) -> Command:
    """
    A command with a rule.
    """
    return Command(command="x", max_restart=max_restart, recurring_period=recurring_period)


def middle() -> float:
    """
    No jitter.
    """
    return 0.5


class RestartTests(SynchronousTestCase):
    """
    ``max_restart``.
    """

    def runs_of(self, max_restart: int, outcome: Outcome, seconds: float = 0.1) -> tuple[int, list[float]]:
        """
        Let all runs end alike: how many there are, and the waits between them.
        """
        runs, step = 0, 0
        waits: list[float] = []
        while True:
            runs += 1
            following = after_run(command(max_restart), outcome, runs, step, seconds, middle)
            if not isinstance(following, Retry):
                return runs, waits
            waits.append(following.seconds)
            step = following.step

    def test_no_restart(self) -> None:
        """
        A command that does not ask for restarts runs once, whatever comes of it.
        """
        for max_restart in (None, 0):
            for outcome in (OK, ERROR, Outcome(state=State.TIMEOUT), Outcome(state=State.KILLED)):
                self.assertEqual(Done(), after_run(command(max_restart), outcome, 1, 0, 1.0))

    def test_success(self) -> None:
        """
        A run that went well is the last one.
        """
        self.assertEqual(Done(), after_run(command(3), OK, 1, 0, 1.0))
        self.assertEqual(Done(), after_run(command(3), OK, 2, 1, 1.0))

    def test_runs(self) -> None:
        """
        With N restarts a command that keeps failing runs N+1 times.
        """
        for state in FAILURES:
            for count in (1, 2, 7):
                self.assertEqual(count + 1, self.runs_of(count, Outcome(state=state))[0])

    def test_waits(self) -> None:
        """
        Waits double from one second to at most sixty.
        """
        self.assertEqual([1, 2, 4, 8, 16, 32, 60, 60, 60], self.runs_of(9, ERROR)[1])

    def test_many_restarts(self) -> None:
        """
        However often it has failed, the wait is one minute.
        """
        following = after_run(command(1_000_000), ERROR, 999_999, 999_998, 0.1, middle)
        self.assertEqual(Retry(LONGEST_WAIT, 999_999), following)

    def test_jitter(self) -> None:
        """
        A wait is up to a tenth shorter or longer, and never above sixty seconds.
        """
        for step, lowest, highest in ((0, 0.9, 1.1), (3, 7.2, 8.8), (10, 54.0, 60.0)):
            shortest = after_run(command(99), ERROR, 1, step, 0.1, lambda: 0.0)
            longest = after_run(command(99), ERROR, 1, step, 0.1, lambda: 1.0)
            assert isinstance(shortest, Retry) and isinstance(longest, Retry)
            self.assertAlmostEqual(lowest, shortest.seconds)
            self.assertAlmostEqual(highest, longest.seconds)

    def test_healthy_minute(self) -> None:
        """
        After a run of a minute the waits start over; the runs are counted on.
        """
        self.assertEqual(Retry(1.0, 1), after_run(command(9), ERROR, 5, 4, 60.0, middle))
        self.assertEqual(Retry(16.0, 5), after_run(command(9), ERROR, 5, 4, 59.9, middle))
        self.assertEqual((4, [1.0, 1.0, 1.0]), self.runs_of(3, ERROR, 61.0))

    def test_killed(self) -> None:
        """
        A killed job never runs again, recurring or not.
        """
        killed = Outcome(state=State.KILLED, code=137)
        self.assertEqual(Done(), after_run(command(5, 10.0), killed, 1, 0, 1.0))

    def test_refused(self) -> None:
        """
        What was refused before anything started is not tried again.
        """
        refused = Outcome(state=State.ERROR, code=127, refused=True)
        self.assertEqual(Done(), after_run(command(5), refused, 1, 0, 0.0))
        self.assertEqual(Recur(10.0), after_run(command(5, 10.0), refused, 1, 0, 0.0))

    def test_refusals(self) -> None:
        """
        What is wrong stays wrong, a program that is not there stays away; what core0 lacks, or fails at, may pass.
        """
        for code in (126, 127, 400, 404, 409, 413):
            self.assertEqual(Done(), after_run(command(5), refusal(code, "no"), 1, 0, 0.0, middle), code)
        for code in (500, 503):
            self.assertEqual(Retry(1.0, 1), after_run(command(5), refusal(code, "no"), 1, 0, 0.0, middle), code)
            self.assertEqual(Done(), after_run(command(5), refusal(code, "no"), 6, 0, 0.0, middle), code)

    def test_recurring(self) -> None:
        """
        A recurring command runs again after its period, however the run ended.
        """
        for outcome in (OK, ERROR, Outcome(state=State.TIMEOUT)):
            self.assertEqual(Recur(10.0), after_run(command(None, 10.0), outcome, 1, 0, 1.0))

    def test_recurring_with_restarts(self) -> None:
        """
        A recurring command is tried again first; when that is used up its next period comes.
        """
        self.assertEqual(Retry(1.0, 1), after_run(command(1, 10.0), ERROR, 1, 0, 1.0, middle))
        self.assertEqual(Recur(10.0), after_run(command(1, 10.0), ERROR, 2, 1, 1.0, middle))
        self.assertEqual(Recur(10.0), after_run(command(1, 10.0), OK, 2, 1, 1.0, middle))

    def test_interrupted(self) -> None:
        """
        An interrupted run counts as one of N+1; a recurring command always goes on.
        """
        self.assertEqual([True, True, False], [goes_on(command(2), runs) for runs in (1, 2, 3)])
        self.assertFalse(goes_on(command(), 1))
        self.assertTrue(goes_on(command(None, 1.0), 1))

    @given(commands, outcomes, st.integers(1, 8), st.integers(0, 50), st.floats(0, 1e6), st.floats(0, 1))
    def test_any_run(
        self, rule: Command, outcome: Outcome, runs: int, step: int, seconds: float, jitter: float
    ) -> None:
        """
        Restarts are for failures within their number, waits are from 0.9 to 60 seconds, and only recurring jobs recur.
        """
        following = after_run(rule, outcome, runs, step, seconds, lambda: jitter)
        if isinstance(following, Retry):
            self.assertIn(outcome.state, (State.ERROR, State.TIMEOUT, State.INTERRUPTED))
            self.assertFalse(outcome.refused)
            self.assertLessEqual(runs, rule.max_restart or 0)
            self.assertTrue(1 - JITTER <= following.seconds <= LONGEST_WAIT)
            self.assertEqual(1 if seconds >= 60 else step + 1, following.step)
        elif isinstance(following, Recur):
            self.assertNotEqual(State.KILLED, outcome.state)
            self.assertEqual(rule.recurring_period, following.seconds)
            self.assertGreater(following.seconds, 0)
        else:
            retryable = outcome.state in FAILURES and not outcome.refused and runs <= (rule.max_restart or 0)
            self.assertFalse(retryable)
            self.assertTrue(outcome.state == State.KILLED or not rule.recurring_period)
