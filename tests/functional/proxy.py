"""
A proxy between core0 and a Redis server that cuts connections at moments that a test chooses.
"""

import select
import socket
import threading
from dataclasses import dataclass, field
from pathlib import Path

PIECE = 1 << 16  # bytes


@dataclass(eq=False, slots=True)
class Cut:
    """
    The wish to cut the connection on which a request is sent.

    :ivar pattern: what the request holds.
    :ivar carried_out: whether the server gets it; its reply is lost either way.
    :ivar times: how many of them.
    """

    pattern: bytes
    carried_out: bool
    times: int = 1
    done: threading.Event = field(default_factory=threading.Event)


class Proxy:
    """
    Listens on a unix socket, and hands on to another one.

    :ivar passed: how many pieces it has handed on.
    """

    def __init__(self, path: Path, server: str) -> None:
        self.path = path
        self._server = server
        self._cut: Cut | None = None
        self._pairs: set[tuple[socket.socket, socket.socket]] = set()
        self._lock = threading.Lock()
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(path))
        self._listener.listen()
        self._closed = False
        self.passed = 0
        threading.Thread(target=self._accept, daemon=True).start()

    @property
    def url(self) -> str:
        """
        Of the proxy, as core0 is told it.
        """
        return f"redis+unix://{self.path}"

    def cut(self, pattern: bytes, *, carried_out: bool, times: int = 1) -> Cut:
        """
        Cut the connection that the next such request comes on.
        """
        self._cut = Cut(pattern, carried_out, times)
        return self._cut

    def cut_all(self) -> None:
        """
        Cut all connections, at once.
        """
        with self._lock:
            pairs = list(self._pairs)
        for pair in pairs:
            _shut(pair)

    def close(self) -> None:
        """
        Serve no more.
        """
        self._closed = True
        self._listener.close()
        self.cut_all()

    def _accept(self) -> None:
        while not self._closed:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            server = socket.socket(socket.AF_UNIX)
            try:
                server.connect(self._server)
            except OSError:
                client.close()
                server.close()
                continue
            threading.Thread(target=self._serve, args=(client, server), daemon=True).start()

    def _serve(self, client: socket.socket, server: socket.socket) -> None:
        pair = (client, server)
        with self._lock:
            self._pairs.add(pair)
        try:
            while self._hand_on(client, server):
                pass
        except OSError:
            pass
        finally:
            with self._lock:
                self._pairs.discard(pair)
            _shut(pair)
            client.close()
            server.close()

    def _hand_on(self, client: socket.socket, server: socket.socket) -> bool:
        """
        :returns: whether the connection stands.
        """
        for ready in select.select((client, server), (), ())[0]:
            data = ready.recv(PIECE)
            if not data:
                return False
            self.passed += 1
            if ready is server:
                client.sendall(data)
                continue
            cut = self._matching(data)
            if cut is None or cut.carried_out:
                server.sendall(data)
            if cut is not None:
                # nothing more comes, and the server answers what it has got before it closes
                server.shutdown(socket.SHUT_WR)
                while server.recv(PIECE):
                    pass
                _shut((client, server))
                if not cut.times:
                    cut.done.set()
                return False
        return True

    def _matching(self, data: bytes) -> Cut | None:
        with self._lock:
            cut = self._cut
            if cut is None or cut.pattern not in data:
                return None
            cut.times -= 1
            if not cut.times:
                self._cut = None
            return cut


def _shut(pair: tuple[socket.socket, socket.socket]) -> None:
    for end in pair:
        try:
            end.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass
