"""
The errors that somebody catches; everything else is a bug and is reported as one.
"""


class Core0Error(Exception):
    """
    Base of all errors that core0 raises on purpose; the text is for the user.
    """


class ConfigError(Core0Error):
    """
    A configuration file cannot be used; the text names file, key, what was there and what is expected.
    """


class AlreadyRunning(Core0Error):
    """
    Another core0 holds this state directory.
    """


class ServerFailed(Core0Error):
    """
    The embedded Redis server cannot be started.
    """


class Refusal(Core0Error):
    """
    core0 cannot or will not do what a command asks for.

    :param code: HTTP-like: 400 bad arguments, 404 unknown, 409 in the way, 500 core0's fault, 503 something is missing.
        126 and 127 as a shell has them: not executable, not found.
    :param text: what cannot be done, why, and what to do about it.
    """

    def __init__(self, code: int, text: str) -> None:
        super().__init__(text)
        self.code = code


class NoThread(Refusal):
    """
    What may block cannot be done, for want of a thread: there are as many processes as there may be.
    """

    def __init__(self) -> None:
        super().__init__(503, "cannot be done now: no thread can be started; end some processes, or raise the limit")


class Undecodable(Core0Error):
    """
    A payload is not a command.

    :param id: the id that it carries nevertheless, so that its sender can be answered; else None.
    """

    def __init__(self, text: str, id: str | None = None) -> None:
        super().__init__(text)
        self.id = id
