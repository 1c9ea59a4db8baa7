"""
Making containers, commanding them, ending them.
"""

import json
import time
from pathlib import Path
from statistics import mean, median

from bench.host import collect, push, timed
from bench.table import RUNS, Row, in_turns
from bench.taking import names
from bench.tenants import Tenants, tenants

MANY = 20  # containers
PINGS, PROGRAMS = 2000, 500
SLOWER, ENDING = 40, 60  # ms that core0 may add to what the runtime takes
IDLE = 2.0  # seconds without anything to do, before memory is looked at


def containers() -> list[Row]:
    """
    From nothing to the first answer from inside. The root file system is laid out, and everything has been used before.
    """
    with tenants() as house, house.bare() as bare:

        def core0() -> float:
            house.rest()
            elapsed = timed()
            number = house.create()
            house.answer(house.ping(number))
            seconds: float = elapsed()
            house.terminate(number)
            return 1000 * seconds

        def yardstick() -> float:
            house.rest()
            seconds = bare.run(0)
            bare.delete(0)
            return 1000 * seconds

        figures, yardsticks = in_turns(core0, yardstick)
    reached = median(figures) <= median(yardsticks) + SLOWER
    name = f"corex.create to the first ping answered inside ({bare.name})"
    return [Row(name, "ms", figures, yardsticks, f"≤ it + {SLOWER} ms", reached)]


def terminating() -> list[Row]:
    """
    The end of an idle container. Afterwards nothing of any of them is left.
    """
    with tenants() as house, house.bare() as bare:

        def core0() -> float:
            number = house.create()
            house.rest()
            elapsed = timed()
            house.terminate(number)
            seconds: float = elapsed()
            return 1000 * seconds

        def yardstick() -> float:
            bare.run(0)
            house.rest()
            return 1000 * bare.delete(0)

        figures, yardsticks = in_turns(core0, yardstick)
        left = house.traces.left(redis=False)
    reached = median(figures) <= median(yardsticks) + ENDING and not left
    goal = f"≤ it + {ENDING} ms, nothing left"
    return [Row(f"corex.terminate ({bare.name})", "ms", figures, yardsticks, goal, reached)]


def corex_memory() -> list[Row]:
    """
    What an idle CoreX takes while there are many: its share of the memory that it has in common with others, and its
    own.
    """
    figures = []
    with tenants() as house:
        for _ in range(RUNS):
            numbers = [house.answer(id)[1] for id in [house.ask_for_one() for _ in range(MANY)]]
            time.sleep(IDLE)
            figures.append(mean(pss(corex(house, number)) for number in numbers) / 1e6)
            house.terminate(*numbers)
    return [Row(f"PSS of an idle CoreX, {MANY} alive", "MB", figures, [], "≤ 6 MB", median(figures) <= 6)]


def corex(house: Tenants, number: int) -> int:
    """
    The pid of the CoreX of a container.
    """
    return int(json.loads((house.place(number) / "container.json").read_bytes())["corex"]["pid"])


def pss(pid: int) -> int:
    """
    Bytes of a process, in which each page counts by the number of those that share it.
    """
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
        if line.startswith("Pss:"):
            return int(line.split()[1]) * 1024
    raise AssertionError(f"the kernel does not say how large {pid} is")


def many() -> list[Row]:
    """
    Many at once, each commanded as soon as it is there; beside the runtime, one after another.
    """
    with tenants() as house, house.bare(MANY) as bare:

        def core0() -> float:
            house.rest()
            elapsed = timed()
            asked = {house.ask_for_one() for _ in range(MANY)}
            numbers, pings = [], set()
            while asked:
                id, number = house.answer(*asked)
                asked.remove(id)
                numbers.append(number)
                pings.add(house.ping(number))
            collect(house.client, list(pings))
            seconds: float = elapsed()
            house.terminate(*numbers)
            return seconds

        def yardstick() -> float:
            house.rest()
            seconds = sum(bare.run(number) for number in range(MANY))
            for number in range(MANY):
                bare.delete(number)
            return seconds

        figures, yardsticks = in_turns(core0, yardstick)
    reached = median(figures) <= 1.5 * median(yardsticks)
    name = f"{MANY} containers at once, all answering ({bare.name})"
    return [Row(name, "s", figures, yardsticks, "≤ 1.5 × it", reached)]


def inside() -> list[Row]:
    """
    Commands for one container, beside the same commands for its host. Both run the same program: busybox.
    """
    rows = []
    with tenants() as house:
        number = house.create()
        true = {"name": f"{house.image.folder}/bin/true"}
        for count, command, here, there, what, goal in (
            (PINGS, "core.ping", {}, {}, "core.ping, pipelined", 0.5),
            (PROGRAMS, "core.system", true, {"name": "/bin/true"}, "/bin/true", 0.8),
        ):

            def dispatched(count: int = count, command: str = command, arguments: dict[str, str] = there) -> float:
                ids = names(count)
                elapsed = timed()
                house.dispatch(number, ids, command, arguments)
                collect(house.client, ids)
                seconds: float = elapsed()
                return count / seconds

            def on_host(count: int = count, command: str = command, arguments: dict[str, str] = here) -> float:
                ids = names(count)
                elapsed = timed()
                push(house.client, ids, command, arguments)
                collect(house.client, ids)
                seconds: float = elapsed()
                return count / seconds

            figures, yardsticks = in_turns(dispatched, on_host)
            reached = median(figures) >= goal * median(yardsticks)
            name = f"in a container: {count:,} {what}"
            rows.append(Row(name, "a second", figures, yardsticks, f"≥ {goal} of it", reached))
        house.terminate(number)
    return rows
