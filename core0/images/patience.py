"""
How long servers are waited for.
"""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Patience:
    """
    With servers.

    :ivar connect: seconds until there is a connection.
    :ivar slow: whole seconds for which a transfer may stand still.
    :ivar tries: for each file.
    :ivar wait: seconds before the second try; twice as many before each further one.
    """

    connect: float = 10.0
    slow: int = 30
    tries: int = 5
    wait: float = 0.2
