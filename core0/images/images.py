"""
Root file systems for containers, from plists and archives: what core0 asks for, and another process does.
"""

import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from twisted.internet.defer import CancelledError, TimeoutError
from twisted.logger import Logger

from core0.errors import Refusal
from core0.images.patience import Patience
from core0.images.service import Ended, Service
from core0.images.source import FIELD, STORAGE, parse
from core0.images.store import FILES, ROOTS
from core0.reaper import Reaper
from core0.spawn import Surroundings
from core0.waiting import Occurrence, within

STOP_TIMEOUT = 5.0  # seconds
ATTEMPTS = 3  # at what went away meanwhile

Progress = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Root:
    """
    A root file system; whoever writes to it does so for all that share it.

    :ivar path: of the root directory.
    :ivar plist: where it was made from, without what is secret in it.
    """

    path: str
    plist: str


class _Work:
    """
    One request, and all who wait for it.
    """

    def __init__(self, request: dict[str, Any]) -> None:
        self.request = request
        self.answer: Occurrence[dict[str, Any]] = Occurrence()
        self.waiting: list[Progress] = []
        self.attempts = 0


class Images:
    """
    :param folder: where contents and roots are kept; what lies in ``../containers/*/root`` beside it are symlinks to
        roots that are in use.
    :param max_bytes: how large all that may be; beyond that, what is not in use is removed.
    """

    _log = Logger()

    def __init__(
        self,
        reactor: Any,
        reaper: Reaper,
        surroundings: Surroundings,
        folder: str,
        *,
        max_bytes: int,
        patience: Patience = Patience(),  # noqa: B008 # it is frozen
    ) -> None:
        self._reactor = reactor
        self._folder = folder
        self._service = Service(reactor, reaper, surroundings, folder, max_bytes, patience)
        self._works: dict[int, _Work] = {}
        self._shared: dict[tuple[str, str], _Work] = {}
        self._last = 0
        self._stopped = False

    async def root(self, url: str, storage: str, hold: str, progress: Progress) -> Root:
        """
        Have a root file system laid out, unless it is. Calls for the same one share the work; one of them may be
        cancelled without harm to the others.

        :param url: of a plist, or of an archive: http, https, file, or an absolute path.
        :param storage: where the contents of a plist are; empty: in ``store/`` beside it.
        :param hold: the path of a symlink to be made; the root is in use for as long as it is there, which may be the
            case even if the call is cancelled.
        :param progress: called with a text, four times a second at most.
        :raises Refusal: 400, the URL or the plist is wrong; 404, it is not there; 503, it cannot be had now.
        """
        source = parse(url, FIELD)
        if storage:
            parse(storage, STORAGE)
        for _ in range(ATTEMPTS):
            work = self._shared.get((url, storage))
            mine = work is None
            if work is None:
                work = self._begin({"url": url, "storage": storage, "hold": hold})
                self._shared[url, storage] = work
            digest, complaint = await self._wait(work, progress)
            if not mine:
                request = {"digest": digest, "hold": hold}
                digest, complaint = await self._wait(self._begin(request), progress)
            if complaint:
                raise Refusal(503, complaint)
            if digest:
                return Root(os.path.join(self._folder, ROOTS, digest, FILES), source.public)
        raise Refusal(503, f"{FIELD}: {source.text}: its root file system is removed as soon as it is there; try again")

    def _begin(self, request: dict[str, Any]) -> _Work:
        if self._stopped:
            raise Refusal(503, f"{FIELD}: core0 is stopping")
        self._last += 1
        work = _Work({**request, "id": self._last})
        self._works[self._last] = work
        self._send(work)
        return work

    def _send(self, work: _Work) -> None:
        work.attempts += 1
        try:
            self._service.say(work.request, self._heard, self._ended)
        except OSError as error:
            self._heard(_refused(work.request["id"], f"its process cannot be started: {error.strerror}"))

    async def _wait(self, work: _Work, progress: Progress) -> tuple[str, str]:
        """
        :returns: the digest, and what is wrong with the symlink.
        """
        work.waiting.append(progress)
        try:
            answer = await work.answer.wait()
        except CancelledError:
            work.waiting.remove(progress)
            if not work.waiting:
                self._cancel(work)
            raise
        if "code" in answer:
            raise Refusal(answer["code"], answer["text"])
        return answer["digest"], answer["complaint"]

    def _cancel(self, work: _Work) -> None:
        if self._forget(work.request["id"]) is not None:
            self._service.tell({"cancel": work.request["id"]})

    def _forget(self, id: int) -> _Work | None:
        work = self._works.pop(id, None)
        for key in [key for key, value in self._shared.items() if value is work]:
            del self._shared[key]
        return work

    def _heard(self, answer: dict[str, Any]) -> None:
        if "progress" not in answer:
            work = self._forget(answer["id"])
            if work is not None:
                work.answer.happen(answer)
            return
        work = self._works.get(answer["id"])
        for progress in list(work.waiting) if work is not None else ():
            with self._log.failuresHandled("cannot tell about progress"):
                progress(answer["progress"])

    def _ended(self, ended: Ended) -> None:
        """
        Whoever waits is told, or served by another process: one that had nothing to do may end just when it is asked.
        """
        for work in list(self._works.values()):
            if ended.well and work.attempts < ATTEMPTS and not self._stopped:
                self._send(work)
            else:
                text = f"the process that lays out root file systems has ended ({ended.how}); try again"
                self._heard(_refused(work.request["id"], text))

    @property
    def pid(self) -> int | None:
        """
        Of the process that does the work; None before there is one.
        """
        return self._service.pid

    async def stop(self) -> None:
        """
        End whatever is being done; the callers get refusals.
        """
        self._stopped = True
        for id in list(self._works):
            self._heard(_refused(id, "core0 is stopping"))
        try:
            await within(self._reactor, STOP_TIMEOUT, self._service.stop())
        except TimeoutError:
            self._service.kill()


def _refused(id: int, text: str) -> dict[str, Any]:
    return {"id": id, "code": 503, "text": f"{FIELD}: cannot be laid out: {text}"}
