"""
What core0 is told in its configuration file: TOML, read once, into frozen values.

Every key is a field here, with its default, its range and what it means; the reference is made from that. Sizes are in
bytes and durations in seconds.
"""

import os
import pwd
import re
from collections.abc import Mapping
from typing import Annotated, Any

from msgspec import Meta, Struct
from msgspec.structs import replace

from core0.config_reader import (
    Found,
    Key,
    Rule,
    Tables,
    as_table,
    bare,
    check_json,
    check_subnet,
    check_url,
    in_order,
    read_files,
    read_section,
    shown,
    split_host,
)
from core0.errors import ConfigError
from core0.messages import MAX_ID, Level, Period, Seconds, nearest, usable_id

DEFAULT_FILE = "/etc/core0/core0.toml"
PHASES = frozenset({"init", "net", "boot"})  # old files name them in `after`; here they mean nothing
MAX_SOCKET = 107  # bytes; the kernel's limit for the path of a unix socket
SETTLED = 2.0  # seconds after which a service counts as running that says nothing else

KIB = 1024
MIB = 1024 * KIB
GIB = 1024 * MIB

Node = Annotated[int, Meta(ge=1, le=2**31 - 1)]
Live = Annotated[int, Meta(ge=1, le=1_000_000)]
Waiting = Annotated[int, Meta(ge=1, le=10_000_000)]
Records = Annotated[int, Meta(ge=1, le=100_000_000)]
Cores = Annotated[int, Meta(ge=1, le=65_000)]
Restarts = Annotated[int, Meta(ge=0, le=1_000_000)]
Buffer = Annotated[int, Meta(ge=4 * KIB, le=GIB)]
ResultBuffer = Annotated[int, Meta(ge=4 * KIB, le=64 * MIB)]
Payload = Annotated[int, Meta(ge=KIB, le=512 * MIB)]
Disk = Annotated[int, Meta(ge=MIB, le=2**50)]
Memory = Annotated[
    Annotated[int, Meta(ge=8 * MIB, le=2**50)] | Annotated[str, Meta(pattern=r"^([1-9][0-9]?|100)%\Z")],
    Rule('a whole number from 8388608 to 1125899906842624, or from "1%" to "100%"'),
]
Hour = Annotated[float, Meta(ge=0, le=3600)]
Day = Annotated[float, Meta(ge=0, le=86_400)]
Year = Annotated[int, Meta(ge=1, le=365 * 86_400)]
Absolute = Annotated[str, Meta(pattern=r"^/[^\x00]*\Z"), Rule("an absolute path")]
OptionalFile = Annotated[str, Meta(pattern=r"^(/[^\x00]*)?\Z"), Rule("an absolute path, or an empty string")]
Program = Annotated[
    str,
    Meta(pattern=r"^(/[^\x00]*|[^/\x00]*)\Z"),
    Rule("the name of a program, its absolute path, or an empty string"),
]
Storage = Annotated[
    str,
    Meta(pattern=r"^((https?://[^\s/]|file:///|/)[^\s\x00]*)?\Z"),
    Rule("the URL of a folder (http, https, file), an absolute path, or an empty string"),
]
Url = Annotated[
    str,
    Meta(pattern=r"^[^\s\x00-\x1f]*\Z"),
    Rule("redis://, rediss:// or redis+sentinel:// and hosts, redis+unix:// and a path, or an empty string", check_url),
]
Port = Annotated[str, Rule("host:port, or an empty string", split_host)]
Subnet = Annotated[str, Meta(min_length=1), Rule("an IPv4 network such as 172.18.0.0/16", check_subnet)]
Pattern = Annotated[str, Rule("a regular expression", re.compile)]
Name = Annotated[str, Meta(min_length=1), Rule("the name of a command")]
Names = Annotated[tuple[str, ...], Rule("a list of strings")]
Argv = Annotated[tuple[Annotated[str, Meta(pattern=r"^[^\x00]*\Z")], ...], Rule("a list of strings without NUL")]
Tags = Annotated[str | tuple[str, ...], Rule("a string, or a list of strings")]
Levels = Annotated[tuple[Level, ...], Rule("a list of levels (1 to 11, 20 to 23, 30)")]
Arguments = Annotated[Mapping[str, Any], Rule("a table that JSON can express: no dates, no nan", check_json)]


