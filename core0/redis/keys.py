"""
The names of core0's keys in Redis.
"""

SHARED_QUEUE = "core:default"
REJECTED = "core:rejected"
LOGS = "core.logs"
MAX_REJECTED = 1000
MAX_STREAM = 10_000  # records of live output
MAX_SAMPLES = 1000
MAX_RECORDS = 10_000  # of a CoreX that core0 has not copied yet
RESULTS = "corex:results:"  # what the keys of all containers begin with
RECORDS = "core0:corex:"


def node_queue(node: str) -> str:
    """
    The queue of one node; ``node`` is ``<gid>:<nid>``.
    """
    return f"core:default:{node}"


def unfinished(node: str) -> str:
    """
    Hash: what this node took and has not finished, payloads by their number.
    """
    return f"core0:unfinished:{node}"


def marks(node: str) -> str:
    """
    Hash: what this node had started, marks (:class:`core0.messages.Mark`) by their number.
    """
    return f"core0:job:{node}"


def dispatched(node: str) -> str:
    """
    Hash: what this node sent into containers and has no answer to, payloads by their number.
    """
    return f"core0:dispatched:{node}"


def dispatched_marks(node: str) -> str:
    """
    Hash: the marks that belong to those.
    """
    return f"core0:dispatched-marks:{node}"


def dispatched_clock(node: str) -> str:
    """
    String: the number of the last command that this node sent into a container.
    """
    return f"core0:dispatched-clock:{node}"


def clock(node: str) -> str:
    """
    String: the number of the last command that this node took.
    """
    return f"core0:clock:{node}"


def lease(node: str) -> str:
    """
    String: which core0 serves the address of this node.
    """
    return f"core0:node:{node}"


def result(id: str) -> str:
    """
    List of one: the result of a command.
    """
    return f"result:{id}"


def claim(id: str) -> str:
    """
    String: the digest of the content that goes by an id; while it is unfinished, also who runs it.
    """
    return f"core0:id:{id}"


def stream(id: str) -> str:
    """
    List: live output of a job.
    """
    return f"stream:{id}"


def stats(id: str) -> str:
    """
    Redis stream: samples of a job.
    """
    return f"stats:{id}"


def orders(number: int) -> str:
    """
    List on the local server: what core0 sends to the CoreX of a container.
    """
    return f"core:default:core-{number}"


def corex_results(number: int) -> str:
    """
    List on the local server: what the CoreX of a container answers.
    """
    return f"{RESULTS}{number}"


def corex_records(number: int) -> str:
    """
    List on the local server: log records, live output and samples of a container.
    """
    return f"{RECORDS}{number}:records"
