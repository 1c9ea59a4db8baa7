"""
What a daemon inherits from whoever starts it, and is not to pass on: the umask, resource limits, the nice value,
closed standard streams, an encoding other than UTF-8. All of it is put right here, before anything is made or started:
children and files of core0 are the same whoever has started it. (Signals and the environment are those of each child,
see :mod:`core0.spawn`.)
"""

import io
import os
import resource
import sys
from collections.abc import Iterator

UMASK = 0o022
UTF_8 = "utf-8"
LOCALE = "C.UTF-8"
FILES = 1024  # open files, the soft limit; the hard one stays what it is, for core0 needs it itself
STACK, LOCKED, QUEUES = 8 << 20, 8 << 20, 819_200  # bytes, as the kernel gives them to its first process
RLIMIT_LOCKS = 10  # Python has no name for it
SCORE = "/proc/self/oom_score_adj"
THREADS = "/proc/sys/kernel/threads-max"
_ALL = resource.RLIM_INFINITY


def ensure_utf8() -> None:
    """
    Run this program again if names of files are not UTF-8 to it: Python cannot change that once it runs. Called before
    anything is opened, in the process that is to stay.
    """
    if sys.getfilesystemencoding().lower() == UTF_8 or not sys.executable:
        return
    env = {**os.environ, "LC_ALL": LOCALE, "PYTHONUTF8": "1"}
    os.execve(sys.executable, [sys.executable, "-X", "utf8", *sys.orig_argv[1:]], env)


def open_streams() -> None:
    """
    Have something at the descriptors 0 to 2: the next file that is opened would be there, and be taken for the log.
    """
    null = os.open(os.devnull, os.O_RDWR)
    while null <= 2:
        null = os.dup(null)
    os.close(null)
    for fd, name in ((1, "stdout"), (2, "stderr")):
        stream = getattr(sys, name)
        if stream is None:
            setattr(sys, name, io.TextIOWrapper(io.FileIO(fd, "w", closefd=False), UTF_8, "backslashreplace"))
        elif isinstance(stream, io.TextIOWrapper) and stream.encoding.lower() != UTF_8:
            stream.reconfigure(encoding=UTF_8, errors="backslashreplace")


def reset() -> None:
    """
    Put right all that can be. What an ordinary user may not raise stays as low as it is.

    Called once the daemon is where it stays: ``twistd`` sets a umask of its own when it goes into the background.
    """
    os.umask(UMASK)
    try:
        os.setpriority(os.PRIO_PROCESS, 0, 0)
    except OSError:
        pass
    for which, soft, hard in _limits():
        _set_limit(which, soft, hard)


def _limits() -> Iterator[tuple[int, int, int]]:
    """
    Those of the kernel's own first process.
    """
    for which in ("CPU", "FSIZE", "DATA", "RSS", "AS", "RTTIME"):
        yield getattr(resource, f"RLIMIT_{which}"), _ALL, _ALL
    yield RLIMIT_LOCKS, _ALL, _ALL
    yield resource.RLIMIT_STACK, STACK, _ALL
    yield resource.RLIMIT_CORE, 0, _ALL
    yield resource.RLIMIT_MEMLOCK, LOCKED, LOCKED
    yield resource.RLIMIT_MSGQUEUE, QUEUES, QUEUES
    for which in ("NICE", "RTPRIO"):
        yield getattr(resource, f"RLIMIT_{which}"), 0, 0
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    yield resource.RLIMIT_NOFILE, FILES if hard == _ALL else min(FILES, hard), hard
    try:
        with open(THREADS, encoding="ascii") as file:
            most = int(file.read()) // 2
    except (OSError, ValueError):
        return
    yield resource.RLIMIT_NPROC, most, most
    yield resource.RLIMIT_SIGPENDING, most, most


def _set_limit(which: int, soft: int, hard: int) -> None:
    try:
        resource.setrlimit(which, (soft, hard))
    except (OSError, ValueError):
        # the hard one is for root to raise
        most = resource.getrlimit(which)[1]
        lower = soft if most == _ALL or (soft != _ALL and soft <= most) else most
        try:
            resource.setrlimit(which, (lower, most))
        except (OSError, ValueError):
            pass


def oom_score() -> int | None:
    """
    What children are to have as ``oom_score_adj``, where this process is spared and they are not to be; None for the
    same as this process, which is what everybody has, as far as that can be set.
    """
    try:
        with open(SCORE, encoding="ascii") as file:
            own = int(file.read())
        if own < 0:
            return 0
        if own > 0:
            with open(SCORE, "w", encoding="ascii") as file:
                file.write("0")
    except (OSError, ValueError):
        pass  # an ordinary user cannot lower it
    return None
