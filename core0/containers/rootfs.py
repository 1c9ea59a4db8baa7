"""
The root file system of one container, in a mount namespace of its own: an overlay on a shared, read-only root, and what
is to be bound into it.

Nothing of it is ever mounted where the host sees it: when the last process of the container is gone, so are the mounts.
Run by a process that is made for it (see :mod:`core0.guest`), as root.
"""

import os
import stat
from collections.abc import Sequence

from msgspec import Struct

from core0.containers import kernel
from core0.containers.ground import Places

PLACES = ("/dev/shm", "/mnt", "/media", "/srv", "/tmp", "/run")
IDS = 1 << 16  # of users, and of groups, of one container


class Bind(Struct, frozen=True):
    """
    Something of the host, staged as ``name`` for the runtime to bind into the container.

    :ivar source: a path in which nothing is a symlink.
    :ivar mapped: its owners are those that the host sees, by the ids of the container; else it belongs to the container
        already.
    """

    source: str
    name: str
    read_only: bool = False
    mapped: bool = True


class Setup(Struct, frozen=True, kw_only=True):
    """
    What to mount.

    :ivar stage: an empty place for it, see :func:`staging_place`.
    :ivar lower: the shared root.
    :ivar own: the container's folder with ``upper`` and ``work`` in it; what is written there has the host's ids.
    :ivar first_id: the host's uid and gid of the container's root; 0 without a user namespace.
    :ivar places: what has to be made in it for what is going to be mounted.
    :ivar hide: folders to cover with an empty one.
    """

    stage: str
    lower: str
    own: str
    first_id: int
    binds: list[Bind] = []
    places: Places = Places()
    hide: list[str] = []


def staging_place(avoid: Sequence[str]) -> str:
    """
    A folder that can be covered by a mount without hiding any of these paths.

    :raises OSError: there is none.
    """
    real = [os.path.realpath(path) + "/" for path in avoid]
    for place in PLACES:
        try:
            if stat.S_ISDIR(os.lstat(place).st_mode) and not any(path.startswith(place + "/") for path in real):
                return place
        except FileNotFoundError:
            continue
    raise OSError(f"none of the folders {', '.join(PLACES)} is free to mount containers in")


def prepare(setup: Setup) -> None:
    """
    Leave the host's mount namespace for one in which the root file system is at ``<stage>/root`` and each bind at
    ``<stage>/<name>``.

    :raises OSError: it cannot be done; with the end of this process everything is as before.
    """
    kernel.unshare(kernel.CLONE_NEWNS)
    # what the host mounts later shall not hold it up, and what is mounted here shall not show there
    kernel.mount("", "/", flags=kernel.MS_REC | kernel.MS_PRIVATE)
    mapped = user_namespace(setup.first_id) if setup.first_id else -1
    try:
        _mount(setup, mapped)
    finally:
        if mapped >= 0:
            os.close(mapped)


def _mount(setup: Setup, mapped: int) -> None:
    # before the stage covers anything
    lower = _mapped_tree(setup.lower, mapped)
    own = kernel.clone_tree(setup.own, recursive=False)
    trees = [(bind, _bound_tree(bind, mapped)) for bind in setup.binds]
    for folder in setup.hide:
        kernel.mount("none", folder, "tmpfs", options="size=64k")
    stage = setup.stage
    kernel.mount("core0", stage, "tmpfs", kernel.MS_NOSUID | kernel.MS_NODEV, "mode=0755,size=1m")
    for name, tree in (("lower", lower), ("own", own)):
        os.mkdir(f"{stage}/{name}")
        kernel.attach(tree, f"{stage}/{name}")
        os.close(tree)
    os.mkdir(f"{stage}/root")
    layers = f"lowerdir={stage}/lower,upperdir={stage}/own/upper,workdir={stage}/own/work"
    kernel.mount("core0", f"{stage}/root", "overlay", kernel.MS_NODEV, layers)
    _make_places(f"{stage}/root", setup.places, setup.first_id)
    for bind, tree in trees:
        _place(f"{stage}/{bind.name}", tree)
        kernel.attach(tree, f"{stage}/{bind.name}")
        os.close(tree)


