"""
Where a plist, an archive or a store of contents is: an http(s) URL, or a path on this host.
"""

import posixpath
from dataclasses import dataclass, replace
from enum import StrEnum
from urllib.parse import SplitResult, quote, unquote, urlsplit

from core0.errors import Refusal
from core0.messages import shown

LONGEST = 8192  # characters of a URL
FIELD, STORAGE = "arguments.plist", "arguments.storage"  # what they are called where they come from
STORE = "store/"  # beside a plist: its contents
# of a URL's path, kept as they are: what RFC 3986 lets stand there, and what is encoded already
_STANDING = "%/:@!$&'()*+,;=-._~"
EXPECTED = "expected an http, https or file URL, or an absolute path"


class Packing(StrEnum):
    """
    What a name says that is in a file; the value is its ending.
    """

    PLAIN = ""
    GZIP = ".gz"
    ZSTD = ".zst"
    TAR = ".tar"
    TAR_GZIP = ".tar.gz"
    TGZ = ".tgz"
    TAR_ZSTD = ".tar.zst"
    TZST = ".tzst"
    TAR_XZ = ".tar.xz"
    TXZ = ".txz"
    TAR_BZIP2 = ".tar.bz2"
    TBZ2 = ".tbz2"
    TBZ = ".tbz"
    TAR_LZMA = ".tar.lzma"
    TLZ = ".tlz"

    @property
    def archive(self) -> bool:
        """
        Whether it is a root file system itself, not a list of what is in one.
        """
        return self.value.startswith(".t")


@dataclass(frozen=True, slots=True)
class Source:
    """
    :ivar path: where ``remote`` is false: absolute, in the file system of this host; else that of the URL, encoded.
    :ivar authority: user, password, host and port as the URL has them.
    :ivar query: of the URL, without the question mark.
    """

    path: str
    scheme: str = ""
    authority: str = ""
    query: str = ""

    @property
    def remote(self) -> bool:
        """
        Whether it is fetched over HTTP.
        """
        return bool(self.scheme)

    @property
    def url(self) -> str:
        """
        What to fetch, with all secrets in it. Only where it is remote.
        """
        return f"{self.scheme}://{self.authority}{self.path}{'?' if self.query else ''}{self.query}"

    @property
    def public(self) -> str:
        """
        What others may see: who fetches it, and what a query holds, is nobody's business.
        """
        if not self.remote:
            return self.path
        host = self.authority.rpartition("@")[2]
        return f"{self.scheme}://{host}{self.path}{'?…' if self.query else ''}"

    @property
    def text(self) -> str:
        """
        For messages.
        """
        return shown(self.public)

    @property
    def packing(self) -> Packing:
        """
        What its name says that it is.
        """
        name = posixpath.basename(self.path).lower()
        fitting = [packing for packing in Packing if name.endswith(packing.value)]
        return max(fitting, key=lambda packing: len(packing.value))

    @property
    def beside(self) -> "Source":
        """
        The store that belongs to a plist.
        """
        return replace(self, path=posixpath.join(posixpath.dirname(self.path), STORE), query="")

    def content(self, hash: str) -> "Source":
        """
        A content of the store that this is.
        """
        return replace(self, path=f"{self.path.rstrip('/')}/{hash}")


def parse(text: str, field: str) -> Source:
    """
    Read a URL or a path.

    :param field: for the message: which argument it is.
    :raises Refusal: 400, it is none that can be used.
    """
    wrong = Refusal(400, f"{field}: {EXPECTED}, got {shown(_without_user(text))}")
    if not text or len(text) > LONGEST or any(ord(letter) < 32 or ord(letter) == 127 for letter in text):
        raise wrong
    if text.startswith("/"):
        return Source(text)
    try:
        parts = urlsplit(text)
        port = parts.port  # looked at here: a wrong one raises
    except ValueError:
        raise wrong from None
    if parts.scheme == "file":
        return _local(parts, wrong)
    if parts.scheme not in ("http", "https") or not parts.hostname or port == 0 or " " in text or "\\" in parts.netloc:
        raise wrong
    query = quote(parts.query, safe=f"{_STANDING}?")
    return Source(quote(parts.path or "/", safe=_STANDING), parts.scheme, _authority(parts, wrong), query)


def _local(parts: SplitResult, wrong: Refusal) -> Source:
    path = unquote(parts.path, errors="surrogateescape")
    if parts.netloc not in ("", "localhost") or not path.startswith("/") or "\0" in path:
        raise wrong
    return Source(path)


def _authority(parts: SplitResult, wrong: Refusal) -> str:
    user, at, host = parts.netloc.rpartition("@")
    try:
        host = host if host.isascii() else host.encode("idna").decode()
    except UnicodeError:
        raise wrong from None
    return f"{quote(user, safe=_STANDING)}{at}{host}"


def _without_user(text: str) -> str:
    # a password may hold what ends the authority of a URL, which may be what is wrong with it
    scheme, slashes, rest = text.partition("://")
    return f"{scheme}{slashes}{rest.rpartition('@')[2]}" if slashes else text
