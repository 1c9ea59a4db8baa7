"""
What a container shall be, as a client asked for it.
"""

from collections.abc import Mapping, Sequence

from msgspec import Struct

from core0.corex_settings import NO_LIMITS, Limits


class Mount(Struct, frozen=True):
    """
    A directory or file of the host, at an absolute path of the container.
    """

    source: str
    target: str
    read_only: bool = False


class Request(Struct, frozen=True, kw_only=True):
    """
    Checked, defaults filled in; what it names on the host may still not be there.

    :ivar storage: of the contents; empty: ``store/`` beside the plist.
    :ivar hostname: empty for ``corex-<n>``.
    """

    plist: str
    storage: str = ""
    hostname: str = ""
    env: Mapping[str, str] = {}
    mounts: Sequence[Mount] = ()
    limits: Limits = NO_LIMITS
    privileged: bool = False
    host_network: bool = False

    def name(self, number: int) -> str:
        """
        The hostname of container ``number``.
        """
        return self.hostname or f"corex-{number}"