class Core(Struct, frozen=True, kw_only=True):
    """
    What this node is, and where it keeps its things.
    """

    gid: Annotated[Node, Key("The number of the group of nodes that this one belongs to.")] = 1
    nid: Annotated[Node, Key("Its number in the group. `core:default:<gid>:<nid>` is its own list.")] = 1
    state_dir: Annotated[
        Absolute,
        Key(
            "Where everything is kept that has to survive a restart. Each core0 on a machine has one of its own."
            " Not root: `$XDG_STATE_HOME/core0`, without that variable `~/.local/state/core0`."
        ),
    ] = "/var/lib/core0"
    run_dir: Annotated[
        Absolute,
        Key(
            "Where sockets are, and what else may be gone after the machine has been restarted. Each core0 has its own."
            " Not root: `$XDG_RUNTIME_DIR/core0`, without that variable `/tmp/core0-<uid>`."
        ),
    ] = "/run/core0"


class Jobs(Struct, frozen=True, kw_only=True):
    """
    Running commands.
    """

    max: Annotated[Live, Key("How many jobs may be live at once; others wait for their turn.", "jobs")] = 5000
    waiting: Annotated[
        Waiting, Key("How many commands may wait inside core0; beyond that they stay in Redis.", "commands")
    ] = 50_000
    kill_grace: Annotated[Hour, Key("How long after TERM a job that is to end gets KILL.", "seconds")] = 5.0
    stream_buffer: Annotated[
        Buffer, Key("How much of the end of stdout, and of stderr, is kept for the result of a job.", "bytes")
    ] = MIB
    result_buffer: Annotated[
        ResultBuffer,
        Key(
            "How large a result may be that a program prints (levels 20 to 23, 30). A larger one is not kept.", "bytes"
        ),
    ] = 16 * MIB
    stats_interval: Annotated[
        Day, Key("The time between two samples of a job that does not say its own. 0: no samples.", "seconds")
    ] = 60.0


class Logging(Struct, frozen=True, kw_only=True):
    """
    What is kept of what jobs print.
    """

    levels: Annotated[
        Levels, Key("The levels of output that are kept as log records, for a command without `log_levels`.")
    ] = tuple(Level(number) for number in range(2, 10))
    redis_records: Annotated[Records, Key("How many log records `core.logs` holds at most.", "records")] = 100_000
    max_bytes: Annotated[Disk, Key("How large all log files in `state_dir` may be together.", "bytes")] = GIB


class Redis(Struct, frozen=True, kw_only=True):
    """
    The server that core0 starts, and the one that clients use.
    """

    url: Annotated[
        Url, Key("The server to which clients push commands, and where they read results. Empty: the one of core0.")
    ] = ""
    shared_queue: Annotated[
        bool, Key("Serve `core:default` of the server at `url`, too; any node that does so may get a command from it.")
    ] = False
    server: Annotated[
        Program, Key("The server that core0 starts, such as `valkey-server`. Empty: the packaged Valkey.")
    ] = ""
    socket: Annotated[
        Absolute, Key("The unix socket of the server that core0 starts, 107 bytes at most. It moves with `run_dir`.")
    ] = "/run/core0/redis/sock/redis.sock"
    listen: Annotated[
        Port, Key("Where that server listens on TCP, for clients with a password: `[::1]:6379`. Empty: nowhere.")
    ] = ""
    password_file: Annotated[
        OptionalFile,
        Key("Holds the password of clients on TCP. Empty: `redis/password` below `state_dir` if `listen` is set."),
    ] = ""
    result_ttl: Annotated[Year, Key("How long a result is kept after its job ended.", "seconds")] = 300
    max_command: Annotated[Payload, Key("The largest command; larger ones are refused unread.", "bytes")] = 16 * MIB
    max_memory: Annotated[
        Memory, Key("The memory that the server that core0 starts may fill.", "bytes, or % of the RAM")
    ] = "25%"


