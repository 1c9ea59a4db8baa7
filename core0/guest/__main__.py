"""
The zygote: a process that has imported everything and forks a guest of each container.

It reads a line of JSON a request from its standard input, ends at the end of that, and answers on its standard output,
a line each. It holds no secret, no connection and no reactor. What a guest is told goes past it: the guest opens a pipe
of core0's through ``/proc``.
"""

import os
import sys


def _go_read_only(program: str) -> None:
    """
    Run this program again from a mount that cannot be written to, in a mount namespace of its own: whoever in a
    container ever gets hold of ``/proc/<pid>/exe`` of a guest can read it at most.
    """
    from core0.containers import kernel

    kernel.unshare(kernel.CLONE_NEWNS)
    # later mounts of the host are seen, none of these are seen there
    kernel.mount("", "/", flags=kernel.MS_REC | kernel.MS_SLAVE)
    tree = kernel.clone_tree(program, recursive=False)
    kernel.set_attributes(tree, kernel.MOUNT_ATTR_RDONLY, recursive=False)
    kernel.attach(tree, program)
    os.close(tree)
    # under the name of before, by which it finds its packages
    os.execv(program, [sys.executable, *sys.orig_argv[1:], "again"])


def main() -> None:
    """
    Begin.
    """
    if sys.argv[-1] != "again":
        _go_read_only(os.path.realpath(sys.executable))
    from core0.guest import preload, zygote

    preload.preload()
    preload.seal()
    zygote.serve()


if __name__ == "__main__":
    main()
