"""
How long one waits: for servers, and for work.
"""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Patience:
    """
    With servers, and with a worker.

    :ivar connect: seconds until there is a connection.
    :ivar slow: whole seconds for which a transfer may stand still.
    :ivar plist: seconds until a plist is here, with all tries.
    :ivar contents: seconds until all contents of an image are here, or an archive is.
    :ivar tries: for each file.
    :ivar wait: seconds before the second try; twice as many before each further one.
    :ivar idle: seconds without work after which a worker ends.
    """

    connect: float = 10.0
    slow: int = 30
    plist: float = 600.0
    contents: float = 21_600.0
    tries: int = 5
    wait: float = 0.2
    idle: float = 60.0
