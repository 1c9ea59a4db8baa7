"""
Children that share what their parent has imported, and do not outlive it.
"""

import ctypes
import os
import signal
import traceback
from collections.abc import Callable

PR_SET_PDEATHSIG = 1
_libc = ctypes.CDLL(None)


def fork(work: Callable[[], None]) -> int:
    """
    Have a child do something; it ends with status 0, or 1 after an exception, which it writes to stderr. The caller has
    no threads.

    :returns: its pid.
    """
    parent = os.getpid()
    pid = os.fork()
    if pid:
        return pid
    code = 1
    try:
        _libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        if os.getppid() == parent:
            work()
            code = 0
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(code)
