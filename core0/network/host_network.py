"""
The host's own network: what a file says is made at the start, and kept for as long as core0 runs.
"""

from collections.abc import Mapping
from typing import Any

from twisted.internet.defer import TimeoutError
from twisted.logger import Logger

from core0.network.host_outcome import Outcome
from core0.network.host_worker import Worker
from core0.waiting import Occurrence, within

STOP_TIMEOUT = 5.0  # seconds


class HostNetwork:
    """
    :param path: of the file.
    :param wait: seconds that the start takes at most.
    """

    _log = Logger()

    def __init__(self, reactor: Any, path: str, wait: float) -> None:
        self._reactor = reactor
        self._path = path
        self._wait = wait
        self._found: Mapping[str, Outcome] = {}
        self._settled: Occurrence[None] = Occurrence()
        self._ended: Occurrence[None] = Occurrence()
        self._worker = Worker(
            path,
            lambda found: reactor.callFromThread(self._heard, found),
            lambda: reactor.callFromThread(self._over),
        )

    async def start(self) -> None:
        """
        Until each link is as it should be, or cannot be, or the time is up. Goes on afterwards.
        """
        self._log.info("the host's network: as {path} says", path=self._path)
        self._worker.start()
        try:
            await within(self._reactor, self._wait, self._settled.wait())
        except TimeoutError:
            waiting = ", ".join(name for name, outcome in self._found.items() if outcome.state == "waiting")
            text = "not waiting for the network any longer than {wait} s; it goes on: {waiting}"
            self._log.warn(text, wait=self._wait, waiting=waiting or "nothing is known of it yet")

    async def stop(self) -> None:
        """
        Look after it no more. Links, addresses and routes stay as they are.
        """
        self._worker.stop()
        try:
            await within(self._reactor, STOP_TIMEOUT, self._ended.wait())
        except TimeoutError:
            self._log.warn("the network's thread has not ended within {seconds} s", seconds=STOP_TIMEOUT)

    def report(self) -> dict[str, Any]:
        """
        How each link has turned out, by name: ``protocol``; ``state``, which is up, waiting or failed; ``addresses``;
        ``reason``. What is wrong with a file is under its path.
        """
        return {name: outcome.as_json() for name, outcome in self._found.items()}

    def _heard(self, found: Mapping[str, Outcome]) -> None:
        before, self._found = self._found, found
        for name, outcome in found.items():
            if before.get(name) != outcome:
                self._tell(name, outcome)
        for name in before.keys() - found.keys():
            self._log.info("network: nothing is left to say of {name}", name=name)
        if not any(outcome.state == "waiting" for outcome in found.values()):
            self._settled.happen(None)

    def _tell(self, name: str, outcome: Outcome) -> None:
        addresses = ", ".join(outcome.addresses) or "no address"
        if name == self._path:
            self._log.critical("network: {path}: {reason}", path=name, reason=outcome.reason)
        elif not outcome.protocol:
            self._log.error("network: {path}: {reason}", path=name, reason=outcome.reason)
        elif outcome.state == "failed":
            text = "network: {name} ({protocol}) has failed, with {addresses}: {reason}"
            self._log.error(text, name=name, protocol=outcome.protocol, addresses=addresses, reason=outcome.reason)
        elif outcome.state == "waiting":
            text = "network: {name} ({protocol}) waits, with {addresses}: {reason}"
            self._log.warn(text, name=name, protocol=outcome.protocol, addresses=addresses, reason=outcome.reason)
        else:
            text = "network: {name} ({protocol}) is up, with {addresses}"
            self._log.info(text, name=name, protocol=outcome.protocol, addresses=addresses)

    def _over(self) -> None:
        self._ended.happen(None)
        self._settled.happen(None)
