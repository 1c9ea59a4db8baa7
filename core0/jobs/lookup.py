"""
Where the program of a command is found, without waiting for file systems that hang.
"""

import os
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from twisted.internet.defer import ensureDeferred
from twisted.python.failure import Failure

from core0.errors import Refusal
from core0.file_systems import FileSystems, Unanswered
from core0.interfaces import ICoreReactor
from core0.waiting import Occurrence

PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
NOT_FOUND = 127
NOT_EXECUTABLE = 126
FRESH = 1.0  # seconds for which it is taken to go on answering
REMEMBERED = 1000
USUAL = ("/", "", PATH)

_Key = tuple[str, str, str]  # directory, name if that says where, PATH


@dataclass(slots=True)
class Program:
    """
    What to run: ``name`` is looked up in the PATH of ``env`` unless it holds a slash; ``env`` is added to a minimal
    environment; ``directory`` None for the root directory; ``stdin`` None for none.
    """

    name: str
    args: Sequence[str] = ()
    directory: str | None = None
    env: Mapping[str, str] = field(default_factory=dict)
    stdin: str | None = None

    @property
    def workdir(self) -> str:
        """
        Where it starts, absolute: core0's own working directory is nobody's business.
        """
        return os.path.join("/", self.directory) if self.directory else "/"

    def take_stdin(self) -> bytes | None:
        """
        What it reads, for the one that writes it: it may be large, and is not kept here.
        """
        text, self.stdin = self.stdin, None
        return None if text is None else text.encode()


def environment(*extra: Mapping[str, str]) -> dict[str, str]:
    """
    The environment of a job: nothing of core0's own. Of the same variable the last one counts.
    """
    env = {"PATH": PATH, "LANG": "C.UTF-8"}
    for each in extra:
        env |= each
    return env


def locate(program: Program, env: Mapping[str, str]) -> str:
    """
    The file to execute. It is found, or not, in the same way with and without a directory.

    :raises Refusal: 400, the directory is none; 127, there is no such program; 126, it is not executable.
    """
    directory = program.workdir
    if directory != "/" and not (os.path.isdir(directory) and os.access(directory, os.X_OK)):
        raise Refusal(400, f"arguments.dir: expected an existing directory that can be entered, got {directory!r}")
    if "/" in program.name:
        path: str | None = os.path.join(directory, program.name)
        found = os.path.exists(path)  # type: ignore[arg-type]
    else:
        folders = [os.path.join(directory, folder) for folder in env["PATH"].split(":")]
        path = shutil.which(program.name, path=":".join(folders))
        found = path is not None or any(os.path.exists(os.path.join(folder, program.name)) for folder in folders)
    if not found:
        raise Refusal(NOT_FOUND, f"cannot run {program.name!r}: no such program; check arguments.name and PATH")
    if path is None or not os.access(path, os.X_OK) or not os.path.isfile(path):
        raise Refusal(NOT_EXECUTABLE, f"cannot run {program.name!r}: it is not an executable file")
    return path


class Places:
    """
    Finds programs. Where a client names a directory or a file, a thread looks first whether its file system answers at
    all: one that hangs would take the reactor with it.
    """

    def __init__(self, reactor: ICoreReactor) -> None:
        self._reactor = reactor
        self._file_systems = FileSystems(reactor)
        self._answered: dict[_Key, float] = {}
        self._asked: dict[_Key, Occurrence[Failure | None]] = {}

    async def locate(self, program: Program, env: Mapping[str, str]) -> str:
        """
        As :func:`locate`.

        :raises Refusal: 503, the file system does not answer.
        """
        key = (program.workdir, program.name if "/" in program.name else "", env["PATH"])
        if key != USUAL and self._answered.get(key, -FRESH) + FRESH <= self._reactor.seconds():
            try:
                await self._check(key, program, env)
            except Unanswered as error:
                raise Refusal(503, f"cannot run {program.name!r} now: {error}") from error
        return locate(program, env)

    async def _check(self, key: _Key, program: Program, env: Mapping[str, str]) -> None:
        """
        Ask once, however many programs of the same place are to start.
        """
        asked = self._asked.get(key)
        if asked is None:
            asked = self._asked[key] = Occurrence()
            ensureDeferred(self._file_systems.check(_paths(program, env))).addBoth(self._heard, key)
        failure = await asked.wait()
        if failure is not None:
            failure.raiseException()

    def _heard(self, result: Failure | None, key: _Key) -> None:
        if result is None:
            if len(self._answered) >= REMEMBERED:
                self._answered.clear()
            self._answered[key] = self._reactor.seconds()
        self._asked.pop(key).happen(result)


def _paths(program: Program, env: Mapping[str, str]) -> list[str]:
    """
    All that is looked at to find a program.
    """
    folders = [""] if "/" in program.name else env["PATH"].split(":")
    return [program.workdir, *(os.path.join(program.workdir, folder, program.name) for folder in folders)]
