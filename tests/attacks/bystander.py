"""A client that does nothing wrong: one echo after the other. Prints two numbers for each quarter
second: its p99, and the p99 of the same echoes by a process that nobody attacks.

A process of its own, so that the attacks do not disturb its clock. Started by run.py.
"""

import multiprocessing
import socket
import sys
import time

from wire import TEXT, Socket, frame

PAUSE_SECONDS = 0.002
WINDOW_SECONDS = 0.25
MESSAGE = frame(TEXT, b"bystander")


class Port:
    """What `Socket` needs to know of a server."""

    def __init__(self, port):
        self.port = port


def echo(end, others_end):
    """The server that nobody attacks; it ends with its client."""
    others_end.close()
    while octets := end.recv(4096):
        end.sendall(octets)


def control():
    """A connection to that server."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        client = socket.create_connection(listener.getsockname())
        server, _ = listener.accept()
    for end in (client, server):
        end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    multiprocessing.Process(target=echo, args=(server, client), daemon=True).start()
    server.close()
    return client


def p99_ms(times):
    times.sort()
    return times[max(0, int(len(times) * 0.99) - 1)] * 1000


def main():
    unattacked = control()
    connection = Socket(Port(int(sys.argv[1]))).open()
    connection.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    while True:
        ours, theirs = [], []
        window_ends = time.monotonic() + WINDOW_SECONDS
        while time.monotonic() < window_ends:
            started = time.perf_counter()
            connection.send(MESSAGE)
            if connection.next_frame(10) is None:
                sys.exit("the bystander lost its connection")
            ours.append(time.perf_counter() - started)
            started = time.perf_counter()
            unattacked.sendall(MESSAGE)
            unattacked.recv(4096)
            theirs.append(time.perf_counter() - started)
            time.sleep(PAUSE_SECONDS)
        print(f"{p99_ms(ours):.3f} {p99_ms(theirs):.3f}", flush=True)


if __name__ == "__main__":
    main()
