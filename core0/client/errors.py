"""
What a client of core0 has to expect.
"""

from twisted.internet.defer import CancelledError

from core0.errors import Core0Error


class ServerError(Core0Error):
    """
    The Redis server of core0 cannot be reached, went away, or refuses; the text says what to do about it.
    """


class NoAnswer(Core0Error):
    """
    There was no result in time. The command may still run, and its result come later.

    :param taken_back: core0 had not taken it, and it was removed from its queue.
    """

    def __init__(self, text: str, *, taken_back: bool = False) -> None:
        super().__init__(text)
        self.taken_back = taken_back


class TakenBack(CancelledError):
    """
    Sending a command was cancelled when it was in its queue already; it was removed from there.
    """


class Rejected(Core0Error):
    """
    core0 cannot answer a command under its id, and there will be no result; the text is its reason.
    """
