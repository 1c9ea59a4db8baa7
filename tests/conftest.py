"""
Keeps tests from the network of this machine: who looks after it is the tests, and these do nothing.
"""

import fcntl
import os

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
