"""
Keeps tests from the network of this machine: who looks after it is the tests, and these do nothing, or a core0 that was
there before. And keeps from them what the shell that starts them has decided on signals, variables and modes. What they
choose depends on a seed that is told at the end; and no example has to be through in some time.
"""

import compileall
import fcntl
import os
import secrets
import signal
import threading

import hypothesis
import pytest

from core0.network.claim import path
from tests.daemon import ROOT, SEED

# environment variables that tests and the processes they start inherit
KEPT = frozenset({"CI", "HOME", "PATH", "TMPDIR", SEED})

hypothesis.settings.register_profile("core0", deadline=None, print_blob=True)
hypothesis.settings.load_profile("core0")


@pytest.hookimpl(tryfirst=True)
def pytest_configure(config: pytest.Config) -> None:
    """
    Have a seed, for all processes of this run, and byte code: hundreds of core0 are started, none of which writes any.
    """
    if not hasattr(config, "workerinput"):
        compileall.compile_dir(ROOT / "core0", quiet=2)
    # those that pytest-xdist starts inherit it
    seed = os.environ.setdefault(SEED, str(secrets.randbelow(10**6)))
    if config.getoption("hypothesis_seed", None) is None:
        config.option.hypothesis_seed = seed


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """
    Tell it.
    """
    terminalreporter.write_line(f"what was chosen at random is chosen again with {SEED}={os.environ[SEED]}")


@pytest.fixture(autouse=True, scope="session")
def untouched_network() -> None:
    """
    Every core0 that is not in a network namespace of its own is refused whatever would change links or the firewall.
    """
    keep_network()


def keep_network() -> None:
    """
    Have the lock for which such a core0 asks, now or as soon as a core0 that was there before has ended.
    """
    try:
        fd = os.open(path(), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError:
        return  # not root: nobody here can change them
    try:
        _hold(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        # a core0 that looks after it has it, which keeps the tests' from it as well; once that one ends, this does
        threading.Thread(target=_hold, args=(fd, fcntl.LOCK_SH), daemon=True).start()


def _hold(fd: int, how: int) -> None:
    """
    Take the lock, shared by all tests that run at the same time, until this process ends; only then write who has it.
    """
    fcntl.flock(fd, how)
    os.ftruncate(fd, 0)
    os.pwrite(fd, b"the tests, which leave it alone\n", 0)


@pytest.fixture(autouse=True, scope="session")
def own_environment() -> None:
    """
    Tests and the processes they start have a fixed environment and umask: TERM, locale, colours and the options of
    Python, git and Redis clients that the calling shell has set do not reach them.
    """
    for name in set(os.environ) - KEPT:
        if not name.startswith(("PYTEST_", "COVERAGE_")):
            del os.environ[name]
    os.environ |= {"TERM": "xterm", "LANG": "C.UTF-8"}
    os.umask(0o022)


@pytest.fixture(autouse=True, scope="session")
def heard_signals() -> None:
    """
    Programs that tests start end at Ctrl-C, and when their terminal is closed: a shell without job control has what it
    starts in the background ignore the one, ``nohup`` the other.
    """
    for number in (signal.SIGINT, signal.SIGHUP):
        if signal.getsignal(number) == signal.SIG_IGN:
            signal.signal(number, signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL)
