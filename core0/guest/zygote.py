"""
Forking guests.
"""

import os
import signal
import sys
from typing import Any

import msgspec

from core0.containers import kernel
from core0.containers.orders import Answer, Request
from core0.guest import guest

MAX_TEXT = (
    640  # characters: in JSON, at most six bytes each, they fit into a write to a shared pipe that is in one piece
)
REQUESTS, ANSWERS = 0, 1
_decode = msgspec.json.Decoder(Request).decode


def serve() -> None:
    """
    Until the end of the requests.
    """
    kernel.name_process("core0-zygote")
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # guests are reaped by nobody here
    answer(Answer(number=0, state="ready", pid=os.getpid()))
    rest = b""
    while True:
        data = os.read(REQUESTS, 1 << 16)
        if not data:
            return
        *lines, rest = (rest + data).split(b"\n")
        for line in lines:
            _fork(_decode(line))


def answer(content: Answer) -> None:
    """
    Tell core0.
    """
    os.write(ANSWERS, msgspec.json.encode(content) + b"\n")


def _fork(request: Request) -> None:
    try:
        pid = os.fork()
    except OSError as error:
        answer(Answer(number=request.number, state="failed", text=f"cannot fork: {error.strerror}"))
        return
    if pid == 0:
        _guest(request)


def _guest(request: Request) -> Any:
    """
    Never returns.
    """
    code = 1
    try:
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        guest.run(request, answer)
        code = 0
    except BaseException as error:
        text = f"{error.strerror or error}" if isinstance(error, OSError) and not error.errno else str(error)
        try:
            answer(Answer(number=request.number, state="failed", text=(text or repr(error))[:MAX_TEXT]))
        except OSError:
            pass  # core0 is gone
    finally:
        sys.stdout.flush()
        os._exit(code)
