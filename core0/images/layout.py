"""
Lays out a root file system from the contents in the store. No name in it is ever followed out of it.
"""

import errno
import fcntl
import os

from core0.images import attributes
from core0.images.entry import Entry, Kind
from core0.images.names import octets
from core0.images.sparse import extents
from core0.images.store import PREFIX, Store
from core0.images.tree import Tree

FICLONE = 0x40049409
BLOCK = 4096  # bytes: about what anything takes that shares nothing
PIECE = 1 << 30  # bytes that are copied at once
NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


class Layout:
    """
    :ivar size: bytes of what it does not share with the store, about.
    :ivar shared: the hashes of contents that it shares.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self._open: list[tuple[Entry, int]] = []
        self._clones = True
        self.size = 0
        self.shared: set[str] = set()

    def make(self, tree: Tree, path: str) -> None:
        """
        Lay it out; owners are numbers in it, and its contents in the store.

        Devices and sockets are left out: a container has devices of its own.

        :param path: of the root, which is made.
        :raises OSError: it cannot be; what there is of it then is left.
        """
        os.mkdir(path, 0o700)
        self._open.append((tree.entries[0], os.open(path, FOLDER)))
        try:
            for entry in tree.entries[1:]:
                parent, _, name = entry.path.rpartition("/")
                while self._open[-1][0].path != parent:
                    self._close()
                self._add(entry, octets(name), self._open[-1][1])
            while self._open:
                self._close()
        finally:
            for _, fd in self._open:
                os.close(fd)

    def _close(self) -> None:
        """
        All that is in the innermost directory is there: only now its time stays as it is.
        """
        entry, fd = self._open[-1]
        attributes.apply(fd, entry)
        self._open.pop()
        os.close(fd)

    def _add(self, entry: Entry, name: bytes, folder: int) -> None:
        self._store.room.take(BLOCK)
        if entry.kind is Kind.REGULAR:
            self._add_file(entry, name, folder)
            return
        if entry.kind is Kind.DIRECTORY:
            os.mkdir(name, 0o700, dir_fd=folder)
            self._open.append((entry, os.open(name, FOLDER, dir_fd=folder)))
        elif entry.kind is Kind.SYMLINK:
            os.symlink(octets(entry.target), name, dir_fd=folder)
            attributes.apply_by_name(name, folder, entry)
        elif entry.kind is Kind.FIFO:
            os.mkfifo(name, 0o600, dir_fd=folder)
            attributes.apply_by_name(name, folder, entry)
            os.chmod(name, entry.mode, dir_fd=folder)
        else:
            return
        self.size += BLOCK

    def _add_file(self, entry: Entry, name: bytes, folder: int) -> None:
        if not entry.size:
            fd = os.open(name, NEW, 0o600, dir_fd=folder)
            self._finish(fd, entry)
            return
        content = f"{entry.hash[:PREFIX]}/{entry.hash}"
        found = os.stat(content, dir_fd=self._store.contents_fd, follow_symlinks=False)
        if attributes.fits(found, entry) and self._link(content, name, folder):
            self.shared.add(entry.hash)
            return
        source = os.open(content, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=self._store.contents_fd)
        try:
            fd = os.open(name, NEW, 0o600, dir_fd=folder)
            try:
                size = self._copy(source, fd, entry.size)
            except BaseException:
                os.close(fd)
                raise
            self._finish(fd, entry, size)
        finally:
            os.close(source)

    def _finish(self, fd: int, entry: Entry, size: int = 0) -> None:
        try:
            attributes.apply(fd, entry)
        finally:
            os.close(fd)
        self.size += max(size, BLOCK)

    def _link(self, content: str, name: bytes, folder: int) -> bool:
        """
        Whether there was room for one more name of the file.
        """
        try:
            os.link(content, name, src_dir_fd=self._store.contents_fd, dst_dir_fd=folder, follow_symlinks=False)
        except OSError as error:
            # the kernel lets nobody but root link what is set-uid
            if error.errno in (errno.EMLINK, errno.EPERM):
                return False
            raise
        return True

    def _copy(self, source: int, target: int, size: int) -> int:
        """
        Have a content once more, with its holes.

        :returns: bytes of it that are not holes.
        """
        data = list(extents(source, size))
        taken = sum(length for _, length in data)
        if self._clones:
            try:
                fcntl.ioctl(target, FICLONE, source)
                return taken
            except OSError:
                self._clones = False
        for start, length in data:
            os.lseek(source, start, os.SEEK_SET)
            os.lseek(target, start, os.SEEK_SET)
            self._copy_next(source, target, length)
        os.ftruncate(target, size)
        return taken

    def _copy_next(self, source: int, target: int, left: int) -> None:
        while left:
            self._store.room.take(min(left, PIECE))
            count = _some(source, target, min(left, PIECE))
            if not count:
                raise OSError(errno.EIO, os.strerror(errno.EIO))
            left -= count


def _some(source: int, target: int, count: int) -> int:
    try:
        return os.copy_file_range(source, target, count)
    except OSError as error:
        if error.errno not in (errno.ENOSYS, errno.EXDEV, errno.EINVAL, errno.EOPNOTSUPP):
            raise
        return os.sendfile(target, source, None, count)
