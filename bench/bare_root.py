"""
Keeps a mount namespace with the root file system of a container in it, made as core0 makes it.

Run as a program: ``python -m bench.bare_root SETUP``, where SETUP is a :class:`core0.containers.rootfs.Setup` in JSON.
It prints a line once everything is there, and keeps it until its input ends.
"""

import sys

import msgspec

from core0.containers import kernel
from core0.containers.rootfs import Setup, prepare

if __name__ == "__main__":
    setup = msgspec.json.decode(sys.argv[1], type=Setup)
    prepare(setup)
    for folder in setup.hide:
        # crun leaves a file there for each container: core0 has room for those of one
        kernel.mount("none", folder, "tmpfs")
    print("ready", flush=True)
    sys.stdin.read()
