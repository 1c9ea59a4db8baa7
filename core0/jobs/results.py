"""
How much memory the results take that running programs print.
"""


class ResultBuffers:
    """
    :param largest: bytes of one result; what is larger is not kept.
    :param total: bytes of those of all jobs together.
    """

    __slots__ = ("_left", "largest")

    def __init__(self, largest: int, total: int) -> None:
        self.largest = largest
        self._left = max(total, 0)

    def take(self, size: int) -> bool:
        """
        Reserve so many bytes.

        :returns: whether there are as many.
        """
        if size > self._left:
            return False
        self._left -= size
        return True

    def give_back(self, size: int) -> None:
        """
        Free so many bytes.
        """
        self._left += size
