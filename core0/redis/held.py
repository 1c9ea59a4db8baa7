"""
The unfinished commands that this process knows of: what a server is told again if it has forgotten it.
"""

from collections.abc import Iterable, Iterator

from msgspec.structs import replace

from core0.messages import Mark
from core0.values import Claim

LARGE = 64 << 10  # bytes of a payload
MAX_LARGE_BYTES = 64 << 20  # of all that are large; jobs let go of theirs, so nothing else bounds them


class Held:
    """
    From the moment that a command is claimed until its answer is on its way. Of large payloads only so many are kept:
    an entry without one is not put back, its claim and its result are.
    """

    def __init__(self, most: int = MAX_LARGE_BYTES) -> None:
        self._most = most
        self._large = 0
        self._claims: dict[int, Claim] = {}
        self._by_id: dict[str, int] = {}
        self.marks: dict[int, Mark] = {}

    def __iter__(self) -> Iterator[Claim]:
        return iter(list(self._claims.values()))

    def __bool__(self) -> bool:
        return bool(self._claims)

    def add(self, claims: Iterable[Claim]) -> None:
        """
        These are about to be claimed.
        """
        for claim in claims:
            before = self._claims.get(claim.seq)
            if before is not None:
                self._large -= _large(before)
            size = _large(claim)
            if size and self._large + size > self._most:
                claim, size = replace(claim, payload=b""), 0
            self._large += size
            self._claims[claim.seq] = claim

    def grant(self, claim: Claim) -> None:
        """
        It is the one that its id stands for.
        """
        if claim.seq in self._claims:
            self._by_id[claim.id] = claim.seq

    def granted(self, claim: Claim) -> bool:
        """
        Whether its id is known to stand for it.
        """
        return self._by_id.get(claim.id) == claim.seq

    def mark(self, seq: int, mark: Mark) -> None:
        """
        Remember a mark, if its entry is held.
        """
        if seq in self._claims:
            self.marks[seq] = mark

    def remove(self, seq: int) -> None:
        """
        It is answered, or none of ours.
        """
        self.marks.pop(seq, None)
        claim = self._claims.pop(seq, None)
        if claim is None:
            return
        self._large -= _large(claim)
        if self._by_id.get(claim.id) == seq:
            del self._by_id[claim.id]

    def of_id(self, id: str) -> Claim | None:
        """
        The one that an id stands for.
        """
        seq = self._by_id.get(id)
        return None if seq is None else self._claims[seq]

    @property
    def highest(self) -> int:
        """
        The highest number of any; 0 if there is none.
        """
        return max(self._claims, default=0)


def _large(claim: Claim) -> int:
    """
    Bytes of its payload; 0 if it is not large.
    """
    return len(claim.payload) if len(claim.payload) > LARGE else 0