def _make_places(root: str, places: Places, owner: int) -> None:
    """
    The runtime would make folders with a sticky bit, and not all of them.
    """
    for path in places.folders:
        os.close(_folder(root, path, owner))
    for path, mode in places.modes.items():
        folder, _, name = path.rpartition("/")
        fd = _folder(root, folder, owner)
        try:
            os.chmod(name, mode, dir_fd=fd)
        finally:
            os.close(fd)
    for path in (*places.files, *places.replaced):
        folder, _, name = path.rpartition("/")
        fd = _folder(root, folder, owner)
        try:
            if path in places.replaced:
                os.unlink(name, dir_fd=fd)
            file = os.open(name, os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o644, dir_fd=fd)
            os.fchown(file, owner, owner)
            os.fchmod(file, 0o644)
            os.close(file)
        finally:
            os.close(fd)


def _folder(root: str, path: str, owner: int) -> int:
    """
    A folder, made as far as it is missing.

    :returns: its descriptor.
    :raises OSError: something on the way is no folder.
    """
    fd = os.open(root, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        for name in filter(None, path.split("/")):
            try:
                os.mkdir(name, 0o755, dir_fd=fd)
                os.chown(name, owner, owner, dir_fd=fd)
                os.chmod(name, 0o755, dir_fd=fd)
            except FileExistsError:
                pass
            below = os.open(name, os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=fd)
            os.close(fd)
            fd = below
    except BaseException:
        os.close(fd)
        raise
    return fd


def _place(path: str, tree: int) -> None:
    """
    Something to attach a mount to, of the same kind.
    """
    if stat.S_ISDIR(os.fstat(tree).st_mode):
        os.mkdir(path)
    else:
        os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))


def _mapped_tree(path: str, mapped: int) -> int:
    tree = kernel.clone_tree(path, recursive=False)
    if mapped >= 0:
        try:
            kernel.set_attributes(tree, kernel.MOUNT_ATTR_IDMAP, user_namespace=mapped, recursive=False)
        except OSError as error:
            text = (
                f"the file system of {path} cannot map ids ({error.strerror}); put [core] state_dir on ext4, xfs, btrfs"
            )
            raise OSError(error.errno, text) from error
    return tree


def _bound_tree(bind: Bind, mapped: int) -> int:
    """
    With mapped ids where the file system can: elsewhere its files belong to nobody inside.
    """
    # who can write beside it may have put a symlink there since it was looked at
    found = kernel.find(bind.source)
    try:
        tree = kernel.clone_tree(found)
    finally:
        os.close(found)
    if mapped >= 0 and bind.mapped:
        _map_ids(tree, mapped)
    if bind.read_only:
        kernel.set_attributes(tree, kernel.MOUNT_ATTR_RDONLY)
    return tree


def _map_ids(tree: int, mapped: int) -> None:
    """
    Of all that is mounted in it; or, where one of these cannot, of its top alone.
    """
    for recursive in (True, False):
        try:
            kernel.set_attributes(tree, kernel.MOUNT_ATTR_IDMAP, user_namespace=mapped, recursive=recursive)
            return
        except OSError:
            continue


def user_namespace(first_id: int) -> int:
    """
    A user namespace that maps the ids of a container, for mounts.

    :returns: its descriptor; nobody is in it.
    """
    asked, ask = os.pipe()
    answered, answer = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            kernel.unshare(kernel.CLONE_NEWUSER)
            os.write(answer, b"y")
            os.close(ask)
            os.read(asked, 1)
        finally:
            os._exit(0)
    try:
        os.close(answer)
        if os.read(answered, 1) != b"y":
            raise OSError("user namespaces cannot be made: see user.max_user_namespaces in /proc/sys")
        for name in ("uid_map", "gid_map"):
            with open(f"/proc/{pid}/{name}", "w") as file:
                file.write(f"0 {first_id} {IDS}\n")
        return os.open(f"/proc/{pid}/ns/user", os.O_RDONLY | os.O_CLOEXEC)
    finally:
        for fd in (asked, ask, answered):
            os.close(fd)
        os.waitpid(pid, 0)
