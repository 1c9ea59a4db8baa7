"""
Has root file systems laid out as core0 does, and says how long that takes.

Run as a program: ``python -m bench.bare_images URL FOLDER``; FOLDER is empty. It prints the seconds of each call for
the same root as a JSON list: the first, for which nothing is there, and the others, for which everything is.
"""

import json
import os
import sys
from typing import Any

from twisted.internet import reactor as installed
from twisted.internet.defer import Deferred

from bench.host import timed
from core0.errors import Refusal
from core0.images.images import Images
from core0.images.store import FOLDER
from core0.reaper import Reaper
from core0.spawn import Surroundings

reactor: Any = installed
CALLS = 6
MOST = 10**12  # bytes: nothing has to be removed


async def lay_out(url: str, folder: str) -> None:
    """
    One call after another, each for a container of its own.
    """
    reaper = Reaper(reactor)
    reaper.install()
    images = Images(reactor, reaper, Surroundings.prepare(), os.path.join(folder, FOLDER), max_bytes=MOST)
    try:
        await _started(images, folder)
        seconds = []
        for number in range(CALLS):
            hold = _hold(folder, number)
            elapsed = timed()
            await images.root(url, "", hold, lambda text: None)
            seconds.append(elapsed())
        print(json.dumps(seconds))
    finally:
        await images.stop()


async def _started(images: Images, folder: str) -> None:
    """
    The process that does the work is there.
    """
    try:
        await images.root(os.path.join(folder, "missing.plist"), "", _hold(folder, -1), lambda text: None)
    except Refusal:
        pass


def _hold(folder: str, number: int) -> str:
    place = os.path.join(folder, "containers", str(number))
    os.makedirs(place)
    return os.path.join(place, "root")


async def main() -> None:
    """
    All of it, and the end of the reactor.
    """
    try:
        await lay_out(*sys.argv[1:])
    finally:
        reactor.stop()


if __name__ == "__main__":
    reactor.callWhenRunning(lambda: Deferred.fromCoroutine(main()).addErrback(lambda failure: failure.printTraceback()))
    reactor.run()
