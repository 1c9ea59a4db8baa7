"""
Python's collector of garbage, in a process that serves.
"""

import gc

YOUNG = 10_000  # new objects after which it looks for cycles among them; of itself it takes 700


def leave_alone() -> None:
    """
    Spare it what is there by now, which stays, and thousands of commands that wait, which are no garbage: looking
    through all that again and again takes a tenth of the time that commands take.
    """
    gc.freeze()
    gc.set_threshold(YOUNG)
