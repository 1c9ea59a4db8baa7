"""
The unfinished commands that this process knows of: what a server is told again if it has forgotten it.
"""

from collections.abc import Iterable, Iterator

from core0.messages import Mark
from core0.values import Claim


class Held:
    """
    From the moment that a command is claimed until its answer is on its way.
    """

    def __init__(self) -> None:
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
        if claim is not None and self._by_id.get(claim.id) == seq:
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
