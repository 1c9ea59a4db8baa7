"""
Who may do what on the server that core0 starts.
"""

from collections.abc import Iterable
from hashlib import sha256

from core0.redis import keys

COMMANDS = (
    # a connection and what client libraries do with it
    "auth hello ping echo quit reset select command client|setname client|getname client|setinfo client|id client|info "
    "client|no-touch client|reply time acl|whoami "
    # keys
    "exists ttl pttl type del unlink expire pexpire expiretime pexpiretime persist "
    # lists
    "rpush lpush rpushx lpushx llen lrange lindex lpos lrem ltrim lpop rpop lmpop blpop brpop blmpop "
    "rpoplpush brpoplpush lmove blmove "
    # streams
    "xread xrange xrevrange xlen xinfo|stream "
    # transactions
    "multi exec discard watch unwatch"
).split()

# a queue of a node begins with a digit; that of a container, core:default:core-<n>, does not
QUEUES = (keys.SHARED_QUEUE, f"{keys.SHARED_QUEUE}:[0-9]*:[0-9]*")
WRITABLE = (*QUEUES, keys.result("*"), keys.LOGS, keys.stream("*"))
READABLE = (keys.REJECTED, keys.stats("*"))
ADMIN = "core0"
NOBODY = ("off", "resetpass", "resetkeys", "resetchannels", "-@all")


def hashed(password: str) -> str:
    """
    A password as an ACL rule that does not show it.
    """
    return "#" + sha256(password.encode()).hexdigest()


def client_rules(password: str | None) -> Iterable[str]:
    """
    The rules of a client: the keys of the protocol, and the commands to use them; nothing else.

    :param password: None for the unix socket, whose folder says who gets in.
    """
    yield "on"
    yield "resetpass"
    yield "nopass" if password is None else hashed(password)
    yield "resetkeys"
    yield "resetchannels"
    yield "-@all"
    yield from (f"~{pattern}" for pattern in WRITABLE)
    yield from (f"%R~{pattern}" for pattern in READABLE)
    yield from (f"+{command}" for command in COMMANDS)


def corex_user(number: int) -> str:
    """
    The name of the CoreX of a container.
    """
    return f"corex-{number}"


def corex_rules(number: int, hash: str) -> Iterable[str]:
    """
    The rules of the CoreX of a container: it takes from its queue, and adds to its two other lists without being able
    to read them; nothing else.

    :param hash: of its password, as :func:`hashed` gives it.
    """
    orders, results, records = keys.orders(number), keys.corex_results(number), keys.corex_records(number)
    yield "on"
    yield "resetpass"
    yield hash
    yield "resetkeys"
    yield "resetchannels"
    yield "clearselectors"
    yield "-@all"
    yield "+ping"  # to log in asks for no right
    yield f"(~{orders} +blmove +lrange +ltrim)"
    yield f"(%W~{results} +rpush +llen)"
    yield f"(%W~{records} +rpush +llen +ltrim)"


def admin_rules(password: str) -> Iterable[str]:
    """
    The rules of core0 itself.
    """
    return ("on", "resetpass", hashed(password), "~*", "&*", "+@all")
