"""
Every bound of core0, as reStructuredText, with the numbers that the program goes by.

``python docs/generate_bounds.py`` prints it.
"""

from collections.abc import Iterator, Sequence

from core0 import assembly, corex, file_systems, messages, reaper
from core0 import records as making
from core0.commands import create_arguments
from core0.config import Containers, Jobs, Logging, Redis
from core0.containers import building, bundle, nursery, steps
from core0.containers import manager as housekeeping
from core0.images import names, plist, plists, transfers, tree
from core0.images.patience import Patience
from core0.jobs import bookkeeping, cgroup, left, logfiles, manager, output, pieces, process, restart
from core0.network import dnsmasq, helper, leases, links, nft, ports, zerotier
from core0.network import names as link_names
from core0.redis import (
    answers,
    channel,
    channels,
    consumer,
    far_ledger,
    far_sink,
    held,
    keys,
    ledger,
    link,
    outbox,
    pressure,
    records,
    server,
    window,
)

Row = tuple[str, str, str]
_JOBS, _LOGGING, _REDIS, _CONTAINERS, _PATIENCE = Jobs(), Logging(), Redis(), Containers(), Patience()


def generate() -> str:
    """
    One table: what, how much, and what happens beyond.
    """
    rows = [
        ("what", "how much", "beyond that"),
        *_commands(),
        *_jobs(),
        *_programs(),
        *_output(),
        *_records(),
        *_server(),
    ]
    rows += [*_containers(), *_networks(), *_images()]
    lines = [".. list-table::", "   :header-rows: 1", "   :widths: 34 26 40", ""]
    return "\n".join([*lines, *(line for row in rows for line in _row(row)), ""])


def _row(cells: Sequence[str]) -> Iterator[str]:
    for place, cell in enumerate(cells):
        yield f"   {' ' if place else '*'} - {cell}"


def _commands() -> Iterator[Row]:
    yield "An id", f"1 to {messages.MAX_ID:,} bytes", "``core:rejected``"
    yield (
        "A command, ``[redis] max_command``",
        size(_REDIS.max_command),
        f"413, unread; on ``core:rejected`` if the first {size(messages.MAX_SHOWN)} do not hold its id",
    )
    yield "Nesting of a command", "about 1,000 levels", "refused"
    yield "Durations in a command", f"{messages.TEN_YEARS / 365 / 86400:.0f} years", "refused"
    yield "Commands taken at once", f"{consumer.BATCH}, or {size(consumer.BATCH_BYTES)}", "the next turn takes more"
    yield "Entries of ``core:rejected``", f"{keys.MAX_REJECTED:,}", "the oldest go"
    yield "Life of a result, ``[redis] result_ttl``", f"{_REDIS.result_ttl} s", "it is gone, and its id is free"
    yield (
        "Life of the result of a recurring command",
        f"its period, its ``max_time`` or {bookkeeping.LATE / 3600:.0f} h, and ``result_ttl`` more",
        "it is gone; each run renews it",
    )
    yield (
        "Time without an answer of the server",
        f"{link.SILENCE * link.LOOK:.0f} to {(link.SILENCE + 1) * link.LOOK:.0f} s",
        "connects again",
    )
    yield (
        "Answers remembered, to be written again if the server forgets them",
        f"{answers.MOST:,}, or {size(answers.MOST_BYTES)}, for ``result_ttl``; of each {size(outbox.REMEMBERED_BYTES)}",
        "the oldest go; of a larger one it is remembered how it ended",
    )


def _jobs() -> Iterator[Row]:
    yield "Live jobs, ``[jobs] max``", f"{_JOBS.max:,}", "others wait in order; urgent commands run all the same"
    yield (
        "Live jobs, by descriptors",
        f"{assembly.FILES_PER_JOB} for each and {assembly.SPARE_FILES} more, of the hard limit",
        "``[jobs] max`` is that much less, and the log says so",
    )
    yield (
        "Commands that wait in core0, ``[jobs] waiting``",
        f"{_JOBS.waiting:,}",
        "they stay in their lists",
    )
    yield (
        "Payloads of all commands in core0, live ones included",
        size(manager.MAX_PAYLOAD_BYTES),
        "the rest stays in its lists",
    )
    yield (
        f"Payloads over {size(held.LARGE)} that are put back when the server has forgotten them",
        size(held.MAX_LARGE_BYTES),
        "of the rest the claim is put back, and the result is written",
    )
    yield (
        "Looks for urgent commands then",
        f"the first {consumer.URGENT_DEPTH:,} entries of each list, payloads up to {size(consumer.URGENT_LARGEST)}, "
        f"once a second, at most {1 / consumer.PAUSE:.0f} times",
        "they wait like others",
    )


