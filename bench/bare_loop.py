"""
The yardstick of taking: a bare txredisapi loop that takes 256 at a time and pipelines the answers.

Run as a program: ``python -m bench.bare_loop SOCKET``.
"""

import json
import sys
from typing import Any

import txredisapi
from twisted.internet import reactor
from twisted.internet.defer import Deferred, gatherResults

BATCH = 256
QUEUE = "result:bare"  # a list that clients may use


async def serve(path: str) -> None:
    """
    Answer pings for ever.
    """
    connection: Any = await txredisapi.UnixConnection(path, charset=None, convertNumbers=False)
    while True:
        payloads = await connection.execute_command("LPOP", QUEUE, BATCH)
        if not payloads:
            first = await connection.blpop([QUEUE], timeout=1)
            payloads = [first[1]] if first else []
        answers = []
        for payload in payloads:
            id = json.loads(payload)["id"]
            answers.append(connection.execute_command("RPUSH", f"result:{id}", b'"pong"'))
            answers.append(connection.execute_command("EXPIRE", f"result:{id}", 300))
        await gatherResults(answers)


if __name__ == "__main__":
    Deferred.fromCoroutine(serve(sys.argv[1])).addErrback(lambda failure: failure.printTraceback())
    reactor.run()