class Containers(Struct, frozen=True, kw_only=True):
    """
    What CoreX lives in.
    """

    runtime: Annotated[
        Program, Key("The OCI runtime, such as `crun` or `runc`. Empty: the fastest one that works on this host.")
    ] = ""
    storage: Annotated[
        Storage, Key("Holds the contents of files, where a container does not say. Empty: `store/` beside its plist.")
    ] = ""
    subnet: Annotated[
        Subnet, Key("The network of the bridge core0, of containers that have ports, or ZeroTier, and name no bridge.")
    ] = "172.18.0.0/16"
    max: Annotated[Cores, Key("How many containers there may be at once.", "containers")] = 1000
    max_store: Annotated[
        Disk,
        Key(
            "How large the root file systems and contents kept on this host may be together;"
            " beyond that, what no container uses is removed.",
            "bytes",
        ),
    ] = 20 * GIB


class Network(Struct, frozen=True, kw_only=True):
    """
    The network of the host.
    """

    file: Annotated[
        OptionalFile, Key("What core0 makes of the network at its start; see `network.toml`. Empty: it is left alone.")
    ] = ""
    wait: Annotated[Hour, Key("How long the start waits for the network at most.", "seconds")] = 10.0


class Reboot(Struct, frozen=True, kw_only=True):
    """
    The end of `core.reboot`.
    """

    command: Annotated[
        Argv, Key("The program that brings the machine down, and its arguments. Empty: the system call.")
    ] = ()


class Service(Struct, frozen=True, kw_only=True):
    """
    A command that runs when core0 starts. `NAME` is its id.
    """

    name: str
    command: Annotated[Name, Key("The command, as clients send it.")]
    arguments: Annotated[Arguments, Key("The arguments of the command.")] = {}
    after: Annotated[Names, Key("The services that have to count as running before this one starts.")] = ()
    running_delay: Annotated[
        Seconds,
        Key("It counts as running once a run has lasted so long. 0 means 2. Below 0: once it ended well.", "seconds"),
    ] = SETTLED
    running_match: Annotated[
        Pattern, Key("It counts as running when this is in a line of its output, whatever `running_delay` says.")
    ] = ""
    protected: Annotated[bool, Key("Whether `core.killall` leaves it alone.")] = False
    queue: Annotated[str, Key("Commands of one queue run one after another. Empty: none.")] = ""
    stats_interval: Annotated[Period, Key("The time between two samples. 0: that of `[jobs]`.", "seconds")] = 0.0
    max_time: Annotated[Seconds, Key("How long a run may last. 0: for ever.", "seconds")] = 0.0
    max_restart: Annotated[Restarts, Key("How often it runs again after it failed.", "runs")] = 0
    recurring_period: Annotated[
        Period, Key("How long after the end of a run the next one starts. 0: it runs once.", "seconds")
    ] = 0.0
    log_levels: Annotated[
        Levels, Key("The levels of its output that are kept as log records. Missing: those of `[logging]`.")
    ] = Logging().levels
    stream: Annotated[bool, Key("Whether its output can be followed live.")] = False
    messages: Annotated[bool, Key("Whether lines of its output that begin with a level are messages.")] = True
    tags: Annotated[Tags, Key("Handed back with the result.")] = ()


class Config(Struct, frozen=True, kw_only=True):
    """
    The whole configuration. ``startup`` is in an order in which what a service waits for comes before it.
    """

    core: Core = Core()
    jobs: Jobs = Jobs()
    logging: Logging = Logging()
    redis: Redis = Redis()
    containers: Containers = Containers()
    network: Network = Network()
    reboot: Reboot = Reboot()
    startup: tuple[Service, ...] = ()


