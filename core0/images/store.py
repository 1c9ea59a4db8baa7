"""
What images are made of, on the disk of this host: contents by their hashes, and root file systems laid out from them.
"""

import errno
import fcntl
import json
import os
import uuid
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from core0.images.journal import Journal
from core0.images.removal import remove
from core0.images.room import Room

FOLDER = "images"  # of all this, below the state directory of core0
HOLDERS, HOLD = "../containers", "root"  # from the folder of all this: folders with symlinks to roots that are in use
NO_LINK = frozenset({errno.ENOENT, errno.ENOTDIR, errno.EINVAL})  # it went away, or never was one
CONTENTS, ROOTS, PLISTS, TEMPORARY, PENDING = FOLDERS = ("store", "roots", "plists", "tmp", "pending")
FILES = "fs"  # the root file system itself, in the folder of a root
META, NAMES = "meta.json", "contents"  # beside it: sizes; the hashes of what it is made of
PREFIX = 2  # digits of a hash that name a folder
LOOK = 0.02  # seconds between looks whether another job is ready


class Store:
    """
    :param folder: absolute; it is made, for its owner only. All of it is on one file system.
    :ivar journal: what may be lost with the power.
    :ivar room: for more.
    """

    def __init__(self, folder: str) -> None:
        self.folder = folder
        self.contents_fd = self._make_folders()
        self.journal = Journal(os.path.join(folder, PENDING))
        self.room = Room(folder)

    def _make_folders(self) -> int:
        """
        :returns: a descriptor of that of contents.
        """
        for name in FOLDERS:
            os.makedirs(os.path.join(self.folder, name), mode=0o700, exist_ok=True)
        os.chmod(self.folder, 0o700)
        for number in range(16**PREFIX):
            path = os.path.join(self.folder, CONTENTS, f"{number:0{PREFIX}x}")
            if not os.path.isdir(path):
                os.makedirs(path, mode=0o700, exist_ok=True)
        return os.open(os.path.join(self.folder, CONTENTS), os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)

    def _ensure_folders(self) -> None:
        """
        Make them anew if they were removed.
        """
        contents = os.path.join(self.folder, CONTENTS)
        try:
            if (
                len(os.listdir(contents)) >= 16**PREFIX
                and os.path.samestat(os.stat(contents), os.fstat(self.contents_fd))
                and all(os.path.isdir(os.path.join(self.folder, name)) for name in FOLDERS)
            ):
                return
        except FileNotFoundError:
            pass
        fd = self._make_folders()
        os.dup2(fd, self.contents_fd, inheritable=False)
        os.close(fd)

    def close(self) -> None:
        """
        It is not used any more.
        """
        os.close(self.contents_fd)

    @contextmanager
    def lock(self, *, alone: bool = False, wait: bool = True) -> Iterator[bool]:
        """
        Keep others from removing what is there; alone: from adding to it, too.

        :returns: false, without ``wait``: others have it.
        """
        self._ensure_folders()
        with _flock(os.path.join(self.folder, "lock"), fcntl.LOCK_EX if alone else fcntl.LOCK_SH, wait) as mine:
            yield mine

    @contextmanager
    def only_one(self, digest: str) -> Iterator[None]:
        """
        Nobody else lays out this root meanwhile.
        """
        path = os.path.join(self.folder, TEMPORARY, f"{digest}.lock")
        with _flock(path, fcntl.LOCK_EX, True):
            yield

    def temporary(self, name: str) -> str:
        """
        A path of what is not ready yet. The next start of the worker removes what is left there.
        """
        return os.path.join(self.folder, TEMPORARY, f"{name}.{uuid.uuid4().hex}")

    # contents

    def content(self, hash: str) -> str:
        """
        The path of a content, whether it is there or not.
        """
        return os.path.join(self.folder, CONTENTS, hash[:PREFIX], hash)

    def look(self, hash: str) -> os.stat_result | None:
        """
        What is known of a content; None if it is not there.
        """
        try:
            return os.stat(f"{hash[:PREFIX]}/{hash}", dir_fd=self.contents_fd, follow_symlinks=False)
        except FileNotFoundError:
            return None

    def claim(self, hash: str) -> int | None:
        """
        Say that one fetches a content. The claim ends with the process, or when the descriptor is closed.

        :returns: an empty file; None if it is there by now, or another job fetches it.
        """
        path = os.path.join(self.folder, TEMPORARY, hash)
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            # its last owner may have moved it away, or removed it, since it was opened
            found = os.fstat(fd)
            if os.path.samestat(found, os.stat(path)) and self.look(hash) is None:
                if found.st_size:  # ext4 writes at once what was truncated, even if it was empty
                    os.ftruncate(fd, 0)
                return fd
        except (BlockingIOError, FileNotFoundError):
            pass
        except BaseException:
            os.close(fd)
            raise
        os.close(fd)
        return None

    def publish(self, hash: str, path: str | None = None) -> None:
        """
        A claimed content is complete.

        :param path: where it is, if not in the file of the claim.
        """
        claimed = os.path.join(self.folder, TEMPORARY, hash)
        os.rename(path or claimed, self.content(hash))
        if path:
            os.unlink(claimed)

    def disclaim(self, hash: str) -> None:
        """
        A claimed content will not come.
        """
        try:
            os.unlink(os.path.join(self.folder, TEMPORARY, hash))
        except FileNotFoundError:
            pass

    # roots

    def root(self, digest: str) -> str:
        """
        The path of a root file system, whether it is there or not.
        """
        return os.path.join(self.folder, ROOTS, digest, FILES)

    def has_root(self, digest: str) -> bool:
        """
        Whether it is laid out; it counts as used now.
        """
        try:
            os.utime(os.path.join(self.folder, ROOTS, digest, META))
        except FileNotFoundError:
            return False
        return True

    def publish_root(self, digest: str, path: str, hashes: Iterable[str], size: int) -> None:
        """
        A root is laid out.

        :param path: of a folder with the root file system as ``fs``.
        :param hashes: of the contents that it shares.
        :param size: bytes of what it does not share.
        """
        with open(os.path.join(path, NAMES), "w", encoding="ascii") as file:
            file.writelines(f"{hash}\n" for hash in hashes)
        with open(os.path.join(path, META), "w", encoding="ascii") as file:
            json.dump({"bytes": size}, file)
        os.rename(path, os.path.join(self.folder, ROOTS, digest))

    def hold(self, digest: str, hold: str) -> None:
        """
        Have a symlink point to a root: it is in use for as long as that is there.

        :raises OSError: it cannot be made.
        """
        new = f"{hold}.{uuid.uuid4().hex}"
        os.symlink(os.path.dirname(self.root(digest)), new)
        os.replace(new, hold)

    def held(self) -> set[str]:
        """
        The digests of the roots that are in use.

        :raises OSError: that cannot be known now.
        """
        found: set[str] = set()
        folder = os.path.join(self.folder, HOLDERS)
        try:
            holders = os.listdir(folder)
        except FileNotFoundError:
            return found
        for holder in holders:
            try:
                found.add(os.path.basename(os.readlink(os.path.join(folder, holder, HOLD))))
            except OSError as error:
                if error.errno not in NO_LINK:
                    raise
        return found

    def roots(self) -> Sequence[str]:
        """
        The digests of all roots, that which was used last at the end.
        """

        def used(digest: str) -> float:
            try:
                return os.stat(os.path.join(self.folder, ROOTS, digest, META)).st_mtime
            except OSError:
                return 0.0

        return sorted(os.listdir(os.path.join(self.folder, ROOTS)), key=used)

    def meta(self, digest: str) -> dict[str, Any]:
        """
        What was noted of a root.
        """
        try:
            with open(os.path.join(self.folder, ROOTS, digest, META), encoding="ascii") as file:
                found = json.load(file)
            return found if isinstance(found, dict) else {}
        except (OSError, ValueError):
            return {}

    def names(self, digest: str) -> set[str]:
        """
        The hashes of the contents that a root shares.

        :raises OSError: they cannot be read now; a root that has none noted shares none.
        """
        try:
            with open(os.path.join(self.folder, ROOTS, digest, NAMES), encoding="ascii") as file:
                return {line.rstrip("\n") for line in file}
        except FileNotFoundError:
            return set()

    # starting

    def recover(self) -> None:
        """
        Remove what killed jobs left, and what a power cut may have damaged. Call it when no job runs.
        """
        with self.lock(alone=True):
            contents, roots = self.journal.doubtful()
            for hash in contents:
                remove(self.content(hash))
            for digest in roots:
                remove(os.path.join(self.folder, ROOTS, digest))
            self.journal.forget_doubtful()
            folder = os.path.join(self.folder, TEMPORARY)
            for name in os.listdir(folder):
                remove(os.path.join(folder, name))


@contextmanager
def _flock(path: str, kind: int, wait: bool) -> Iterator[bool]:
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        try:
            fcntl.flock(fd, kind | (0 if wait else fcntl.LOCK_NB))
        except BlockingIOError:
            yield False
            return
        yield True
    finally:
        os.close(fd)
