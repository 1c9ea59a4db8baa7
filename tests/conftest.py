"""
Keeps tests from the network of this machine: who looks after it is the tests, and these do nothing. And keeps from them
what the shell that starts them has decided on signals.
"""

import fcntl
import os
import signal

import pytest

from core0.network.claim import path


@pytest.fixture(autouse=True, scope="session")
def untouched_network() -> None:
    """
    Every core0 that is not in a network namespace of its own is refused whatever would change links or the firewall.
    """
    try:
        fd = os.open(path(), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError:
        return  # not root: nobody here can change them
    os.pwrite(fd, b"the tests, which leave it alone\n", 0)
    # shared by all that run at the same time; until this process ends
    fcntl.flock(fd, fcntl.LOCK_SH)


@pytest.fixture(autouse=True, scope="session")
def heard_interrupts() -> None:
    """
    Programs that tests start end at Ctrl-C: a shell without job control has what it starts in the background ignore it.
    """
    if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
