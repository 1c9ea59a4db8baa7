"""
The process that lays out root file systems, apart from core0: it reads requests and writes answers, JSON by the line.

Each request is done by a child of its own: it starts with everything imported, its memory is given back at its end, and
it can be killed at any time. This module and all that it imports are free of Twisted, so that such a child is small.
"""

import json
import os
import resource
import select
import signal
import sys
import time
import traceback
from collections.abc import Callable, Mapping
from typing import Any

from core0.errors import Refusal
from core0.images.collect import collect, size
from core0.images.forking import fork
from core0.images.making import Making
from core0.images.patience import Patience
from core0.images.source import FIELD
from core0.images.store import Store

MEMORY = 2 << 30  # bytes of addresses that a request may use
READ_SIZE = 1 << 16  # bytes
LONGEST = 1 << 20  # bytes of a request
TEXT = 640  # characters of a text: in JSON, each as \uXXXX, they fit into a write that is in one piece
PROGRESS = 0.25  # seconds between two


class Answers:
    """
    To one request.
    """

    def __init__(self, fd: int, id: int) -> None:
        self._fd = fd
        self._id = id
        self._told = 0.0

    def progress(self, text: str) -> None:
        """
        Tell how far it is, now and then.
        """
        now = time.monotonic()
        if now - self._told >= PROGRESS:
            self._told = now
            self._write(progress=text[:TEXT])

    def done(self, digest: str, complaint: str) -> None:
        """
        :param digest: of the root; empty: it is not there any more.
        :param complaint: why nothing holds it; empty if something does.
        """
        self._write(digest=digest, complaint=complaint[:TEXT])

    def refused(self, code: int, text: str) -> None:
        """
        It cannot be done.
        """
        self._write(code=code, text=text if len(text) <= TEXT else f"{text[:TEXT]}…")

    def _write(self, **answer: object) -> None:
        os.write(self._fd, json.dumps({"id": self._id, **answer}).encode() + b"\n")


class Worker:
    """
    :param requests: a descriptor; its end ends all.
    :param answers: a descriptor.
    """

    def __init__(self, store: Store, max_bytes: int, patience: Patience, requests: int, answers: int) -> None:
        self._store = store
        self._max_bytes = max_bytes
        self._patience = patience
        self._requests = requests
        self._answers = answers
        self._buffer = b""
        self._poll = select.poll()
        self._poll.register(requests, select.POLLIN)
        self._pids: dict[int, int] = {}  # of requests; those that are not asked for have negative numbers
        self._ends: dict[int, int] = {}  # requests by what tells of their end

    def run(self) -> None:
        """
        Until there is nothing to do for long, or the end of the requests.
        """
        left = self._store.journal.left()
        if left:
            self._start(-1, lambda answers: self._store.journal.end(left))
        try:
            while True:
                ready = self._poll.poll(None if self._ends else self._patience.idle * 1000)
                if not ready:
                    return
                for fd, _ in ready:
                    if fd in self._ends:
                        self._ended(fd)
                    elif not self._read():
                        return
        finally:
            for pid in self._pids.values():
                os.kill(pid, signal.SIGKILL)

    def _read(self) -> bool:
        """
        Take requests; false at their end.
        """
        data = os.read(self._requests, READ_SIZE)
        *lines, self._buffer = (self._buffer + data).split(b"\n")
        for line in lines:
            self._take(json.loads(line))
        return bool(data) and len(self._buffer) <= LONGEST

    def _take(self, request: Mapping[str, Any]) -> None:
        if "cancel" in request:
            pid = self._pids.get(request["cancel"])
            if pid is not None:
                os.kill(pid, signal.SIGKILL)
            return
        work = self._hold if "digest" in request else self._root
        try:
            self._start(request["id"], lambda answers: work(answers, request))
        except OSError as error:
            text = f"{FIELD}: cannot be laid out: no process can be started: {error.strerror}"
            Answers(self._answers, request["id"]).refused(503, text)

    def _start(self, id: int, work: Callable[[Answers], None]) -> None:
        pid = fork(lambda: self._be_child(Answers(self._answers, id), work))
        end = os.pidfd_open(pid)
        self._pids[id], self._ends[end] = pid, id
        self._poll.register(end, select.POLLIN)

    def _ended(self, fd: int) -> None:
        id = self._ends.pop(fd)
        self._poll.unregister(fd)
        os.close(fd)
        _, status = os.waitpid(self._pids.pop(id), 0)
        if status and id >= 0:
            how = os.waitstatus_to_exitcode(status)
            reason = f"by signal {-how}" if how < 0 else "by a mistake of core0's own"
            text = f"{FIELD}: cannot be laid out: the process that did it was ended {reason}; try again"
            Answers(self._answers, id).refused(503, text)
            self._clear()

    def _clear(self) -> None:
        """
        What a killed request has left is in nobody's way, but takes room.
        """
        if not self._pids:
            try:
                self._start(-1, lambda answers: self._store.recover())
            except OSError:
                traceback.print_exc()

    def _be_child(self, answers: Answers, work: Callable[[Answers], None]) -> None:
        os.close(self._requests)
        _, hard = resource.getrlimit(resource.RLIMIT_AS)
        resource.setrlimit(resource.RLIMIT_AS, (MEMORY, hard))
        work(answers)

    # in a child

    def _root(self, answers: Answers, request: Mapping[str, Any]) -> None:
        making = Making(self._store, self._patience, answers.progress)
        try:
            digest, complaint = making.root(request["url"], request["storage"], request["hold"])
        except Refusal as refusal:
            answers.refused(refusal.code, str(refusal))
        else:
            answers.done(digest, complaint)
        if making.names:
            self._tidy(making.names)

    def _tidy(self, names: list[str]) -> None:
        """
        What can wait until it has been answered.
        """
        try:
            if size(self._store) > self._max_bytes:
                collect(self._store, self._max_bytes)
            self._store.journal.end(names)
        except OSError:
            traceback.print_exc()

    def _hold(self, answers: Answers, request: Mapping[str, Any]) -> None:
        making = Making(self._store, self._patience, answers.progress)
        digest, complaint = making.hold(request["digest"], request["hold"])
        answers.done(digest, complaint)


def main(settings: str) -> None:
    """
    Work on what comes in on stdin.

    :param settings: JSON, an object: the arguments of :class:`core0.images.store.Store`, :class:`Worker` and
        :class:`core0.images.patience.Patience` by name.
    """
    given = json.loads(settings)
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    os.umask(0o077)
    try:
        store = Store(given["folder"])
        store.recover()
        Worker(store, given["max_bytes"], Patience(**given["patience"]), 0, 1).run()
    except OSError as error:
        sys.exit(f"{error.filename or given['folder']}: {error.strerror}")
