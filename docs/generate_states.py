"""
The phases of a job, as reStructuredText, made from the table that the program goes by.

``python docs/generate_states.py`` prints it.
"""

from collections.abc import Iterator

from core0.jobs.job import LIVE, NEXT, Phase

MEANING = {
    Phase.WAITING: "for its turn in its queue, or for room among the live ones",
    Phase.STARTING: "its start is being noted in Redis",
    Phase.RUNNING: "it has a process, or runs code",
    Phase.RETRYING: "it failed and waits to run again; it keeps the turn of its queue",
    Phase.SLEEPING: "it waits for its next period; it has left its queue",
    Phase.DONE: "its result is on the way",
}
_ARROW = " --> "


def generate() -> str:
    """
    A diagram in a literal block: one line a step, then one line a phase with what it means.
    """
    return "\n".join((".. code-block:: text", "", *(f"    {line}".rstrip() for line in _lines()), ""))


def _lines() -> Iterator[str]:
    order = list(Phase)
    width = max(map(len, order))
    for phase in order:
        following = [each for each in order if each in NEXT[phase]]
        for place, each in enumerate(following):
            yield f"{'' if place else phase:{width}}{_ARROW}{each}"
    yield ""
    for phase in order:
        yield f"{phase:{width}}  {MEANING[phase]}{' (live)' if phase in LIVE else ''}"


if __name__ == "__main__":
    print(generate())
