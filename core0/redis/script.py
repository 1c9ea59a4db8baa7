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


def _read(name: str) -> Script:
    text = (files("core0.redis") / "scripts" / f"{name}.lua").read_text(encoding="utf-8")
    return Script(text, sha1(text.encode(), usedforsecurity=False).hexdigest())


TAKE = _read("take")
URGENT = _read("urgent")
REREAD = _read("reread")
CLAIM = _read("claim")
FINISH = _read("finish")
MARK = _read("mark")
RESTORE = _read("restore")
LEASE = _read("lease")
SAMPLE = _read("sample")
RECEIVE = _read("receive")  # on the local server only
SCRIPTS = (TAKE, URGENT, REREAD, CLAIM, FINISH, MARK, RESTORE, LEASE, SAMPLE)
