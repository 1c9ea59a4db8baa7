"""
What the hashes of a node hold, as the server gives it. On a server of the clients' own they may have written there.
"""

from collections.abc import Iterable, Sequence

import msgspec

from core0.messages import Mark, decode_mark

LONGEST = 20  # digits of a number


def numbers(fields: Iterable[bytes]) -> list[int]:
    """
    The numbers of entries, in the order in which they were given. What is none is left alone.
    """
    return sorted(int(field) for field in fields if field.isdigit() and len(field) <= LONGEST)


def read_marks(words: Sequence[bytes]) -> dict[int, Mark]:
    """
    Marks by their numbers, of the answer to HGETALL. What cannot be read is none: its command had not been started.
    """
    found = {}
    for field, text in zip(words[::2], words[1::2], strict=True):
        for number in numbers([field]):
            try:
                found[number] = decode_mark(text)
            except (msgspec.DecodeError, UnicodeDecodeError):
                pass
    return found
