"""
When an address is asked for again, whatever a DHCP server says about it.
"""

from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from core0.network.host_lease import lease_of
from core0.network.patient_dhcp import SOONEST, PatientLease

SECONDS = st.sampled_from([-1, 0, 1, 2, 3, -(2**31), 2**31 - 1]) | st.integers(-(2**31), 2**31 - 1)


class Given(PatientLease):
    """
    One that is not kept.
    """

    def dump(self) -> None:
        """
        Nowhere.
        """

    @classmethod
    def load(cls, interface: str) -> Any:
        """
        From nowhere.
        """


def lease(**options: int) -> Given:
    """
    One that is given now.
    """
    return Given(ack={"options": options}, interface="eth0", server_mac="")


class TimeTests(SynchronousTestCase):
    """
    Times of leases.
    """

    def about(self, expected: float, found: float | None) -> None:
        """
        It is this, but for the time that the test takes.
        """
        assert found is not None
        self.assertApproximates(expected, found, 0.5)

    def test_as_told(self) -> None:
        """
        Times that make sense are kept.
        """
        given = lease(lease_time=120, renewal_time=4, rebinding_time=5)
        self.about(4, given.renewal_in)
        self.about(5, given.rebinding_in)

    def test_senseless(self) -> None:
        """
        Times before the lease begins, or after it ends, are as if there were none.
        """
        for seconds in (0, -1, -7, 120, 500):
            given = lease(lease_time=120, renewal_time=seconds, rebinding_time=seconds)
            self.about(60, given.renewal_in)
            self.about(102, given.rebinding_in)

    def test_for_ever(self) -> None:
        """
        A lease for ever, or for longer than 68 years, is asked for again only if there is a time for it.
        """
        for seconds in (-1, -(2**31)):
            self.assertIsNone(lease(lease_time=seconds).renewal_in)
            self.assertIsNone(lease(lease_time=seconds, renewal_time=0, rebinding_time=-1).renewal_in)
            self.about(9, lease(lease_time=seconds, renewal_time=9, rebinding_time=-1).renewal_in)

    @given(SECONDS, st.dictionaries(st.sampled_from(["renewal_time", "rebinding_time"]), SECONDS))
    def test_anything(self, seconds: int, times: dict[str, int]) -> None:
        """
        It is never asked for again at once.
        """
        given = lease(lease_time=seconds, **times)
        for found in (given.renewal_in, given.rebinding_in):
            self.assertTrue(found is None or found >= SOONEST)

    def test_no_time(self) -> None:
        """
        An address for no time is none.
        """
        self.assertRaises(ValueError, lease_of, {"yiaddr": "10.0.0.5", "options": {"lease_time": 0}})
        for seconds in (-1, 1, 2**31 - 1):
            lease_of({"yiaddr": "10.0.0.5", "options": {"lease_time": seconds}})
