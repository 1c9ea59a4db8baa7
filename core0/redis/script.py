"""
The server-side scripts: short, each one step of what core0 promises never to leave half done.
"""

from dataclasses import dataclass
from hashlib import sha1
from importlib.resources import files


@dataclass(frozen=True, slots=True)
class Script:
    """
    A script, and the name that the server knows it by once it is loaded.
    """

    text: str
    sha: str


def _read(name: str, shared: str = "") -> Script:
    """
    :param shared: what the script has in common with others: stands before it, but after a line that Lua does not read.
    """
    text = _text(name)
    end = text.index("\n") + 1 if text.startswith("#!") else 0
    text = text[:end] + (_text(shared) if shared else "") + text[end:]
    return Script(text, sha1(text.encode(), usedforsecurity=False).hexdigest())


def _text(name: str) -> str:
    return (files("core0.redis") / "scripts" / f"{name}.lua").read_text(encoding="utf-8")


TAKE = _read("take", "taking")
URGENT = _read("urgent", "taking")
REREAD = _read("reread")
CLAIM = _read("claim", "ids")
FINISH = _read("finish")
MARK = _read("mark")
RESTORE = _read("restore", "ids")
LEASE = _read("lease")
SAMPLE = _read("sample")
RECEIVE = _read("receive")  # on the local server only
SCRIPTS = (TAKE, URGENT, REREAD, CLAIM, FINISH, MARK, RESTORE, LEASE, SAMPLE)
