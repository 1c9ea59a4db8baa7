"""
Tests of a core0 whose clients use a Valkey of their own, where everything can be looked at.
"""

from typing import ClassVar

from tests.functional.shared import DaemonTestCase
from tests.valkey import ServedDaemon, Valkey


class ServedTestCase(DaemonTestCase):
    """
    Tests that share one core0 and its clients' Valkey.

    :cvar config: see :class:`tests.daemon.Daemon`.
    :cvar redis: keys of ``[redis]``.
    """

    redis: ClassVar[str] = ""
    valkey: ClassVar[Valkey]
    daemon: ClassVar[ServedDaemon]

    @classmethod
    def make_daemon(cls) -> ServedDaemon:
        """
        The daemon, not yet started.
        """
        return ServedDaemon(cls.valkey, cls.config, redis=cls.redis)

    @classmethod
    def setUpClass(cls) -> None:
        """
        Start both.
        """
        cls.valkey = Valkey().start()
        try:
            super().setUpClass()
        except BaseException:
            cls.valkey.close()
            raise

    @classmethod
    def tearDownClass(cls) -> None:
        """
        End both.
        """
        super().tearDownClass()
        cls.valkey.close()