def load(path: str | None, *, root: bool, environ: Mapping[str, str], default: str = DEFAULT_FILE) -> Config:
    """
    Read the configuration: the file, then the drop-ins in ``core0.d`` beside it, in the order of their names.

    :param path: a file that has to be there; None: the default one, if there is one.
    :raises ConfigError: it cannot be used.
    """
    tables = read_files(default if path is None else path, Config.__struct_fields__, required=path is not None)
    core = read_section(Core, tables["core"], "core", **({} if root else _places(environ)))
    logging = read_section(Logging, tables["logging"], "logging")
    return Config(
        core=core,
        jobs=read_section(Jobs, tables["jobs"], "jobs"),
        logging=logging,
        redis=_redis(tables, core),
        containers=read_section(Containers, tables["containers"], "containers"),
        network=read_section(Network, tables["network"], "network"),
        reboot=read_section(Reboot, tables["reboot"], "reboot"),
        startup=_startup(tables["startup"], logging.levels),
    )


def _places(environ: Mapping[str, str]) -> dict[str, str]:
    """
    Where somebody who is not root keeps things. A variable that is no absolute path does not count.
    """

    def folder(variable: str, otherwise: str) -> str:
        value = environ.get(variable, "")
        return f"{value.rstrip('/')}/core0" if value.startswith("/") else otherwise

    uid = os.getuid()
    home = environ.get("HOME", "")
    if not home.startswith("/"):
        try:
            home = pwd.getpwuid(uid).pw_dir
        except KeyError:
            home = "/"
    return {
        "state_dir": folder("XDG_STATE_HOME", f"{home.rstrip('/')}/.local/state/core0"),
        "run_dir": folder("XDG_RUNTIME_DIR", f"/tmp/core0-{uid}"),
    }


def password_socket(socket: str) -> str:
    """
    Where the server itself listens if it asks for a password: beside the socket where clients need none.
    """
    return os.path.join(os.path.dirname(socket), "auth.sock")


def _redis(tables: Tables, core: Core) -> Redis:
    table = tables["redis"]
    redis = read_section(Redis, table, "redis", socket=f"{core.run_dir.rstrip('/')}/redis/sock/redis.sock")
    sockets = [redis.socket, password_socket(redis.socket)] if redis.listen else [redis.socket]
    length = max(len(os.fsencode(socket)) for socket in sockets)
    if length > MAX_SOCKET:
        found = table.get("socket") or tables["core"].get("run_dir")
        place = f"{found.path if found else 'environment'}: [redis] socket"
        raise ConfigError(
            f"{place}: expected at most {MAX_SOCKET} bytes, got {length}: {shown(redis.socket)};"
            " set it, or [core] run_dir, to something shorter"
        )
    if redis.listen and not redis.password_file:
        return replace(redis, password_file=f"{core.state_dir.rstrip('/')}/redis/password")
    return redis


def _startup(table: Mapping[str, Found], levels: tuple[Level, ...]) -> tuple[Service, ...]:
    services: dict[str, Service] = {}
    for name, found in table.items():
        place = f"startup.{bare(name)}"
        if not usable_id(name):
            raise ConfigError(f"{found.path}: [{place}]: expected a name of 1 to {MAX_ID} bytes")
        content = as_table(found, f"[{place}]")
        service = read_section(Service, content, place, path=found.path, name=name, log_levels=levels)
        services[name] = service if service.running_delay else replace(service, running_delay=SETTLED)
    for service in services.values():
        for other in service.after:
            if other not in services and other not in PHASES:
                raise _after(service, table, f"no such service {shown(other)}; {nearest(other, services)}")
    graph = {name: [each for each in service.after if each in services] for name, service in services.items()}
    order, cycle = in_order(graph)
    if cycle:
        raise _after(services[cycle[0]], table, f"services wait for each other: {' -> '.join(map(bare, cycle))}")
    return tuple(services[name] for name in order)


def _after(service: Service, table: Mapping[str, Found], text: str) -> ConfigError:
    return ConfigError(f"{table[service.name].path}: [startup.{bare(service.name)}] after: {text}")
