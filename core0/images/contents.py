"""
Brings the contents that a root file system lacks into the store, each verified by its hash.
"""

import os
import signal
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait

from core0.images import attributes
from core0.images.entry import Entry
from core0.images.forking import fork
from core0.images.store import LOOK, Store
from core0.images.supplies import Supply, Work, check_size

THREADS = 1  # that hashes and writes, in each process: more of them only take turns
BEHIND = 64  # contents that may wait for them
MANY = 500  # contents that are worth a second process
MEGA = 1_000_000

Tell = Callable[[str], None]


class Contents:
    """
    :param tell: called with how far it is.
    """

    def __init__(self, store: Store, supply: Supply, tell: Tell) -> None:
        self._store = store
        self._supply = supply
        self._tell = tell
        self._left: dict[str, Entry] = {}
        self._claims: dict[str, int] = {}
        self._pending: dict[Future[None], Entry] = {}
        self._files = self._bytes = self._came = 0

    def fetch(self, wanted: Mapping[str, Entry]) -> None:
        """
        Have contents in the store.

        :param wanted: by their hashes; the owner, mode and time of the entry are those of the file there.
        :raises Wrong: one cannot be had, or is not what its hash says.
        :raises OSError: one cannot be stored.
        """
        second = fork(lambda: self._help(wanted)) if len(wanted) >= MANY else 0
        try:
            self._fetch(wanted)
        finally:
            if second:
                os.kill(second, signal.SIGKILL)
                os.waitpid(second, 0)

    def _help(self, wanted: Mapping[str, Entry]) -> None:
        """
        Begin at the other end, as another job would, and meet in the middle.
        """
        try:
            Contents(self._store, self._supply, lambda text: None)._fetch(dict(reversed(list(wanted.items()))))
        except Exception:
            pass  # the parent comes to what is left, and says what is wrong with it

    def _fetch(self, wanted: Mapping[str, Entry]) -> None:
        self._left = dict(wanted)
        self._files, self._bytes = len(wanted), sum(entry.size for entry in wanted.values())
        pool = ThreadPoolExecutor(THREADS)
        try:
            while self._left:
                self._supply.bring(self._claimed(), lambda entry, work: self._keep(pool, entry, work), self._count)
                while self._pending:
                    self._settle()
                if self._left:
                    time.sleep(LOOK)  # another job fetches those
        finally:
            pool.shutdown(cancel_futures=True)
            for hash, fd in self._claims.items():
                self._store.disclaim(hash)
                os.close(fd)

    def _claimed(self) -> Iterator[tuple[Entry, int]]:
        for hash, entry in list(self._left.items()):
            found = self._store.look(hash)
            if found is not None:
                check_size(found.st_size, entry)
                self._came += entry.size
                del self._left[hash]
                continue
            fd = self._store.claim(hash)
            if fd is not None:
                self._claims[hash] = fd
                yield entry, fd

    def _keep(self, pool: ThreadPoolExecutor, entry: Entry, work: Work) -> None:
        self._pending[pool.submit(self._finish, entry, work)] = entry
        if len(self._pending) >= BEHIND:
            self._settle()

    def _finish(self, entry: Entry, work: Work) -> None:
        path = work()
        if path is None:
            attributes.apply(self._claims[entry.hash], entry)
        self._store.publish(entry.hash, path)

    def _settle(self) -> None:
        """
        Wait for one at least.
        """
        done, _ = wait(self._pending, return_when=FIRST_COMPLETED)
        for future in done:
            entry = self._pending.pop(future)
            future.result()
            os.close(self._claims.pop(entry.hash))
            del self._left[entry.hash]

    def _count(self, size: int) -> None:
        self._came += size
        done = self._files - len(self._left)
        came, total = min(self._came, self._bytes) // MEGA, self._bytes // MEGA
        self._tell(f"contents: {done} of {self._files} files, {came} of {total} MB")
