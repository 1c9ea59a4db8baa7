"""
What is left of a container that nothing is known of any more: it is ended and removed by its number alone.
"""

import os
import time

from twisted.logger import Logger

from core0.containers import groups
from core0.containers.house import House
from core0.containers.steps import cgroups_of, runtime_id, zerotier_of
from core0.errors import Core0Error
from core0.images.removal import remove
from core0.waiting import to_the_end

GONE = 10.0  # seconds until what was killed has ended
LOOK = 0.05  # seconds between looks
_log = Logger()


class Remains:
    """
    Of one container.
    """

    def __init__(self, house: House, number: int) -> None:
        self._house = house
        self._number = number

    async def sweep(self) -> None:
        """
        Remove all of it; its folder goes last, so that the next core0 goes on with what could not be removed.
        """
        house, number = self._house, self._number
        try:
            await house.networks.detach(number, zerotier_of(house, number))
            await to_the_end(house.in_thread(self._end))
            await self._silence()
            await to_the_end(house.in_thread(house.shelf.remove, number))
        except (OSError, Core0Error) as error:
            text = "something is left of container {number}, which nothing is known of: {error}; see {place}"
            _log.error(text, number=number, error=error, place=house.shelf.place(number))
        else:
            text = "container {number}, which nothing is known of any more, was ended and removed"
            _log.error(text, number=number)

    def _end(self) -> None:
        """
        Its processes, its cgroups, and what runtimes know of it: whichever made it.
        """
        house, path = self._house, cgroups_of(self._house, self._number)
        deadline = time.monotonic() + GONE
        while not (groups.kill(path) and groups.remove(path)):
            if time.monotonic() >= deadline:
                raise Core0Error(f"processes in the cgroup {path} cannot be killed, they hang in the kernel")
            time.sleep(LOOK)
        groups.remove_empty(f"/{house.family}")
        for runtime in os.listdir(house.run) if os.path.isdir(house.run) else ():
            remove(os.path.join(house.run, runtime, runtime_id(house, self._number)))

    async def _silence(self) -> None:
        """
        What its CoreX has said goes, and nobody says more.
        """
        house, number = self._house, self._number
        await house.open()
        await house.users.dismiss(number)
        await house.channels.close(number)
