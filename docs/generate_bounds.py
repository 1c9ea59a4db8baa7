"""
Every bound of core0, as reStructuredText, with the numbers that the program goes by.

``python docs/generate_bounds.py`` prints it.
"""

from collections.abc import Iterator, Sequence

from core0 import assembly, messages, reaper
from core0 import records as making
from core0.config import Jobs, Logging, Redis
from core0.jobs import bookkeeping, cgroup, logfiles, manager, output, process, restart
from core0.redis import consumer, keys, ledger, link, outbox, pressure, records, server

Row = tuple[str, str, str]
_JOBS, _LOGGING, _REDIS = Jobs(), Logging(), Redis()


def generate() -> str:
    """
    One table: what, how much, and what happens beyond.
    """
    rows = [("what", "how much", "beyond that"), *_commands(), *_jobs(), *_records(), *_server()]
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
        f"``core:rejected``, unread, with the first {size(messages.MAX_SHOWN)}",
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
        "Time without a reply of the server",
        f"{link.REPLY_TIMEOUT:.0f} to {2 * link.REPLY_TIMEOUT:.0f} s",
        "connects again",
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
        f"{_JOBS.waiting:,}, or {size(manager.MAX_WAITING_BYTES)} of payload",
        "they stay in their lists",
    )
    yield (
        "Looks for urgent commands then",
        f"the first {consumer.URGENT_DEPTH:,} entries of each list, payloads up to {size(consumer.URGENT_LARGEST)}, "
        f"once a second, at most {1 / consumer.PAUSE:.0f} times",
        "they wait like others",
    )
    yield "Jobs on their way to start", f"{manager.STARTING}", "others wait; it takes less memory"
    yield (
        "Time that starting takes in one turn of the reactor",
        f"{manager.START_BUDGET * 1000:.0f} ms",
        "the next turn",
    )
    yield "Children reaped in one turn", f"{reaper.AT_ONCE}", "the next turn"
    yield (
        "Output kept of each stream, ``[jobs] stream_buffer``",
        size(_JOBS.stream_buffer),
        "the beginning goes; ``truncated`` counts it",
    )
    yield "A message with a level", "the same", "its end goes; ``truncated`` counts it"
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


def _records() -> Iterator[Row]:
    yield "Text of a log record", size(output.MAX_RECORD), "the line becomes several records"
    yield (
        "Records of all jobs together, live output included",
        f"{making.RATE:,} a second, and {making.BURST:,} at once",
        "dropped and counted; the last one of a live stream never",
    )
    yield (
        "Records on their way to Redis",
        f"{records.MAX_ITEMS:,}, or {size(records.MAX_BYTES)}",
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
    yield "Live output, ``stream:<id>``", f"{keys.MAX_STREAM:,} records", "the oldest go"
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


def size(count: int) -> str:
    """
    Bytes, in the unit that suits.
    """
    for unit, name in ((1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB")):
        if count % unit == 0:
            return f"{count // unit:,} {name}"
    return f"{count:,} bytes"


if __name__ == "__main__":
    print(generate())
