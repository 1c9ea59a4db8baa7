"""
Values that pass from one part of core0 to another.
"""

from msgspec import Struct

from core0.messages import Result


class Arguments(Struct, frozen=True, forbid_unknown_fields=True):
    """
    What a command takes, and nothing else.
    """


class NoArguments(Arguments, frozen=True):
    """
    The arguments of a command that takes none.
    """


class Entry(Struct, frozen=True):
    """
    A command as it was taken: ``seq`` is its number among those of this node, in µs since the epoch when it was taken.
    ``too_large``: the reason why it is refused unread; then the payload is only its beginning.
    """

    seq: int
    payload: bytes
    too_large: str = ""


class Final(Struct, frozen=True):
    """
    A result on its way out. ``digest`` is that of the content, empty for a command without an id. ``keep``: the job
    goes on (it recurs), so its entry stays, and the result lives for ``life`` seconds more. ``traces``: it may have
    statistics or live output, which expire like the result. ``seq`` 0: it was no client's.
    """

    seq: int
    id: str
    digest: str
    result: Result
    keep: bool = False
    life: float = 0.0
    traces: bool = False


class Claim(Struct, frozen=True):
    """
    The wish to run a command: never twice under one id. ``digest`` is empty for a command without an id: it is granted
    without asking. ``payload`` is its entry, to be put back if the server forgets it.
    """

    seq: int
    id: str
    digest: str
    payload: bytes = b""


class Usage(Struct, frozen=True):
    """
    What processes consume: ``cpu`` in % of one core since the last look, the rest in bytes.
    """

    cpu: float = 0.0
    rss: int = 0
    vms: int = 0
    swap: int = 0
    threads: int = 0
