"""
Ranges of user ids that are in use, from what /proc says.
"""

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from core0.containers.building import FIRST_ID, SLOTS, first_id
from core0.containers.id_ranges import slots_in
from core0.containers.rootfs import IDS

HOST = b"         0          0 4294967295\n"


class SlotsTests(SynchronousTestCase):
    """
    ``/proc/<pid>/uid_map``.
    """

    def test_containers(self) -> None:
        """
        A range counts once, however many processes have it; the host's own map does not.
        """
        maps = [b"         0  %d      65536\n" % first_id(slot) for slot in (0, 7, 7, SLOTS - 1)]
        self.assertEqual({0, 7, SLOTS - 1}, slots_in([HOST, *maps, b""]))

    def test_parts(self) -> None:
        """
        Parts of ranges count as the whole, and what is elsewhere does not count.
        """
        text = b"0 1000 1\n1 %d 1\n2 %d %d\n" % (first_id(3) + 5, first_id(10) - 1, 2)
        self.assertEqual({3, 9, 10}, slots_in([text]))
        self.assertEqual(set(), slots_in([b"0 %d 65536\n" % (FIRST_ID - IDS), b"0 %d 65536\n" % first_id(SLOTS)]))

    @given(st.lists(st.binary()))
    def test_anything(self, texts: list[bytes]) -> None:
        """
        No text is too odd.
        """
        self.assertLessEqual(slots_in(texts), set(range(SLOTS)))
