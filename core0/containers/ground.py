"""
What a root file system must be before a runtime may touch it.
"""

import os
import stat
from typing import Any

import msgspec

KERNELS = ("dev", "proc", "sys")  # folders of the root that the kernel's file systems are mounted on
_SUFFIX = "/ns/mnt"
_decode = msgspec.json.Decoder(dict[str, Any]).decode


def check(bundle: str, mount_namespace: str | None) -> None:
    """
    Refuse an image whose ``/dev`` is a symlink: runc 1.1 follows it, and makes devices and links on the host, wherever
    it leads to. ``/proc`` and ``/sys`` are the same question, which runtimes answer themselves. Those that are missing
    are made by the runtime.

    It reads files; so not in the reactor's thread.

    :param bundle: the folder of its ``config.json``.
    :param mount_namespace: in which its root is: ``/proc/<pid>/ns/mnt``; None: that of this process.
    :raises ValueError: it is no folder; says which.
    :raises OSError: the bundle cannot be read.
    """
    with open(os.path.join(bundle, "config.json"), "rb") as file:
        root = _decode(file.read())["root"]["path"]
    if mount_namespace is not None:
        if not mount_namespace.endswith(_SUFFIX):
            raise ValueError(f"expected /proc/<pid>{_SUFFIX}, got {mount_namespace!r}")
        root = f"{mount_namespace.removesuffix(_SUFFIX)}/root{root}"
    for name in KERNELS:
        try:
            mode = os.lstat(os.path.join(root, name)).st_mode
        except FileNotFoundError:
            continue
        if not stat.S_ISDIR(mode):
            raise ValueError(f"/{name} of the image is no folder; make it one, or leave it out")
