"""
The end of a stream of any length.
"""


class Tail:
    """
    Keeps the last ``limit`` bytes of what is appended.

    It takes little until something is appended, then grows with it up to ``limit`` bytes; each byte is copied once
    however small the pieces are.
    """

    __slots__ = ("_limit", "_ring", "_total")

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._total = 0
        self._ring: bytearray | None = None

    def __len__(self) -> int:
        return min(self._total, self._limit)

    @property
    def total(self) -> int:
        """
        How many bytes were appended.
        """
        return self._total

    @property
    def dropped(self) -> int:
        """
        How many bytes came before those that are kept.
        """
        return max(self._total - self._limit, 0)

    def append(self, data: bytes) -> None:
        """
        Add to the end.
        """
        skipped = len(data) - self._limit
        if skipped > 0:
            self._total += skipped
            data = data[skipped:]
        if not data:
            return
        # A bytearray that grows by little reserves an eighth more than it needs: the last step is a large one.
        if self._total + len(data) <= self._limit * 3 // 4:
            self._ring = self._ring or bytearray()
            self._ring += data
        else:
            self._overwrite(data)
        self._total += len(data)

    def _overwrite(self, data: bytes) -> None:
        if self._ring is None:
            self._ring = bytearray(self._limit)
        ring = self._ring
        if len(ring) < self._limit:
            ring += bytes(self._limit - len(ring))
        at = self._total % self._limit
        fits = self._limit - at
        # By views, because a bytearray copies what is assigned to a part of it once more.
        old = memoryview(ring)
        if len(data) <= fits:
            old[at : at + len(data)] = data
        else:
            new = memoryview(data)
            old[at:] = new[:fits]
            old[: len(data) - fits] = new[fits:]

    def getvalue(self) -> bytes:
        """
        What is kept, oldest first.
        """
        if self._ring is None:
            return b""
        with memoryview(self._ring) as ring:
            if self._total <= self._limit:
                return bytes(ring[: self._total])
            at = self._total % self._limit
            return b"".join((ring[at:], ring[:at]))
