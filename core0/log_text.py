"""
What core0's own log shows of text that others have written: containers, programs, clients, servers.
"""

import re
from typing import cast

from twisted.logger import ILogObserver, LogEvent, LogPublisher, formatEvent, globalLogPublisher

# Control characters but for line feeds and tabs, of which Twisted keeps lines apart; and what turns a line around.
_CONTROL = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")


def escaped(text: str) -> str:
    r"""
    Text in which no character moves a cursor or colours a terminal: ``\x1b`` instead of what it stands for.
    """
    return _CONTROL.sub(lambda found: ascii(found[0])[1:-1], text)


def escape(event: LogEvent) -> None:
    """
    Escape an event in place, before whoever writes it has it.
    """
    text = formatEvent(event)
    failure = event.get("log_failure")
    trace = failure.getTraceback() if failure is not None else ""
    if _CONTROL.search(text) or _CONTROL.search(trace):
        if trace:
            del event["log_failure"]
            text = f"{text}\n{trace}"
        event["log_format"], event["log_escaped"] = "{log_escaped}", escaped(text)


def escape_all(publisher: LogPublisher = globalLogPublisher) -> None:
    """
    Escape whatever is logged from now on. It has to be called before anybody else observes the log.
    """
    observer = cast(ILogObserver, escape)
    publisher.removeObserver(observer)
    publisher.addObserver(observer)
