"""
Which directories and files of the host may be mounted into a container.

All functions but the first look at the file system; they are called in a thread.
"""

import os
from collections.abc import Iterable, Iterator, Sequence

from core0.errors import Refusal
from core0.file_systems import FileSystems, Unanswered
from core0.messages import shown

FIELD = "arguments.mount"


async def answering(file_systems: FileSystems, sources: Sequence[str]) -> None:
    """
    Return once the file systems have answered that paths are on: one that hangs would keep a thread of all containers.

    :raises Refusal: 503, one does not answer.
    """
    if sources:
        try:
            await file_systems.check(sources)
        except Unanswered as error:
            raise Refusal(503, f"{FIELD}: {error}") from error


def resolved(source: str, private: Iterable[str]) -> str:
    """
    Where a path leads to: free of symlinks, so that what is checked is what is mounted.

    :param source: absolute.
    :param private: folders that no container may see; neither may it see what they lie in, nor what lies in them.
    :raises Refusal: 400, nothing is there, or it must not be mounted.
    """
    try:
        path = os.path.realpath(source, strict=True)
        os.path.isdir(f"{path}/.")  # what is mounted on demand is mounted for whoever goes in
        way = list(_way(path))
    except OSError as error:
        text = f"there is no {shown(source)} on the host ({error.strerror}); make it first"
        raise Refusal(400, f"{FIELD}: {text}") from error
    try:
        path.encode()
    except UnicodeEncodeError as error:
        raise Refusal(400, f"{FIELD}: {shown(source)} leads to a path that is not UTF-8; rename it") from error
    for place in private:
        # compared by what they are, not by name: one may be mounted elsewhere, too
        own = list(_way(os.path.realpath(place)))
        if way[0] in own or (os.path.exists(place) and own[0] in way):
            text = f"{shown(source)} holds or is in {place}, which no container may see: expected another directory"
            raise Refusal(400, f"{FIELD}: {text}, or a privileged container")
    return path


def _way(path: str) -> Iterator[tuple[int, int]]:
    """
    Device and inode of a path and of all that it is in, up to the root; what does not exist is left out.
    """
    while True:
        try:
            found = os.stat(path)
            yield found.st_dev, found.st_ino
        except FileNotFoundError:
            pass
        if path == "/":
            return
        path = os.path.dirname(path)