def _programs() -> Iterator[Row]:
    yield "Jobs on their way to start", f"{manager.STARTING}", "others wait; it takes less memory"
    yield (
        "Time that starting takes in one turn of the reactor",
        f"{manager.START_BUDGET * 1000:.0f} ms",
        "the next turn",
    )
    yield (
        "Threads that wait for one file system, and for all",
        f"{file_systems.WAITING}, {file_systems.THREADS}; {file_systems.ANSWER:.0f} s",
        "what lies on it is refused with 503",
    )
    yield "Children reaped in one turn", f"{reaper.AT_ONCE}", "the next turn"
    yield "Processes left behind that are named", f"{left.SHOWN}", "they are counted"
    yield "From TERM to KILL, ``[jobs] kill_grace``", f"{_JOBS.kill_grace:.0f} s", "KILL"
    yield (
        "From KILL to the result",
        f"{process.UNKILLABLE:.0f} s",
        "the result is given, the processes are left, and the log says which",
    )
    yield (
        "Wait before a retry",
        f"{restart.FIRST_WAIT:.0f} s, doubled up to {restart.LONGEST_WAIT:.0f} s, ± {restart.JITTER:.0%}",
        f"starts over after a run of {restart.HEALTHY:.0f} s",
    )
    yield "Empty cgroups kept for the next jobs", f"{cgroup.MAX_IDLE}", "removed"
    yield "Ending what a dead core0 left", f"{cgroup.LEFT_WAIT:.0f} s", "core0 starts all the same"


def _output() -> Iterator[Row]:
    yield (
        "Output kept of each stream, ``[jobs] stream_buffer``",
        size(_JOBS.stream_buffer),
        "the beginning goes; ``truncated`` counts it",
    )
    yield "A message with a level", "the same", "its end goes; ``truncated`` counts it"
    yield (
        "A result that a program prints, ``[jobs] result_buffer``",
        size(_JOBS.result_buffer),
        "it is left out: ``ERROR``, 413",
    )
    yield (
        "Those of all running jobs together",
        f"{size(assembly.RESULT_BYTES)}; in a container {size(corex.RESULT_BYTES)},"
        f" or its memory limit / {corex.RESULT_SHARE}",
        "the same",
    )


def _records() -> Iterator[Row]:
    yield "Text of a log record", size(output.MAX_RECORD), "the line becomes several records"
    yield (
        "Records of all jobs together, live output included",
        f"{making.RATE:,} a second, and {making.BURST:,} at once",
        "dropped and counted; the last one of a live stream never",
    )
    yield (
        "Records on their way to Redis",
        f"{records.MAX_ITEMS:,}, or {size(records.MAX_BYTES)}, of that {size(records.MAX_LOG_BYTES)} of log records",
        "dropped and counted; the last one of a live stream never",
    )
    yield (
        "Records on their way to the disk",
        f"{logfiles.MAX_LINES:,}, or {size(logfiles.MAX_BYTES)}",
        "dropped and counted",
    )
    yield (
        "``core.logs``, ``[logging] redis_records``",
        f"{_LOGGING.redis_records:,}, fewer if they are larger than {size(records.RECORD)} on average",
        "the oldest go",
    )
    yield (
        "Live output, ``stream:<id>``",
        f"{keys.MAX_STREAM:,} records, or {size(keys.MAX_STREAM * records.RECORD)}",
        "the oldest go",
    )
    yield (
        "Live output that waits to be read",
        f"{window.CLOG:,} records, or {size(window.CLOG_BYTES)}",
        f"its program waits, until its reader has taken nothing for {window.READER:.0f} s;"
        f" {window.NOBODY:.0f} s for one who has never come",
    )
    yield (
        "Lines of a job that are records of live output by themselves",
        f"{output.MAX_LINES:,} a second",
        f"several are one record of up to {size(pieces.MAX_PIECE)}",
    )
    yield "A part of a line", f"{output.PART * 1000:.0f} ms", "it is a record of live output"
    yield "Samples, ``stats:<id>``", f"{keys.MAX_SAMPLES:,}", "the oldest go"
    yield (
        "Log files, ``[logging] max_bytes``",
        f"{size(_LOGGING.max_bytes)} in {logfiles.PIECES} files",
        "the oldest goes",
    )


def _server() -> Iterator[Row]:
    yield (
        "Memory of the server, ``[redis] max_memory``",
        f"{_REDIS.max_memory} of the RAM",
        "it refuses what clients push",
    )
    yield (
        "What is used of that",
        f"{pressure.SHORT:.0%}",
        f"results are stored with the last {size(outbox.SHORT)} of each stream, which ``truncated`` says; "
        f"what a program has printed as its result up to {size(outbox.LARGE)}, else ``ERROR``, 503; "
        f"``core.logs`` keeps {pressure.SCARCE:,}",
    )
    yield "The same", f"{pressure.STOP:.0%}", "only urgent commands are taken"
    yield (
        "Output of results that wait to be written",
        size(ledger.PENDING_BYTES),
        f"later ones keep the last {size(outbox.SHORT)} of each stream",
    )
    yield "Wait before connecting again", f"{link.FIRST_WAIT * 1000:.0f} ms to {link.LONGEST_WAIT:.0f} s", "for ever"
    yield (
        "Wait before the server is started again",
        f"{server.FIRST_WAIT * 1000:.0f} ms to {server.LONGEST_WAIT:.0f} s",
        "for ever",
    )
    yield "Start of the server", f"{server.START_TIMEOUT:.0f} s", "core0 does not start, and says what the server said"
    yield "End of the server, at a stop", f"{server.STOP_TIMEOUT:.0f} s", "KILL"
    yield (
        "Writing the last results, then the last records, at a stop",
        f"{assembly.FLUSH_TIMEOUT:.0f} s each",
        "these commands are unfinished at the next start; records are lost",
    )


