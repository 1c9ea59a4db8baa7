"""
A web server on loopback.
"""

import socket
import subprocess
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from bench.table import Missing
from core0.containers.runtime import find
from tests.daemon import eventually
from tests.valkey import free_port

PROGRAM = "lighttpd"
CONFIG = """
server.document-root = "{folder}"
server.bind = "127.0.0.1"
server.port = {port}
server.max-keep-alive-requests = 100000
mimetype.assign = ("" => "application/octet-stream")
"""


def server_program() -> str:
    """
    The path of the server.

    :raises Missing: it is not installed.
    """
    program = find(PROGRAM)
    if program is None:
        raise Missing(f"{PROGRAM}: apt-get install {PROGRAM}")
    return program


@contextmanager
def served(folder: Path, config: Path) -> Iterator[str]:
    """
    What is in a folder, as long as it is needed; gives its URL.

    :param config: where to write the server's configuration.
    """
    program, port = server_program(), free_port()
    config.write_text(CONFIG.format(folder=folder, port=port))
    log = config.with_suffix(".log")
    with log.open("wb") as file:
        server = subprocess.Popen(
            [program, "-D", "-f", str(config)],
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=file,
            start_new_session=True,
        )
    try:
        eventually(lambda: server.poll() is not None or _listens(port), f"{PROGRAM} listens")
        assert server.poll() is None, f"{PROGRAM} ended with status {server.returncode}:\n{log.read_text()}"
        yield f"http://127.0.0.1:{port}"
    finally:
        server.terminate()
        server.wait()


def _listens(port: int) -> bool:
    with closing(socket.socket()) as asking:
        return asking.connect_ex(("127.0.0.1", port)) == 0
