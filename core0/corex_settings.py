"""
What a CoreX is told of itself.
"""

from collections.abc import Mapping

from msgspec import Struct


class Limits(Struct, frozen=True, kw_only=True):
    """
    Of a container: ``memory`` in bytes, ``cpu`` in cores, ``pids``; None where it has none.
    """

    memory: int | None = None
    cpu: float | None = None
    pids: int | None = None


NO_LIMITS = Limits()


class Settings(Struct, frozen=True, kw_only=True):
    """
    :ivar number: of the container.
    :ivar node: ``<gid>:<nid>`` of its host.
    :ivar user: its name and ``password`` at Redis.
    :ivar env: that every program gets.
    :ivar kill_grace: in seconds; ``stats_interval``, too.
    :ivar stream_buffer: in bytes; ``result_buffer``, too.
    :ivar levels: of output that is kept where a command does not say.
    """

    number: int
    node: str
    user: str
    password: str
    limits: Limits = NO_LIMITS
    env: Mapping[str, str] = {}
    max_jobs: int = 5000
    waiting: int = 50_000
    kill_grace: float = 5.0
    stream_buffer: int = 1 << 20
    result_buffer: int = 16 << 20
    stats_interval: float = 60.0
    levels: tuple[int, ...] = ()
