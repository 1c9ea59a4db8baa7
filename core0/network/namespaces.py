"""
Network namespaces of containers: entered by a thread of their own, which ends with them. There is no way back that
cannot fail.
"""

import ctypes
import os
import threading
from collections.abc import Callable

from core0.network.kernel import NotTaken

CLONE_NEWNET = 0x40000000


def enter(namespace: int) -> None:
    """
    Be there, with this thread alone and for as long as it lives.

    :param namespace: a descriptor.
    :raises NotTaken: it cannot be entered.
    """
    if ctypes.CDLL(None, use_errno=True).setns(namespace, CLONE_NEWNET):
        reason = os.strerror(ctypes.get_errno()).lower()
        raise NotTaken(f"cannot enter the network of the container: {reason}")


def within(namespace: int, work: Callable[[], None]) -> None:
    """
    Do something there, and wait for it.

    :param namespace: a descriptor.
    :raises NotTaken: it cannot be entered, or there is no thread to be had.
    """
    raised: list[BaseException] = []

    def there() -> None:
        try:
            enter(namespace)
            work()
        except BaseException as error:
            raised.append(error)

    thread = threading.Thread(target=there, name="core0-inside")
    try:
        thread.start()
    except RuntimeError as error:
        raise NotTaken(f"cannot enter the network of the container: {error}") from error
    thread.join()
    if raised:
        raise raised[0]
