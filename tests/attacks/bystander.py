"""A client that does nothing wrong: one echo after the other. Prints the p99 of each quarter
second.

A process of its own, so that the attacks do not disturb its clock. Started by run.py.
"""

import socket
import sys
import time

from wire import TEXT, Socket, frame

PAUSE_SECONDS = 0.002
WINDOW_SECONDS = 0.25


class Port:
    """What `Socket` needs to know of a server."""

    def __init__(self, port):
        self.port = port


def main():
    connection = Socket(Port(int(sys.argv[1]))).open()
    connection.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    message = frame(TEXT, b"bystander")
    while True:
        times = []
        window_ends = time.monotonic() + WINDOW_SECONDS
        while time.monotonic() < window_ends:
            started = time.perf_counter()
            connection.send(message)
            if connection.next_frame(10) is None:
                sys.exit("the bystander lost its connection")
            times.append(time.perf_counter() - started)
            time.sleep(PAUSE_SECONDS)
        times.sort()
        p99 = times[max(0, int(len(times) * 0.99) - 1)]
        print(f"{p99 * 1000:.3f}", flush=True)


if __name__ == "__main__":
    main()
