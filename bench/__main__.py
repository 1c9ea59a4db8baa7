"""
``python -m bench [NAME…]``: measure all, or what is named, and print a table.
"""

import platform
import sys
import time

from bench import containers, images, network, running, taking
from bench.table import Missing, show

LOADS = {
    "pipelined": taking.pipelined,
    "single": taking.single,
    "starting": taking.starting,
    "programs": running.programs,
    "printing": running.printing,
    "memory": running.memory,
    "crowd": running.crowd,
    "containers": containers.containers,
    "terminating": containers.terminating,
    "corex_memory": containers.corex_memory,
    "many": containers.many,
    "inside": containers.inside,
    "layout": images.layout,
    "bridges": network.bridges,
    "connecting": network.connecting,
    "streams": network.streams,
    "forwards": network.forwards,
}


def main(names: list[str]) -> int:
    """
    :returns: the exit status: 0 if everything could be measured and every goal is reached.
    """
    unknown = [name for name in names if name not in LOADS]
    if unknown:
        sys.stderr.write(f"bench: unknown {', '.join(unknown)}; there are {', '.join(LOADS)}\n")
        return 2
    rows, complete = [], True
    for name in names or LOADS:
        sys.stderr.write(f"measuring {name}\n")
        try:
            rows += LOADS[name]()
        except Missing as error:
            sys.stderr.write(f"bench: {name} cannot be measured; missing: {error}\n")
            complete = False
    print(f"Linux {platform.release()}, Python {platform.python_version()}, {time.strftime('%Y-%m-%d')}\n")
    print(show(rows))
    return 0 if complete and all(row.reached for row in rows) else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
