"""
What was made since the disk last had all of it: after a power cut it may be there without its bytes.
"""

import ctypes
import os
import re
import uuid
from collections.abc import Iterable, Iterator

from core0.durable import boot, sync_names

_LINE = re.compile(r"([cr]) ([0-9a-f]{32}|[0-9a-f]{64})", re.ASCII)
_libc = ctypes.CDLL(None, use_errno=True)


class Journal:
    """
    A file for each job that adds something, written to the disk before that is there, removed when all of it is on the
    disk. One from before the machine's last start names what is not to be believed.

    :param folder: of the files.
    """

    def __init__(self, folder: str) -> None:
        self._folder = folder
        self._boot = boot()

    def begin(self, contents: Iterable[str], roots: Iterable[str]) -> str:
        """
        Note what will be made, by hashes and digests.

        :returns: the name for :meth:`end`.
        """
        name = f"{self._boot}.{uuid.uuid4().hex}"
        fd = os.open(os.path.join(self._folder, name), os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        with open(fd, "w", encoding="ascii") as file:
            file.writelines(f"c {hash}\n" for hash in contents)
            file.writelines(f"r {digest}\n" for digest in roots)
            file.flush()
            os.fsync(file.fileno())
        sync_names(self._folder)
        return name

    def end(self, names: Iterable[str]) -> None:
        """
        Have the disk write everything, however long that takes; then forget.
        """
        wanted = list(names)
        if not wanted:
            return
        fd = os.open(self._folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            if _libc.syncfs(fd):
                number = ctypes.get_errno()
                raise OSError(number, os.strerror(number))
        finally:
            os.close(fd)
        for name in wanted:
            self._unlink(name)

    def left(self) -> list[str]:
        """
        The names of files of jobs that were ended before :meth:`end`, while this machine ran. Call it when no job runs.
        """
        return [name for name in os.listdir(self._folder) if name.startswith(f"{self._boot}.")]

    def doubtful(self) -> tuple[set[str], set[str]]:
        """
        What may have been lost at the last start of the machine: hashes of contents, digests of roots.
        """
        contents: set[str] = set()
        roots: set[str] = set()
        for name in self._from_before():
            with open(os.path.join(self._folder, name), encoding="ascii", errors="replace") as file:
                for line in file:
                    found = _LINE.fullmatch(line.rstrip("\n"))
                    if found is not None:
                        (contents if found[1] == "c" else roots).add(found[2])
        return contents, roots

    def forget_doubtful(self) -> None:
        """
        It has been removed.
        """
        for name in list(self._from_before()):
            self._unlink(name)

    def _from_before(self) -> Iterator[str]:
        for name in os.listdir(self._folder):
            if not name.startswith(f"{self._boot}."):
                yield name

    def _unlink(self, name: str) -> None:
        try:
            os.unlink(os.path.join(self._folder, name))
        except FileNotFoundError:
            pass
