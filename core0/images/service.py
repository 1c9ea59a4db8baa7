"""
The worker process, seen from core0: started when there is something to do, gone when there has not been for long.
"""

import json
import os
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

from twisted.internet.error import ProcessDone
from twisted.internet.protocol import ProcessProtocol
from twisted.logger import Logger
from twisted.python.failure import Failure

import core0
from core0.images.patience import Patience
from core0.reaper import Reaper
from core0.spawn import Child, Launch, Surroundings
from core0.waiting import Occurrence

# what "site" finds out each time at some cost, this process knows already
BOOT = "import sys; sys.path[:] = sys.argv[2:]; from core0.images.worker import main; main(sys.argv[1])"
PASSED_ON = ("PATH", "SSL_CERT_FILE", "http_proxy", "https_proxy", "HTTPS_PROXY", "all_proxy", "no_proxy", "NO_PROXY")
LONGEST = 4096  # bytes of an answer
SAID = 1024  # bytes of its last words that are kept


@dataclass(frozen=True, slots=True)
class Ended:
    """
    How a worker ended.

    :ivar well: it had nothing to do.
    :ivar how: for the user.
    """

    well: bool
    how: str


class _Protocol(ProcessProtocol):
    """
    Reads the answers of a worker.
    """

    _log = Logger()

    def __init__(self, heard: Callable[[dict[str, Any]], None], ended: Callable[[Ended], None]) -> None:
        self.gone: Occurrence[Ended] = Occurrence()
        self._heard = heard
        self._ended = ended
        self._rest = b""
        self._said = b""

    def childDataReceived(self, childFD: int, data: bytes) -> None:
        """
        Twisted's hook.
        """
        if childFD != 1:
            self._said = (self._said + data)[-SAID:]
            self._log.error("images: {text}", text=data.decode("utf-8", "replace").rstrip())
            return
        *lines, self._rest = (self._rest + data).split(b"\n")
        for line in lines:
            with self._log.failuresHandled("cannot take an answer of the worker"):
                self._heard(json.loads(line))
        self._rest = self._rest[:LONGEST]

    def processEnded(self, reason: Failure) -> None:
        """
        Twisted's hook.
        """
        said = self._said.decode("utf-8", "replace").strip().rpartition("\n")[2]
        how = f"{reason.getErrorMessage()}{f': {said}' if said else ''}"
        ended = Ended(reason.check(ProcessDone) is not None, how)
        self.gone.happen(ended)
        self._ended(ended)


class Service:
    """
    At most one worker.
    """

    def __init__(
        self,
        reactor: Any,
        reaper: Reaper,
        surroundings: Surroundings,
        folder: str,
        max_bytes: int,
        patience: Patience,
    ) -> None:
        self._reactor = reactor
        self._reaper = reaper
        self._surroundings = surroundings
        self._settings = json.dumps({"folder": folder, "max_bytes": max_bytes, "patience": asdict(patience)})
        self._running: tuple[Child, _Protocol] | None = None

    @property
    def pid(self) -> int | None:
        """
        Of the worker; None while there is none.
        """
        return self._running[0].pid if self._running is not None else None

    def say(
        self, request: dict[str, Any], heard: Callable[[dict[str, Any]], None], ended: Callable[[Ended], None]
    ) -> None:
        """
        Send a request.

        :param heard: called with each answer, if a worker has to be started for it.
        :param ended: called when that worker has ended.
        :raises OSError: it cannot be started.
        """
        if self._running is None or self._running[1].gone.happened:
            self._running = self._start(_Protocol(heard, ended))
        self.tell(request)

    def tell(self, request: dict[str, Any]) -> None:
        """
        Send something that is of no use if there is no worker.
        """
        # the pipe of one that is about to end may be closed already
        if self._running is not None and 0 in self._running[0].pipes:
            self._running[0].write(json.dumps(request).encode() + b"\n")

    def _start(self, protocol: _Protocol) -> tuple[Child, _Protocol]:
        places = [*filter(os.path.isabs, sys.path), os.path.dirname(os.path.dirname(core0.__file__))]
        argv = [sys.executable, "-ISc", BOOT, self._settings, *places]
        env = {name: os.environ[name] for name in PASSED_ON if name in os.environ}
        launch = Launch(sys.executable, argv, {**env, "LANG": "C.UTF-8"})
        pipes: dict[int, int | str] = {0: "w", 1: "r", 2: "r"}
        return Child(self._reactor, self._reaper, self._surroundings, protocol, launch, pipes), protocol

    async def stop(self) -> None:
        """
        Have it end, and wait for that.
        """
        if self._running is not None:
            child, protocol = self._running
            child.closeStdin()
            await protocol.gone.wait()

    def kill(self) -> None:
        """
        End it at once.
        """
        if self._running is not None and not self._running[1].gone.happened:
            self._running[0].signalProcess("KILL")
