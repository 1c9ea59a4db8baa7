"""
Faults at a named seam: a call that fails as it does where descriptors, memory, disks or threads run out.

Whatever opens, writes, starts or waits can fail at any call. So each store, each start of a process and each pool has a
test in which the n-th call of one of its functions does, and which says what is left afterwards.
"""

import errno
import os
from collections.abc import Callable
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

EVERY = 1 << 30  # times


def os_error(number: int, path: str | None = None) -> OSError:
    """
    As the kernel says it.

    :param number: such as ``errno.EIO``.
    """
    return OSError(number, os.strerror(number), path) if path else OSError(number, os.strerror(number))


def no_thread() -> RuntimeError:
    """
    As the threading module says that the kernel gives it no thread.
    """
    return RuntimeError("can't start new thread")


STORAGE = tuple(os_error(number) for number in (errno.EMFILE, errno.EIO, errno.ENOSPC, errno.ENOMEM, errno.ESTALE))


class Fault:
    """
    Makes some calls of a function fail until the test ends, or until it is mended.

    :param owner: the module or class that the function is looked up in.
    :param error: what these calls raise.
    :param first: the call that fails first, from 1 on; of those that ``where`` takes.
    :param times: how many calls in a row fail.
    :param where: given the arguments of a call, says whether it is one of those that are meant.
    :ivar calls: how many of these there were.
    :ivar failed: how many of these have failed.
    """

    def __init__(
        self,
        test: SynchronousTestCase,
        owner: Any,
        name: str,
        error: BaseException,
        *,
        first: int = 1,
        times: int = EVERY,
        where: Callable[..., bool] = lambda *arguments, **named: True,
    ) -> None:
        self.calls = self.failed = 0
        self._error = error
        self._range = range(first, first + times)
        self._where = where
        self._real = getattr(owner, name)

        def call(*arguments: Any, **named: Any) -> Any:  # a function: of a class it becomes a method
            return self._call(*arguments, **named)

        self._patch = test.patch(owner, name, call)

    def _call(self, *arguments: Any, **named: Any) -> Any:
        if self._where(*arguments, **named):
            self.calls += 1
            if self.calls in self._range:
                self.failed += 1
                raise self._error
        return self._real(*arguments, **named)

    def mend(self) -> None:
        """
        From now on all calls do what they should.
        """
        self._patch.restore()


def below(folder: object) -> Callable[..., bool]:
    """
    Whether the first argument of a call is a path in a folder.
    """
    return lambda path, *arguments, **named: isinstance(path, str) and path.startswith(f"{folder}/")
