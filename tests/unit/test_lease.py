"""
What is said of who holds a node's address.
"""

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from core0.redis.lease import Lease


class WhyTests(SynchronousTestCase):
    """
    Others may have written anything there.
    """

    def test_odd_holders(self) -> None:
        """
        A holder that is none is shown as it is, however deeply it is nested.
        """
        lease = Lease(Clock(), "1:7", "0" * 32)
        for odd in ("x", "{}", '{"x": ' + "[" * 5000 + "]" * 5000 + "}", '{"since": 1e400}'):
            self.assertIn("1:7 is held by", lease.why(f"HELD {'1' * 32}{odd}"))
            self.assertIn("whatever that is", lease.why(f"HELD {'1' * 32}{odd}"))
