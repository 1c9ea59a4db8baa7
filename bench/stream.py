"""
One end of a stream over TCP, as long as it is asked for.

Run as a program: ``python -m bench.stream receive ADDRESS PORT`` takes one stream after another, until it is killed;
``python -m bench.stream send ADDRESS PORT SECONDS`` sends one, and prints the bytes that the other end has got each
second.
"""

import socket
import sys

from bench.host import timed

SIZE = 1 << 20  # bytes that are sent and received at once
COUNT = 8  # bytes of the number with which a receiver answers


def receive(address: str, port: int) -> None:
    """
    Print a line once it listens.
    """
    buffer = bytearray(SIZE)
    with socket.create_server((address, port)) as heard:
        print("ready", flush=True)
        while True:
            peer, _ = heard.accept()
            with peer:
                total = 0
                while got := peer.recv_into(buffer):
                    total += got
                peer.sendall(total.to_bytes(COUNT, "big"))


def send(address: str, port: int, seconds: float) -> None:
    """
    From the first byte to the answer of the other end.
    """
    data = bytes(SIZE)
    with socket.create_connection((address, port)) as peer:
        elapsed = timed()
        while elapsed() < seconds:
            peer.sendall(data)
        peer.shutdown(socket.SHUT_WR)
        total = int.from_bytes(peer.recv(COUNT, socket.MSG_WAITALL), "big")
        print(total / elapsed())


if __name__ == "__main__":
    _, command, its_address, its_port, *more = sys.argv
    if command == "receive":
        receive(its_address, int(its_port))
    else:
        send(its_address, int(its_port), float(*more))
