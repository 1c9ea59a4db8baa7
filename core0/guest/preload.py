"""
Everything that a CoreX will ever import, imported now: afterwards there is only the container's file system to import
from, and that is not to be trusted.
"""

import gc
import importlib
import pwd
import sys
from collections.abc import Sequence
from types import ModuleType
from typing import Any

# imported by functions of libraries, when they are first called
LATER = (
    "encodings.ascii",
    "encodings.idna",
    "encodings.latin_1",
    "stringprep",
    "twisted.internet.epollreactor",
    "twisted.internet.process",
    "twisted.internet.unix",
    "twisted.internet._sslverify",
    "twisted.internet.address",
    "twisted.python.threadpool",
    "twisted.python.lockfile",
    "twisted.logger",
    "concurrent.futures.thread",
)


class _LateReactor(ModuleType):
    """
    Stands for the reactor while there is none: importing Twisted's would make one, whose descriptors a fork must not
    share. Of what libraries take of it at their import they get functions that are the reactor's later.
    """

    made: Any = None

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return getattr(self.made, name) if self.made is not None else lambda *given: getattr(self.made, name)(*given)


class _Refuser:
    """
    Finds no module, and says so.
    """

    @staticmethod
    def find_spec(name: str, path: Sequence[str] | None = None, target: ModuleType | None = None) -> None:
        """
        Python's hook.
        """
        raise ImportError(f"{name} is imported too late: core0.guest.preload should have done it")


def preload() -> None:
    """
    Import it all, without a reactor.
    """
    sys.modules["twisted.internet.reactor"] = _LateReactor("twisted.internet.reactor")
    for name in LATER:
        importlib.import_module(name)
    importlib.import_module("core0.corex").registry()
    # glibc reads who knows the users when it is first asked, and not again after that for another root directory
    pwd.getpwuid(0)


def seal() -> None:
    """
    Import nothing from here on, and have what is there shared by all forks as far as can be.
    """
    sys.path.clear()
    sys.path_hooks.clear()
    sys.path_importer_cache.clear()
    sys.meta_path[:] = [_Refuser]
    # the cache of looked-up attributes counts the names in it: each that a fork puts there takes the place of one whose
    # count, and with it a page that forks share, changes as well
    sys._clear_type_cache()
    gc.collect()
    gc.freeze()  # the garbage collector would touch, and so copy, what forks share


def make_reactor() -> Any:
    """
    A reactor of this process's own, in the place of the one that there was not.
    """
    from twisted.internet import epollreactor

    late = sys.modules.pop("twisted.internet.reactor")
    epollreactor.install()
    reactor = sys.modules["twisted.internet.reactor"]
    late.made = reactor  # type: ignore[attr-defined] # it is a _LateReactor
    return reactor