def _containers() -> Iterator[Row]:
    yield "Containers, ``[containers] max``", f"{_CONTAINERS.max:,}", "``corex.create`` is refused"
    yield "Containers made at once", f"{housekeeping.MOST_BUILT}", "others wait in order"
    yield "A step of making a container", f"{nursery.PATIENCE:.0f} s", "it is refused, and what was done is undone"
    yield "The first answer of its CoreX", f"{building.ANSWER:.0f} s", "the same"
    yield (
        "``mount``, ``env`` of a container",
        f"{create_arguments.MAX_MOUNTS}; {create_arguments.MAX_ENV:,} and {size(create_arguments.MAX_ENV_BYTES)}",
        "refused",
    )
    yield (
        "Processes and threads of a container, ``limits.pids``",
        f"{bundle.DEFAULT_PIDS:,} where nothing is said",
        "the container cannot start more",
    )
    yield (
        "Commands on their way to one container",
        f"{channel.MOST_ORDERS:,}, or {size(channel.MOST_BYTES)}",
        "``corex.dispatch`` is refused",
    )
    yield (
        "Output of results that wait in a CoreX for the server",
        size(far_ledger.PENDING_BYTES),
        f"later ones keep the last {size(outbox.SHORT)} of each stream",
    )
    yield (
        "Records on their way from a CoreX",
        f"{far_sink.MAX_ITEMS:,}, or {size(far_sink.MAX_BYTES)}; in Redis {keys.MAX_RECORDS:,}",
        "dropped and counted",
    )
    yield (
        "Results of one CoreX in Redis",
        f"{channels.MOST_RESULTS:,}",
        "the newest go; a CoreX that is not tampered with stays far below",
    )
    yield (
        "From the end of a container's jobs to its removal",
        f"``kill_grace`` and {steps.SLACK:.0f} s more",
        "all of it gets KILL",
    )


def _networks() -> Iterator[Row]:
    yield "The name of a bridge", f"{link_names.LONGEST} bytes", "refused"
    yield "Links of a container", f"{links.MOST}", "refused"
    yield "Ports of a container, and of all", f"{ports.MOST:,}; {ports.MOST_OF_ALL:,}", "refused"
    yield (
        "The first address by DHCP, of all links of a container",
        f"{leases.WAIT:.0f} s",
        "``corex.create`` is refused, and what was done is undone",
    )
    yield (
        "Addresses that a bridge gives by DHCP to others",
        f"for {dnsmasq.LEASE}, at most {dnsmasq.MOST_LEASES:,}",
        "they ask again; others get none",
    )
    yield "Start of a program that serves a bridge", f"{helper.START:.0f} s", "refused"
    yield (
        "Wait before it is started again",
        f"{helper.FIRST_WAIT * 1000:.0f} ms, doubled up to {helper.LONGEST_WAIT:.0f} s",
        f"starts over after {helper.HEALTHY:.0f} s",
    )
    yield "A change of the firewall", f"{nft.PATIENCE:.0f} s", "refused"
    yield "Between looks whether somebody else has changed it", f"{nft.LOOK:.0f} s", "core0's table is made anew"
    yield (
        "What ``zerotier-one`` says to ``corex.list``",
        f"{zerotier.PATIENCE:.0f} s, {size(zerotier.LARGEST)}",
        "its status is ``NOT_RUNNING``",
    )


def _images() -> Iterator[Row]:
    yield (
        "A plist",
        f"{size(plists.MAX_PLIST)}, as it is and unpacked; {size(plist.MAX_LINE)} a line",
        "refused",
    )
    yield "An archive", f"{size(plists.MAX_ARCHIVE)}, as it is and unpacked", "refused"
    yield (
        "A root file system",
        f"{tree.MAX_ENTRIES:,} entries, {size(tree.MAX_BYTES)} of files, paths of {names.MAX_PATH:,} bytes",
        "refused",
    )
    yield "Transfers at once", f"{transfers.AT_ONCE}", "others wait"
    yield "Redirects", f"{transfers.REDIRECTS}", "refused"
    yield (
        "Time to connect; without progress",
        f"{_PATIENCE.connect:.0f} s; {_PATIENCE.slow} s",
        f"{_PATIENCE.tries} tries in all, each from where the last one was",
    )
    yield (
        "What is kept of images, ``[containers] max_store``",
        size(_CONTAINERS.max_store),
        "what no container uses is removed, what was used longest ago first",
    )


def size(count: int) -> str:
    """
    Bytes, in the unit that suits.
    """
    for unit, name in ((1 << 40, "TiB"), (1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB")):
        if count % unit == 0:
            return f"{count // unit:,} {name}"
    return f"{count:,} bytes"


if __name__ == "__main__":
    print(generate())
