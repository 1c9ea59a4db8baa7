"""
Measuring in turns, and showing what came of it.
"""

from collections.abc import Callable
from dataclasses import dataclass
from statistics import median

RUNS = 5

Measure = Callable[[], float]


class Missing(Exception):
    """
    What a load needs is not there; the text names it.
    """


@dataclass(frozen=True, slots=True)
class Row:
    """
    ``figure`` and ``yardstick`` are one number a run; ``goal`` says what is to be reached, ``reached`` whether it is.
    """

    name: str
    unit: str
    figure: list[float]
    yardstick: list[float]
    goal: str
    reached: bool


def in_turns(measure: Measure, yardstick: Measure, runs: int = RUNS) -> tuple[list[float], list[float]]:
    """
    Both, one after the other, so often: what disturbs the machine disturbs both.
    """
    figures, yardsticks = [], []
    for _ in range(runs):
        yardsticks.append(yardstick())
        figures.append(measure())
    return figures, yardsticks


def spread(values: list[float]) -> str:
    """
    The median, and from where to where.
    """
    if not values:
        return ""
    if len(values) == 1:
        return number(values[0])
    return f"{number(median(values))} ({number(min(values))} to {number(max(values))})"


def number(value: float) -> str:
    """
    With as many digits as mean something.
    """
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def show(rows: list[Row]) -> str:
    """
    The table, as reStructuredText.
    """
    lines = [
        ".. list-table::",
        "   :header-rows: 1",
        "",
        *_line("load", "core0", "yardstick", "ratio", "to reach", "reached"),
    ]
    for row in rows:
        ratio = number(median(row.figure) / median(row.yardstick)) if row.yardstick else ""
        name = f"{row.name}, {row.unit}"
        lines += _line(name, spread(row.figure), spread(row.yardstick), ratio, row.goal, "yes" if row.reached else "NO")
    return "\n".join(lines) + "\n"


def _line(*cells: str) -> list[str]:
    first, *rest = cells
    return [f"   * - {first}", *(f"     - {cell}" for cell in rest)]
