"""
The command ``file.checksum``: an example of a command that comes from a package of its own.
"""

import hashlib
from typing import Literal

from msgspec import Struct
from zope.interface import implementer

from core0.errors import Refusal
from core0.interfaces import BaseCommand, IAgent, ICommand, IJob
from core0.messages import Outcome, answer


class ChecksumArguments(Struct, frozen=True):
    """
    ``path``: of the file. ``algorithm``: which digest.
    """

    path: str
    algorithm: Literal["sha256", "md5"] = "sha256"


@implementer(ICommand)
class Checksum(BaseCommand):
    """
    The digest of a file's content, in hexadecimal digits.
    """

    name = "file.checksum"
    agent = IAgent
    arguments = ChecksumArguments
    repeatable = True

    def __init__(self, agent: IAgent) -> None:
        self._agent = agent

    async def run(self, job: IJob) -> Outcome:
        """
        Read the file in a thread: a large one takes its time.
        """
        given: ChecksumArguments = job.arguments
        return answer(await self._agent.in_thread(checksum, given.path, given.algorithm))


def checksum(path: str, algorithm: str) -> str:
    """
    :raises Refusal: the file is not there, or cannot be read.
    """
    try:
        with open(path, "rb") as file:
            return hashlib.file_digest(file, algorithm).hexdigest()
    except FileNotFoundError as error:
        raise Refusal(404, f"cannot read {path!r}: no such file") from error
    except (OSError, ValueError) as error:
        raise Refusal(400, f"cannot read {path!r}: {error}") from error
