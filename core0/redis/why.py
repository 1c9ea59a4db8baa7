"""
Why a server cannot be used, in a sentence that says what to do.
"""

from collections.abc import Mapping

import hiredis
import txredisapi
from OpenSSL import SSL
from twisted.internet.error import ConnectionDone, ConnectionLost

from core0.redis.url import RedisURL

ALERT = 0x15  # the first byte of what a server with TLS says to one that speaks without
NO_TLS = ("wrong version number", "packet length too long", "record layer failure", "http request")
NO_CERTIFICATE = ("certificate required", "handshake failure", "bad certificate")


class WrongServer(txredisapi.RedisError):  # type: ignore[misc] # txredisapi has no types
    """
    It answers, and is none that core0 could use; the text says why.
    """


class Replica(WrongServer):
    """
    It may be the master soon, or another one is.
    """


def why_lost(url: RedisURL, error: BaseException) -> str:
    """
    Why a connection has ended before the server has let us in.

    :returns: empty if there is nothing to say.
    """
    if isinstance(error, hiredis.ProtocolError):
        return _no_protocol(error)
    if isinstance(error, SSL.Error):
        return _tls(error)
    if type(error).__name__ in ("VerificationError", "SimpleVerificationError", "CertificateError"):
        return f"its certificate is for another name than {url.hosts[0][0]!r}; use the name that is in it"
    if isinstance(error, ConnectionDone | ConnectionLost):
        advice = "" if url.tls or url.path else "; if it expects TLS, say rediss:// instead of redis://"
        return f"it has closed the connection{advice}"
    return str(error)


def _no_protocol(error: BaseException) -> str:
    if "\\x15" in str(error) or chr(ALERT) in str(error):
        return "it expects TLS; say rediss:// instead of redis://"
    return f"what answers there is not a Redis server: {error}"


def _tls(error: SSL.Error) -> str:
    reasons = [str(words[-1]) for words in (error.args[0] if error.args else ()) if words]
    text = ", ".join(reasons) or "the connection was closed during the handshake"
    if any(odd in text for odd in NO_TLS):
        return f"it does not speak TLS ({text}); say redis:// instead of rediss://"
    if "certificate verify failed" in text:
        return (
            "its certificate is not trusted: no authority that this host knows has signed it, or it has expired; "
            "SSL_CERT_FILE names a file with another authority's certificate"
        )
    if any(odd in text for odd in NO_CERTIFICATE):
        return (
            f"the server does not accept a client without a certificate of its own, which core0 cannot present ({text})"
        )
    return f"TLS: {text}"


def why_refused(url: RedisURL, error: str) -> str:
    """
    What the server says when it does not let us in. What passes, and what others go by, stays as it is.
    """
    if error.startswith("WRONGPASS"):
        who = f"user {url.username!r}" if url.username else "the default user"
        return f"{url} does not accept the password of {who}: {error}"
    if error.startswith("NOAUTH"):
        return f"{url} asks for a password: put it into the URL, as in redis://user:password@host ({error})"
    if "without any password configured" in error:
        return f"{url} has no password for the default user; leave it out of the URL ({error})"
    if error.startswith("NOPERM"):
        return f"{url} lets {url.username or 'the default user'!r} in, but not use it: {error}"
    return error


def wrong_server(url: RedisURL, told: Mapping[str, str]) -> str:
    """
    What a server says of itself that keeps core0 from using it; empty if there is nothing.
    """
    mode = told.get("redis_mode", told.get("server_mode", ""))
    if mode == "cluster":
        return f"{url} is a node of a cluster; core0 needs a single server, or one behind Sentinels"
    if mode == "sentinel":
        return f"{url} is a Sentinel; say redis+sentinel://host:port/name-of-the-master"
    if told.get("role") == "slave":
        place = f"{told.get('master_host', '?')}:{told.get('master_port', '?')}"
        return f"{url} is a replica, of {place}; core0 needs the master"
    return ""


def missing_rights(user: str | None, error: str, refused: list[str]) -> str:
    """
    A refusal for want of rights; which keys it is about the server itself does not say.
    """
    who = f"user {user!r}" if user else "the default user"
    what = f"; it may not use: {', '.join(refused)}" if refused else ""
    return f"{error}{what} ({who}; the rights that core0 needs are listed in how-to/external-redis)"
